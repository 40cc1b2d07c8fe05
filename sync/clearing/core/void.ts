/**
 * What a Void does. `record`: no charge is here, or none is paid. `withdraw`: the receipt is in no aggregate yet and is
 * held back. `correct`: it is in an aggregate, so the payer gets it back in a credit record of its own. `bear`: the payer
 * has it back already, so the operator only pays the merchant.
 */
export type VoidDecision = 'record' | 'duplicate' | 'withdraw' | 'correct' | 'bear';

/** What the store knows of the Payment that a Void is for. */
export type VoidFacts = {
  readonly isKnown: boolean;
  /** `returned`: in an aggregate whose line was given up or charged back in full. */
  readonly receipt?: 'pending' | 'aggregated' | 'withheld' | 'returned';
  /** A refund of it is in an aggregate already, so its charge has to be presented too for both to cancel out. */
  readonly isRefundAggregated?: boolean;
};

/** Receipt and Void for one Payment: the payer is not charged, the merchant is paid, the operator bears it (DESIGN §4). */
export const decideVoid = ({ isKnown, receipt, isRefundAggregated }: VoidFacts): VoidDecision => {
  if (isKnown) return 'duplicate';
  if (receipt === undefined || receipt === 'withheld') return 'record';
  if (receipt === 'returned') return 'bear';
  return receipt === 'pending' && isRefundAggregated !== true ? 'withdraw' : 'correct';
};
