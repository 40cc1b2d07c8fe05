/** Fees that the desk has sent (1740), in the desk's store. */
import { amountOf, numberOf, textOf, textOrNull } from '../clearing/sql.ts';
import type { SqlSession } from '../clearing/sql.ts';
import type { SentFee } from './core/fee.ts';

/** A fee with the document that it went out with, and that of its return. */
type StoredFee = SentFee & {
  readonly clearing: string;
  readonly number: number;
  readonly returnNumber: number | undefined;
};

export const feeOf = async (
  session: SqlSession,
  reference: string,
): Promise<StoredFee | undefined> => {
  const [row] = await session.all('SELECT * FROM fees WHERE reference = ?', reference);
  if (!row) return undefined;
  const arn = textOrNull(row, 'arn');
  return {
    reference,
    direction: textOf(row, 'direction') === 'paid' ? 'paid' : 'charged',
    amountMinor: amountOf(row, 'amount_minor'),
    currency: textOf(row, 'currency'),
    reason: textOf(row, 'reason'),
    ...(arn === undefined ? {} : { arn }),
    clearing: textOf(row, 'clearing'),
    number: numberOf(row, 'number'),
    returnNumber: row['returned'] === null ? undefined : numberOf(row, 'returned'),
  };
};

export const saveFee = (
  session: SqlSession,
  fee: SentFee,
  clearing: string,
  number: number,
): Promise<number> =>
  session.run(
    'INSERT INTO fees VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)',
    fee.reference,
    clearing,
    BigInt(number),
    fee.direction,
    fee.amountMinor.toString(),
    fee.currency,
    fee.reason,
    fee.arn ?? null,
  );

export const markReturned = (
  session: SqlSession,
  reference: string,
  number: number,
): Promise<number> =>
  session.run('UPDATE fees SET returned = ? WHERE reference = ?', BigInt(number), reference);

/** The clearings whose files were taken, each with profile and mode of its last file. */
export const clearingsOf = async (
  session: SqlSession,
): Promise<
  readonly { readonly clearing: string; readonly profile: string; readonly mode: 'P' | 'T' }[]
> => {
  const rows = await session.all(
    `SELECT clearing, profile, mode FROM files f WHERE number =
       (SELECT max(number) FROM files WHERE clearing = f.clearing) ORDER BY clearing`,
  );
  return rows.map((row) => ({
    clearing: textOf(row, 'clearing'),
    profile: textOf(row, 'profile'),
    mode: textOf(row, 'mode') === 'P' ? 'P' : 'T',
  }));
};
