/** Accounts that pay for nothing further, by the issuer's word: a chargeback or a reject whose reason says so. */
import type { Line } from './line-book.ts';
import { numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** A party whose account is declined. What becomes of its devices at the gateways is for whoever reads this. */
export type DeclinedAccount = {
  readonly account: string;
  /** Id in hex. */
  readonly party: string;
  /** The reason or reject code, and the line that it came for. */
  readonly code: string;
  readonly arn: string;
  readonly sinceS: number;
};

/** Enters the account of a line; a lifted one counts again from now. */
export const decline = async (
  session: SqlSession,
  { account, party, arn }: Pick<Line, 'account' | 'party' | 'arn'>,
  code: string,
  nowS: number,
): Promise<void> => {
  await session.run(
    `INSERT INTO declined (account, party, code, arn, since_s) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (account, party) DO UPDATE SET code = excluded.code, arn = excluded.arn,
       since_s = excluded.since_s, lifted_s = NULL WHERE declined.lifted_s IS NOT NULL`,
    account,
    party,
    code,
    arn,
    BigInt(nowS),
  );
};

/** All that are declined now. */
export const readDeclined = async (session: SqlSession): Promise<readonly DeclinedAccount[]> => {
  const rows = await session.all(
    `SELECT account, party, code, arn, since_s FROM declined WHERE lifted_s IS NULL
     ORDER BY account, party`,
  );
  return rows.map((row) => ({
    account: textOf(row, 'account'),
    party: textOf(row, 'party'),
    code: textOf(row, 'code'),
    arn: textOf(row, 'arn'),
    sinceS: numberOf(row, 'since_s'),
  }));
};

/** A person's decision, such as after the debt was paid; false where the account was not declined. */
export const liftDecline = async (
  session: SqlSession,
  account: string,
  party: string,
  nowS: number,
): Promise<boolean> => {
  const lifted = await session.run(
    'UPDATE declined SET lifted_s = ? WHERE account = ? AND party = ? AND lifted_s IS NULL',
    BigInt(nowS),
    account,
    party,
  );
  return lifted > 0;
};
