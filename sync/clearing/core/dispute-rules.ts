import type { Chargeback } from './inbound-message.ts';

const DAY_S = 86_400;

/** How long what may be disputed, answered and proven, in seconds. */
export type DisputeLimits = {
  /** From the presentment: a first chargeback after it is refused. */
  readonly windowS: number;
  /** From the first chargeback: a second presentment after it is refused, and the dispute is listed as overdue. */
  readonly answerS: number;
  /** From the second presentment, in a file that the issuer took: after it what was presented again stands. */
  readonly arbitrationS: number;
  /** From the presentment: how long its evidence is kept. */
  readonly evidenceS: number;
};

/** settlement.md 4.5: 120 days at the least, 18 months by default. */
export const DISPUTE_LIMITS: DisputeLimits = {
  windowS: 120 * DAY_S,
  answerS: 45 * DAY_S,
  arbitrationS: 45 * DAY_S,
  evidenceS: 548 * DAY_S,
};

/** What our books say of the line that a chargeback names. Amounts in minor units. */
export type DisputedLine = {
  readonly sign: 'debit' | 'credit';
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly fundingReference: string;
  readonly presentedS: number;
  /** What was presented again, if it was. */
  readonly secondMinor: bigint;
};

export type DisputeRefusal =
  | 'CREDIT_LINE'
  | 'CURRENCY_MISMATCH'
  | 'ACCOUNT_MISMATCH'
  | 'ORIGINAL_MISMATCH'
  | 'ABOVE_ORIGINAL'
  | 'ABOVE_SECOND'
  | 'EVIDENCE_EXPIRED'
  | 'DISPUTE_WINDOW_CLOSED';

/** Why a 1442 does not fit the line that it names; undefined if it does. The line's state is asked apart. */
export const chargebackFault = (
  line: DisputedLine,
  message: Chargeback,
  limits: DisputeLimits,
  nowS: number,
): DisputeRefusal | undefined => {
  if (line.sign === 'credit') return 'CREDIT_LINE';
  if (message.currency !== line.currency) return 'CURRENCY_MISMATCH';
  if (message.fundingReference !== line.fundingReference) return 'ACCOUNT_MISMATCH';
  if (message.amountMinor > line.amountMinor) return 'ABOVE_ORIGINAL';
  if (message.originalMinor !== line.amountMinor) return 'ORIGINAL_MISMATCH';
  const ageS = nowS - line.presentedS;
  if (ageS > limits.evidenceS) return 'EVIDENCE_EXPIRED';
  if (message.cycle === 'first') return ageS > limits.windowS ? 'DISPUTE_WINDOW_CLOSED' : undefined;
  return message.amountMinor > line.secondMinor ? 'ABOVE_SECOND' : undefined;
};

/** What went back of one line already, or will, in micro-units. */
export type GivenBack = {
  /** By refunds and corrections in lines of their own that are out, or in the books of one. */
  readonly outMicro: bigint;
  /** By those that wait for a cut. */
  readonly waitingMicro: bigint;
};

/** A line and what is charged back of it for good, in micro-units. */
export type ReturnedLine = {
  readonly amountMicro: bigint;
  readonly unitMicro: bigint;
  readonly chargedBackMicro: bigint;
};

const leftOf = (
  { amountMicro, chargedBackMicro }: ReturnedLine,
  { outMicro }: Pick<GivenBack, 'outMicro'>,
): bigint => amountMicro - chargedBackMicro - outMicro;

/**
 * True where `refundMicro` more may go back beside what was charged back of the line: the payer never gets more than the
 * line in all. What is less than one minor unit goes his way. A line of which nothing is charged back has no such bound:
 * its refunds are held against their Payments.
 */
export const fitsBeside = (
  line: ReturnedLine,
  back: Pick<GivenBack, 'outMicro'>,
  refundMicro: bigint,
): boolean => {
  if (line.chargedBackMicro === 0n) return true;
  const left = leftOf(line, back);
  return left > 0n && refundMicro < left + line.unitMicro;
};

/**
 * Whether so much can be charged back for good beside the refunds of the line. Refunds that wait are reversed where
 * nothing is left of the line; where only a part of them would find room, nobody can say which.
 */
export const isAboveRest = (line: ReturnedLine, back: GivenBack): boolean => {
  if (line.chargedBackMicro === 0n) return false;
  const left = leftOf(line, back);
  if (left <= -line.unitMicro) return true;
  return left > 0n && back.waitingMicro >= left + line.unitMicro;
};

/** What the refunds that are out cover of a disputed sum, in whole minor units: to be presented again, not given back. */
export const refundedPart = (
  { amountMicro, unitMicro, chargedBackMicro }: ReturnedLine,
  disputedMicro: bigint,
  { outMicro }: Pick<GivenBack, 'outMicro'>,
): bigint => {
  const whole = outMicro - (outMicro % unitMicro);
  const above = chargedBackMicro + disputedMicro + whole - amountMicro;
  if (above <= 0n) return 0n;
  return above < disputedMicro ? above : disputedMicro;
};
