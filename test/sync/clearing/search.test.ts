import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import type { VerifiedItem } from '../../../sync/clearing/core/ingest.ts';
import { checkVersion } from '../../../sync/clearing/schema.ts';
import { searchReceipts } from '../../../sync/clearing/search.ts';
import type { FoundReceipt, SearchQuery } from '../../../sync/clearing/search.ts';
import { textOf } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase, SqlSession, SqlValue } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  TOKYO_MIDNIGHT_S,
  anchors,
  hashOf,
  inMemory,
  keyWith,
} from './sample.ts';
import { SERVER, makeTestStore, openTestStore } from './store.ts';

const collect = async (database: SqlDatabase, query: SearchQuery): Promise<FoundReceipt[]> => {
  const all: FoundReceipt[] = [];
  for await (const page of searchReceipts(database, query)) all.push(...page);
  return all;
};

const party = (at: number): string => `0${at % 3}`.repeat(16);

/** 2,500 receipts over ten days: receipt n is paid n hundred seconds in, at n + 1 yen, merchants and parties in turn. */
const receipts = (): VerifiedItem[] => {
  const line = new LineOfReceipts('searched');
  return Array.from({ length: 2500 }, (_, at) =>
    line.next(BigInt(at + 1) * 1_000_000n, {
      key: keyWith({ merchant: `M-${at % 2}`, party: party(at), account: `ACC-${at % 3}` }),
      businessTimeS: TOKYO_MIDNIGHT_S - 9 * DAY_S + at * 100,
    }),
  );
};

t.test(
  'date, counterparty and amount, alone and together, find what a filter by hand finds',
  async (t) => {
    const store = await makeTestStore(t);
    const { service } = await inMemory({ database: await store.open() });
    t.teardown(() => service.close());
    await service.ingestBatch(receipts(), NOON_S);
    await service.cut(NOON_S, anchors, true);
    // The clearing still has its store open and is able to write: this is the reader beside it.
    const reader = await store.openReadOnly();
    t.teardown(() => reader.close());
    await checkVersion(reader);

    const fromS = TOKYO_MIDNIGHT_S - 9 * DAY_S + 50_000;
    const queries: readonly [SearchQuery, (at: number) => boolean][] = [
      [{}, () => true],
      [{ fromS }, (at) => at >= 500],
      [{ toS: fromS }, (at) => at < 500],
      [{ fromS, toS: fromS + 100 }, (at) => at === 500],
      [{ minMicro: 99_000_000n, maxMicro: 1_001_000_000n }, (at) => at >= 98 && at <= 1000],
      [{ maxMicro: 9_999_999n }, (at) => at < 9],
      [{ minMicro: 2_500_000_001n }, () => false],
      [{ merchant: 'M-1' }, (at) => at % 2 === 1],
      [{ party: party(2) }, (at) => at % 3 === 2],
      [{ merchant: 'M-0', party: party(1), fromS }, (at) => at % 6 === 4 && at >= 500],
      [{ merchant: 'M-1', minMicro: 2_000_000_000n }, (at) => at % 2 === 1 && at >= 1999],
      [{ fromS, maxMicro: 502_000_000n }, (at) => at === 500 || at === 501],
      [{ merchant: 'M-2' }, () => false],
    ];
    for (const [query, wanted] of queries) {
      const hits = await collect(reader, query);
      const yen = hits
        .map((hit) => Number(hit.chargedMicro / 1_000_000n))
        .toSorted((a, b) => a - b);
      const expected = Array.from({ length: 2500 }, (_, at) => at).filter(wanted);
      t.same(
        yen,
        expected.map((at) => at + 1),
        JSON.stringify(query, (_key, value: unknown) =>
          typeof value === 'bigint' ? value.toString() : value,
        ),
      );
    }

    const [first] = await collect(reader, { fromS, merchant: 'M-1' });
    t.match(first, { state: 'aggregated', currency: 'JPY', sign: 'debit', isTimeFlagged: false });
    t.match(first?.arn, /^\d{23}$/);
    t.match(first?.fileName, /^KIRI\./);

    const alike = new LineOfReceipts('alike');
    const businessTimeS = TOKYO_MIDNIGHT_S + 1;
    const many = Array.from({ length: 2100 }, () => alike.next(3_000_000_000n, { businessTimeS }));
    await service.ingestBatch(many, NOON_S);
    for (const query of [{ minMicro: 2_999_000_000n }, { fromS: businessTimeS }]) {
      const hashes = (await collect(reader, query)).map((hit) => hit.paymentHash);
      t.equal(hashes.length, 2100, 'more than a page alike');
      t.equal(new Set(hashes).size, 2100);
    }
    await service.ingestBatch([new LineOfReceipts('later').next(7_000_000_000n)], NOON_S);
    t.equal((await collect(reader, { minMicro: 7_000_000_000n })).length, 1, 'written meanwhile');
  },
);

t.test('refunds are found as rows of their own, by date, counterparty and amount', async (t) => {
  const { service, database } = await inMemory();
  const line = new LineOfReceipts('refunded');
  const [paid, other] = [500_000_000n, 70_000_000n].map((amount, at) =>
    line.next(amount, { key: keyWith({ merchant: `M-${at}` }) }),
  );
  const refund = (amountMicro: bigint, at: number): VerifiedItem => ({
    kind: 'credit',
    origin: 'intake',
    leafIndex: at,
    creditHash: hashOf(`credit ${at}`),
    paymentHash: paid!.paymentHash,
    refundedMicro: amountMicro,
    reason: 'shut',
    businessTimeS: NOON_S + at * DAY_S,
    isTimeFlagged: false,
  });
  const correction: VerifiedItem = {
    kind: 'void',
    paymentHash: other!.paymentHash,
    receiptHash: hashOf('void'),
    line: other!.line,
    counter: other!.counter,
    amountMicro: other!.amountMicro,
    origin: 'intake',
    leafIndex: 9,
  };
  await service.ingestBatch([paid!, other!], NOON_S);
  await service.cut(NOON_S, anchors, true);
  await service.ingestBatch([refund(30_000_000n, 1), refund(200_000_000n, 2), correction], NOON_S);
  const of = async (query: SearchQuery): Promise<string[]> =>
    (await collect(database, query)).map(
      ({ kind, chargedMicro, sign }) => `${kind} ${sign} ${chargedMicro / 1_000_000n}`,
    );
  t.same(await of({}), [
    'receipt debit 500',
    'receipt debit 70',
    'correction credit 70',
    'refund credit 30',
    'refund credit 170',
  ]);
  t.same(await of({ merchant: 'M-0' }).then((all) => all.toSorted()), [
    'receipt debit 500',
    'refund credit 170',
    'refund credit 30',
  ]);
  t.same(await of({ party: 'party-1', fromS: NOON_S + 2 * DAY_S }), ['refund credit 170']);
  t.same(await of({ minMicro: 70_000_000n, maxMicro: 170_000_000n }), [
    'receipt debit 70',
    'correction credit 70',
    'refund credit 170',
  ]);
  await service.cut(NOON_S + 3 * DAY_S, anchors, true);
  const [found] = await collect(database, { merchant: 'M-0', minMicro: 1n, maxMicro: 30_000_000n });
  t.match(found, { kind: 'refund', state: 'aggregated', arn: /^\d{23}$/, merchant: 'M-0' });
  await service.close();
});

/** How the database will find the rows of a statement: its own words, one line. */
const planOf = async (
  session: SqlSession,
  sql: string,
  values: readonly SqlValue[],
): Promise<string> => {
  if (SERVER === undefined) {
    const rows = await session.all(`EXPLAIN QUERY PLAN ${sql}`, ...values);
    return rows.map((row) => textOf(row, 'detail')).join('; ');
  }
  // A table of one row is read as it stands; asked for an index, the planner says whether there is one.
  for (const way of ['seqscan', 'bitmapscan', 'sort', 'hashjoin', 'mergejoin']) {
    await session.run(`SET LOCAL enable_${way} = off`);
  }
  const rows = await session.all(`EXPLAIN ${sql}`, ...values);
  return rows.map((row) => textOf(row, 'QUERY PLAN')).join('; ');
};

t.test('every kind of search goes through an index and sorts nothing', async (t) => {
  const database = await openTestStore();
  const plans: string[] = [];
  const spying: SqlDatabase = {
    ...database,
    transaction: (work) =>
      database.transaction((session) =>
        work({
          ...session,
          all: async (sql, ...values) => {
            // Which segments there are is asked first.
            if (!/segments/.test(sql)) plans.push(await planOf(session, sql, values));
            return session.all(sql, ...values);
          },
        }),
      ),
  };
  const line = new LineOfReceipts('a');
  const { service } = await inMemory({ database });
  await service.ingestBatch([line.next(1n)], NOON_S);
  const party1 = 'party-1';
  const queries: SearchQuery[] = [
    { fromS: 0 },
    { minMicro: 1n },
    { merchant: 'merchant-1' },
    { party: party1 },
  ];
  for (const query of queries) await collect(spying, query);
  const [time, ofCredits, amount, creditAmount, merchant, ofMerchant, creditsOf, ofParty] = plans;
  t.match(time, /SEARCH r USING INDEX receipts_by_time|Index Scan using receipts_by_time/);
  t.match(ofCredits, /SEARCH r USING INDEX credits_by_time|Index Scan using credits_by_time/);
  t.match(creditAmount, /credits_by_amount/);
  t.match(creditsOf, /credits_by_key/);
  t.match(amount, /SEARCH r USING INDEX receipts_by_amount|Index Scan using receipts_by_amount/);
  t.match(merchant, /keys_by_merchant/);
  t.match(ofMerchant, /SEARCH r USING INDEX receipts_by_key|Index Scan using receipts_by_key/);
  t.match(ofParty, /keys_by_party/);
  t.notOk(
    plans.some((plan) => /TEMP B-TREE|SCAN r\b|Sort|Seq Scan on (?:receipts|credits)/.test(plan)),
    plans.join('\n'),
  );
  await service.close();
});

const kiri = resolve(import.meta.dirname, '../../../cli/kiri.js');
const run = (...words: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [kiri, 'clearing', ...words], { encoding: 'utf8', timeout: 60_000 });

t.test('the command prints days of Japan, refuses nonsense and changes nothing', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-search-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { location: store, open } = await makeTestStore(t);
  const { service } = await inMemory({ database: await open() });
  const line = new LineOfReceipts('a');
  const lastSecond = TOKYO_MIDNIGHT_S + DAY_S - 1;
  const items = [lastSecond, lastSecond + 1].map((businessTimeS) =>
    line.next(3_850_000n, { businessTimeS }),
  );
  await service.ingestBatch(items, lastSecond + 60);
  await service.close();

  const day = ['--store', store, '--from', '2026-11-21', '--to', '2026-11-21'];
  const text = run('search', ...day);
  t.equal(text.status, 0, text.stderr);
  t.match(
    text.stdout,
    /^2026-11-21 23:59:59\t3\.85 JPY\tmerchant-1\tparty-1\tpending\t-\t[\da-f]{64}\n$/,
  );
  const json = run('search', ...day, '--min', '3.85', '--json');
  t.match(JSON.parse(json.stdout), { chargedMicro: '3850000', businessTimeS: lastSecond });

  const notAStore = join(folder, 'text');
  await writeFile(notAStore, 'not a database at all');
  for (const [words, status] of [
    [['search'], 2],
    [['search', '--store', store, '--from', '2026-02-30'], 2],
    [['search', '--store', store, '--min', '1e3'], 2],
    [['search', '--store', store, '--party', 'xyz'], 2],
    [['find'], 2],
    [['search', '--store', join(folder, 'absent')], 1],
    [['search', '--store', notAStore], 1],
  ] as const) {
    const wrong = run(...words);
    t.equal(wrong.status, status, words.join(' '));
    t.equal(wrong.stdout, '');
    t.notMatch(wrong.stderr, /\n\s+at /, 'no stack');
  }
});
