import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import { spokenSealing } from '../../../cli/programs/clearing-segments.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { readCost } from '../../../sync/clearing/cost.ts';
import type { VerifiedItem, VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { readLineAccounts } from '../../../sync/clearing/line-account.ts';
import { reconciliationCsv } from '../../../sync/clearing/reconciliation-csv.ts';
import { checkSegment, sealSegments } from '../../../sync/clearing/seal-segments.ts';
import { RECEIPT_COLUMNS, readSegments } from '../../../sync/clearing/segments.ts';
import { searchReceipts } from '../../../sync/clearing/search.ts';
import type { SearchQuery } from '../../../sync/clearing/search.ts';
import { numberOf } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { readLineSums } from '../../../sync/issuer/line-sums.ts';
import { IssuerSide, chargeback, outcomes } from './issuer-side.ts';
import { DAY_S, LineOfReceipts, NOON_S, anchors, hashOf, inMemory, keyWith } from './sample.ts';
import { makeTestStore, openTestStore } from './store.ts';

const YEN = 1_000_000n;
/** Bookings of November 2026 (UTC) are all 30 days old. */
const SEALED_S = Date.UTC(2026, 11, 31) / 1000;
const DAYS = 30;

const lines = ['a', 'b', 'c'] as const;
const key = (name: string): VerifiedReceipt['key'] =>
  keyWith({ account: `ACC-${name.toUpperCase()}`, party: `party-${name}` });

/** Twenty receipts of each of three accounts in November. */
const november = (): VerifiedReceipt[] => {
  const each = lines.map((name) => new LineOfReceipts(name));
  return Array.from({ length: 60 }, (_, at) => {
    const line = each[at % 3] as LineOfReceipts;
    const businessTimeS = NOON_S - 3600 + at;
    return line.next(BigInt(at + 1) * YEN + 1n, {
      key: key(line.name),
      sequence: at + 1,
      businessTimeS,
    });
  });
};

/** What comes after the twentieth of a line. */
const goOn = (name: string): LineOfReceipts => {
  const line = new LineOfReceipts(name);
  for (const one of november()) {
    if (toHex(one.line) !== toHex(hashOf(`line ${name}`).subarray(0, 16))) continue;
    line.next(one.amountMicro);
  }
  return line;
};

const world = async (database?: SqlDatabase) => {
  const made = await inMemory(database ? { database } : {});
  const { service, files } = made;
  await service.ingestBatch(november(), NOON_S);
  const cut = await service.cut(NOON_S, anchors, true);
  const issuer = new IssuerSide(service, files);
  const file = issuer.got(cut.files[0]?.fileName ?? '');
  await issuer.acknowledge(file, 'accepted', NOON_S + 60);
  // December: one more, so that the newest of all is not of November.
  const december = goOn('a').next(YEN, {
    key: key('a'),
    sequence: 61,
    businessTimeS: NOON_S + 20 * DAY_S,
  });
  await service.ingestBatch([december], NOON_S + 20 * DAY_S);
  return { ...made, issuer, file };
};

const QUERIES: readonly SearchQuery[] = [
  {},
  { fromS: NOON_S - 3580, toS: NOON_S - 3570 },
  { minMicro: 10n * YEN, maxMicro: 20n * YEN },
  { party: 'party-b' },
  { merchant: 'merchant-1', minMicro: 50n * YEN },
];

/** Everything that is ever read of receipts, by any way. */
const readAll = async (service: ClearingService, database: SqlDatabase): Promise<unknown> => {
  const found = [];
  for (const query of QUERIES) {
    for await (const page of searchReceipts(database, query)) found.push(...page);
    found.push('—');
  }
  const accounts: unknown[] = [];
  await readLineAccounts(database, SEALED_S, {
    account: async (account) => void accounts.push(account),
  });
  const table: string[] = [];
  await database.transaction(async (session) => {
    for await (const row of reconciliationCsv(session)) table.push(row);
  });
  const sums = await database.transaction(readLineSums);
  const line = toHex(hashOf('line a').subarray(0, 16));
  return {
    found,
    accounts,
    table,
    books: await service.reconcile(),
    cost: await database.transaction(readCost),
    owed: sums?.(line, toHex(hashOf('gateway').subarray(0, 16))),
    taken: await service.taken(),
  };
};

const isIntact = async (database: SqlDatabase): Promise<boolean> =>
  (await database.transaction((session) => checkSegment(session, '202611'))).isIntact;

const hotCount = async (database: SqlDatabase): Promise<number> =>
  database.transaction(async (session) => {
    const [row] = await session.all('SELECT count(*) AS n FROM receipts');
    return numberOf(row ?? {}, 'n');
  });

t.test('a settled month leaves the hot table, and everything reads as before', async (t) => {
  const { service, database, files, file } = await world();
  const before = await readAll(service, database);
  t.same(await service.seal(DAYS, SEALED_S - 1), [], 'its last day is not 30 days ago');
  const [segment, ...more] = await service.seal(DAYS, SEALED_S);
  t.same(more, []);
  const charge = november().reduce((sum, { amountMicro }) => sum + amountMicro, 0n);
  t.match(segment, { name: '202611', state: 'sealed', receipts: 60, chargeMicro: charge });
  t.equal(await hotCount(database), 1, 'December’s alone');
  t.same(await readAll(service, database), before);
  t.ok((await service.reconcile()).reconciles);
  t.ok(await isIntact(database));
  t.same(await service.seal(DAYS, SEALED_S + DAY_S), [], 'once');
  const name = file.fileName.replace('.ipm', '');
  for (const { path, bytes } of await service.rebuild(name)) {
    t.equal(Buffer.from(bytes).toString('hex'), files.get(`out/${path}`), `${path} rebuilds`);
  }
  await t.rejects(service.seal(29, SEALED_S), { code: 'SEAL_TOO_EARLY' });
  const [row] = await database.transaction((session) =>
    session.all('SELECT * FROM receipts ORDER BY id LIMIT 1'),
  );
  t.same(Object.keys(row ?? {}), RECEIPT_COLUMNS, 'no column of a receipt is left behind');
  await service.close();
});

t.test(
  'what is sealed and comes again counts nothing; what contradicts it is in conflict',
  async (t) => {
    const { service } = await world();
    await service.seal(DAYS, SEALED_S);
    const { books } = await service.reconcile();
    const again = november().map((one) => ({
      ...one,
      origin: 'intake.example',
      isHandedInLate: true,
    }));
    t.match(await service.ingestBatch(again, SEALED_S), { duplicate: 60, first: 0, late: 0 });
    t.same((await service.reconcile()).books, books, 'not a micro-unit moved');

    const [, other] = november() as [VerifiedReceipt, VerifiedReceipt];
    const paymentHash = hashOf('a second payload');
    const second = { ...other, paymentHash, receiptHash: hashOf('its receipt'), sequence: 70 };
    t.match(await service.ingestBatch([second], SEALED_S), { first: 1, conflict: 1 });
    // b has twenty receipts and a total behind them; nothing of it is hot.
    const honest = goOn('b').next(YEN, { key: key('b'), sequence: 71, businessTimeS: SEALED_S });
    const clone = { ...goOn('c').next(YEN, { key: key('c'), sequence: 72 }), totalMicro: YEN };
    t.match(await service.ingestBatch([honest], SEALED_S), { first: 1, conflict: 0, late: 0 });
    t.match(
      await service.ingestBatch([clone], SEALED_S),
      { first: 1, conflict: 1 },
      'a broken total',
    );
    t.ok((await service.reconcile()).reconciles);
    await service.close();
  },
);

t.test('refund, Void, chargeback and its answer still find a sealed charge', async (t) => {
  const { service, database, issuer, file } = await world();
  await service.seal(DAYS, SEALED_S);
  const [first, second] = november() as [VerifiedReceipt, VerifiedReceipt];
  const place = { origin: 'intake.example', leafIndex: 1 };
  const refund: VerifiedItem = {
    kind: 'credit',
    ...place,
    creditHash: hashOf('credit'),
    paymentHash: first.paymentHash,
    refundedMicro: YEN / 2n,
    reason: 'gate stayed shut',
    businessTimeS: SEALED_S,
    isTimeFlagged: false,
  };
  const { paymentHash, line, counter, amountMicro } = second;
  const receiptHash = hashOf('void');
  const taken: VerifiedItem = {
    kind: 'void',
    ...place,
    receiptHash,
    paymentHash,
    line,
    counter,
    amountMicro,
  };
  t.match(await service.ingestBatch([refund, taken], SEALED_S), { credit: 2, void: 1, refused: 0 });
  const disputed = file.lines.find((one) => one.fundingReference === 'ACC-C');
  if (!disputed) throw new Error('no line of ACC-C');
  t.same(outcomes(await issuer.send([chargeback(disputed)], SEALED_S)), ['moved']);
  const lost = november().find((one) => one.key.account === 'ACC-C') as VerifiedReceipt;
  const answer = { arn: disputed.arn, reason: '2000', withoutReceipts: [toHex(lost.receiptHash)] };
  t.match(await service.represent(answer, SEALED_S + 1), { kind: 'moved', state: 'secondQueued' });
  const [found] = await database.transaction((session) =>
    session.all('SELECT second_micro FROM disputes'),
  );
  const all = disputed.amountMinor * YEN;
  t.equal(
    found?.['second_micro'],
    String(((all - lost.amountMicro) / YEN) * YEN),
    'without that one',
  );
  t.ok((await service.reconcile()).reconciles);
  await service.close();
});

t.test(
  'a line that is open, disputed or has a refund on its way stays hot with its receipts',
  async (t) => {
    const { service, database } = await inMemory();
    await service.ingestBatch(november(), NOON_S);
    await service.cut(NOON_S, anchors, true);
    await service.ingestBatch([goOn('a').next(YEN, { key: key('a') })], SEALED_S);
    t.same(await service.seal(DAYS, SEALED_S), [], 'no issuer has taken the file');
    const run = (sql: string): Promise<number> =>
      database.transaction((session) => session.run(sql));
    const lineOf = (name: string): string =>
      `(SELECT p.aggregate_id FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
      JOIN keys k ON k.key_id = a.key_id WHERE k.account = 'ACC-${name.toUpperCase()}')`;
    await run("UPDATE files SET state = 'accepted'");
    await run(`INSERT INTO disputes (aggregate_id, reason, amount_micro, opened_s, answer_by_s, second_micro,
    arbitrated_micro) SELECT aggregate_id, '4837', '1', 0, 0, '0', '0' FROM presentments
    WHERE aggregate_id = ${lineOf('a')}`);
    await run(`UPDATE presentments SET state = 'parked' WHERE aggregate_id = ${lineOf('b')}`);
    const [refunded] = november().filter((one) => one.key.account === 'ACC-C');
    const refund: VerifiedItem = {
      kind: 'credit',
      origin: 'intake.example',
      leafIndex: 1,
      creditHash: hashOf('credit'),
      paymentHash: refunded?.paymentHash ?? new Uint8Array(32),
      refundedMicro: 1n,
      reason: '',
      businessTimeS: SEALED_S,
      isTimeFlagged: false,
    };
    await service.ingestBatch([refund], SEALED_S);
    t.match(await service.seal(DAYS, SEALED_S), [{ name: '202611', receipts: 19 }]);
    await run('UPDATE disputes SET closed_s = 1');
    t.same(await service.seal(DAYS, SEALED_S + DAY_S), [], 'a closed month takes nothing in');
    await service.ingestBatch([goOn('b').next(YEN, { key: key('b') })], SEALED_S + DAY_S);
    const january = SEALED_S + 62 * DAY_S;
    t.match(await service.seal(DAYS, january), [{ name: '202612', receipts: 20 }], 'but the next');
    await service.close();
  },
);

t.test('a crash at any step of sealing loses nothing and doubles nothing', async (t) => {
  const whole = await world();
  const expected = (await whole.service.seal(DAYS, SEALED_S))[0];
  const reading = await readAll(whole.service, whole.database);
  await whole.service.close();
  const database = await openTestStore();
  let left = Number.POSITIVE_INFINITY;
  const failing: SqlDatabase = {
    transaction: (work) =>
      database.transaction(async (session) => {
        const result = await work(session);
        left -= 1;
        if (left === 0) throw new KiriError('DISK_FAILED', 'pulled plug');
        return result;
      }),
    close: () => database.close(),
  };
  const { service } = await world(failing);
  let crashes = 0;
  for (let at = 1; ; at += 1) {
    left = at;
    const done = await sealSegments(failing, DAYS, SEALED_S, 9).then(
      () => true,
      (error: unknown) => {
        t.match(error, { code: 'DISK_FAILED' });
        return false;
      },
    );
    left = Number.POSITIVE_INFINITY;
    if (done) break;
    crashes += 1;
    t.ok((await service.reconcile()).reconciles);
    t.same(await readAll(service, database), reading, `after ${at} steps`);
  }
  t.ok(crashes > 3, `${crashes} crashes`);
  const [segment] = await database.transaction(readSegments);
  t.same(segment?.sha256, expected?.sha256, 'the same segment, byte for byte');
  await service.close();
});

t.test('retention reaches sealed receipts, and nothing else may change them', async (t) => {
  const { service, database } = await world();
  await service.seal(DAYS, SEALED_S);
  const [sealed] = await database.transaction(readSegments);
  const { books } = await service.reconcile();
  const laterS = NOON_S + 549 * DAY_S;
  t.match(await service.eraseExpired(548, laterS), { erased: 60, kept: 0 });
  const [rewritten] = await database.transaction(readSegments);
  t.match(rewritten, { state: 'sealed', receipts: 60, rewrittenS: laterS });
  t.not(toHex(rewritten?.sha256 ?? new Uint8Array()), toHex(sealed?.sha256 ?? new Uint8Array()));
  t.ok(await isIntact(database));
  t.same((await service.reconcile()).books, books);
  const found = [];
  for await (const page of searchReceipts(database, { toS: NOON_S })) found.push(...page);
  t.equal(found.length, 60, 'under the day that is left of their times');
  await database.transaction((session) =>
    session.run("UPDATE receipts_202611 SET charge_micro = '1' WHERE id = 7"),
  );
  t.notOk(await isIntact(database));
  await service.close();
});

const kiri = resolve(import.meta.dirname, '../../../cli/kiri.js');
const run = (...words: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [kiri, 'clearing', ...words], { encoding: 'utf8', timeout: 60_000 });

t.test('the commands seal, count anew, and say which segment was changed', async (t) => {
  const { location: store, open } = await makeTestStore(t);
  const { service, database } = await world(await open());
  const busy = run('seal', '--store', store);
  t.equal(busy.status, 1);
  t.match(busy.stderr, /STORE_IN_USE/, 'the clearing itself is asked to, while it runs');
  await service.seal(DAYS, SEALED_S);
  const intact = run('segments', '--store', store, '--json');
  t.equal(intact.status, 0, intact.stderr);
  t.match(JSON.parse(intact.stdout), { ok: true, segments: [{ name: '202611', receipts: 60 }] });
  await database.transaction((session) =>
    session.run('UPDATE receipts_202611 SET payee = approver WHERE id = 7'),
  );
  const changed = run('segments', '--store', store);
  t.equal(changed.status, 1);
  t.match(changed.stdout, /^202611 sealed: 60 receipts, [\da-f]{64}: NOT WHAT WAS SEALED\n$/);
  await service.close();
  t.match(run('seal', '--store', store).stdout, /^nothing to seal\n$/);
  t.equal(run('seal', '--store', store, '--after-days', 'x').status, 2);
  t.match(run('seal', '--store', `${store}-absent`), { status: 1 }, 'none is made');
});

t.test(
  'what is damaged is not made good by erasing in it, nor does it keep a cut back',
  async (t) => {
    const { service, database } = await world();
    const early = await spokenSealing(() => service.seal(DAYS - 1, SEALED_S));
    t.match(early, { sealTrouble: /^SEAL_TOO_EARLY: / }, 'told beside the files that were cut');
    t.match(await spokenSealing(() => service.seal(DAYS, SEALED_S)), {
      sealed: [{ receipts: 60 }],
    });
    t.same(await spokenSealing(() => service.seal(DAYS, SEALED_S)), {}, 'nothing to tell');
    await database.transaction((session) =>
      session.run("UPDATE receipts_202611 SET origin = 'another.example' WHERE id = 7"),
    );
    const laterS = NOON_S + 549 * DAY_S;
    await t.rejects(service.eraseExpired(548, laterS), { code: 'SEGMENT_BROKEN' });
    const [kept] = await database.transaction((session) =>
      session.all('SELECT count(*) AS n FROM receipts_202611 WHERE erased_s IS NULL'),
    );
    t.equal(kept?.['n'], 60n, 'nothing of it is erased');
    t.match(await database.transaction(readSegments), [{ state: 'sealed' }]);
    await service.close();
  },
);
