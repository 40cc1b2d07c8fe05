/**
 * Logs that signed two histories (DESIGN section 5). From such a log nothing above the last common head is paid: what was
 * booked from there and is in no file yet waits as `forked` in the bucket `withheld`, until another log brings it or a
 * person lifts the stop. Entries at or below the common head are untouched.
 */
import { toHex } from '../../protocol/bytes.ts';
import type { ProvenFork } from '../ledger/core/fork-evidence.ts';
import { noteBearer } from './bearers.ts';
import { refundedOf } from './book-credit.ts';
import { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { holdCreditsOf, moveCreditsOf, releaseCreditsOf } from './held-credits.ts';
import { addToLane } from './lane-sum.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** State of a receipt that is withheld for a fork; its lane stays where it was. */
export const FORKED = 'forked';

/** Receipts moved at a time. */
const PAGE = 1_024;

/** A log that is not followed beyond its last common head. */
export interface StoppedLog {
  readonly origin: string;
  /** Entries that stay payable; 0 where no common head is proven. */
  readonly commonSize: number;
  /** Root at that size, in hex. */
  readonly commonRootHex?: string;
  readonly stoppedS: number;
  /** The evidence file's text. */
  readonly evidence: string;
}

const stoppedOf = (row: SqlRow): StoppedLog => {
  const root = textOrNull(row, 'common_root');
  return {
    origin: textOf(row, 'origin'),
    commonSize: root === undefined ? 0 : numberOf(row, 'common_size'),
    ...(root === undefined ? {} : { commonRootHex: root }),
    stoppedS: numberOf(row, 'stopped_s'),
    evidence: textOf(row, 'evidence'),
  };
};

export const readStopped = async (session: SqlSession): Promise<StoppedLog[]> => {
  const rows = await session.all(
    'SELECT * FROM stopped_logs WHERE lifted_s IS NULL ORDER BY origin',
  );
  return rows.map(stoppedOf);
};

/** Lane by lane: the receipts of an origin on one side of a size, by pages until none is left. */
const moveReceipts = async (
  session: SqlSession,
  nowS: number,
  from: 'pending' | typeof FORKED,
  where: { readonly origin: string; readonly fromIndex: number; readonly toIndex: number },
): Promise<number> => {
  const to = from === 'pending' ? FORKED : 'pending';
  let moved = 0;
  for (;;) {
    const rows = await session.all(
      `SELECT r.id, r.payment_hash, r.origin, r.key_id, r.lane, r.charge_micro, r.business_time_s, v.payment_hash AS voided
       FROM receipts r LEFT JOIN voids v ON v.payment_hash = r.payment_hash
       WHERE r.origin = ? AND r.leaf_index >= ? AND r.leaf_index < ? AND r.state = ?
       ORDER BY r.leaf_index LIMIT ${PAGE}`,
      where.origin,
      BigInt(where.fromIndex),
      BigInt(where.toIndex),
      from,
    );
    if (rows.length === 0) return moved;
    const books = new Books(session, nowS);
    for (const row of rows) await moveOne(session, books, nowS, row, to);
    await books.flush();
    moved += rows.length;
  }
};

/** Books a receipt from the other log that brought it too, where that one is not stopped below it. */
const isElsewhere = async (session: SqlSession, row: SqlRow): Promise<boolean> => {
  const [place] = await session.all(
    `SELECT p.origin, p.leaf_index, p.receipt_hash FROM other_places p
     LEFT JOIN stopped_logs s ON s.origin = p.origin AND s.lifted_s IS NULL
     WHERE p.payment_hash = ? AND p.origin <> ?
       AND (s.origin IS NULL OR p.leaf_index < coalesce(s.common_size, 0))
     ORDER BY p.origin LIMIT 1`,
    bytesOf(row, 'payment_hash'),
    textOf(row, 'origin'),
  );
  if (!place) return false;
  await session.run(
    'UPDATE receipts SET origin = ?, leaf_index = ?, receipt_hash = ? WHERE id = ?',
    textOf(place, 'origin'),
    place['leaf_index'] as bigint,
    bytesOf(place, 'receipt_hash'),
    row['id'] as bigint,
  );
  return true;
};

const moveOne = async (
  session: SqlSession,
  books: Books,
  nowS: number,
  row: SqlRow,
  to: 'pending' | typeof FORKED,
): Promise<void> => {
  const id = row['id'] as bigint;
  if (to === 'pending' && row['voided'] !== null) {
    // Voided meanwhile: it stays where it is, for that reason now.
    await session.run("UPDATE receipts SET state = 'withheld', lane = NULL WHERE id = ?", id);
    const paymentHash = bytesOf(row, 'payment_hash');
    await noteBearer(
      { session, nowS },
      {
        paymentHash,
        operator: undefined,
        amountMicro: amountOf(row, 'charge_micro') - (await refundedOf(session, paymentHash)),
        isMerchantUnpaid: true,
      },
    );
    return;
  }
  if (to === FORKED && (await isElsewhere(session, row))) return;
  const keyId = textOf(row, 'key_id');
  const laneName = textOf(row, 'lane') as Lane;
  const amountMicro = amountOf(row, 'charge_micro');
  const lane = await books.lane(keyId, laneName);
  const bucket = LANE_BUCKET[laneName];
  if (to === FORKED) {
    lane.pendingMicro -= amountMicro;
    await books.move({ keyId, from: bucket, to: 'withheld', amountMicro, cause: 'fork' });
    await holdCreditsOf({ session, books, nowS }, bytesOf(row, 'payment_hash'), FORKED, 'fork');
  } else {
    addToLane(lane, amountMicro, numberOf(row, 'business_time_s'), nowS);
    await books.move({ keyId, from: 'withheld', to: bucket, amountMicro, cause: 'fork lifted' });
    const work = { session, books, nowS };
    await releaseCreditsOf(work, bytesOf(row, 'payment_hash'), FORKED, 'fork lifted');
  }
  await session.run('UPDATE receipts SET state = ? WHERE id = ?', to, id);
};

/** Refunds that a log brought go with it as its receipts do, on whatever log their Payments are. */
const moveCredits = async (
  session: SqlSession,
  nowS: number,
  where: { readonly origin: string; readonly fromIndex: number; readonly toIndex: number },
  isHeld: boolean,
): Promise<void> => {
  const books = new Books(session, nowS);
  await moveCreditsOf({ session, books, nowS }, where, isHeld);
  await books.flush();
};

const upsert = async (
  session: SqlSession,
  { origin, common }: ProvenFork,
  evidence: string,
  nowS: number,
): Promise<void> => {
  await session.run(
    `INSERT INTO stopped_logs (origin, common_size, common_root, evidence, stopped_s, lifted_s)
     VALUES (?, ?, ?, ?, ?, NULL)
     ON CONFLICT (origin) DO UPDATE SET common_size = excluded.common_size,
       common_root = excluded.common_root, evidence = excluded.evidence,
       stopped_s = excluded.stopped_s, lifted_s = NULL`,
    origin,
    common ? BigInt(common.size) : null,
    common ? toHex(common.root) : null,
    evidence,
    BigInt(nowS),
  );
};

/**
 * Stops a log by evidence that was checked. Of several pieces of evidence the smallest proven common head holds; one
 * that proves none holds everything back until another does. Evidence whose stop a person has lifted counts no more.
 * @returns whether anything is new
 */
export const stopLog = async (
  session: SqlSession,
  fork: ProvenFork,
  evidence: string,
  nowS: number,
): Promise<boolean> => {
  const { origin, common } = fork;
  const [row] = await session.all('SELECT * FROM stopped_logs WHERE origin = ?', origin);
  if (row && textOf(row, 'evidence') === evidence) return false;
  const held = row?.['lifted_s'] === null ? stoppedOf(row) : undefined;
  if (held) {
    const isKnown = held.commonRootHex !== undefined;
    if (!common || (isKnown && held.commonSize <= common.size)) return false;
  }
  await upsert(session, fork, evidence, nowS);
  const size = common?.size ?? 0;
  const toIndex = Number.MAX_SAFE_INTEGER;
  const below = { origin, fromIndex: 0, toIndex: size };
  await moveReceipts(session, nowS, FORKED, below);
  await moveCredits(session, nowS, below, false);
  const above = { origin, fromIndex: size, toIndex };
  await moveCredits(session, nowS, above, true);
  const moved = await moveReceipts(session, nowS, 'pending', above);
  await session.run(
    `INSERT INTO findings (noted_s, kind, reference, detail) VALUES (?, 'LOG_FORKED', ?, ?)
     ON CONFLICT DO NOTHING`,
    BigInt(nowS),
    origin,
    `not paid above its first ${size} entries; ${moved} receipts withheld`,
  );
  return true;
};

/**
 * A person's decision: the log is followed again from where it was booked, and what was withheld is payable.
 * @returns false where it was not stopped
 */
export const liftStop = async (
  session: SqlSession,
  origin: string,
  nowS: number,
): Promise<boolean> => {
  const lifted = await session.run(
    'UPDATE stopped_logs SET lifted_s = ? WHERE origin = ? AND lifted_s IS NULL',
    BigInt(nowS),
    origin,
  );
  if (lifted === 0) return false;
  const all = { origin, fromIndex: 0, toIndex: Number.MAX_SAFE_INTEGER };
  await moveReceipts(session, nowS, FORKED, all);
  await moveCredits(session, nowS, all, false);
  return true;
};
