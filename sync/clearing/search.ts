import { toHex } from '../../protocol/bytes.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { sortable } from './schema.ts';
import { readSegments, tableOf } from './segments.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from './sql.ts';

/** What to look for; all that is given must hold. Times are business times in UTC seconds, amounts what was charged. */
export type SearchQuery = {
  readonly fromS?: number;
  /** Exclusive. */
  readonly toS?: number;
  readonly merchant?: string;
  /** The liable party's id in hex. */
  readonly party?: string;
  readonly minMicro?: bigint;
  readonly maxMicro?: bigint;
};

/**
 * One receipt, refund or correction (a refund that follows from a Void) of the books, and where it was settled if it was.
 * Hashes in hex.
 */
export type FoundReceipt = {
  readonly kind: 'receipt' | 'refund' | 'correction';
  readonly businessTimeS: number;
  readonly isTimeFlagged: boolean;
  readonly merchant: string;
  readonly party: string;
  readonly account: string;
  readonly chargedMicro: bigint;
  readonly currency: string;
  readonly sign: string;
  readonly state: string;
  readonly paymentHash: string;
  /** Of the Credit where it is a refund, of the Void where it is a correction. */
  readonly receiptHash: string;
  readonly origin: string;
  readonly leafIndex: number;
  readonly aggregateId: string | undefined;
  readonly arn: string | undefined;
  readonly fileName: string | undefined;
};

/** Rows in memory at a time; each page is a transaction of its own, so a long search never holds up the clearing. */
const PAGE_ROWS = 1000;

/** Refunds and corrections, in a table of their own. */
const CREDITS = 'credits';

const OWN_COLUMNS = `r.receipt_hash, r.charge_micro, 'receipt' AS cause`;
const CREDIT_COLUMNS = 'r.credit_hash AS receipt_hash, r.amount_micro AS charge_micro, r.cause';

// CROSS JOIN keeps the rows outside: their index gives the order, and no page sorts what is left.
const selectFrom = (
  table: string,
): string => `SELECT r.id, r.business_time_s, r.time_flagged, r.state, r.payment_hash, r.origin, r.leaf_index,
  r.aggregate_id, k.merchant, k.party, k.account, k.currency, k.sign, p.arn, p.file_name,
  ${table === CREDITS ? CREDIT_COLUMNS : OWN_COLUMNS}
  FROM ${table} r CROSS JOIN keys k LEFT JOIN presentments p ON p.aggregate_id = r.aggregate_id
  WHERE k.key_id = r.key_id`;

const KINDS: Readonly<Record<string, FoundReceipt['kind']>> = {
  receipt: 'receipt',
  refund: 'refund',
  void: 'correction',
};

type Condition = { readonly sql: string; readonly values: readonly (string | bigint)[] };

/** What amounts are compared by: of receipts, of refunds. */
const CHARGES: readonly string[] = [sortable('r.charge_micro'), sortable('r.amount_micro')];
const digits = (value: bigint): string => value.toString().padStart(20, '0');

const filtersOf = ({ toS, minMicro, maxMicro }: SearchQuery, charge: string): Condition[] => {
  const filters: Condition[] = [];
  if (toS !== undefined) filters.push({ sql: 'r.business_time_s < ?', values: [BigInt(toS)] });
  if (minMicro !== undefined) filters.push({ sql: `${charge} >= ?`, values: [digits(minMicro)] });
  if (maxMicro !== undefined) filters.push({ sql: `${charge} <= ?`, values: [digits(maxMicro)] });
  return filters;
};

const found = (row: SqlRow): FoundReceipt => {
  const currency = numberOf(row, 'currency');
  return {
    kind: KINDS[textOf(row, 'cause')] ?? 'receipt',
    businessTimeS: numberOf(row, 'business_time_s'),
    isTimeFlagged: numberOf(row, 'time_flagged') === 1,
    merchant: textOf(row, 'merchant'),
    party: textOf(row, 'party'),
    account: textOf(row, 'account'),
    chargedMicro: amountOf(row, 'charge_micro'),
    currency: currencyOf(currency)?.alpha ?? String(currency),
    sign: textOf(row, 'sign'),
    state: textOf(row, 'state'),
    paymentHash: toHex(bytesOf(row, 'payment_hash')),
    receiptHash: toHex(bytesOf(row, 'receipt_hash')),
    origin: textOf(row, 'origin'),
    leafIndex: numberOf(row, 'leaf_index'),
    aggregateId: textOrNull(row, 'aggregate_id'),
    arn: textOrNull(row, 'arn'),
    fileName: textOrNull(row, 'file_name'),
  };
};

/** An order of the result that one index gives: by this expression, then by id. */
type Order = {
  readonly by: string;
  readonly start: string | bigint;
  /** Times of payment that a page from this value on can hold: segments of other times are not asked. */
  readonly isTime: boolean;
  of(row: SqlRow): string | bigint;
};

const byTime = (query: SearchQuery): Order => ({
  by: 'r.business_time_s',
  start: BigInt(query.fromS ?? 0),
  isTime: true,
  of: (row) => BigInt(numberOf(row, 'business_time_s')),
});

const byAmount = (query: SearchQuery, charge: string): Order => ({
  by: charge,
  start: digits(query.minMicro ?? 0n),
  isTime: false,
  of: (row) => digits(amountOf(row, 'charge_micro')),
});

/** What the pages of one search have in common. */
type Paging = {
  readonly query: SearchQuery;
  readonly order: Order;
  readonly filters: readonly Condition[];
  readonly isOfCredits: boolean;
  /** Of one aggregation key only: segments without it are not asked. */
  readonly keyId?: string;
};

/** The hot table and the segments that can hold something from this position on. */
const tablesFor = async (
  session: SqlSession,
  { query, order, keyId, isOfCredits }: Paging,
  from: string | bigint,
): Promise<readonly string[]> => {
  if (isOfCredits) return [CREDITS];
  const { toS = Number.MAX_SAFE_INTEGER } = query;
  const fromS = order.isTime ? Number(from) : (query.fromS ?? 0);
  const near = (await readSegments(session))
    .filter(({ firstPaidS, lastPaidS }) => firstPaidS < toS && lastPaidS >= fromS)
    .map(({ name }) => name);
  if (near.length === 0 || keyId === undefined) return ['receipts', ...near.map(tableOf)];
  const rows = await session.all('SELECT name FROM segment_sums WHERE key_id = ?', keyId);
  const own = new Set(rows.map((row) => textOf(row, 'name')));
  return ['receipts', ...near.filter((name) => own.has(name)).map(tableOf)];
};

const inOrder =
  (order: Order) =>
  (a: SqlRow, b: SqlRow): number => {
    const [left, right] = [order.of(a), order.of(b)];
    if (left !== right) return left < right ? -1 : 1;
    return (a['id'] as bigint) < (b['id'] as bigint) ? -1 : 1;
  };

/**
 * The next rows of all tables together. All are asked in one transaction: what a sealing moves meanwhile is found on one
 * side of it.
 */
const pageAt = async (
  session: SqlSession,
  paging: Paging,
  { sql, values: at }: Condition,
): Promise<readonly SqlRow[]> => {
  const { order, filters } = paging;
  const where = filters.map((filter) => ` AND ${filter.sql}`).join('');
  const values = filters.flatMap((filter) => filter.values);
  const tail = `ORDER BY ${order.by}, r.id LIMIT ${PAGE_ROWS}`;
  const rows: SqlRow[] = [];
  const tables = await tablesFor(session, paging, at[0] ?? order.start);
  for (const table of tables) {
    const statement = `${selectFrom(table)}${where} AND ${sql} ${tail}`;
    rows.push(...(await session.all(statement, ...values, ...at)));
  }
  if (tables.length > 1) rows.sort(inOrder(order));
  return rows.slice(0, PAGE_ROWS);
};

/**
 * Page by page. A page goes on behind the last row of the one before: first the rest of the same time or amount by
 * id, then what is greater; each is a range of the index, however many rows are alike.
 */
async function* pages(
  database: SqlDatabase,
  paging: Paging,
): AsyncGenerator<readonly FoundReceipt[]> {
  const { order } = paging;
  let position: Condition = { sql: `${order.by} >= ?`, values: [order.start] };
  for (;;) {
    const { values: at } = position;
    const from = position;
    const rows = await database.transaction((session) => pageAt(session, paging, from));
    if (rows.length > 0) yield rows.map(found);
    const last = rows.at(-1);
    if (rows.length === PAGE_ROWS && last) {
      const rest = [order.of(last), BigInt(numberOf(last, 'id'))];
      position = { sql: `${order.by} = ? AND r.id > ?`, values: rest };
    } else if (at.length === 2) {
      position = { sql: `${order.by} > ?`, values: at.slice(0, 1) };
    } else {
      return;
    }
  }
}

/** The aggregation keys of a counterparty, in pages. */
async function* keysOf(database: SqlDatabase, query: SearchQuery): AsyncGenerator<string> {
  const conditions: Condition[] = [];
  const { merchant, party } = query;
  if (merchant !== undefined) conditions.push({ sql: 'merchant = ?', values: [merchant] });
  if (party !== undefined) conditions.push({ sql: 'party = ?', values: [party] });
  const where = conditions.map((one) => one.sql).join(' AND ');
  const sql = `SELECT key_id FROM keys WHERE ${where} AND key_id > ? ORDER BY key_id LIMIT ${PAGE_ROWS}`;
  const values = conditions.flatMap((one) => one.values);
  let position = '';
  for (;;) {
    const from = position;
    const rows = await database.transaction((session) => session.all(sql, ...values, from));
    for (const row of rows) yield textOf(row, 'key_id');
    const last = rows.at(-1);
    if (rows.length < PAGE_ROWS || !last) return;
    position = textOf(last, 'key_id');
  }
}

/**
 * The receipts that match, then the refunds, in pages of at most {@link PAGE_ROWS}, each found through an index: with a
 * counterparty, account by account and the oldest first in each; by amount alone, the smallest first; otherwise the
 * oldest first. What is ingested while the search runs may or may not appear.
 */
export async function* searchReceipts(
  database: SqlDatabase,
  query: SearchQuery,
): AsyncGenerator<readonly FoundReceipt[]> {
  const hasTime = query.fromS !== undefined || query.toS !== undefined;
  const hasAmount = query.minMicro !== undefined || query.maxMicro !== undefined;
  const halves = CHARGES.map((charge, at) => ({
    query,
    order: hasAmount && !hasTime ? byAmount(query, charge) : byTime(query),
    filters: filtersOf(query, charge),
    isOfCredits: at > 0,
  }));
  if (query.merchant === undefined && query.party === undefined) {
    for (const half of halves) yield* pages(database, half);
    return;
  }
  for await (const keyId of keysOf(database, query)) {
    const own: Condition = { sql: 'r.key_id = ?', values: [keyId] };
    for (const { isOfCredits, filters } of halves) {
      const paging = { query, order: byTime(query), filters: [own, ...filters], isOfCredits };
      yield* pages(database, { ...paging, keyId });
    }
  }
}
