import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { verifyEvidence } from '../../../sync/clearing/core/evidence.ts';
import type { VerifiedItem } from '../../../sync/clearing/core/ingest.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { verifyIpm } from '../../../sync/clearing/core/verify-ipm.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  TOKYO_MIDNIGHT_S,
  anchors,
  directoryOf,
  hashOf,
  inMemory,
  keyWith,
  policyHash,
  programme,
  signer,
} from './sample.ts';
import { makeTestStore, openTestStore } from './store.ts';

const folder = async (test: Test): Promise<string> => {
  const path = await mkdtemp(join(tmpdir(), 'kiri-clearing-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
};

t.test('a thousand minutes at 3.85 yen become one line of 3,850 yen on the disk', async (t) => {
  const out = await folder(t);
  const store = await makeTestStore(t);
  const open = async (): Promise<ClearingService> =>
    ClearingService.open(
      {
        database: await store.open(),
        signer,
        outFolder: out,
        directory: directoryOf(),
        policyHash,
        mode: 'T',
      },
      NOON_S,
    );
  const service = await open();
  const line = new LineOfReceipts('car');
  const items = Array.from({ length: 1000 }, () => line.next(3_850_000n));
  t.match(await service.ingestBatch(items, NOON_S), { first: 1000, duplicate: 0 });
  const { files, blocked } = await service.cut(NOON_S, anchors, true);
  t.same(blocked, []);
  t.match(files, [{ presentments: 1, records: 3, sumMinor: 3850n }]);
  const name = files[0]?.fileName ?? '';
  t.equal(name, 'KIRI.kiri-ipm-onus.00000032815.D261121.S00001.T.ipm');
  const bytes = await readFile(join(out, 'clearing', name));
  t.same(verifyIpm(bytes, DEFAULT_IPM_PROFILE).findings, []);
  const read = readSettlementFile(bytes, DEFAULT_IPM_PROFILE);
  t.match(read.ok && read.value.presentments[0], {
    amountMinor: 3850n,
    firstPaidAt: '261121083000',
    acceptor: { name: 'TOLL GATE ?' },
    fundingReference: 'KIRI-ACC-001',
  });
  t.match(await service.reconcile(), { receipts: 1000, reconciles: true, differences: [] });
  await service.close();
  const again = await open();
  const artefacts = await again.rebuild(name.replace('.ipm', ''));
  t.match(artefacts.at(-1)?.path, /\.manifest$/, 'the signed manifest is written last');
  for (const { path, bytes: rebuilt } of artefacts) {
    t.ok(
      (await readFile(join(out, path))).equals(Buffer.from(rebuilt)),
      `${path} rebuilds identically`,
    );
  }
  const written = [
    ...(await readdir(join(out, 'clearing'))),
    ...(await readdir(join(out, 'evidence'))),
  ];
  t.equal(written.length, artefacts.length, 'nothing else, no temporary left');
  await t.rejects(again.rebuild('KIRI.none'), { code: 'UNKNOWN_FILE' });
  await again.close();
});

t.test(
  'the same payment through two gateways, twice, and at L1 before L2 counts once',
  async (t) => {
    const { service } = await inMemory();
    const line = new LineOfReceipts('car');
    const first = line.next(10_000_000n);
    const second = line.next(5_000_000n);
    const twin = { ...first, receiptHash: hashOf('other'), origin: 'intake', leafIndex: 9 };
    const counts = await service.ingestBatch(
      [first, { ...second, level: 'L1' }, first, twin, second, second],
      NOON_S,
      { origin: first.origin, nextIndex: 2 },
    );
    t.match(counts, { first: 2, duplicate: 3, secondReceipt: 1, final: 1 });
    t.match(await service.cursor(first.origin), { nextIndex: 2 });
    t.match(await service.cursor('never seen'), { nextIndex: 0 });
    const { books, reconciles } = await service.reconcile();
    t.ok(reconciles);
    t.match(books, [
      { currency: 392, acceptedMicro: 15_000_000n, buckets: { carried: 15_000_000n } },
    ]);
    await service.close();
  },
);

t.test(
  'L1 waits, conflicts and late receipts get lines of their own, a Void holds back',
  async (t) => {
    const { service, files } = await inMemory();
    const line = new LineOfReceipts('car');
    const honest = line.next(10_000_000n);
    const clone = { ...honest, paymentHash: hashOf('clone'), receiptHash: hashOf('clone receipt') };
    const waiting = { ...line.next(7_000_000n), level: 'L1' as const };
    const voided = line.next(4_000_000n);
    const items: VerifiedItem[] = [
      honest,
      clone,
      waiting,
      voided,
      { ...voided, kind: 'void', origin: 'other', leafIndex: 1 },
      { ...line.next(1_000_000n), chargedMicro: 2_000_000n },
    ];
    t.match(await service.ingestBatch(items, NOON_S), {
      first: 4,
      conflict: 1,
      withheld: 1,
      void: 1,
      refused: 1,
    });
    t.match((await service.cut(NOON_S, anchors, true)).files, [{ presentments: 2, sumMinor: 20n }]);
    const lateOne = { ...new LineOfReceipts('van').next(3_000_000n), businessTimeS: NOON_S - 60 };
    t.match(await service.ingestBatch([lateOne], NOON_S + 60), { first: 1, late: 1 });
    t.match((await service.cut(NOON_S + 120, anchors, true)).files, [
      { presentments: 1, sumMinor: 3n },
    ]);
    const report = await service.reconcile();
    t.ok(report.reconciles);
    t.match(report.books[0]?.buckets, {
      awaitingL2: 7_000_000n,
      withheld: 4_000_000n,
      presentedOpen: 23_000_000n,
      late: 0n,
      conflict: 0n,
    });
    t.same(report.findings.map((one) => one.kind).toSorted(), [
      'CHARGED_ABOVE_AMOUNT',
      'RECEIPT_AND_VOID',
    ]);
    const lanes = [...files]
      .filter(([path]) => path.includes('/evidence/'))
      .map(([, hex]) => verifyEvidence(Buffer.from(hex, 'hex')));
    const proofs = lanes.flatMap((check) => (check.ok ? check.value.conflicts : []));
    t.equal(proofs.length, 1, 'the proof stands in the evidence of the conflict line');
    t.match(proofs[0], { rule: 'SAME_COUNTER' });
    await service.ingestBatch([{ ...honest, kind: 'void' }], NOON_S + 180);
    t.match((await service.reconcile()).findings.at(-1), { kind: 'VOID_AFTER_AGGREGATE' });
    await service.close();
  },
);

t.test(
  'released sums are held against Voids and closes, and listed where they are not',
  async (t) => {
    const { service } = await inMemory();
    const line = new LineOfReceipts('car');
    const reserved = { ...line.next(9_000_000n), chargedMicro: 4_000_000n };
    const unused = { ...line.next(2_000_000n), chargedMicro: 0n };
    const honest = line.next(1_000_000n, { releasedMicro: 7_000_000n });
    await service.ingestBatch([reserved, unused, honest], NOON_S);
    t.same((await service.reconcile()).findings, []);
    const greedy = line.next(1_000_000n, { releasedMicro: 7_000_001n });
    await service.ingestBatch([greedy], NOON_S);
    const report = await service.reconcile();
    t.match(report.findings, [{ kind: 'RELEASE_UNPROVEN' }]);
    t.match(report.books, [{ acceptedMicro: 6_000_000n }], 'it lowers and raises no charge');
    await service.close();
  },
);

t.test(
  'a merchant without details, or with unwritable ones, holds up its own lanes only',
  async (t) => {
    const { service } = await inMemory();
    const line = new LineOfReceipts('car');
    const items = [
      line.next(1_000_000n),
      line.next(2_000_000n, { key: keyWith({ merchant: 'unknown-1' }) }),
      line.next(3_000_000n, { key: keyWith({ merchant: 'far too long for fifteen' }) }),
      line.next(4_000_000n, { key: keyWith({ programme: 'not configured' }) }),
    ];
    await service.ingestBatch(items, NOON_S);
    const { files, blocked } = await service.cut(NOON_S, anchors, true);
    t.match(files, [{ presentments: 1, sumMinor: 1n }]);
    t.equal(blocked.length, 3);
    const report = await service.reconcile();
    t.match(report, { reconciles: true, books: [{ buckets: { carried: 9_000_000n } }] });
    await service.close();
  },
);

t.test('currencies get files of their own and amounts above 2⁶³ stay exact', async (t) => {
  const { service, files } = await inMemory();
  const big = (1n << 64n) - 1n;
  const items = [
    new LineOfReceipts('yen').next(big),
    new LineOfReceipts('dollar').next(1_234_567n, { key: keyWith({ currency: 840 }) }),
    new LineOfReceipts('dinar').next(1_234_567n, { key: keyWith({ currency: 414 }) }),
    new LineOfReceipts('unidad').next(1_234_567n, { key: keyWith({ currency: 990 }) }),
  ];
  await service.ingestBatch(items, NOON_S);
  const cut = await service.cut(NOON_S, anchors, true);
  const sums = Object.fromEntries(cut.files.map((file) => [file.currency, file.sumMinor]));
  t.same(sums, { 392: big / 1_000_000n, 840: 123n, 414: 1234n, 990: 12_345n });
  t.ok((cut.files.find((file) => file.currency === 392)?.presentments ?? 0) > 1, 'split, not cut');
  t.same(
    cut.files.map((file) => Number(/S(\d{5})/.exec(file.fileName)?.[1])),
    [1, 2, 3, 4],
  );
  for (const [path, hex] of files) {
    if (!path.endsWith('.ipm')) continue;
    t.same(verifyIpm(Buffer.from(hex, 'hex'), DEFAULT_IPM_PROFILE).findings, []);
  }
  const { books, reconciles } = await service.reconcile();
  t.ok(reconciles);
  t.match(books.find((one) => one.currency === 840)?.buckets, { carried: 4567n });
  t.equal(books.find((one) => one.currency === 392)?.buckets.carried, big % 1_000_000n);
  t.match(await service.cut(NOON_S + 1, anchors, true), { files: [] }, 'a remainder is no line');
  await service.close();
});

t.test(
  'windows: below the minimum it is carried on, at midnight in Tokyo it is presented',
  async (t) => {
    const rule = { ...programme, windowMinimumMicro: 50_000_000n };
    const { service } = await inMemory({ directory: directoryOf(rule) });
    const line = new LineOfReceipts('car');
    const ingest = async (amount: bigint, atS: number): Promise<void> => {
      await service.ingestBatch([line.next(amount, { businessTimeS: atS })], atS);
    };
    const midnightS = TOKYO_MIDNIGHT_S + DAY_S;
    await ingest(60_000_000n, NOON_S);
    t.match((await service.cut(midnightS - 1, anchors)).files, []);
    t.match((await service.cut(midnightS, anchors)).files, [{ sumMinor: 60n }]);
    await ingest(20_000_000n, midnightS + 60);
    t.match(
      (await service.cut(midnightS + DAY_S, anchors)).files,
      [],
      'below the minimum: carried',
    );
    await ingest(40_000_000n, midnightS + DAY_S + 60);
    t.match((await service.cut(midnightS + 2 * DAY_S, anchors)).files, [{ sumMinor: 60n }]);
    await ingest(10_000_000n, midnightS + 2 * DAY_S + 60);
    t.match(
      (await service.cut(midnightS + 8 * DAY_S, anchors)).files,
      [{ sumMinor: 10n }],
      'by age',
    );
    await service.close();
  },
);

t.test(
  'what a cut rounds off is carried and presented later, on every lane of its own',
  async (t) => {
    const { service, files } = await inMemory();
    const line = new LineOfReceipts('car');
    const amounts = [1_600_000n, 1_600_000n, 1_700_000n, 100_000n];
    const presented: bigint[] = [];
    for (const [at, amount] of amounts.entries()) {
      await service.ingestBatch([line.next(amount, { businessTimeS: NOON_S + at })], NOON_S + at);
      const cut = await service.cut(NOON_S + at, anchors, true);
      presented.push(cut.files.reduce((sum, file) => sum + file.sumMinor, 0n));
    }
    // 1.6 → 1, rest 0.6 + 1.6 = 2.2 → 2, rest 0.2 + 1.7 = 1.9 → 1, rest 0.9 + 0.1 = 1.0 → 1
    t.same(presented, [1n, 2n, 1n, 1n]);
    const chain = [...files]
      .filter(([path]) => path.includes('/evidence/'))
      .map(([, hex]) => verifyEvidence(Buffer.from(hex, 'hex')))
      .flatMap((check) => (check.ok ? [{ ...check.value, id: check.id }] : []))
      .toSorted((a, b) => a.number - b.number);
    t.equal(chain.length, 4);
    for (const [at, one] of chain.entries()) {
      t.equal(one.previous, chain[at - 1]?.id, 'each names the one before by its hash');
      t.equal(one.openingMicro, chain[at - 1]?.closingMicro ?? 0n);
    }
    await service.close();
  },
);

t.test('a name that no database keeps costs its own record only', async (t) => {
  const { service } = await inMemory();
  const line = new LineOfReceipts('car');
  const bad = line.next(2_000_000n, { key: keyWith({ merchant: 'nul\0here' }) });
  const counts = await service.ingestBatch([line.next(1_000_000n), bad], NOON_S);
  t.match(counts, { first: 1, refused: 1 });
  t.match(await service.reconcile(), {
    reconciles: true,
    findings: [{ kind: 'NAME_UNUSABLE', reference: `${bad.origin}#${bad.leafIndex}` }],
  });
  await service.close();
});

t.test('a store that cannot be opened or is of a later release is a clear error', async (t) => {
  const out = await folder(t);
  t.throws(() => openSqlite(join(out, 'no', 'such', 'folder.sqlite')), {
    code: 'STORE_UNAVAILABLE',
  });
  const database = await openTestStore();
  const first = await inMemory({ database });
  t.ok(first.service);
  await database.transaction(async (session) => {
    await session.run('INSERT INTO schema_version (version) VALUES (99)');
  });
  await t.rejects(inMemory({ database }), { code: 'STORE_TOO_NEW' });
  await database.close();
});
