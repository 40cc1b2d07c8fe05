/** Merchants' accounts as they stand, added up anew from their entries and from the payouts that were made. */
import { applyMerchantEntry, emptyMerchantAccount } from './core/merchant-account.ts';
import type { MerchantAccount, MerchantEntryKind } from './core/merchant-account.ts';
import { readClosedSums } from './closed-sums.ts';
import { merchantAccountOf } from './merchant-accounts.ts';
import type { MerchantName } from './merchant-accounts.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** One account. Sums in micro-units; fees that are due and not taken in ten-thousandths of one. */
type MerchantLine = MerchantName & MerchantAccount;

export type MerchantReport = {
  /** All are checked, the first thousand listed. */
  readonly accounts: readonly MerchantLine[];
  readonly count: number;
  /** What does not add up, in words. */
  readonly differences: readonly string[];
};

const LISTED_MAX = 1000;
/** Of sums of payouts that were deleted. */
const PAID = 'paid ';
const PAGE = 4096;

/** Names the account of a merchant among all. */
export const ownerOf = ({ acquirer, merchant, currency }: MerchantName): string =>
  JSON.stringify([acquirer, merchant, currency]);

const nameOf = (row: SqlRow): string =>
  ownerOf({
    acquirer: textOf(row, 'acquirer'),
    merchant: textOf(row, 'merchant'),
    currency: numberOf(row, 'currency'),
  });

/** Every entry again, in the order in which it was made. */
const replay = async (session: SqlSession): Promise<Map<string, MerchantAccount>> => {
  const accounts = new Map<string, MerchantAccount>();
  let after = -1n;
  for (;;) {
    const rows = await session.all(
      `SELECT id, acquirer, merchant, currency, kind, amount_micro, fee_due_e4 FROM merchant_entries
       WHERE id > ? ORDER BY id LIMIT ${PAGE}`,
      after,
    );
    const last = rows.at(-1);
    if (!last) return accounts;
    for (const row of rows) {
      const name = nameOf(row);
      const account = accounts.get(name) ?? emptyMerchantAccount();
      accounts.set(name, account);
      account.feeDueE4 += amountOf(row, 'fee_due_e4');
      const kind = textOf(row, 'kind') as MerchantEntryKind;
      applyMerchantEntry(account, kind, amountOf(row, 'amount_micro'), name);
    }
    after = last['id'] as bigint;
  }
};

/** What payout files hold, per merchant, those that were deleted too; without what a bank returned. */
const paidOut = async (session: SqlSession): Promise<Map<string, bigint>> => {
  const sums = new Map<string, bigint>();
  const rows = await session.all(
    `SELECT p.acquirer, l.merchant, l.currency, l.paid_micro FROM payout_lines l
     JOIN payouts p ON p.file_name = l.file_name
     WHERE NOT EXISTS (SELECT 1 FROM returned_transfers r
       WHERE r.file_name = l.file_name AND r.number = l.number)
     ORDER BY l.file_name, l.number`,
  );
  const closed = await readClosedSums(session);
  for (const [name, amount] of closed) {
    if (name.startsWith(PAID)) sums.set(name.slice(PAID.length), amount);
  }
  for (const row of rows) {
    const name = nameOf(row);
    sums.set(name, (sums.get(name) ?? 0n) + amountOf(row, 'paid_micro'));
  }
  return sums;
};

/** Accounts against their entries and against the files that paid them. */
export const readMerchants = async (session: SqlSession): Promise<MerchantReport> => {
  const replayed = await replay(session);
  const paid = await paidOut(session);
  const rows = await session.all(
    'SELECT * FROM merchant_accounts ORDER BY acquirer, merchant, currency',
  );
  const differences: string[] = [];
  const accounts: MerchantLine[] = [];
  for (const row of rows) {
    const name = nameOf(row);
    const account = merchantAccountOf(row);
    const expected = replayed.get(name) ?? emptyMerchantAccount();
    for (const column of Object.keys(account) as (keyof MerchantAccount)[]) {
      if (account[column] === expected[column]) continue;
      differences.push(
        `merchant ${name}: ${column} ${account[column]}, entries say ${expected[column]}`,
      );
    }
    const inFiles = paid.get(name) ?? 0n;
    if (inFiles !== account.paidMicro) {
      differences.push(`merchant ${name}: ${account.paidMicro} paid, files say ${inFiles}`);
    }
    if (accounts.length >= LISTED_MAX) continue;
    const [acquirer, merchant] = [textOf(row, 'acquirer'), textOf(row, 'merchant')];
    accounts.push({ acquirer, merchant, currency: numberOf(row, 'currency'), ...account });
  }
  return { accounts, count: rows.length, differences };
};
