import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { issueAllowance, issueClearing, issueMandate } from '../../../identity/core/issue.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { amountMicro } from '../../../protocol/amount.ts';
import { packSpentRows, SPENT_TOTALS } from '../../../protocol/messages/spent-totals.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { coseKeyOf } from '../../../protocol/public-key.ts';
import { writeLineAccounts } from '../../../sync/clearing/line-accounts-file.ts';
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
writeFileSync(
  at('clearing.cbor'),
  issueClearing(signers.issuer, {
    ...valid,
    status: { uri: 'urn:example:status:1', index: 7 },
    reference: 'clearing-0001',
    key: signers.clearing.key,
  }),
);
writeFileSync(at('issuer.cosekey'), encodeCanonical(coseKeyOf(signers.issuer.key)));

t.before(async () => {
  const database = openSqlite(at('clearing.sqlite'));
  const { service } = await inMemory({ database });
  const car = new LineOfReceipts('car');
  const approver = signers.gateway.key.id;
  await service.ingestBatch([car.next(7_000n * YEN, { line, approver })], NOON_S);
  await writeLineAccounts(database, signers.clearing, at('accounts'), nowS);
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

t.test('differences: a gateway that is ahead, a device that shows too much', async (t) => {
  const hex = Buffer.from(line).toString('hex');
  const row = { line, counter: 2, totalMicro: amountMicro(9_000n * YEN) };
  const rows = packSpentRows([{ ...row, unacknowledgedMicro: amountMicro(2_000n * YEN) }]);
  const { key } = signers.gateway;
  const totals = SPENT_TOTALS.encode({ approver: key.id, throughSequence: 2, timeS: 1, rows });
  mkdirSync(at('told'));
  writeFileSync(at('told/gate'), signSign1(signers.gateway, totals));
  writeFileSync(at('told/other'), signSign1(signers.stranger, totals));
  const keys = ['--issuer-key', at('issuer.cosekey'), '--documents', at('documents')];
  const books = ['--clearing', at('clearing.cbor'), '--accounts', at('accounts')];
  const report = (...more: string[]): ReturnType<typeof kiri> =>
    kiri(['issuer', 'report', 'differences', ...keys, ...books, ...more]);

  const local = await report('--rule', 'local', '--told', at('told'), '--json');
  t.equal(local.code, 0, local.stderr);
  const [said, counts] = local.stdout
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text));
  const sumMicro = String(2_000n * YEN);
  t.match(said, { line: hex, trusted: 'local', heldMicro: sumMicro });
  t.match(said.differences, [{ kind: 'MISSING_AT_CENTRE', by: key.hex, from: 2, to: 2, sumMicro }]);
  t.match(
    counts,
    { ok: true, lines: 1, differing: 1, faults: [/file 2/] },
    'a stranger says nothing',
  );

  const shown = { line: hex, counter: 1, totalMicro: '0' };
  writeFileSync(at('devices'), `${JSON.stringify(shown)}\n`);
  const edited = await report('--rule', 'local', '--devices', at('devices'));
  t.match(edited.stdout, /SET_BACK \(device .*7000000000 micro-units; party bears the loss/);
  t.equal((await report('--rule', 'both')).code, 2);
});
