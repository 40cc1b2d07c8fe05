import type { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { addToLane } from './lane-sum.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Where the books of credits stand for one move of several. */
type Bookkeeping = {
  readonly session: SqlSession;
  readonly books: Books;
  readonly nowS: number;
};

const PENDING = 'pending';

/** State of a receipt that is withheld since its log forked below it, and of refunds with it; its lane stays where it was. */
export const FORKED = 'forked';

/**
 * Holds refunds back that are in no aggregate yet, or lets them go again: as their Payment's charge is held back, or as
 * the log they came by turned out to have two histories. A refund is paid only where its charge is.
 * @param state of the rows while they are held; they are taken by it when they are let go
 */
const moveCredit = async (
  { session, books, nowS }: Bookkeeping,
  row: SqlRow,
  state: string,
  isHeld: boolean,
  cause: string,
): Promise<void> => {
  const keyId = textOf(row, 'key_id');
  const laneName = textOf(row, 'lane') as Lane;
  const amountMicro = amountOf(row, 'amount_micro');
  const lane = await books.lane(keyId, laneName);
  const bucket = LANE_BUCKET[laneName];
  if (isHeld) {
    lane.pendingMicro -= amountMicro;
    await books.move({ keyId, from: bucket, to: 'withheld', amountMicro, cause });
  } else {
    addToLane(lane, amountMicro, numberOf(row, 'business_time_s'), nowS);
    await books.move({ keyId, from: 'withheld', to: bucket, amountMicro, cause });
  }
  await session.run(
    'UPDATE credits SET state = ? WHERE id = ?',
    isHeld ? state : PENDING,
    row['id'] as bigint,
  );
};

const CREDITS = 'SELECT id, key_id, lane, amount_micro, business_time_s FROM credits WHERE';

const creditsOf = (
  { session }: Bookkeeping,
  paymentHash: Uint8Array,
  state: string,
): Promise<readonly SqlRow[]> =>
  session.all(`${CREDITS} payment_hash = ? AND state = ? ORDER BY id`, paymentHash, state);

/** Of one Payment: those that are in no aggregate yet. */
export const holdCreditsOf = async (
  work: Bookkeeping,
  paymentHash: Uint8Array,
  state: string,
  cause: string,
): Promise<void> => {
  const rows = await creditsOf(work, paymentHash, PENDING);
  for (const row of rows) await moveCredit(work, row, state, true, cause);
};

/** Of one Payment: those that were held in that state. */
export const releaseCreditsOf = async (
  work: Bookkeeping,
  paymentHash: Uint8Array,
  state: string,
  cause: string,
): Promise<void> => {
  const rows = await creditsOf(work, paymentHash, state);
  for (const row of rows) await moveCredit(work, row, state, false, cause);
};

/** State of a refund whose own log forked below it; its charge may be payable all the same. */
export const CREDIT_FORKED = 'creditForked';

/** Entries of one log, from the first to before the last. */
type LogRange = { readonly origin: string; readonly fromIndex: number; readonly toIndex: number };

/** Of one log: holds back what it brought of refunds, or lets them go, but for those whose Payment was voided since. */
export const moveCreditsOf = async (
  work: Bookkeeping,
  { origin, fromIndex, toIndex }: LogRange,
  isHeld: boolean,
): Promise<void> => {
  const cause = isHeld ? 'fork' : 'fork lifted';
  const rows = await work.session.all(
    `${CREDITS} origin = ? AND leaf_index >= ? AND leaf_index < ? AND state = ?
       AND payment_hash NOT IN (SELECT payment_hash FROM voids) ORDER BY id`,
    origin,
    BigInt(fromIndex),
    BigInt(toIndex),
    isHeld ? PENDING : CREDIT_FORKED,
  );
  for (const row of rows) await moveCredit(work, row, CREDIT_FORKED, isHeld, cause);
};

/** A refund that waits since its own log forked, and now another log brings it. @returns whether there was one */
export const takeFromOther = async (
  work: Bookkeeping,
  credit: {
    readonly creditHash: Uint8Array;
    readonly origin: string;
    readonly leafIndex: number;
  },
): Promise<boolean> => {
  const [row] = await work.session.all(
    `${CREDITS} credit_hash = ? AND state = ? AND origin <> ?`,
    credit.creditHash,
    CREDIT_FORKED,
    credit.origin,
  );
  if (!row) return false;
  await work.session.run(
    'UPDATE credits SET origin = ?, leaf_index = ? WHERE id = ?',
    credit.origin,
    BigInt(credit.leafIndex),
    row['id'] as bigint,
  );
  await moveCredit(work, row, CREDIT_FORKED, false, 'ingest');
  return true;
};
