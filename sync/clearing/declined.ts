/** Accounts that pay for nothing further, by the issuer's word: a chargeback or a reject whose reason says so. */
import type { Line } from './line-book.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
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
  /** Charges that are not presented for it, per currency (ISO 4217 numeric). */
  readonly held: readonly { readonly currency: number; readonly micro: bigint }[];
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

const nameOf = (account: string, party: string): string => JSON.stringify([account, party]);

/** Says of an account and party whether they are declined now. */
export type IsDeclined = (account: string, party: string) => boolean;

/** Nothing new is presented for these; what a person sends again (requeue, represent, resubmit) is. */
export const declinedAccounts = async (session: SqlSession): Promise<IsDeclined> => {
  const rows = await session.all(
    'SELECT account, party FROM declined WHERE lifted_s IS NULL ORDER BY account, party',
  );
  const names = new Set(rows.map((row) => nameOf(textOf(row, 'account'), textOf(row, 'party'))));
  return (account, party) => names.has(nameOf(account, party));
};

/** What waits in the lanes of declined accounts, by name, then currency. */
const heldOf = async (session: SqlSession): Promise<Map<string, Map<number, bigint>>> => {
  const rows = await session.all(
    `SELECT k.account, k.party, k.currency, l.pending_micro FROM declined d
     JOIN keys k ON k.account = d.account AND k.party = d.party AND k.sign = 'debit'
     JOIN lanes l ON l.key_id = k.key_id WHERE d.lifted_s IS NULL
     ORDER BY k.account, k.party, k.currency, l.key_id, l.lane`,
  );
  const held = new Map<string, Map<number, bigint>>();
  for (const row of rows) {
    const name = nameOf(textOf(row, 'account'), textOf(row, 'party'));
    const sums = held.get(name) ?? new Map<number, bigint>();
    const currency = numberOf(row, 'currency');
    held.set(name, sums.set(currency, (sums.get(currency) ?? 0n) + amountOf(row, 'pending_micro')));
  }
  return held;
};

/** All that are declined now. */
export const readDeclined = async (session: SqlSession): Promise<readonly DeclinedAccount[]> => {
  const rows = await session.all(
    `SELECT account, party, code, arn, since_s FROM declined WHERE lifted_s IS NULL
     ORDER BY account, party`,
  );
  const held = rows.length === 0 ? undefined : await heldOf(session);
  return rows.map((row) => {
    const [account, party] = [textOf(row, 'account'), textOf(row, 'party')];
    const sums = [...(held?.get(nameOf(account, party)) ?? [])].filter(([, micro]) => micro > 0n);
    return {
      account,
      party,
      code: textOf(row, 'code'),
      arn: textOf(row, 'arn'),
      sinceS: numberOf(row, 'since_s'),
      held: sums.map(([currency, micro]) => ({ currency, micro })),
    };
  });
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
