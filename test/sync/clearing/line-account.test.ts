import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import {
  LINE_ACCOUNT,
  LineAccountBuilder,
  RUN_NOT_CHARGED,
  RUN_OPEN,
  RUN_SETTLED,
  RUN_UNKNOWN,
  type LineAccount,
  type LineFact,
} from '../../../sync/clearing/core/line-account.ts';
import {
  accountsManifestPath,
  checkLineAccounts,
  lineAccountsIn,
  writeLineAccounts,
} from '../../../sync/clearing/line-accounts-file.ts';
import { readLineAccounts } from '../../../sync/clearing/line-account.ts';
import { newSigner } from '../../identity/fixture.ts';
import { openTestStore } from './store.ts';
import {
  anchors,
  DAY_S,
  hashOf,
  history,
  inMemory,
  LineOfReceipts,
  NOON_S,
  signer,
} from './sample.ts';

const HEAD = {
  line: hashOf('line').subarray(0, 16),
  party: 'party-1',
  currency: 392,
  credits: [],
  disputes: [],
  heads: [],
};
const PAID_S = 1_000_000;

type Receipt = Extract<LineFact, { kind: 'receipt' }>;
const receipt = (
  counter: number,
  amount: bigint,
  total: bigint,
  more: Partial<Receipt> = {},
): LineFact => ({
  kind: 'receipt',
  counter,
  amountMicro: amount,
  chargeMicro: amount,
  totalMicro: total,
  releasedMicro: 0n,
  paidS: PAID_S,
  state: 'settled',
  inConflict: false,
  ...more,
});
const voided = (counter: number, amountMicro: bigint): LineFact => ({
  kind: 'void',
  counter,
  amountMicro,
});

const build = (facts: readonly LineFact[], after = 0, lapsedBeforeS = 0): LineAccount => {
  const builder = new LineAccountBuilder(after, lapsedBeforeS);
  for (const fact of facts) builder.add(fact);
  return builder.finish(HEAD);
};
/** kind from-to sum/released */
const runsOf = ({ runs }: LineAccount): string[] =>
  runs.map((run) => `${run.kind} ${run.from}-${run.to} ${run.sumMicro}/${run.releasedMicro}`);

t.test(
  'a gap whose sum a Void explains is charged to nobody; one that nothing explains is unknown',
  (t) => {
    const explained = build([receipt(1, 10n, 10n), voided(2, 5n), receipt(4, 20n, 35n)]);
    t.same(runsOf(explained), [
      `${RUN_SETTLED} 1-1 10/0`,
      `${RUN_NOT_CHARGED} 2-3 0/5`,
      `${RUN_SETTLED} 4-4 20/0`,
    ]);
    t.match(explained, { chargedMicro: 30n, settledMicro: 30n, missingMicro: 0n, totalMicro: 35n });
    // 10 + 20 are charged, the total says 42: 12 micro-units lie between counters 1 and 4.
    const missing = build([receipt(1, 10n, 10n), receipt(4, 20n, 42n)]);
    t.same(runsOf(missing), [
      `${RUN_SETTLED} 1-1 10/0`,
      `${RUN_UNKNOWN} 2-3 0/0`,
      `${RUN_SETTLED} 4-4 20/0`,
    ]);
    t.equal(missing.missingMicro, 12n);
    const lapsed = build([receipt(1, 10n, 10n), receipt(4, 20n, 42n)], 0, PAID_S + 1);
    t.same(
      runsOf(lapsed).slice(1),
      [`${RUN_NOT_CHARGED} 2-3 0/0`, `${RUN_SETTLED} 4-4 20/12`],
      'given back after 30 days',
    );
    t.end();
  },
);

t.test('only what is certain is more than unknown', (t) => {
  const account = build([
    receipt(1, 10n, 10n, { state: 'open' }),
    receipt(2, 10n, 20n, { state: 'held' }),
    receipt(3, 10n, 30n, { state: 'voided' }),
    receipt(4, 10n, 40n, { state: 'open', chargeMicro: 7n }),
    receipt(5, 10n, 50n, { state: 'open' }),
    voided(7, 3n),
  ]);
  t.same(runsOf(account), [
    `${RUN_OPEN} 1-1 10/0`,
    `${RUN_UNKNOWN} 2-2 0/0`,
    `${RUN_NOT_CHARGED} 3-3 0/10`,
    `${RUN_OPEN} 4-4 7/3`,
    `${RUN_OPEN} 5-5 10/0`,
    // Behind the last receipt nothing tells whether counter 6 was used.
    `${RUN_UNKNOWN} 6-6 0/0`,
    `${RUN_NOT_CHARGED} 7-7 0/3`,
  ]);
  t.match(account, { chargedMicro: 27n, settledMicro: 0n, highestCounter: 7, totalMicro: 50n });
  t.end();
});

t.test('two payments on one counter are both charged and counted as a conflict', (t) => {
  const account = build([
    receipt(1, 10n, 10n),
    receipt(2, 5n, 15n),
    receipt(2, 6n, 16n, { inConflict: true }),
    receipt(3, 1n, 16n),
  ]);
  t.same(runsOf(account), [`${RUN_SETTLED} 1-3 22/0`]);
  t.match(account, { conflicts: 1, missingMicro: 0n, chargedMicro: 22n });
  t.end();
});

t.test('what lies before the counter asked for is in the sums alone', (t) => {
  const facts = [receipt(1, 10n, 10n), voided(2, 4n), receipt(3, 1n, 15n), receipt(4, 1n, 16n)];
  const account = build(facts, 2);
  t.same(runsOf(account), [`${RUN_SETTLED} 3-4 2/0`]);
  t.match(account, { afterCounter: 2, releasedBeforeMicro: 4n, settledMicro: 12n });
  t.end();
});

t.test(
  'a line with more runs than one account holds says through which counter it is complete',
  (t) => {
    const facts: LineFact[] = [];
    for (let at = 0; at < 400; at++) {
      facts.push(receipt(at * 2 + 1, 10n, BigInt(at) * 11n + 10n), voided(at * 2 + 2, 1n));
    }
    const account = build(facts);
    t.equal(account.runs.length, 240);
    t.equal(account.throughCounter, 240);
    t.equal(account.settledMicro, 4_000n, 'sums are whole');
    const widest = {
      ...account,
      disputes: Array.from({ length: 64 }, () => ({
        paymentHash: hashOf('x'),
        amountMicro: account.totalMicro,
      })),
    };
    t.ok(LINE_ACCOUNT.decode(LINE_ACCOUNT.encode(widest)).ok, 'and fits one message');
    t.end();
  },
);

t.test('accounts of a store add up to its books, and the file proves itself', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-lines-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const database = await openTestStore();
  const { service } = await inMemory({ database });
  t.teardown(() => service.close());
  await service.ingestBatch(history(), NOON_S);
  await service.cut(NOON_S + DAY_S, anchors);
  const late = new LineOfReceipts('d');
  const [first, second] = [late.next(500n), late.next(700n)];
  await service.ingestBatch([second], NOON_S + DAY_S, {
    origin: first.origin,
    nextIndex: 31,
    rootHex: 'cd'.repeat(32),
  });
  const path = join(folder, 'lines');
  const manifest = await writeLineAccounts(database, signer, path, NOON_S + DAY_S);
  t.equal(manifest.lines, 4);
  const verifier = nodeVerifier();
  t.same(await checkLineAccounts(path, signer.key, verifier), manifest);
  const accounts = [];
  for await (const account of lineAccountsIn(path)) accounts.push(account);
  const charged = accounts.reduce((sum, account) => sum + account.chargedMicro, 0n);
  const { books } = await service.reconcile();
  t.equal(
    charged,
    books.reduce((sum, { acceptedMicro }) => sum + acceptedMicro, 0n),
    'to the micro-unit',
  );
  const ofD = accounts.find(({ line }) => toHex(line) === toHex(first.line));
  t.match(ofD, { missingMicro: 500n, chargedMicro: 700n, throughCounter: 2, highestCounter: 2 });
  t.match(ofD?.heads, [{ origin: first.origin, size: 31 }]);
  t.same(runsOf(ofD!), [`${RUN_UNKNOWN} 1-1 0/0`, `${RUN_OPEN} 2-2 700/0`]);
  t.ok(
    accounts
      .filter((account) => account !== ofD)
      .every((account) => runsOf(account)[0]?.startsWith(`${RUN_SETTLED} 1-`)),
  );

  await t.rejects(
    checkLineAccounts(path, newSigner().key, verifier),
    { code: 'LINE_ACCOUNTS_INVALID' },
    'another key',
  );
  const bytes = await readFile(path);
  for (const damaged of [
    bytes.subarray(0, -1),
    Buffer.concat([bytes, Buffer.of(0)]),
    flipped(bytes),
  ]) {
    await writeFile(path, damaged);
    await t.rejects(checkLineAccounts(path, signer.key, verifier), {
      code: 'LINE_ACCOUNTS_INVALID',
    });
  }
  await rm(accountsManifestPath(path));
  await t.rejects(checkLineAccounts(path, signer.key, verifier), { code: 'FILE_UNREADABLE' });
});

const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  copy[copy.length - 1]! ^= 1;
  return copy;
};

t.test(
  'the account of a line names what was given back, per payment, the last first',
  async (t) => {
    const { service, database } = await inMemory();
    const line = new LineOfReceipts('refunded');
    const [first, second, third] = [1, 2, 3].map(() => line.next(100_000_000n));
    const refund = (of: typeof first, refundedMicro: bigint, at: number) => ({
      kind: 'credit' as const,
      creditHash: hashOf(`credit ${toHex(of!.paymentHash)} ${refundedMicro}`),
      paymentHash: of!.paymentHash,
      refundedMicro,
      reason: 'goods back',
      businessTimeS: NOON_S,
      isTimeFlagged: false,
      origin: 'gateway.example/2026q4',
      leafIndex: 100 + at,
    });
    await service.ingestBatch(
      [
        first!,
        second!,
        third!,
        refund(first, 10_000_000n, 0),
        refund(third, 30_000_000n, 1),
        // Cumulative: 25 yen in all, presented together or not.
        refund(first, 25_000_000n, 2),
      ],
      NOON_S,
    );
    await service.cut(NOON_S, anchors, true);
    const accounts: LineAccount[] = [];
    await readLineAccounts(database, NOON_S + 60, {
      account: async (one) => void accounts.push(one),
    });
    t.match(accounts, { length: 1 });
    t.same(accounts[0]?.credits, [
      { paymentHash: third!.paymentHash, amountMicro: 30_000_000n },
      { paymentHash: first!.paymentHash, amountMicro: 25_000_000n },
    ]);
    t.ok(LINE_ACCOUNT.decode(LINE_ACCOUNT.encode(accounts[0]!)).ok);
    await service.close();
  },
);
