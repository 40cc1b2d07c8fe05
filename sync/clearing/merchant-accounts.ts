/** Accounts of merchants in the store: every entry is written with the account it leads to, in the caller's transaction. */
import { invariant } from '../../protocol/kiri-error.ts';
import { applyMerchantEntry, emptyMerchantAccount } from './core/merchant-account.ts';
import type { MerchantAccount, MerchantEntryKind } from './core/merchant-account.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Whose account: a merchant of one acquirer, in one currency (ISO 4217 numeric). */
export type MerchantName = {
  readonly acquirer: string;
  readonly merchant: string;
  readonly currency: number;
};

/**
 * One entry. `reference` makes it once: an acknowledgement or chargeback that is read again changes nothing. It names
 * the document behind the entry (an ARN and a file id, a Payment hash, a payout's file).
 */
export type MerchantEntry = MerchantName & {
  readonly kind: MerchantEntryKind;
  readonly amountMicro: bigint;
  readonly reference: string;
  readonly nowS: number;
  /** Added to the fees that are due, in ten-thousandths of a micro-unit. */
  readonly feeDueE4?: bigint;
};

export const merchantAccountOf = (row: SqlRow): MerchantAccount => ({
  acknowledgedMicro: amountOf(row, 'acknowledged_micro'),
  borneMicro: amountOf(row, 'borne_micro'),
  chargedBackMicro: amountOf(row, 'charged_back_micro'),
  feesMicro: amountOf(row, 'fees_micro'),
  paidMicro: amountOf(row, 'paid_micro'),
  payableMicro: amountOf(row, 'payable_micro'),
  feeDueE4: amountOf(row, 'fee_due_e4'),
});

const readAccount = async (session: SqlSession, name: MerchantName): Promise<MerchantAccount> => {
  const [row] = await session.all(
    'SELECT * FROM merchant_accounts WHERE acquirer = ? AND merchant = ? AND currency = ?',
    name.acquirer,
    name.merchant,
    BigInt(name.currency),
  );
  return row ? merchantAccountOf(row) : emptyMerchantAccount();
};

const writeAccount = async (
  session: SqlSession,
  name: MerchantName,
  account: MerchantAccount,
): Promise<void> => {
  await session.run(
    `INSERT INTO merchant_accounts (acquirer, merchant, currency, acknowledged_micro, borne_micro,
       charged_back_micro, fees_micro, paid_micro, payable_micro, fee_due_e4)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (acquirer, merchant, currency) DO UPDATE SET
       acknowledged_micro = excluded.acknowledged_micro, borne_micro = excluded.borne_micro,
       charged_back_micro = excluded.charged_back_micro, fees_micro = excluded.fees_micro,
       paid_micro = excluded.paid_micro, payable_micro = excluded.payable_micro,
       fee_due_e4 = excluded.fee_due_e4`,
    name.acquirer,
    name.merchant,
    BigInt(name.currency),
    account.acknowledgedMicro.toString(),
    account.borneMicro.toString(),
    account.chargedBackMicro.toString(),
    account.feesMicro.toString(),
    account.paidMicro.toString(),
    account.payableMicro.toString(),
    account.feeDueE4.toString(),
  );
};

/** Books one entry under the invariant of the account. @returns false where the same was booked before. */
export const enterMerchant = async (
  session: SqlSession,
  entry: MerchantEntry,
): Promise<boolean> => {
  const { acquirer, merchant, currency, kind, amountMicro, reference, nowS } = entry;
  const added = await session.run(
    `INSERT INTO merchant_entries (at_s, acquirer, merchant, currency, kind, amount_micro, reference,
       fee_due_e4) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    BigInt(nowS),
    acquirer,
    merchant,
    BigInt(currency),
    kind,
    amountMicro.toString(),
    reference,
    (entry.feeDueE4 ?? 0n).toString(),
  );
  if (added === 0) return false;
  const account = await readAccount(session, entry);
  account.feeDueE4 += entry.feeDueE4 ?? 0n;
  applyMerchantEntry(account, kind, amountMicro, merchant);
  await writeAccount(session, entry, account);
  return true;
};

/** What an issuer's answer means for one line of a file. */
type LineAnswer = {
  readonly aggregateId: string;
  readonly amountMicro: bigint;
  /** Makes it once: the document and the line it speaks of. */
  readonly reference: string;
  readonly nowS: number;
};

/** An operator bears what these lines give back: the merchant keeps what it was paid (DESIGN §4). */
const isBorneByOperator = (sign: string, lane: string): boolean =>
  sign === 'credit' && lane === 'conflict';

const enterLine = async (
  session: SqlSession,
  answer: LineAnswer,
  kinds: { readonly debit: MerchantEntryKind; readonly credit: MerchantEntryKind },
): Promise<boolean> => {
  const { aggregateId, amountMicro, reference, nowS } = answer;
  const [row] = await session.all(
    `SELECT k.acquirer, k.merchant, k.currency, k.sign, a.lane, p.fee_due_e4 FROM aggregates a
     JOIN keys k ON k.key_id = a.key_id JOIN presentments p ON p.aggregate_id = a.aggregate_id
     WHERE a.aggregate_id = ?`,
    aggregateId,
  );
  invariant(row !== undefined, `clearing: no line for aggregate ${aggregateId}`);
  const sign = textOf(row, 'sign') === 'credit' ? 'credit' : 'debit';
  if (isBorneByOperator(sign, textOf(row, 'lane'))) return false;
  const kind = kinds[sign];
  const added = await enterMerchant(session, {
    acquirer: textOf(row, 'acquirer'),
    merchant: textOf(row, 'merchant'),
    currency: numberOf(row, 'currency'),
    kind,
    amountMicro,
    reference,
    nowS,
    // Once, with the first acknowledgement: a chargeback gives no fee back, a second presentment takes none.
    ...(kind === 'acknowledged' ? { feeDueE4: amountOf(row, 'fee_due_e4') } : {}),
  });
  if (added && kind === 'acknowledged' && textOf(row, 'fee_due_e4') !== '0') {
    // The entry keeps it; a line that was refused after that and presented again owes no second fee.
    await session.run(
      "UPDATE presentments SET fee_due_e4 = '0' WHERE aggregate_id = ?",
      aggregateId,
    );
  }
  return added;
};

/**
 * An issuer answered for a line in the merchant's favour: it acknowledged the file with the line in it, or took a
 * chargeback back (second presentment). A refund's line lowers the account all the same.
 * @returns false where it was booked before, or where the line is an operator's to bear
 */
export const creditMerchant = async (
  session: SqlSession,
  answer: LineAnswer & { readonly cause: 'acknowledged' | 'chargeBackReversed' },
): Promise<boolean> =>
  answer.cause === 'acknowledged'
    ? enterLine(session, answer, { debit: 'acknowledged', credit: 'refunded' })
    : enterLine(session, answer, { debit: 'chargeBackReversed', credit: 'refunded' });

/**
 * An issuer answered against the merchant: it charged the line back, or an acknowledged line was reversed. Fees stay
 * taken. @returns as {@link creditMerchant}
 */
export const debitMerchant = async (
  session: SqlSession,
  answer: LineAnswer & { readonly cause: 'chargedBack' | 'reversed' },
): Promise<boolean> =>
  enterLine(session, answer, { debit: answer.cause, credit: 'refundReturned' });
