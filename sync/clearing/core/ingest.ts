import type { AggregateKey, Lane } from './aggregate.ts';
import type { VerifiedCredit } from './credit.ts';
import type { LogRow } from './log-row.ts';
import type { Bucket } from './ledger-states.ts';
import type { VerifiedClose } from './read-close.ts';

/** What stands behind a record: recorded in a log (L1), or final under the policy (L2). Only L2 settles. */
type RecordLevel = 'L1' | 'L2';

/** Where a record lies: the log's origin and the leaf in it. */
export type LogPlace = { readonly origin: string; readonly leafIndex: number };

/**
 * One Payment with its Receipt, after every signature and chain was checked once. Amounts are u64 micro-units;
 * `paymentHash` and `receiptHash` are SHA-256 of the payloads, ids are 16 bytes.
 */
export type VerifiedReceipt = LogPlace & {
  readonly kind: 'receipt';
  /** Absent: it counts into no acknowledgement. */
  readonly row?: LogRow;
  readonly level: RecordLevel;
  readonly paymentHash: Uint8Array;
  readonly receiptHash: Uint8Array;
  readonly line: Uint8Array;
  readonly counter: number;
  readonly amountMicro: bigint;
  /** Stream close: what was used of the reservation. Absent = the whole amount. */
  readonly chargedMicro?: bigint;
  /** The line's gross total after this Payment, as the device signed it. */
  readonly totalMicro: bigint;
  /** What the device says was given back so far. */
  readonly releasedMicro: bigint;
  readonly approver: Uint8Array;
  /** The approver's row number of this Receipt. */
  readonly sequence: number;
  /** Its first cosignature came after the allowance's longest hand-in delay. */
  readonly isHandedInLate?: boolean;
  /** The issuer has closed the approver below this sequence: not paid without somebody's look. */
  readonly isAfterClosing?: boolean;
  /** A status list had the payer's credential or binding revoked before: not paid without somebody's look. */
  readonly isAfterRevocation?: boolean;
  /** Who answers for a contradiction of this line, by its allowance's loss rule; absent: the party. */
  readonly lossBearer?: 'party' | 'issuer';
  /** Who runs the approver, as its mandate says; absent in direct mode, where the merchant's own device approves. */
  readonly operator?: string;
  readonly payee: Uint8Array;
  /** Whose money goes where. A receipt is always a debit. */
  readonly key: Omit<AggregateKey, 'sign'>;
  /** Approver time where its quality suffices, bounded by the first cosignature; else that cosignature, flagged. */
  readonly businessTimeS: number;
  readonly isTimeFlagged: boolean;
};

/** A final refusal: the payer is not charged for this Payment. It lowers nothing that was accepted. */
export type VerifiedVoid = LogPlace & {
  readonly kind: 'void';
  readonly row?: LogRow;
  readonly paymentHash: Uint8Array;
  /** SHA-256 of the answer's payload, which here is a final Refusal. */
  readonly receiptHash: Uint8Array;
  readonly line: Uint8Array;
  readonly counter: number;
  readonly amountMicro: bigint;
  /** As of {@link VerifiedReceipt}. */
  readonly operator?: string;
};

export type VerifiedItem = VerifiedReceipt | VerifiedVoid | VerifiedCredit | VerifiedClose;

/** A verified record whose party belongs to another part of the clearing: its row is here, its money is booked there. */
export type ElsewhereItem = LogPlace & { readonly kind: 'elsewhere'; readonly row?: LogRow };

/** A record of a log that could not be opened or verified: noted with its place, booked nowhere. */
export type RejectedItem = LogPlace & {
  readonly kind: 'rejected';
  readonly code: string;
  readonly detail: string;
};

/** What the order rule needs to know of a Payment on a line. */
export type PaymentOnLine = {
  readonly paymentHash: Uint8Array;
  readonly counter: number;
  readonly amountMicro: bigint;
  readonly totalMicro: bigint;
};

/** Two signed Payments that no honest device signs both (DESIGN §4). */
export type ConflictRule = 'SAME_COUNTER' | 'BROKEN_TOTAL';
type ConflictProof = { readonly rule: ConflictRule; readonly other: PaymentOnLine };

/**
 * What the store knows that bears on one receipt. `below` and `above` are the nearest Payments on the line by
 * counter that are not themselves in conflict: their totals rise, so the nearest ones decide.
 */
export type ReceiptFacts = {
  readonly stored?: {
    readonly receiptHash: Uint8Array;
    readonly chargeMicro: bigint;
    readonly isAwaitingL2: boolean;
    /** Withheld since the log it came by forked below it, and now in another log. */
    readonly isForkedElsewhere?: boolean;
  };
  readonly isVoided: boolean;
  /** Its line ended so long ago that its receipts were deleted: this may be one of them. */
  readonly isLineClosed?: boolean;
  readonly sameCounter?: PaymentOnLine;
  readonly below?: PaymentOnLine;
  readonly above?: PaymentOnLine;
  /** Everything paid before this moment belongs to windows of the programme that are closed. */
  readonly closedThroughS: number;
};

/** Why a verified record cannot be booked at all; it is listed, and holds up nothing else. */
type IngestRefusal = 'CHARGED_ABOVE_AMOUNT' | 'TOTAL_BELOW_AMOUNT' | 'LINE_CLOSED';

/**
 * Why value is held back: a Void exists as well, so the approver's operator bears it (DESIGN §4); or the approver was
 * closed at a lower sequence, and somebody has to look at what its key signed afterwards; or the payer was revoked before.
 */
type WithheldReason = 'RECEIPT_AND_VOID' | 'APPROVER_CLOSED' | 'PAYER_REVOKED';

/** What becomes of a receipt. `lane` says on which lines it is presented. */
export type Placement =
  | { readonly bucket: 'awaitingL2' }
  | { readonly bucket: 'withheld'; readonly reason: WithheldReason }
  | { readonly bucket: Bucket; readonly lane: Lane; readonly proof?: ConflictProof };

export type ReceiptDecision =
  | { readonly kind: 'first'; readonly placement: Placement }
  | { readonly kind: 'final'; readonly placement: Placement }
  | { readonly kind: 'duplicate'; readonly isSecondReceipt: boolean }
  | { readonly kind: 'refused'; readonly code: IngestRefusal };

/** What a receipt charges, in micro-units. */
export const chargeOf = (receipt: Pick<VerifiedReceipt, 'amountMicro' | 'chargedMicro'>): bigint =>
  receipt.chargedMicro ?? receipt.amountMicro;

/** The proof that two Payments of one line contradict each other; order is by counter, never by arrival. */
export const conflictBetween = (a: PaymentOnLine, b: PaymentOnLine): ConflictRule | undefined => {
  if (a.counter === b.counter) return 'SAME_COUNTER';
  const [earlier, later] = a.counter < b.counter ? [a, b] : [b, a];
  return later.totalMicro - later.amountMicro < earlier.totalMicro ? 'BROKEN_TOTAL' : undefined;
};

const proofAgainst = (receipt: VerifiedReceipt, facts: ReceiptFacts): ConflictProof | undefined => {
  for (const other of [facts.sameCounter, facts.below, facts.above]) {
    const rule = other && conflictBetween(receipt, other);
    if (rule) return { rule, other };
  }
  return undefined;
};

/**
 * Where a final receipt goes. In conflict the party is charged all the same and the merchant paid, on a line of its
 * own with the proof in the evidence; after its window closed or its hand-in delay passed, on a late line; else with
 * the others.
 */
const placementOf = (receipt: VerifiedReceipt, facts: ReceiptFacts): Placement => {
  if (facts.isVoided) return { bucket: 'withheld', reason: 'RECEIPT_AND_VOID' };
  if (receipt.isAfterClosing) return { bucket: 'withheld', reason: 'APPROVER_CLOSED' };
  if (receipt.isAfterRevocation) return { bucket: 'withheld', reason: 'PAYER_REVOKED' };
  const proof = proofAgainst(receipt, facts);
  if (proof) return { bucket: 'conflict', lane: 'conflict', proof };
  const isLate = receipt.isHandedInLate === true || receipt.businessTimeS < facts.closedThroughS;
  if (isLate) return { bucket: 'late', lane: 'late' };
  return { bucket: 'carried', lane: 'normal' };
};

/**
 * Decides on one verified receipt. Two Receipts for one Payment count once, whoever signed them and whatever log
 * they came through; a Payment that was seen at L1, or only in a log that forked below it, is booked for settlement
 * when it is seen at L2 elsewhere.
 */
export const decideReceipt = (receipt: VerifiedReceipt, facts: ReceiptFacts): ReceiptDecision => {
  if (chargeOf(receipt) > receipt.amountMicro) {
    return { kind: 'refused', code: 'CHARGED_ABOVE_AMOUNT' };
  }
  if (receipt.totalMicro < receipt.amountMicro) {
    return { kind: 'refused', code: 'TOTAL_BELOW_AMOUNT' };
  }
  if (facts.isLineClosed === true) return { kind: 'refused', code: 'LINE_CLOSED' };
  const { stored } = facts;
  // A second Receipt that charges otherwise cannot prove what was booked by the first: it is kept beside it.
  const provesSame = stored?.chargeMicro === chargeOf(receipt);
  const waits = provesSame && (stored.isAwaitingL2 || stored.isForkedElsewhere === true);
  if (stored && !(waits && receipt.level === 'L2')) {
    const isSecondReceipt = !stored.receiptHash.every(
      (byte, at) => byte === receipt.receiptHash[at],
    );
    return { kind: 'duplicate', isSecondReceipt };
  }
  if (stored) return { kind: 'final', placement: placementOf(receipt, facts) };
  return {
    kind: 'first',
    placement: receipt.level === 'L2' ? placementOf(receipt, facts) : { bucket: 'awaitingL2' },
  };
};
