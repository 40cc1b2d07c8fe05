import { createHash } from 'node:crypto';
import t from 'tap';
import { nobleVerifier } from '../../../identity/core/noble-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../../protocol/cose.ts';
import { RETENTION } from '../../../sync/clearing/core/retention.ts';
import { liftHold, setHold } from '../../../sync/clearing/retention.ts';
import { bytesOf, numberOf } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase, SqlRow } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  anchors,
  hashOf,
  history,
  inMemory,
  keyWith,
  signer,
} from './sample.ts';

const HORIZON_DAYS = 548;
/** 2028-05-22, noon in Tokyo: 548 days after the payments. */
const LATER_S = NOON_S + HORIZON_DAYS * DAY_S;

const rowsOf = (database: SqlDatabase): Promise<readonly SqlRow[]> =>
  database.transaction((session) =>
    session.all(
      'SELECT id, line, business_time_s, payee, receipt_hash, erased_s, state FROM receipts ORDER BY id',
    ),
  );
const setUp = async () => {
  const world = await inMemory();
  await world.service.ingestBatch(history(), NOON_S);
  await world.service.cut(NOON_S, anchors, true);
  return world;
};

t.test('at the dispute horizon time of day and payee go, and nothing else changes', async (t) => {
  const { service, database, files } = await setUp();
  const name = [...files.keys()].find((path) => path.endsWith('.ipm')) ?? '';
  const books = (await service.reconcile()).books;
  const before = await rowsOf(database);
  t.match(
    await service.eraseExpired(HORIZON_DAYS, LATER_S),
    { erased: 0, kept: 0 },
    'one day early',
  );
  t.same(await rowsOf(database), before);
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 30, kept: 0 });
  const after = await rowsOf(database);
  // The payments were made at 08:30 on 21 November in Tokyo, which began at 15:00 UTC the day before.
  const day = Date.UTC(2026, 10, 20, 15) / 1000;
  t.ok(after.every((row) => numberOf(row, 'business_time_s') === day));
  t.ok(after.every((row) => toHex(bytesOf(row, 'payee')) === '0'.repeat(32)));
  const report = await service.reconcile();
  t.ok(report.reconciles);
  t.same(report.books, books, 'the books stand as they stood');
  for (const { path, bytes } of await service.rebuild(
    name.split('/').at(-1)?.replace('.ipm', '') ?? '',
  )) {
    t.equal(Buffer.from(bytes).toString('hex'), files.get(`out/${path}`), `${path} rebuilds`);
  }
  const [journal, ...more] = await database.transaction((session) =>
    session.all('SELECT receipts, statement FROM retention_journal ORDER BY id'),
  );
  t.same(more, []);
  const sign1 = decodeSign1(bytesOf(journal ?? {}, 'statement'));
  t.ok(sign1.ok && verifySign1(nobleVerifier(), signer.key, sign1.value));
  const hash = createHash('sha256');
  for (const row of before) hash.update(bytesOf(row, 'receipt_hash'));
  const total = history().reduce(
    (sum, one) => sum + (one.kind === 'receipt' ? one.amountMicro : 0n),
    0n,
  );
  t.match(sign1.ok && RETENTION.decode(sign1.value.payload), {
    ok: true,
    value: {
      receipts: 30,
      chargeMicro: total.toString(),
      receiptsSha256: new Uint8Array(hash.digest()),
    },
  });
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + 9 * DAY_S), { erased: 0, kept: 0 });
  await service.close();
});

t.test('a legal hold wins, by line, by party and by file, until it is lifted', async (t) => {
  const { service, database, files } = await setUp();
  const file =
    [...files.keys()]
      .find((path) => path.endsWith('.ipm'))
      ?.split('/')
      .at(-1) ?? '';
  const hold = (kind: string, reference: string): Promise<boolean> =>
    database.transaction((session) =>
      setHold(session, { kind, reference, reason: 'court' }, NOON_S),
    );
  const lift = (kind: string, reference: string): Promise<boolean> =>
    database.transaction((session) => liftHold(session, { kind, reference }, NOON_S));
  const line = toHex(hashOf('line a').subarray(0, 16));
  t.ok(await hold('line', line));
  t.notOk(await hold('line', line), 'once');
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 20, kept: 10 });
  t.ok(await hold('party', 'party-1'));
  t.ok(await hold('file', file.replace('.ipm', '')));
  t.ok(await lift('line', line));
  t.notOk(await lift('line', line));
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 0, kept: 10 });
  t.ok(await lift('party', 'party-1'));
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 0, kept: 10 });
  t.ok(await lift('file', file.replace('.ipm', '')));
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 10, kept: 0 });
  await t.rejects(hold('person', 'x'), { code: 'HOLD_INVALID' });
  await t.rejects(hold('line', ''), { code: 'HOLD_INVALID' });
  await t.rejects(service.eraseExpired(119, LATER_S), { code: 'RETENTION_TOO_SHORT' });
  await service.close();
});

t.test('a line in dispute keeps what the dispute is about', async (t) => {
  const { service, database } = await setUp();
  const dispute = (sql: string): Promise<number> =>
    database.transaction((session) => session.run(sql));
  await dispute(`INSERT INTO disputes (aggregate_id, reason, amount_micro, opened_s, answer_by_s, second_micro,
    arbitrated_micro) SELECT min(aggregate_id), '4837', '1', 1, 2, '0', '0' FROM presentments`);
  const first = await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S);
  t.ok(first.kept > 0 && first.erased + first.kept === 30);
  await dispute('UPDATE disputes SET closed_s = 3');
  const second = await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S);
  t.same([second.erased, second.kept], [first.kept, 0]);
  await service.close();
});

t.test('what is not presented stays; a run that crashed goes on where it was', async (t) => {
  const { service, database } = await inMemory();
  const line = new LineOfReceipts('many');
  const many = Array.from({ length: 2500 }, () => line.next(1_000_000n));
  await service.ingestBatch(many, NOON_S);
  await service.cut(NOON_S, anchors, true);
  const waiting = new LineOfReceipts('waiting').next(1n, { key: keyWith({ account: 'ACC-9' }) });
  await service.ingestBatch([waiting], NOON_S + 1);
  // Fails from the second batch on, once it is armed.
  let left = Number.POSITIVE_INFINITY;
  const { service: failing } = await inMemory({
    database: {
      ...database,
      transaction: async (work) => {
        if (--left < 0) throw new Error('crash');
        return database.transaction(work);
      },
      close: async () => {},
    },
  });
  // Disputes that are over come first.
  left = 2;
  await t.rejects(failing.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { message: 'crash' });
  const rest = await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S);
  const rows = await rowsOf(database);
  t.equal(rows.filter((row) => row['erased_s'] !== null).length, 2500);
  t.equal(rest.erased, 1500, 'what the crash left');
  t.equal(rows.filter((row) => row['erased_s'] === null).length, 1, 'what waits keeps its time');
  t.ok((await service.reconcile()).reconciles);
  await service.close();
});

t.test('a refund loses its time of day at the horizon too, unless it is held', async (t) => {
  const { service, database } = await inMemory();
  const paid = new LineOfReceipts('car').next(500_000_000n);
  await service.ingestBatch([paid], NOON_S);
  await service.ingestBatch(
    [
      {
        kind: 'credit',
        origin: 'intake',
        leafIndex: 1,
        creditHash: hashOf('credit'),
        paymentHash: paid.paymentHash,
        refundedMicro: 200_000_000n,
        reason: 'shut',
        businessTimeS: NOON_S,
        isTimeFlagged: false,
      },
    ],
    NOON_S,
  );
  await service.cut(NOON_S, anchors, true);
  const line = toHex(paid.line);
  const hold = { kind: 'line', reference: line, reason: 'court' };
  await database.transaction((session) => setHold(session, hold, NOON_S));
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 0, kept: 2 });
  await database.transaction((session) => liftHold(session, hold, NOON_S));
  t.match(await service.eraseExpired(HORIZON_DAYS, LATER_S + DAY_S), { erased: 2, kept: 0 });
  const [credit] = await database.transaction((session) =>
    session.all('SELECT business_time_s FROM credits'),
  );
  t.equal(numberOf(credit ?? {}, 'business_time_s'), Date.UTC(2026, 10, 20, 15) / 1000);
  t.ok((await service.reconcile()).reconciles);
  await service.close();
});
