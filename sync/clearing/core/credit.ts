import { invariant } from '../../../protocol/kiri-error.ts';
import type { LogPlace } from './ingest.ts';

/**
 * A payee's refund of one Payment after its signature was checked. It is cumulative: `refundedMicro` is everything given
 * back so far, so that a refund that comes twice, late or out of order counts once.
 */
export type VerifiedCredit = LogPlace & {
  readonly kind: 'credit';
  /** SHA-256 of the Credit's payload. */
  readonly creditHash: Uint8Array;
  readonly paymentHash: Uint8Array;
  readonly refundedMicro: bigint;
  /** The payee's words, at most 64 bytes. */
  readonly reason: string;
  /** The payee's time, bounded by the first cosignature; flagged where that had to stand for it. */
  readonly businessTimeS: number;
  readonly isTimeFlagged: boolean;
};

type WaitingRefund = Pick<VerifiedCredit, 'creditHash' | 'refundedMicro'>;

/** What the store knows of the Payment that a refund names. */
export type CreditFacts = {
  /**
   * `payable`: charged or on its way into a file. `held`: waits for L2, for a fork to be settled or for somebody's look.
   * `returned`: its line was given up, or charged back so far that this refund has no room. Absent: it has not come.
   */
  readonly original?: {
    readonly chargeMicro: bigint;
    readonly state: 'payable' | 'held' | 'returned';
  };
  /** A Void says that the payer is not charged. */
  readonly isVoided: boolean;
  /** The highest cumulative refund that was booked. */
  readonly bookedMicro: bigint;
  /** Refunds that wait for the same Payment, and whether this one is among them. */
  readonly waiting: readonly WaitingRefund[];
  readonly isWaiting: boolean;
};

/** Why a refund is not booked; it is listed, and holds up nothing else. */
export type CreditRefusal =
  'CREDIT_ABOVE_CHARGE' | 'CREDIT_FOR_VOID' | 'CREDIT_NOT_CHARGED' | 'CREDIT_WAITING_FULL';

export type CreditDecision =
  | { readonly kind: 'book'; readonly increaseMicro: bigint }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'wait' }
  | { readonly kind: 'refused'; readonly code: CreditRefusal };

/** Refunds of one Payment that wait for it at most, as long as nobody knows what it charged. */
export const WAITING_PER_PAYMENT_MAX = 16;
/** Refunds that wait in one store at most; what comes above it is listed with its place in the log. */
export const WAITING_CREDITS_MAX = 100_000;

/**
 * Refunds that wait for the same Payment and can count no more beside this one: where the charge is known, of refunds that
 * are not above it the highest alone counts, so only that one is kept.
 */
export const supersededBy = (
  { refundedMicro }: Pick<VerifiedCredit, 'refundedMicro'>,
  { original, waiting }: Pick<CreditFacts, 'original' | 'waiting'>,
): readonly WaitingRefund[] =>
  original ? waiting.filter((one) => one.refundedMicro <= refundedMicro) : [];

/** A higher one that is not above the charge waits already. */
const isSuperseded = (
  refundedMicro: bigint,
  { original, waiting }: Pick<CreditFacts, 'original' | 'waiting'>,
): boolean =>
  original !== undefined &&
  waiting.some(
    (one) => one.refundedMicro >= refundedMicro && one.refundedMicro <= original.chargeMicro,
  );

/**
 * Decides on one refund. Only the increase over what was booked counts, never more than was charged in all; one above the
 * charge is refused as a whole, since nobody can say which part of it the payee meant.
 */
export const decideCredit = (
  { refundedMicro }: Pick<VerifiedCredit, 'refundedMicro'>,
  facts: CreditFacts,
): CreditDecision => {
  const { original, isVoided, bookedMicro, waiting, isWaiting } = facts;
  if (refundedMicro <= bookedMicro) return { kind: 'nothing' };
  if (isVoided) return { kind: 'refused', code: 'CREDIT_FOR_VOID' };
  if (original && refundedMicro > original.chargeMicro) {
    return { kind: 'refused', code: 'CREDIT_ABOVE_CHARGE' };
  }
  if (original?.state === 'returned') return { kind: 'refused', code: 'CREDIT_NOT_CHARGED' };
  if (original?.state !== 'payable') {
    if (isWaiting || isSuperseded(refundedMicro, facts)) return { kind: 'nothing' };
    const isFull = original === undefined && waiting.length >= WAITING_PER_PAYMENT_MAX;
    return isFull ? { kind: 'refused', code: 'CREDIT_WAITING_FULL' } : { kind: 'wait' };
  }
  const increaseMicro = refundedMicro - bookedMicro;
  invariant(increaseMicro > 0n, 'credit: a refund of nothing is booked');
  return { kind: 'book', increaseMicro };
};
