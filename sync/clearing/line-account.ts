/**
 * Line accounts out of the store, one line after the other: memory does not grow with their number. All are read in one
 * transaction, so runs, sums and heads belong together.
 */
import { amountMicro } from '../../protocol/amount.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import {
  LineAccountBuilder,
  MAX_HEADS,
  MAX_LISTED,
  type BookedHead,
  type LineAccount,
  type LineFact,
  type ListedPayment,
} from './core/line-account.ts';
import { CLOSED } from './close-files.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from './sql.ts';

/** Receipts handed in later than this after their payment are not waited for (DESIGN section 2: 30 days). */
const LAPSE_S: number = 30 * 86_400;

const LINES_PAGE = 256;
const ROWS_PAGE = 4_096;

/** Every receipt of a line in the order of its counters, with what its presentment says. */
const RECEIPTS = `SELECT r.counter, r.payment_hash, r.state, r.in_conflict, r.amount_micro, r.charge_micro,
    r.total_micro, r.released_micro, r.business_time_s, p.state AS presented, v.counter AS voided
  FROM all_receipts r LEFT JOIN presentments p ON p.aggregate_id = r.aggregate_id
    LEFT JOIN voids v ON v.payment_hash = r.payment_hash
  WHERE r.line = ? AND (r.counter, r.payment_hash) > (?, ?)
  ORDER BY r.counter, r.payment_hash LIMIT ${ROWS_PAGE}`;

const VOIDS = `SELECT v.counter, v.payment_hash, v.amount_micro FROM voids v
  WHERE v.line = ? AND (v.counter, v.payment_hash) > (?, ?)
    AND NOT EXISTS (SELECT 1 FROM all_receipts r WHERE r.payment_hash = v.payment_hash)
  ORDER BY v.counter, v.payment_hash LIMIT ${ROWS_PAGE}`;

/** Presentments that have not reached the issuer, or came back. */
const NOT_SETTLED: ReadonlySet<string> = new Set(['queued', 'inFile', 'parked']);

const stateOf = (row: SqlRow): Extract<LineFact, { kind: 'receipt' }>['state'] => {
  const state = textOf(row, 'state');
  // What was written off is charged to nobody, as what was refused.
  if (state === 'writtenOff') return 'voided';
  // Its file was settled and has been deleted since.
  if (state === CLOSED) return 'settled';
  if (row['voided'] !== null && state !== 'aggregated') return 'voided';
  const presented = textOrNull(row, 'presented');
  if (state === 'aggregated') {
    return presented !== undefined && !NOT_SETTLED.has(presented) ? 'settled' : 'open';
  }
  return state === 'pending' ? 'open' : 'held';
};

const factOf = (row: SqlRow): LineFact => ({
  kind: 'receipt',
  counter: numberOf(row, 'counter'),
  amountMicro: amountOf(row, 'amount_micro'),
  chargeMicro: amountOf(row, 'charge_micro'),
  totalMicro: amountOf(row, 'total_micro'),
  releasedMicro: amountOf(row, 'released_micro'),
  paidS: numberOf(row, 'business_time_s'),
  state: stateOf(row),
  inConflict: numberOf(row, 'in_conflict') === 1,
});

const voidFact = (row: SqlRow): LineFact => ({
  kind: 'void',
  counter: numberOf(row, 'counter'),
  amountMicro: amountOf(row, 'amount_micro'),
});

async function* paged(session: SqlSession, sql: string, line: Uint8Array): AsyncGenerator<SqlRow> {
  let [counter, hash] = [-1n, new Uint8Array(0)];
  for (;;) {
    const rows = await session.all(sql, line, counter, hash);
    yield* rows;
    const last = rows.at(-1);
    if (!last || rows.length < ROWS_PAGE) return;
    [counter, hash] = [last['counter'] as bigint, new Uint8Array(bytesOf(last, 'payment_hash'))];
  }
}

/** Both row by row in the order of counters; on one counter receipts come first. */
async function* factsOf(session: SqlSession, line: Uint8Array): AsyncGenerator<LineFact> {
  const voids = paged(session, VOIDS, line);
  let next = await voids.next();
  for await (const row of paged(session, RECEIPTS, line)) {
    while (!next.done && numberOf(next.value, 'counter') < numberOf(row, 'counter')) {
      yield voidFact(next.value);
      next = await voids.next();
    }
    yield factOf(row);
  }
  while (!next.done) {
    yield voidFact(next.value);
    next = await voids.next();
  }
}

const DISPUTES = `SELECT r.payment_hash, r.charge_micro FROM all_receipts r
  JOIN presentments p ON p.aggregate_id = r.aggregate_id
  WHERE r.line = ? AND p.state IN ('disputed', 'secondQueued', 'secondInFile', 'secondPresented',
    'secondFinal', 'chargedBack')
  ORDER BY r.counter, r.payment_hash LIMIT ${MAX_LISTED}`;

/** Refunds and corrections that go to the payer, of the line's last payments; those of one payment stand together. */
const CREDITS_MAX: number = MAX_LISTED * 16;
const CREDITS = `SELECT c.payment_hash, c.amount_micro FROM all_receipts r
  JOIN credits c ON c.payment_hash = r.payment_hash
  WHERE r.line = ? AND c.state IN ('pending', 'aggregated')
  ORDER BY r.counter DESC, c.payment_hash, c.id LIMIT ${CREDITS_MAX}`;

/** What was given back of each payment in all, the last payments first. */
const creditsOf = async (session: SqlSession, line: Uint8Array): Promise<ListedPayment[]> => {
  const rows = await session.all(CREDITS, line);
  const sums = new Map<string, bigint>();
  for (const row of rows) {
    const hash = toHex(bytesOf(row, 'payment_hash'));
    sums.set(hash, (sums.get(hash) ?? 0n) + amountOf(row, 'amount_micro'));
  }
  // Of the last one there may be more than was read.
  const last = rows.length === CREDITS_MAX ? rows.at(-1) : undefined;
  if (last) sums.delete(toHex(bytesOf(last, 'payment_hash')));
  return [...sums].slice(0, MAX_LISTED).map(([hash, sum]) => ({
    paymentHash: fromHex(hash),
    amountMicro: amountMicro(sum),
  }));
};

const listed = async (
  session: SqlSession,
  sql: string,
  line: Uint8Array,
): Promise<ListedPayment[]> =>
  (await session.all(sql, line)).map((row) => ({
    paymentHash: new Uint8Array(bytesOf(row, 'payment_hash')),
    amountMicro: amountMicro(amountOf(row, 'charge_micro')),
  }));

/** Party and currency: all receipts of a line have one of each. */
const OWNER = `SELECT k.party, k.currency FROM all_receipts r JOIN keys k ON k.key_id = r.key_id
  WHERE r.line = ? ORDER BY r.counter, r.payment_hash LIMIT 1`;

/** The logs that brought the line's last receipts, as far as they are booked. */
const HEADS = `SELECT c.origin, c.next_index, c.root FROM cursors c JOIN
    (SELECT origin, max(counter) AS counter FROM all_receipts WHERE line = ? GROUP BY origin) AS o
    ON o.origin = c.origin
  WHERE c.root IS NOT NULL ORDER BY o.counter DESC, c.origin LIMIT ${MAX_HEADS}`;

const headsOf = async (session: SqlSession, line: Uint8Array): Promise<BookedHead[]> =>
  (await session.all(HEADS, line)).map((row) => ({
    origin: textOf(row, 'origin'),
    size: numberOf(row, 'next_index'),
    root: fromHex(textOf(row, 'root')),
  }));

const accountOf = async (
  session: SqlSession,
  line: Uint8Array,
  afterCounter: number,
  nowS: number,
): Promise<LineAccount> => {
  const [owner] = await session.all(OWNER, line);
  const builder = new LineAccountBuilder(afterCounter, nowS - LAPSE_S);
  for await (const fact of factsOf(session, line)) builder.add(fact);
  return builder.finish({
    line,
    party: textOf(owner ?? {}, 'party'),
    currency: numberOf(owner ?? {}, 'currency'),
    credits: await creditsOf(session, line),
    disputes: await listed(session, DISPUTES, line),
    heads: await headsOf(session, line),
  });
};

/** What {@link readLineAccounts} hands out. */
export interface AccountReader {
  readonly account: (account: LineAccount) => Promise<void>;
  /** Counter behind which a line's runs begin, by line id in hex; 0 where the issuer has said nothing. */
  readonly after?: (lineHex: string) => number;
}

/** Reads the account of every line that has a receipt, in the order of line ids. */
export const readLineAccounts = async (
  database: SqlDatabase,
  nowS: number,
  reader: AccountReader,
): Promise<void> =>
  database.transaction(async (session) => {
    let last: Uint8Array = new Uint8Array(0);
    for (;;) {
      const rows = await session.all(
        `SELECT line FROM receipts WHERE line > ? UNION SELECT line FROM sealed_lines WHERE line > ?
         ORDER BY line LIMIT ${LINES_PAGE}`,
        last,
        last,
      );
      for (const row of rows) {
        const line = new Uint8Array(bytesOf(row, 'line'));
        const after = reader.after?.(toHex(line)) ?? 0;
        await reader.account(await accountOf(session, line, after, nowS));
        last = line;
      }
      if (rows.length < LINES_PAGE) return;
    }
  });
