import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { issueAllowance, issueMandate } from '../../../identity/core/issue.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { coseKeyOf } from '../../../protocol/public-key.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import { ALLOWANCE_FACTS, MANDATE_FACTS, newWorld } from '../../identity/fixture.ts';
import { LineOfReceipts, NOON_S, inMemory } from '../../sync/clearing/sample.ts';
import { kiri } from '../../system/command.ts';

const folder = t.testdir();
const at = (name: string): string => join(folder, name);
const YEN = 1_000_000n;
const world = newWorld();
const { signers, line } = world;

const nowS = Math.floor(Date.now() / 1000);
const valid = { issuedS: nowS - 60, notBeforeS: nowS - 60, expiresS: nowS + 86_400 };
const documents = {
  ...world.payer,
  allowance: issueAllowance(signers.issuer, {
    ...ALLOWANCE_FACTS,
    ...valid,
    line,
    policyHash: world.policyHash,
    clearing: signers.clearing.key.id,
  }),
  mandate: issueMandate(signers.issuer, {
    ...MANDATE_FACTS,
    ...valid,
    key: signers.gateway.key,
  }),
};

mkdirSync(at('documents'));
for (const [name, bytes] of Object.entries(documents)) {
  writeFileSync(at(`documents/${name}.cbor`), bytes);
}
writeFileSync(at('issuer.cosekey'), encodeCanonical(coseKeyOf(signers.issuer.key)));

t.before(async () => {
  const { service } = await inMemory({ database: openSqlite(at('clearing.sqlite')) });
  const car = new LineOfReceipts('car');
  const approver = signers.gateway.key.id;
  await service.ingestBatch([car.next(7_000n * YEN, { line, approver })], NOON_S);
  await service.close();
});

const exposure = (...more: string[]): ReturnType<typeof kiri> => {
  const keys = ['--issuer-key', at('issuer.cosekey'), '--documents', at('documents')];
  const words = ['issuer', 'report', 'exposure', ...keys, '--store', at('clearing.sqlite')];
  return kiri([...words, ...more]);
};

t.test(
  'exposure: what the gateway can still accept of an allowance, less what is here',
  async (t) => {
    const said = await exposure('--json');
    t.equal(said.code, 0, said.stderr);
    // Upper limit 10,000 + release cap 1,000 − 7,000 here; the gateway's cap of 5,000 is larger.
    const worstMicro = String(4_000n * YEN);
    t.match(JSON.parse(said.stdout), {
      ok: true,
      neighbours: 'alone',
      totals: [{ currency: 392, approvers: 1, worstMicro, leftMicro: worstMicro }],
      parties: [{ party: signers.party.key.hex, lines: 1, worstMicro }],
    });
    const text = await exposure('--neighbours', 'share');
    t.match(text.stdout, /^worst case now: JPY 4000 at 1 approvers/);
    t.equal((await exposure('--neighbours', 'perhaps')).code, 2);
    t.equal((await kiri(['issuer', 'report', 'guess'])).code, 2);
  },
);
