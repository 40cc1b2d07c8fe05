import t from 'tap';
import type { Test } from 'tap';
import { issueParty } from '../../../identity/core/issue.ts';
import type { StatusList } from '../../../identity/core/status-list.ts';
import { inflateStatusList, packStatuses } from '../../../identity/edge/status-zlib.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { directoryOf as settlementOf } from '../../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { LIST, NOW_S, PARTY_FACTS, newWorld } from '../../identity/fixture.ts';
import type { AggregateKey } from '../../../sync/clearing/core/aggregate.ts';
import type { VerifiedCredit } from '../../../sync/clearing/core/credit.ts';
import type { SettlementDirectory } from '../../../sync/clearing/core/directory.ts';
import { verifyEvidence } from '../../../sync/clearing/core/evidence.ts';
import type { Evidence } from '../../../sync/clearing/core/evidence.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  anchors,
  directoryOf,
  hashOf,
  inMemory,
  keyWith,
} from './sample.ts';

const YEN = 1_000_000n;
const ENDS_S = NOON_S + 600;
const OLD = keyWith({ account: 'ACC-OLD' });
const NEW = keyWith({ account: 'ACC-NEW' });

/** The old account ends ten minutes past noon; another follows it or none does. */
const endingAt = (endsS: number, after?: string): SettlementDirectory => ({
  ...directoryOf(),
  accountEndsS: ({ account }) => (account === 'ACC-OLD' ? endsS : undefined),
  accountAfter: ({ account }: AggregateKey, nowS: number) =>
    account === 'ACC-OLD' && nowS >= endsS ? after : undefined,
});

const evidenceOf = async (database: SqlDatabase): Promise<Map<string, Evidence[]>> => {
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT k.account, a.document FROM aggregates a JOIN keys k ON k.key_id = a.key_id
       ORDER BY k.account, k.sign, a.lane, a.number`,
    ),
  );
  const found = new Map<string, Evidence[]>();
  for (const row of rows) {
    const check = verifyEvidence(row['document'] as Uint8Array);
    if (!check.ok) throw new Error(check.fault);
    const account = String(row['account']);
    found.set(account, [...(found.get(account) ?? []), check.value]);
  }
  return found;
};

const journal = (database: SqlDatabase, cause: string) =>
  database.transaction((session) =>
    session.all(
      `SELECT k.account, j.from_bucket, j.to_bucket, j.amount_micro, j.cause FROM books_journal j
       JOIN keys k ON k.key_id = j.key_id WHERE j.cause LIKE ? ORDER BY j.id`,
      `${cause}%`,
    ),
  );

/** Books, journal, receipts and lines agree, and every file comes out of the store as it was written. */
const holds = async (
  t: Test,
  {
    service,
    database,
    files,
  }: { service: ClearingService; database: SqlDatabase; files: Map<string, string> },
): Promise<void> => {
  const reconciliation = await service.reconcile();
  t.same(reconciliation.differences, []);
  const names = await database.transaction((session) =>
    session.all('SELECT file_name FROM files ORDER BY file_name'),
  );
  for (const { file_name: name } of names) {
    for (const { path, bytes } of await service.rebuild(String(name))) {
      t.equal(Buffer.from(bytes).toString('hex'), files.get(`out/${path}`), path);
    }
  }
};

const creditOf = (name: string, number: number, refundedMicro: bigint): VerifiedCredit => ({
  kind: 'credit',
  creditHash: hashOf(`credit ${name} ${number}`),
  paymentHash: hashOf(`payment ${name} ${number}`),
  refundedMicro,
  reason: 'goods returned',
  businessTimeS: ENDS_S + 60,
  isTimeFlagged: false,
  origin: 'gateway.example/2026q4',
  leafIndex: 900 + number,
});

t.test(
  'an account that is replaced: its remainder moves once, by an entry on both keys that evidence names',
  async (t) => {
    const world = await inMemory({ directory: endingAt(ENDS_S, 'ACC-NEW') });
    const { service, database } = world;
    const car = new LineOfReceipts('car');
    await service.ingestBatch([car.next(3n * YEN + 400_000n, { key: OLD })], NOON_S);
    t.match(await service.cut(ENDS_S, anchors), { files: [{ sumMinor: 3n }] }, 'whole yen first');
    t.same(
      await journal(database, 'account replaced'),
      [],
      'nothing of the new account is due yet',
    );
    await holds(t, world);
    await service.ingestBatch([car.next(2n * YEN + 700_000n, { key: NEW })], ENDS_S + 60);
    t.match(await service.cut(ENDS_S + DAY_S, anchors), { files: [{ sumMinor: 3n }] });
    const moved = { amount_micro: '400000' };
    t.match(await journal(database, 'account replaced'), [
      { ...moved, account: 'ACC-OLD', from_bucket: 'carried', to_bucket: 'transferred' },
      { ...moved, account: 'ACC-NEW', from_bucket: 'transferred', to_bucket: 'carried' },
    ]);
    const [out, into] = await journal(database, 'account replaced');
    t.equal(out?.['cause'], into?.['cause'], 'one cause names both keys');
    await holds(t, world);

    // Late for the old account: its chain goes on and says where the residual went.
    await service.ingestBatch([car.next(YEN, { key: OLD, businessTimeS: NOON_S })], NOON_S);
    await service.cut(ENDS_S + DAY_S + 60, anchors);
    await service.ingestBatch(
      [car.next(YEN + 250_000n, { key: OLD, businessTimeS: ENDS_S + 2 * DAY_S })],
      ENDS_S + 2 * DAY_S,
    );
    await service.cut(ENDS_S + 2 * DAY_S, anchors);
    const chains = await evidenceOf(database);
    const oldChain = chains.get('ACC-OLD')?.filter((one) => one.lane === 'normal') ?? [];
    t.match(oldChain, [
      { openingMicro: 0n, closingMicro: 400_000n, entries: [] },
      {
        openingMicro: 0n,
        closingMicro: 250_000n,
        entries: [{ kind: 'moved-out', amountMicro: 400_000n }],
      },
    ]);
    t.match(chains.get('ACC-NEW'), [
      {
        openingMicro: 400_000n,
        closingMicro: 100_000n,
        entries: [{ kind: 'moved-in', amountMicro: 400_000n, from: oldChain[1]?.previous }],
      },
    ]);
    await holds(t, world);
    await service.close();
  },
);

t.test(
  'replaced before it made one minor unit: receipts get an aggregate that presents nothing, refunds the new account',
  async (t) => {
    const world = await inMemory({ directory: endingAt(ENDS_S, 'ACC-NEW') });
    const { service, database } = world;
    const car = new LineOfReceipts('car');
    const small = [car.next(300_000n, { key: OLD }), car.next(300_000n, { key: OLD })];
    await service.ingestBatch(small, NOON_S);
    t.match(await service.cut(ENDS_S, anchors), { files: [] });
    // 0.3 yen of the new account alone are no line either; nothing moves for nothing.
    await service.ingestBatch([car.next(300_000n, { key: NEW, businessTimeS: ENDS_S })], ENDS_S);
    t.match(await service.cut(ENDS_S + DAY_S, anchors, true), { files: [] });
    t.same(await journal(database, 'account replaced'), []);
    const at = ENDS_S + DAY_S;
    await service.ingestBatch([car.next(100_000n, { key: NEW, businessTimeS: at })], at);
    t.match(await service.cut(at, anchors, true), { files: [{ sumMinor: 1n, presentments: 1 }] });
    const chains = await evidenceOf(database);
    t.match(chains.get('ACC-OLD'), [
      { amountMinor: 0n, closingMicro: 600_000n, sumMicro: 600_000n },
    ]);
    t.equal(chains.get('ACC-OLD')?.[0]?.leaves.length, 2, 'both receipts are named');
    t.match(chains.get('ACC-NEW'), [{ openingMicro: 600_000n, amountMinor: 1n, closingMicro: 0n }]);
    await holds(t, world);
    // A refund of what the old account paid.
    t.match(await service.ingestBatch([creditOf('car', 1, 200_000n)], at), { credit: 1 });
    const credited = await database.transaction((session) =>
      session.all("SELECT account, source_micro FROM keys WHERE sign = 'credit'"),
    );
    t.same(credited, [{ account: 'ACC-NEW', source_micro: '200000' }]);
    await holds(t, world);
    await service.close();
  },
);

t.test(
  'an account that ends and is not replaced: below one minor unit is written off after the age limit, once',
  async (t) => {
    const world = await inMemory({ directory: endingAt(ENDS_S) });
    const { service, database } = world;
    const car = new LineOfReceipts('car');
    await service.ingestBatch(
      [
        car.next(2n * YEN + 400_000n, { key: OLD }),
        car.next(700_000n, { key: { ...OLD, merchant: 'merchant-2' } }),
      ],
      NOON_S,
    );
    await service.cut(ENDS_S, anchors);
    const limitS = ENDS_S + 5 * DAY_S;
    await service.cut(limitS - 1, anchors);
    t.same(await journal(database, 'account closed'), [], 'a late receipt could still complete it');
    t.match(await service.cut(limitS, anchors), { files: [] });
    await service.cut(limitS + DAY_S, anchors);
    const written = (await journal(database, 'account closed')).map((row) =>
      String(row['amount_micro']),
    );
    t.same(
      written.toSorted((a, b) => a.localeCompare(b)),
      ['400000', '700000'],
      'each once, in one entry',
    );
    t.match((await service.reconcile()).books, [
      { buckets: { writtenOff: 1_100_000n, carried: 0n } },
    ]);
    await holds(t, world);
    // Nobody is charged twice or less for what comes after that.
    const late = car.next(YEN + 100_000n, { key: OLD, businessTimeS: limitS + 2 * DAY_S });
    await service.ingestBatch([late], limitS + 2 * DAY_S);
    await service.cut(limitS + 2 * DAY_S, anchors);
    t.match((await evidenceOf(database)).get('ACC-OLD'), [
      { closingMicro: 400_000n },
      {
        openingMicro: 0n,
        closingMicro: 100_000n,
        entries: [{ kind: 'written-off', amountMicro: 400_000n }],
      },
    ]);
    await holds(t, world);
    // What is owed to the payer is never written off.
    await service.ingestBatch([creditOf('car', 1, 300_000n)], limitS);
    await service.cut(limitS + 30 * DAY_S, anchors);
    t.match((await service.reconcile()).books, [
      { creditsMicro: 300_000n, buckets: { writtenOff: 1_200_000n } },
    ]);
    await holds(t, world);
    await service.close();
  },
);

t.test(
  'revoked in mid window: what was paid before is presented at once, what came after is withheld',
  async (t) => {
    const world = await inMemory({ directory: endingAt(ENDS_S) });
    const { service, database } = world;
    const car = new LineOfReceipts('car');
    const before = car.next(7n * YEN, { key: OLD });
    const stolen = car.next(5n * YEN, { key: OLD, isAfterRevocation: true });
    t.match(await service.ingestBatch([before, stolen], ENDS_S), { first: 2, withheld: 1 });
    t.match(await service.cut(ENDS_S, anchors), { files: [{ sumMinor: 7n }] });
    const reasons = await database.transaction((session) =>
      session.all('SELECT reason FROM aggregates'),
    );
    t.same(reasons, [{ reason: 'account-end' }]);
    t.match(await service.reconcile(), {
      books: [{ buckets: { withheld: 5n * YEN } }],
      findings: [{ kind: 'PAYER_REVOKED' }],
    });
    await holds(t, world);
    await service.close();
  },
);

t.test('the registry: a new credential is the next account, a status list ends one', async (t) => {
  const world = newWorld();
  const { issuer, party } = world.signers;
  const again = issueParty(issuer, {
    ...PARTY_FACTS,
    key: party.key,
    notBeforeS: NOW_S,
    fundingAccount: 'acct-next',
    status: { uri: LIST, index: 40 },
  });
  const documents = [
    world.payer.party,
    again,
    world.payer.registrar,
    world.payer.binding,
    world.payer.allowance,
  ];
  const listAt = (issuedS: number, revoked: readonly number[]): StatusList => {
    const packed = packStatuses(64, revoked);
    const token = { uri: LIST, version: 1, issuedS, expiresS: issuedS + 60, packed };
    const list = inflateStatusList(token as Parameters<typeof inflateStatusList>[0]);
    if (!list.ok) throw new Error(list.reason);
    return list.value;
  };
  const lists = [listAt(NOW_S + 90, [1]), listAt(NOW_S + 30, [1]), listAt(NOW_S, [])];
  const registry = buildRegistry(world.trust, documents, lists);
  t.same(registry.faults, []);
  const chains = [...registry.payers.values()].flat();
  t.match(
    chains.map(({ party: { fundingAccount }, revokedS }) => [fundingAccount, revokedS]),
    [
      ['acct-next', undefined],
      ['acct-7f3a', NOW_S + 30],
    ],
    'the earliest list that revokes it says since when',
  );
  const payer = chains[0];
  const key = {
    ...keyWith({
      issuer: toHex(payer?.allowance.issuer as Uint8Array),
      party: payer?.partyHex as string,
      account: 'acct-7f3a',
    }),
    sign: 'debit',
  } as const;
  const directory = settlementOf(registry);
  t.equal(directory.accountEndsS?.(key), NOW_S + 30);
  t.equal(directory.accountAfter?.(key, NOW_S + 29), undefined, 'it has not ended yet');
  t.equal(directory.accountAfter?.(key, NOW_S + 30), 'acct-next');
  t.equal(directory.accountAfter?.({ ...key, account: 'acct-next' }, NOW_S + 30), undefined);
  t.equal(directory.accountAfter?.({ ...key, party: 'another' }, NOW_S + 30), undefined);
  t.equal(directory.accountAfter?.({ ...key, currency: 840 }, NOW_S + 30), undefined);
});

t.test('what a lifted stop lets go follows the documents of now, not of the start', async (t) => {
  const { service, database } = await inMemory();
  const paid = new LineOfReceipts('car').next(500n * YEN, { key: OLD });
  await service.ingestBatch([paid], NOON_S);
  await service.stopLog({ origin: paid.origin, common: undefined } as never, 'fork', NOON_S);
  const refund: VerifiedCredit = {
    kind: 'credit',
    origin: 'intake.example',
    leafIndex: 1,
    creditHash: hashOf('credit of a held charge'),
    paymentHash: paid.paymentHash,
    refundedMicro: 200n * YEN,
    reason: '',
    businessTimeS: NOON_S,
    isTimeFlagged: false,
  };
  t.match(await service.ingestBatch([refund], NOON_S + 1), { waiting: 1 });
  service.follow(endingAt(NOON_S, 'ACC-NEW'));
  await service.liftStop(paid.origin, NOON_S + 2);
  const refunds = await database.transaction((session) =>
    session.all("SELECT account FROM keys WHERE sign = 'credit'"),
  );
  t.match(refunds, [{ account: 'ACC-NEW' }]);
  await service.close();
});
