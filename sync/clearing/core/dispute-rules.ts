import type { Chargeback } from './inbound-message.ts';

const DAY_S = 86_400;

/** How long what may be disputed, answered and proven, in seconds. */
export type DisputeLimits = {
  /** From the presentment: a first chargeback after it is refused. */
  readonly windowS: number;
  /** From the first chargeback: a second presentment after it is refused, and the dispute is listed as overdue. */
  readonly answerS: number;
  /** From the presentment: how long its evidence is kept. */
  readonly evidenceS: number;
};

/** settlement.md 4.5: 120 days at the least, 18 months by default. */
export const DISPUTE_LIMITS: DisputeLimits = {
  windowS: 120 * DAY_S,
  answerS: 45 * DAY_S,
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
