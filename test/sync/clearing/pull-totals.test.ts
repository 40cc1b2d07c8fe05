import t from 'tap';
import { amountMicro } from '../../../protocol/amount.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { packSpentRows, SPENT_TOTALS } from '../../../protocol/messages/spent-totals.ts';
import { listenLoopback } from '../../../platform/http-server.ts';
import type { Registry } from '../../../sync/clearing/core/registry.ts';
import { pullTotals } from '../../../sync/clearing/pull-totals.ts';
import { fill, hex, testSigner, testVerifier } from '../../protocol/helpers.ts';

const approver = testSigner(4);
const registry = {
  approvers: new Map([[approver.key.hex, [{ gatewayKey: approver.key }]]]),
} as unknown as Registry;

const said = (lines: readonly number[], by = approver, named = approver): string => {
  const rows = packSpentRows(
    lines.map((at) => ({
      line: fill(16, at),
      counter: at,
      totalMicro: amountMicro(1_000n),
      unacknowledgedMicro: amountMicro(BigInt(at)),
    })),
  );
  const totals = { approver: named.key.id, throughSequence: 9, timeS: 7, rows };
  return hex(signSign1(by, SPENT_TOTALS.encode(totals)));
};

t.test(
  'spent totals of known approvers are added up; what they did not sign is nothing',
  async (t) => {
    let body = '';
    let status = 200;
    const server = await listenLoopback(() => ({ status, body }), { port: 0, maxBodyBytes: 0 });
    const pull = (): ReturnType<typeof pullTotals> =>
      pullTotals(server.url, registry, testVerifier);
    const other = testSigner(5);
    body = JSON.stringify({
      totals: [said([1, 2]), said([40]), said([7], other), said([8], other, other), 'zz', 7],
    });
    t.same(
      [...(await pull())],
      [[approver.key.hex, { throughSequence: 9, timeS: 7, lines: 3, unacknowledgedMicro: 43n }]],
      'up to the first text that is no hex',
    );
    for (const wrong of ['', 'null', '[]', '{"totals":{}}', '{"totals":[""]}']) {
      body = wrong;
      t.equal((await pull()).size, 0, wrong);
    }
    body = JSON.stringify({ totals: [said([1])] });
    status = 404;
    t.equal((await pull()).size, 0, 'a site without them');
    await server.close();
    t.equal((await pull()).size, 0, 'offline');
  },
);
