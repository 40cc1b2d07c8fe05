/**
 * Sealed segments: receipts that are booked, presented and taken by their issuer leave the hot table, month by month, for
 * a table of their own with its own indexes (seal-segments.ts). The view `all_receipts` shows hot and sealed ones as one.
 */
import { createHash } from 'node:crypto';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { sortable } from './schema.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession, SqlValue } from './sql.ts';

/** Columns of a receipt in the order of its table: what a row's link of the chain is made of. */
export const RECEIPT_COLUMNS: readonly string[] = [
  'id',
  'payment_hash',
  'receipt_hash',
  'key_id',
  'lane',
  'state',
  'in_conflict',
  'line',
  'counter',
  'amount_micro',
  'charge_micro',
  'total_micro',
  'released_micro',
  'approver',
  'sequence',
  'payee',
  'business_time_s',
  'time_flagged',
  'origin',
  'leaf_index',
  'ingested_s',
  'aggregate_id',
  'erased_s',
];

/** A month of booking (UTC), such as 202611, and what is in it. */
export type Segment = {
  readonly name: string;
  /** `filling`: receipts are on their way into it. `rewriting`: retention is at it, the chain is not made anew yet. */
  readonly state: 'filling' | 'sealed' | 'rewriting';
  readonly receipts: number;
  readonly chargeMicro: bigint;
  /** Last link of the chain over its rows, see {@link linkOf}. */
  readonly sha256: Uint8Array;
  /** Id of the last receipt that was looked at. */
  readonly throughId: bigint;
  readonly firstPaidS: number;
  readonly lastPaidS: number;
  readonly sealedS: number | undefined;
  /** Retention took time and payee out of some rows since; the chain is of what is left. */
  readonly rewrittenS: number | undefined;
};

const optional = (row: SqlRow, column: string): number | undefined =>
  row[column] === null ? undefined : numberOf(row, column);

const segmentOf = (row: SqlRow): Segment => ({
  name: textOf(row, 'name'),
  state: textOf(row, 'state') as Segment['state'],
  receipts: numberOf(row, 'receipts'),
  chargeMicro: amountOf(row, 'charge_micro'),
  sha256: bytesOf(row, 'sha256'),
  throughId: row['through_id'] as bigint,
  firstPaidS: numberOf(row, 'first_paid_s'),
  lastPaidS: numberOf(row, 'last_paid_s'),
  sealedS: optional(row, 'sealed_s'),
  rewrittenS: optional(row, 'rewritten_s'),
});

/** In the order of their months. */
export const readSegments = async (session: SqlSession): Promise<Segment[]> =>
  (await session.all('SELECT * FROM segments ORDER BY name')).map(segmentOf);

/** The table of a segment. Names go into statements as they are, so a strange one is a broken store. */
export const tableOf = (name: string): string => {
  if (!/^\d{6}$/.test(name))
    throw new KiriError('STORE_CORRUPT', `clearing store: segment ${name}`);
  return `receipts_${name}`;
};

/** The hot table, and that of every segment with its name. */
export const receiptTables = async (
  session: SqlSession,
): Promise<readonly { readonly table: string; readonly segment?: Segment }[]> => {
  const segments = await readSegments(session);
  return [
    { table: 'receipts' },
    ...segments.map((segment) => ({ table: tableOf(segment.name), segment })),
  ];
};

/** Rows of a segment are changed or taken out by retention; its chain is made anew after that (seal-segments.ts). */
export const markRewriting = async (session: SqlSession, name: string): Promise<void> => {
  await session.run("UPDATE segments SET state = 'rewriting' WHERE name = ?", name);
};

/** What a link of nothing is: the chain of a segment begins with it. */
export const CHAIN_START: Uint8Array = new Uint8Array(32);

const plain = (value: SqlValue | undefined): string | null => {
  if (value === null || value === undefined) return null;
  return value instanceof Uint8Array ? toHex(value) : value.toString();
};

/**
 * The chain's link behind one row: SHA-256 over the link before it and the row as a JSON array of its columns (integers
 * in decimal, bytes in lower-case hex). Rows follow each other by id.
 */
export const linkOf = (before: Uint8Array, row: SqlRow): Uint8Array =>
  createHash('sha256')
    .update(before)
    .update(JSON.stringify(RECEIPT_COLUMNS.map((column) => plain(row[column]))))
    .digest();

const INDEXES: readonly (readonly [name: string, on: string])[] = [
  ['by_line', 'line, counter'],
  ['by_aggregate', 'aggregate_id, id'],
  ['by_time', 'business_time_s, id'],
  ['by_key', 'key_id, business_time_s, id'],
  ['by_amount', `(${sortable('charge_micro')}), id`],
  ['by_row', 'approver, sequence'],
];

/** Makes the view anew over the hot table and every segment. */
const showAll = async (session: SqlSession): Promise<void> => {
  const columns = RECEIPT_COLUMNS.join(', ');
  const names = (await readSegments(session)).map(({ name }) => tableOf(name));
  const parts = ['receipts', ...names].map((table) => `SELECT ${columns} FROM ${table}`);
  await session.run('DROP VIEW all_receipts');
  await session.run(`CREATE VIEW all_receipts AS ${parts.join(' UNION ALL ')}`);
};

/** Drops segments that deletion has emptied. */
export const dropEmptySegments = async (session: SqlSession): Promise<void> => {
  const empty = (await readSegments(session)).filter(
    ({ state, receipts }) => state === 'sealed' && receipts === 0,
  );
  if (empty.length === 0) return;
  for (const { name } of empty) {
    await session.run('DELETE FROM segment_sums WHERE name = ?', name);
    await session.run('DELETE FROM segments WHERE name = ?', name);
  }
  await showAll(session);
  for (const { name } of empty) await session.run(`DROP TABLE ${tableOf(name)}`);
};

/** Makes the table of a segment, empty, in the transaction that moves its first receipts. */
export const createSegment = async (session: SqlSession, name: string): Promise<void> => {
  const table = tableOf(name);
  await session.run(`CREATE TABLE ${table} (
     id INTEGER PRIMARY KEY, payment_hash BLOB NOT NULL UNIQUE, receipt_hash BLOB NOT NULL,
     key_id TEXT NOT NULL REFERENCES keys, lane TEXT, state TEXT NOT NULL, in_conflict BIGINT NOT NULL,
     line BLOB NOT NULL, counter BIGINT NOT NULL, amount_micro TEXT NOT NULL, charge_micro TEXT NOT NULL,
     total_micro TEXT NOT NULL, released_micro TEXT NOT NULL, approver BLOB NOT NULL,
     sequence BIGINT NOT NULL, payee BLOB NOT NULL, business_time_s BIGINT NOT NULL,
     time_flagged BIGINT NOT NULL, origin TEXT NOT NULL, leaf_index BIGINT NOT NULL,
     ingested_s BIGINT NOT NULL, aggregate_id TEXT, erased_s BIGINT)`);
  for (const [index, on] of INDEXES) {
    await session.run(`CREATE INDEX ${table}_${index} ON ${table} (${on})`);
  }
  await session.run(
    `INSERT INTO segments (name, state, through_id, receipts, charge_micro, sha256, first_paid_s, last_paid_s)
     VALUES (?, 'filling', -1, 0, '0', ?, 0, 0)`,
    name,
    CHAIN_START,
  );
  await showAll(session);
};
