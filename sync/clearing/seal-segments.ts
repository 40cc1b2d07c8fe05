/**
 * Sealing: once a month's bookings are older than the hand-in horizon, its receipts that nothing moves any more leave the
 * hot table. Each step is one transaction in which rows appear in the segment and disappear from the hot table, so a
 * crash between two of them loses nothing and doubles nothing; the next run goes on.
 */
import { toHex } from '../../protocol/bytes.ts';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';
import {
  CHAIN_START,
  RECEIPT_COLUMNS,
  createSegment,
  linkOf,
  markRewriting,
  readSegments,
  tableOf,
} from './segments.ts';
import type { Segment } from './segments.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlSession, SqlValue } from './sql.ts';

const DAY_S = 86_400;
/** Receipts are handed in for so long (DESIGN §2); nothing is sealed earlier. */
export const SEAL_AFTER_DAYS = 30;
/** Receipts looked at in one transaction. */
const BATCH_RECEIPTS = 2_048;

/** A month by its name, such as 202611 (UTC). */
const monthOf = (timeS: number): string =>
  new Date(timeS * 1000).toISOString().slice(0, 7).replace('-', '');

/** When the next month begins. */
const endOf = (month: string): number =>
  Date.UTC(Number(month.slice(0, 4)), Number(month.slice(4)), 1) / 1000;

const nextOf = (month: string): string => monthOf(endOf(month));

/**
 * Nothing moves a receipt that is in an aggregate, but its money must be settled before it is put away: its line stands
 * in a file that the issuer took, or is charged back or given up; no dispute of it is open and no refund of it waits.
 * The newest receipt stays, so that no id is given out twice.
 */
const DONE = `r.state = 'aggregated' AND r.ingested_s < ? AND r.id < (SELECT max(id) FROM receipts)
  AND (NOT EXISTS (SELECT 1 FROM presentments p WHERE p.aggregate_id = r.aggregate_id)
    OR EXISTS (SELECT 1 FROM presentments p LEFT JOIN files f ON f.file_name = p.file_name
      WHERE p.aggregate_id = r.aggregate_id AND (p.state IN ('released', 'chargedBack', 'secondFinal')
        OR (p.state = 'presentedOpen' AND f.state IN ('accepted', 'partly')))))
  AND NOT EXISTS (SELECT 1 FROM disputes d WHERE d.aggregate_id = r.aggregate_id AND d.closed_s IS NULL)
  AND NOT EXISTS (SELECT 1 FROM credits c WHERE c.payment_hash = r.payment_hash
    AND c.state NOT IN ('aggregated', 'reversed'))
  AND NOT EXISTS (SELECT 1 FROM waiting_credits w WHERE w.payment_hash = r.payment_hash)`;

const COLUMNS = RECEIPT_COLUMNS.join(', ');

/** Ids behind the first one up to the second. */
type Range = { readonly afterId: bigint; readonly throughId: bigint };

/** Adds rows that have just been moved to what is known of their segment. */
const account = async (session: SqlSession, before: Segment, range: Range): Promise<void> => {
  const { name } = before;
  const table = tableOf(name);
  const { afterId, throughId } = range;
  const rows = await session.all(
    `SELECT ${COLUMNS} FROM ${table} WHERE id > ? AND id <= ? ORDER BY id`,
    afterId,
    throughId,
  );
  const sums = new Map<string, { receipts: number; chargeMicro: bigint }>();
  let { sha256, chargeMicro } = before;
  for (const row of rows) {
    sha256 = linkOf(sha256, row);
    const charge = amountOf(row, 'charge_micro');
    chargeMicro += charge;
    const keyId = textOf(row, 'key_id');
    const sum = sums.get(keyId) ?? { receipts: 0, chargeMicro: 0n };
    sums.set(keyId, { receipts: sum.receipts + 1, chargeMicro: sum.chargeMicro + charge });
  }
  const paid = rows.map((row) => numberOf(row, 'business_time_s'));
  if (before.receipts > 0) paid.push(before.firstPaidS, before.lastPaidS);
  await session.run(
    `UPDATE segments SET through_id = ?, receipts = ?, charge_micro = ?, sha256 = ?, first_paid_s = ?, last_paid_s = ?
     WHERE name = ?`,
    throughId,
    BigInt(before.receipts + rows.length),
    chargeMicro.toString(),
    sha256,
    BigInt(paid.reduce((least, timeS) => Math.min(least, timeS), Number.MAX_SAFE_INTEGER)),
    BigInt(paid.reduce((most, timeS) => Math.max(most, timeS), 0)),
    name,
  );
  for (const [keyId, sum] of sums) await addToSum(session, name, keyId, sum);
  await noteLines(session, rows);
};

const HEAD_COLUMNS = ['payment_hash', 'counter', 'amount_micro', 'total_micro'] as const;

const NOTE_LINE = `INSERT INTO sealed_lines (line, through_counter, ${HEAD_COLUMNS.join(', ')})
  VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (line) DO UPDATE SET
  through_counter = CASE WHEN excluded.through_counter > sealed_lines.through_counter
    THEN excluded.through_counter ELSE sealed_lines.through_counter END, ${HEAD_COLUMNS.map(
      (column) => `${column} = CASE WHEN excluded.counter > coalesce(sealed_lines.counter, -1)
    THEN excluded.${column} ELSE sealed_lines.${column} END`,
    ).join(', ')}`;

/** Of every line: through which counter it is sealed, and the last sealed Payment that others are judged against. */
const noteLines = async (session: SqlSession, rows: readonly SqlRow[]): Promise<void> => {
  type Noted = { line: SqlValue; through: bigint; head?: SqlRow };
  const lines = new Map<string, Noted>();
  for (const row of rows) {
    const line = bytesOf(row, 'line');
    const counter = row['counter'] as bigint;
    const noted = lines.get(toHex(line)) ?? { line, through: counter };
    lines.set(toHex(line), noted);
    if (counter > noted.through) noted.through = counter;
    const isLater = noted.head === undefined || counter > (noted.head['counter'] as bigint);
    if (row['in_conflict'] === 0n && isLater) noted.head = row;
  }
  for (const { line, through, head } of lines.values()) {
    const values = HEAD_COLUMNS.map((column) => head?.[column] ?? null);
    await session.run(NOTE_LINE, line, through, ...values);
  }
};

const addToSum = async (
  session: SqlSession,
  name: string,
  keyId: string,
  { receipts, chargeMicro }: { readonly receipts: number; readonly chargeMicro: bigint },
): Promise<void> => {
  const [row] = await session.all(
    'SELECT receipts, charge_micro FROM segment_sums WHERE name = ? AND key_id = ?',
    name,
    keyId,
  );
  const before = row
    ? { receipts: numberOf(row, 'receipts'), chargeMicro: amountOf(row, 'charge_micro') }
    : { receipts: 0, chargeMicro: 0n };
  await session.run(
    `INSERT INTO segment_sums (name, key_id, receipts, charge_micro) VALUES (?, ?, ?, ?)
     ON CONFLICT (name, key_id) DO UPDATE SET receipts = excluded.receipts, charge_micro = excluded.charge_micro`,
    name,
    keyId,
    BigInt(before.receipts + receipts),
    (before.chargeMicro + chargeMicro).toString(),
  );
};

const segmentNamed = async (session: SqlSession, name: string): Promise<Segment | undefined> =>
  (await readSegments(session)).find((one) => one.name === name);

/** Moves what is done among the next receipts. @returns where the next step begins; undefined at the end of the month */
const moveBatch = async (
  session: SqlSession,
  name: string,
  afterId: bigint,
  batchReceipts: number,
): Promise<bigint | undefined> => {
  const endS = endOf(name);
  const page = await session.all(
    'SELECT id, ingested_s FROM receipts WHERE id > ? ORDER BY id LIMIT ?',
    afterId,
    BigInt(batchReceipts),
  );
  const last = page.at(-1);
  // Ids rise with the time of booking: a whole page of later months is the end.
  if (!last || page.every((row) => numberOf(row, 'ingested_s') >= endS)) return undefined;
  const throughId = last['id'] as bigint;
  const where = `r.id > ? AND r.id <= ? AND ${DONE}`;
  const values = [afterId, throughId, BigInt(endS)] as const;
  const isAny = await session.all(`SELECT r.id FROM receipts r WHERE ${where} LIMIT 1`, ...values);
  if (isAny.length === 0) return throughId;
  if (!(await segmentNamed(session, name))) await createSegment(session, name);
  const segment = (await segmentNamed(session, name)) as Segment;
  const table = tableOf(name);
  const moved = await session.run(
    `INSERT INTO ${table} (${COLUMNS}) SELECT ${COLUMNS} FROM receipts r WHERE ${where}`,
    ...values,
  );
  const left = await session.run(
    `DELETE FROM receipts WHERE id > ? AND id <= ? AND EXISTS (SELECT 1 FROM ${table} s WHERE s.id = receipts.id)`,
    afterId,
    throughId,
  );
  invariant(
    moved === left,
    `clearing: ${moved} receipts into segment ${name}, ${left} out of the hot table`,
  );
  await account(session, segment, { afterId, throughId });
  return throughId;
};

/** What a segment's rows say by themselves. */
type SegmentCheck = Pick<Segment, 'name' | 'receipts' | 'chargeMicro' | 'sha256'> & {
  readonly firstPaidS: number;
  readonly lastPaidS: number;
  /** What the store has noted of the segment differs from its rows. */
  readonly isIntact: boolean;
};

/** Reads every row of a segment as one state has it, and counts anew. */
export const checkSegment = async (session: SqlSession, name: string): Promise<SegmentCheck> => {
  const noted = await segmentNamed(session, name);
  if (!noted) throw new KiriError('STORE_CORRUPT', `clearing store: no segment ${name}`);
  let [sha256, receipts, chargeMicro, afterId] = [CHAIN_START, 0, 0n, -1n];
  let [firstPaidS, lastPaidS] = [Number.MAX_SAFE_INTEGER, 0];
  for (;;) {
    const rows: readonly SqlRow[] = await session.all(
      `SELECT ${COLUMNS} FROM ${tableOf(name)} WHERE id > ? ORDER BY id LIMIT ${BATCH_RECEIPTS}`,
      afterId,
    );
    const last = rows.at(-1);
    if (!last) break;
    for (const row of rows) {
      sha256 = linkOf(sha256, row);
      chargeMicro += amountOf(row, 'charge_micro');
      firstPaidS = Math.min(firstPaidS, numberOf(row, 'business_time_s'));
      lastPaidS = Math.max(lastPaidS, numberOf(row, 'business_time_s'));
    }
    receipts += rows.length;
    afterId = last['id'] as bigint;
  }
  const isIntact =
    Buffer.compare(sha256, noted.sha256) === 0 &&
    receipts === noted.receipts &&
    chargeMicro === noted.chargeMicro;
  return { name, receipts, chargeMicro, sha256, firstPaidS, lastPaidS, isIntact };
};

/**
 * Before retention's first change in a segment: what is damaged already is not made good by the chain that follows.
 * @throws KiriError SEGMENT_BROKEN
 */
export const beginRewriting = async (session: SqlSession, name: string): Promise<void> => {
  const segment = await segmentNamed(session, name);
  if (segment?.state === 'sealed' && !(await checkSegment(session, name)).isIntact) {
    throw new KiriError(
      'SEGMENT_BROKEN',
      `segment ${name} is not what was sealed: nothing is erased in it`,
    );
  }
  await markRewriting(session, name);
};

/** Makes the chain of a segment anew after retention erased in it; anything else that changed its rows is refused. */
export const rewriteSegment = async (
  database: SqlDatabase,
  name: string,
  nowS: number,
): Promise<void> => {
  await database.transaction(async (session) => {
    const before = await segmentNamed(session, name);
    if (before?.state !== 'rewriting') return;
    const { receipts, chargeMicro, sha256, firstPaidS, lastPaidS } = await checkSegment(
      session,
      name,
    );
    if (receipts !== before.receipts || chargeMicro !== before.chargeMicro) {
      throw new KiriError('SEGMENT_BROKEN', `segment ${name} has other receipts than were sealed`);
    }
    await session.run(
      `UPDATE segments SET state = 'sealed', sha256 = ?, first_paid_s = ?, last_paid_s = ?, rewritten_s = ?
       WHERE name = ?`,
      sha256,
      BigInt(firstPaidS),
      BigInt(lastPaidS),
      BigInt(nowS),
      name,
    );
  });
};

/** Fills one month's segment to its end, checks it and closes it; undefined where nothing of it is done. */
const sealMonth = async (
  database: SqlDatabase,
  name: string,
  nowS: number,
  batchReceipts: number,
): Promise<Segment | undefined> => {
  const begun = await database.transaction((session) => segmentNamed(session, name));
  let afterId: bigint | undefined = begun?.throughId ?? -1n;
  while (afterId !== undefined) {
    const from: bigint = afterId;
    afterId = await database.transaction((session) =>
      moveBatch(session, name, from, batchReceipts),
    );
  }
  return database.transaction(async (session) => {
    if (!(await segmentNamed(session, name))) return undefined;
    if (!(await checkSegment(session, name)).isIntact) {
      throw new KiriError('SEGMENT_BROKEN', `segment ${name} does not hold what was moved into it`);
    }
    await session.run(
      "UPDATE segments SET state = 'sealed', sealed_s = ? WHERE name = ? AND state = 'filling'",
      BigInt(nowS),
      name,
    );
    return segmentNamed(session, name);
  });
};

/** The months to be sealed: behind the last segment, up to the newest that is over for the horizon. */
const dueMonths = async (session: SqlSession, untilS: number): Promise<string[]> => {
  const last = (await readSegments(session)).at(-1);
  const [oldest]: readonly SqlRow[] = await session.all(
    'SELECT ingested_s FROM receipts ORDER BY id LIMIT 1',
  );
  if (!oldest) return [];
  const months: string[] = [];
  let month = last ? nextOf(last.name) : monthOf(numberOf(oldest, 'ingested_s'));
  // One that a crash left half filled is ended first.
  if (last?.state === 'filling') month = last.name;
  for (; endOf(month) <= untilS; month = nextOf(month)) months.push(month);
  return months;
};

/**
 * Seals every month whose bookings are at least so many days old. A receipt that is not done by then stays hot and goes
 * with a later month. Safe to repeat, and to break off at any point.
 * @param batchReceipts receipts looked at in one transaction
 * @throws KiriError SEAL_TOO_EARLY, SEGMENT_BROKEN
 */
export const sealSegments = async (
  database: SqlDatabase,
  afterDays: number,
  nowS: number,
  batchReceipts: number = BATCH_RECEIPTS,
): Promise<Segment[]> => {
  if (afterDays < SEAL_AFTER_DAYS) {
    const why = `${afterDays} days, at least ${SEAL_AFTER_DAYS}`;
    throw new KiriError('SEAL_TOO_EARLY', `receipts are handed in for longer: ${why}`);
  }
  const untilS = nowS - afterDays * DAY_S;
  const months = await database.transaction((session) => dueMonths(session, untilS));
  const sealed: Segment[] = [];
  for (const month of months) {
    const segment = await sealMonth(database, month, nowS, batchReceipts);
    if (segment) sealed.push(segment);
  }
  return sealed;
};
