import { MICRO_PER_MAJOR } from '../../../protocol/amount.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { ZENGIN_AMOUNT_MAX } from './zengin-file.ts';
import type { ZenginAccount, ZenginTransfer } from './zengin-file.ts';

/** ISO 4217 numeric code of the yen, the only currency these files carry. */
const YEN = 392;

/** What a merchant is owed: acknowledged − charged back − fees − paid. Below zero after more was charged back. */
export type MerchantBalance = {
  readonly merchant: string;
  /** ISO 4217 numeric. */
  readonly currency: number;
  readonly payableMicro: bigint;
};

/** Where a merchant wants to be paid. `name` and `reference` in the bank's characters (zengin-text.ts). */
export type PayoutAccount = {
  readonly account: ZenginAccount;
  readonly name: string;
  readonly reference: string;
};

/** What stays with a merchant until the next payout, and why. */
type CarriedBalance = MerchantBalance & {
  readonly reason:
    'remainder' | 'negative' | 'belowMinimum' | 'noAccount' | 'notYen' | 'accountReturned';
};

export type Payout = {
  readonly lines: readonly { readonly merchant: string; readonly transfer: ZenginTransfer }[];
  readonly carried: readonly CarriedBalance[];
};

type Reason = CarriedBalance['reason'];

/** Whether a bank gave back what was sent to this very account of a merchant, and nobody said to try it again. */
export type WasReturned = (merchant: string, account: ZenginAccount) => boolean;

const holdReason = (
  balance: MerchantBalance,
  payee: PayoutAccount | undefined,
  minimumYen: bigint,
  wasReturned: WasReturned,
): Reason | undefined => {
  if (balance.currency !== YEN) return 'notYen';
  if (balance.payableMicro < 0n) return 'negative';
  const yen = balance.payableMicro / MICRO_PER_MAJOR;
  if (yen === 0n || yen < minimumYen) return 'belowMinimum';
  if (!payee) return 'noAccount';
  return wasReturned(balance.merchant, payee.account) ? 'accountReturned' : undefined;
};

/**
 * Payout lines of merchants' balances: whole yen, at most what one transfer carries. Everything else stays with its
 * merchant, also a debt, which later earnings reduce before anything is paid. Per merchant and currency, paid +
 * carried = payable, asserted. One balance per merchant and currency.
 */
export const planPayout = (
  balances: readonly MerchantBalance[],
  accountOf: (merchant: string) => PayoutAccount | undefined,
  minimumYen = 1n,
  wasReturned: WasReturned = () => false,
): Payout => {
  const lines: { merchant: string; transfer: ZenginTransfer }[] = [];
  const carried: CarriedBalance[] = [];
  const seen = new Set<string>();
  for (const balance of balances) {
    const { merchant, currency, payableMicro } = balance;
    const name = JSON.stringify([merchant, currency]);
    invariant(!seen.has(name), `payout: merchant ${merchant} stands twice`);
    seen.add(name);
    if (payableMicro === 0n) continue;
    const payee = accountOf(merchant);
    const reason = holdReason(balance, payee, minimumYen, wasReturned);
    if (reason !== undefined || !payee) {
      carried.push({ ...balance, reason: reason ?? 'noAccount' });
      continue;
    }
    const yen = payableMicro / MICRO_PER_MAJOR;
    const amountYen = yen > ZENGIN_AMOUNT_MAX ? ZENGIN_AMOUNT_MAX : yen;
    const { account, name: payeeName, reference } = payee;
    lines.push({ merchant, transfer: { account, payeeName, amountYen, reference } });
    const left = payableMicro - amountYen * MICRO_PER_MAJOR;
    invariant(left >= 0n, `payout: merchant ${merchant} would be paid too much`);
    if (left > 0n) carried.push({ merchant, currency, payableMicro: left, reason: 'remainder' });
  }
  return { lines, carried };
};
