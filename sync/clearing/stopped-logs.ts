/**
 * Logs that signed two histories (DESIGN section 5). From such a log nothing above the last common head is paid: what was
 * booked from there and is in no file yet waits as `forked` in the bucket `withheld`, until another log brings it or a
 * person lifts the stop. Entries at or below the common head are untouched.
 */
import { toHex } from '../../protocol/bytes.ts';
import type { ProvenFork } from '../ledger/core/fork-evidence.ts';
import { noteBearer } from './bearers.ts';
import { bookWaiting, refundedOf } from './book-credit.ts';
import { correctCharge, voidBesideRefund } from './book-void.ts';
import { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { FORKED, holdCreditsOf, moveCreditsOf, releaseCreditsOf } from './held-credits.ts';
import { noCounts } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { addToLane } from './lane-sum.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** One transaction in which a log is stopped or followed again. */
type StopWork = Pick<IngestScope, 'session' | 'nowS' | 'directory'>;

const scopeOf = (work: StopWork): IngestScope => ({
  ...work,
  books: new Books(work.session, work.nowS),
  met: [],
  closed: new Map(),
  counts: noCounts(),
});

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
  work: StopWork,
  from: 'pending' | typeof FORKED,
  where: { readonly origin: string; readonly fromIndex: number; readonly toIndex: number },
): Promise<number> => {
  const { session } = work;
  let moved = 0;
  for (;;) {
    const rows = await session.all(
      `SELECT r.id, r.payment_hash, r.origin, r.key_id, r.lane, r.charge_micro, r.business_time_s,
         v.payment_hash AS voided, v.operator
       FROM receipts r LEFT JOIN voids v ON v.payment_hash = r.payment_hash
       WHERE r.origin = ? AND r.leaf_index >= ? AND r.leaf_index < ? AND r.state = ?
       ORDER BY r.leaf_index LIMIT ${PAGE}`,
      where.origin,
      BigInt(where.fromIndex),
      BigInt(where.toIndex),
      from,
    );
    if (rows.length === 0) return moved;
    const scope = scopeOf(work);
    for (const row of rows) {
      if (from === 'pending') await holdOne(scope, row);
      else await letOneGo(scope, row);
    }
    await scope.books.flush();
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

const chargeOf = (row: SqlRow) => ({
  keyId: textOf(row, 'key_id'),
  laneName: textOf(row, 'lane') as Lane,
  amountMicro: amountOf(row, 'charge_micro'),
  paymentHash: bytesOf(row, 'payment_hash'),
});

const setState = async (session: SqlSession, row: SqlRow, state: string): Promise<void> => {
  await session.run('UPDATE receipts SET state = ? WHERE id = ?', state, row['id'] as bigint);
};

const holdOne = async (scope: IngestScope, row: SqlRow): Promise<void> => {
  const { session, books } = scope;
  if (await isElsewhere(session, row)) return;
  const { keyId, laneName, amountMicro, paymentHash } = chargeOf(row);
  (await books.lane(keyId, laneName)).pendingMicro -= amountMicro;
  const from = LANE_BUCKET[laneName];
  await books.move({ keyId, from, to: 'withheld', amountMicro, cause: 'fork' });
  await holdCreditsOf(scope, paymentHash, FORKED, 'fork');
  await setState(session, row, FORKED);
};

/** Payable again, with the refunds that were held or came meanwhile. */
const letOneGo = async (scope: IngestScope, row: SqlRow): Promise<void> => {
  const { session, books, nowS } = scope;
  const { keyId, laneName, amountMicro, paymentHash } = chargeOf(row);
  const voided = row['voided'] === null ? undefined : await voidBesideRefund(session, paymentHash);
  if (row['voided'] !== null && !voided) {
    await keepVoided(scope, row);
    return;
  }
  addToLane(await books.lane(keyId, laneName), amountMicro, numberOf(row, 'business_time_s'), nowS);
  const to = LANE_BUCKET[laneName];
  await books.move({ keyId, from: 'withheld', to, amountMicro, cause: 'fork lifted' });
  await releaseCreditsOf(scope, paymentHash, FORKED, 'fork lifted');
  await setState(session, row, 'pending');
  if (voided) await correctCharge(scope, voided, { keyId, chargeMicro: amountMicro });
  else await bookWaiting(scope, paymentHash);
};

/** Voided meanwhile: it stays where it is, for that reason now. */
const keepVoided = async (scope: IngestScope, row: SqlRow): Promise<void> => {
  const { session } = scope;
  const { amountMicro: chargeMicro, paymentHash } = chargeOf(row);
  await session.run(
    "UPDATE receipts SET state = 'withheld', lane = NULL WHERE id = ?",
    row['id'] as bigint,
  );
  const amountMicro = chargeMicro - (await refundedOf(session, paymentHash));
  const operator = textOrNull(row, 'operator');
  await noteBearer(scope, { paymentHash, operator, amountMicro, unpaidMicro: amountMicro });
};

/** Refunds that a log brought go with it as its receipts do, on whatever log their Payments are. */
const moveCredits = async (
  work: StopWork,
  where: { readonly origin: string; readonly fromIndex: number; readonly toIndex: number },
  isHeld: boolean,
): Promise<void> => {
  const scope = scopeOf(work);
  await moveCreditsOf(scope, where, isHeld);
  await scope.books.flush();
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
  work: StopWork,
  fork: ProvenFork,
  evidence: string,
): Promise<boolean> => {
  const { session, nowS } = work;
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
  await moveReceipts(work, FORKED, below);
  await moveCredits(work, below, false);
  const above = { origin, fromIndex: size, toIndex };
  await moveCredits(work, above, true);
  const moved = await moveReceipts(work, 'pending', above);
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
export const liftStop = async (work: StopWork, origin: string): Promise<boolean> => {
  const { session, nowS } = work;
  const lifted = await session.run(
    'UPDATE stopped_logs SET lifted_s = ? WHERE origin = ? AND lifted_s IS NULL',
    BigInt(nowS),
    origin,
  );
  if (lifted === 0) return false;
  const all = { origin, fromIndex: 0, toIndex: Number.MAX_SAFE_INTEGER };
  await moveReceipts(work, FORKED, all);
  await moveCredits(work, all, false);
  return true;
};
