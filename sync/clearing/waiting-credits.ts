/** Refunds that wait for their Payment: kept in the store, listed until it comes (book-credit.ts decides). */
import { toHex } from '../../protocol/bytes.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Listed at most, those that wait longest first; all are counted. */
const LISTED_MAX = 100;

type WaitingCredit = {
  /** In hex. */
  readonly paymentHash: string;
  /** Everything given back so far, as the payee signed it; its currency is the Payment's. */
  readonly refundedMicro: bigint;
  readonly reason: string;
  readonly sinceS: number;
  readonly origin: string;
  readonly leafIndex: number;
};

export type WaitingCredits = {
  readonly count: number;
  readonly listed: readonly WaitingCredit[];
};

export const readWaiting = async (session: SqlSession): Promise<WaitingCredits> => {
  const [counted] = await session.all('SELECT count(*) AS waiting FROM waiting_credits');
  const rows = await session.all(
    `SELECT * FROM waiting_credits ORDER BY ingested_s, origin, leaf_index, credit_hash LIMIT ${LISTED_MAX}`,
  );
  const listed = rows.map((row) => ({
    paymentHash: toHex(bytesOf(row, 'payment_hash')),
    refundedMicro: amountOf(row, 'refunded_micro'),
    reason: textOf(row, 'reason'),
    sinceS: numberOf(row, 'ingested_s'),
    origin: textOf(row, 'origin'),
    leafIndex: numberOf(row, 'leaf_index'),
  }));
  return { count: numberOf(counted ?? {}, 'waiting'), listed };
};
