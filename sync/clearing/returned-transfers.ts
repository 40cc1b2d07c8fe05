/** Transfers that a bank gave back: each puts its sum back to its merchant's balance, once. */
import { enterMerchant } from './merchant-accounts.ts';
import type { PayoutDocument } from './payout-file.ts';
import type { WasReturned } from './core/payout.ts';
import type { ZenginAccount } from './core/zengin-file.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** What the bank's advice says of one transfer of a payout file. */
export type TransferReturn = {
  /** With or without `.txt`. */
  readonly file: string;
  /** The transfer in the file, from 1. */
  readonly number: number;
  readonly amountYen: bigint;
  readonly reason: string;
  /** True if the account is right and the next payout may try it again; else it waits for another account. */
  readonly mayRetry: boolean;
};

/** What became of a return. */
export type ReturnOutcome =
  | { readonly kind: 'booked' | 'repeated'; readonly merchant: string; readonly amountYen: bigint }
  | {
      readonly kind: 'refused';
      readonly code: 'UNKNOWN_TRANSFER' | 'NOT_WRITTEN' | 'AMOUNT_MISMATCH';
      readonly detail: string;
    };

const MICRO_PER_YEN = 1_000_000n;
const REASON_LENGTH_MAX = 100;
const LISTED_MAX = 1_000;

/** A bank account as one text; names of bank and branch are for people. */
const accountText = ({ bank, branch, kind, number }: ZenginAccount): string =>
  JSON.stringify([bank, branch, kind, number]);

/** Books one return in the caller's transaction. */
export const bookReturn = async (
  session: SqlSession,
  { file, number, amountYen, reason, mayRetry }: TransferReturn,
  nowS: number,
): Promise<ReturnOutcome> => {
  const fileName = file.replace(/\.txt$/, '');
  const refused = (
    code: Extract<ReturnOutcome, { kind: 'refused' }>['code'],
    detail: string,
  ): ReturnOutcome => ({ kind: 'refused', code, detail });
  const [row] = await session.all(
    `SELECT p.acquirer, p.state, p.document, l.merchant, l.currency, l.paid_micro, r.returned_s
     FROM payouts p JOIN payout_lines l ON l.file_name = p.file_name
     LEFT JOIN returned_transfers r ON r.file_name = l.file_name AND r.number = l.number
     WHERE p.file_name = ? AND l.number = ?`,
    fileName,
    BigInt(number),
  );
  if (!row) return refused('UNKNOWN_TRANSFER', `no transfer ${number} in ${fileName}`);
  // Nobody can give back what has not left.
  if (textOf(row, 'state') !== 'written') return refused('NOT_WRITTEN', fileName);
  const paidMicro = amountOf(row, 'paid_micro');
  if (amountYen * MICRO_PER_YEN !== paidMicro) {
    return refused('AMOUNT_MISMATCH', `${paidMicro / MICRO_PER_YEN} yen were paid`);
  }
  const merchant = textOf(row, 'merchant');
  if (row['returned_s'] !== null) return { kind: 'repeated', merchant, amountYen };
  const acquirer = textOf(row, 'acquirer');
  const document = JSON.parse(textOf(row, 'document')) as PayoutDocument;
  const account = document.transfers[number - 1]?.account;
  await session.run(
    `INSERT INTO returned_transfers (file_name, number, acquirer, merchant, account, may_retry, reason,
       returned_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    fileName,
    BigInt(number),
    acquirer,
    merchant,
    account ? accountText(account) : '',
    mayRetry ? 1n : 0n,
    reason.slice(0, REASON_LENGTH_MAX),
    BigInt(nowS),
  );
  await enterMerchant(session, {
    acquirer,
    merchant,
    currency: numberOf(row, 'currency'),
    kind: 'payoutReturned',
    amountMicro: paidMicro,
    reference: `${fileName} ${number} returned`,
    nowS,
  });
  return { kind: 'booked', merchant, amountYen };
};

/** By the last return of each merchant of an acquirer. */
export const readReturned = async (session: SqlSession, acquirer: string): Promise<WasReturned> => {
  const rows = await session.all(
    `SELECT merchant, account, may_retry FROM returned_transfers WHERE acquirer = ?
     ORDER BY merchant, returned_s, file_name, number`,
    acquirer,
  );
  const last = new Map(rows.map((row) => [textOf(row, 'merchant'), row]));
  return (merchant, account) => {
    const row = last.get(merchant);
    return row?.['may_retry'] === 0n && textOf(row, 'account') === accountText(account);
  };
};

/** One return, as reports list it. */
export type ReturnedTransfer = {
  readonly fileName: string;
  readonly number: number;
  readonly acquirer: string;
  readonly merchant: string;
  readonly currency: number;
  readonly amountMicro: bigint;
  readonly reason: string;
  readonly returnedS: number;
};

const returnedOf = (row: SqlRow): ReturnedTransfer => ({
  fileName: textOf(row, 'file_name'),
  number: numberOf(row, 'number'),
  acquirer: textOf(row, 'acquirer'),
  merchant: textOf(row, 'merchant'),
  currency: numberOf(row, 'currency'),
  amountMicro: amountOf(row, 'paid_micro'),
  reason: textOf(row, 'reason'),
  returnedS: numberOf(row, 'returned_s'),
});

/** A page of returns behind a place, in the order of files and numbers. */
export const pageOfReturns = async (
  session: SqlSession,
  after: { readonly fileName: string; readonly number: number } = { fileName: '', number: 0 },
): Promise<readonly ReturnedTransfer[]> => {
  const rows = await session.all(
    `SELECT r.*, l.currency, l.paid_micro FROM returned_transfers r
     JOIN payout_lines l ON l.file_name = r.file_name AND l.number = r.number
     WHERE (r.file_name, r.number) > (?, ?) ORDER BY r.file_name, r.number LIMIT ${LISTED_MAX}`,
    after.fileName,
    BigInt(after.number),
  );
  return rows.map(returnedOf);
};
