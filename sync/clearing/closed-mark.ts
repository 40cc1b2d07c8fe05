/** What of an issuer is too old to be taken: whatever was known of it was deleted (close-inbound.ts). */
import { numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

export type ClosedMark = {
  /** Document numbers up to here, unless they are still known. */
  readonly throughNumber: number;
  /** `YYYY-MM-DD`: fees that fell due before. Empty: none was closed. */
  readonly feesBefore: string;
};

export const readClosedMark = async (session: SqlSession, issuer: string): Promise<ClosedMark> => {
  const [row] = await session.all('SELECT * FROM closed_issuers WHERE issuer = ?', issuer);
  return row
    ? { throughNumber: numberOf(row, 'through_number'), feesBefore: textOf(row, 'fees_before') }
    : { throughNumber: 0, feesBefore: '' };
};

/** Owner of the closed sums of an issuer's fees in one currency (closed-sums.ts). */
export const feeSumsOf = (row: SqlRow): string =>
  `fees ${textOf(row, 'issuer')} ${numberOf(row, 'currency')}`;
