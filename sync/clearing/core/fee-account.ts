import { invariant } from '../../../protocol/kiri-error.ts';

/**
 * What fees (1740) make of the relation to one issuer in one currency, in micro-units. They are no part of what payers
 * are charged or merchants are paid.
 */
export type FeeAccount = {
  /** Charged to the clearing, less what was returned of it. */
  chargedMicro: bigint;
  /** Paid to the clearing, less what was returned of it. */
  receivedMicro: bigint;
  /** What the clearing owes the issuer for fees; below zero: what the issuer owes. */
  owedMicro: bigint;
};

/** Every move there is: between the fees of one direction and what is owed. */
export const FEE_MOVES = ['charged', 'chargeReturned', 'received', 'receiptReturned'] as const;

export type FeeMove = (typeof FEE_MOVES)[number];

export const emptyFeeAccount = (): FeeAccount => ({
  chargedMicro: 0n,
  receivedMicro: 0n,
  owedMicro: 0n,
});

/**
 * Books one move on an account, which it changes, and asserts that charged − received = owed and that no more was
 * returned than there was. Asserted in production too.
 */
export const applyFeeMove = (
  account: FeeAccount,
  move: FeeMove,
  amountMicro: bigint,
  name: string,
): void => {
  invariant(amountMicro > 0n, `fees of ${name}: ${move} of ${amountMicro}`);
  switch (move) {
    case 'charged':
      account.chargedMicro += amountMicro;
      account.owedMicro += amountMicro;
      break;
    case 'chargeReturned':
      account.chargedMicro -= amountMicro;
      account.owedMicro -= amountMicro;
      break;
    case 'received':
      account.receivedMicro += amountMicro;
      account.owedMicro -= amountMicro;
      break;
    case 'receiptReturned':
      account.receivedMicro -= amountMicro;
      account.owedMicro += amountMicro;
      break;
    default:
      move satisfies never;
  }
  const { chargedMicro, receivedMicro, owedMicro } = account;
  invariant(chargedMicro >= 0n && receivedMicro >= 0n, `fees of ${name}: returned above the fees`);
  invariant(
    chargedMicro - receivedMicro === owedMicro,
    `fees of ${name}: ${chargedMicro} charged, ${receivedMicro} received, ${owedMicro} owed`,
  );
};
