import { invariant } from '../../../protocol/kiri-error.ts';

/** What an acquirer keeps of each acknowledged line: so many hundredths of a percent, and a fixed sum. */
export type FeeRule = {
  /** 1 = 0.01 %; 0 to 10,000. */
  readonly basisPoints: number;
  readonly fixedMicro: bigint;
};

/**
 * The account of one merchant at one acquirer in one currency, in micro-units. Payable falls below zero when more is
 * charged back than is owed; what comes later pays that off first.
 */
export type MerchantAccount = {
  /** Lines that issuers acknowledged, less refunds that they acknowledged. */
  acknowledgedMicro: bigint;
  /** What an approver's operator bears in the payer's place (DESIGN §4). */
  borneMicro: bigint;
  chargedBackMicro: bigint;
  feesMicro: bigint;
  paidMicro: bigint;
  payableMicro: bigint;
  /** Fees that fell due and are not taken yet, in ten-thousandths of a micro-unit: basis points divide exactly there. */
  feeDueE4: bigint;
};

/** Every cause that moves an account. Amounts of entries are above zero; the kind says the direction. */
export type MerchantEntryKind =
  | 'acknowledged'
  | 'refunded'
  | 'refundReturned'
  | 'reversed'
  | 'borne'
  | 'chargedBack'
  | 'chargeBackReversed'
  | 'fee'
  | 'paid'
  /** A bank gave a transfer back: payable again. */
  | 'payoutReturned';

const FEE_SCALE = 10_000n;

export const emptyMerchantAccount = (): MerchantAccount => ({
  acknowledgedMicro: 0n,
  borneMicro: 0n,
  chargedBackMicro: 0n,
  feesMicro: 0n,
  paidMicro: 0n,
  payableMicro: 0n,
  feeDueE4: 0n,
});

/**
 * acknowledged + borne − charged back − fees = paid + payable (DESIGN §6, with what an operator bears written apart).
 * Asserted after every entry, in production too.
 */
const assertMerchantAccount = (account: MerchantAccount, name: string): void => {
  const { acknowledgedMicro, borneMicro, chargedBackMicro, feesMicro, paidMicro, payableMicro } =
    account;
  const owed = acknowledgedMicro + borneMicro - chargedBackMicro - feesMicro;
  invariant(
    owed === paidMicro + payableMicro,
    `merchant ${name}: ${owed} earned, ${paidMicro} paid and ${payableMicro} payable`,
  );
  const grown = [borneMicro, chargedBackMicro, feesMicro, paidMicro, account.feeDueE4];
  invariant(
    grown.every((sum) => sum >= 0n),
    `merchant ${name}: a sum below zero`,
  );
};

/** Books one entry on an account, which it changes, and asserts what must hold. */
export const applyMerchantEntry = (
  account: MerchantAccount,
  kind: MerchantEntryKind,
  amountMicro: bigint,
  name: string,
): void => {
  invariant(amountMicro > 0n, `merchant ${name}: ${kind} of ${amountMicro}`);
  switch (kind) {
    case 'acknowledged':
    case 'refundReturned':
      account.acknowledgedMicro += amountMicro;
      account.payableMicro += amountMicro;
      break;
    case 'refunded':
    case 'reversed':
      account.acknowledgedMicro -= amountMicro;
      account.payableMicro -= amountMicro;
      break;
    case 'borne':
      account.borneMicro += amountMicro;
      account.payableMicro += amountMicro;
      break;
    case 'chargedBack':
      account.chargedBackMicro += amountMicro;
      account.payableMicro -= amountMicro;
      break;
    case 'chargeBackReversed':
      account.chargedBackMicro -= amountMicro;
      account.payableMicro += amountMicro;
      break;
    case 'fee':
      account.feesMicro += amountMicro;
      account.payableMicro -= amountMicro;
      account.feeDueE4 -= amountMicro * FEE_SCALE;
      break;
    case 'paid':
      account.paidMicro += amountMicro;
      account.payableMicro -= amountMicro;
      break;
    case 'payoutReturned':
      account.paidMicro -= amountMicro;
      account.payableMicro += amountMicro;
      break;
    default:
      kind satisfies never;
  }
  assertMerchantAccount(account, name);
};

/** What one acknowledged line adds to the fees that are due, in ten-thousandths of a micro-unit. */
export const feeDueE4 = (rule: FeeRule, amountMicro: bigint): bigint =>
  amountMicro * BigInt(rule.basisPoints) + rule.fixedMicro * FEE_SCALE;

/** The whole minor units of the fees that are due: rounded once, at a payout; the rest stays due. */
export const feeToTake = (account: MerchantAccount, minorUnitMicro: bigint): bigint =>
  (account.feeDueE4 / (minorUnitMicro * FEE_SCALE)) * minorUnitMicro;
