/** One entry of PDS0005: which element is wrong, how badly, and the profile's code for it. */
export type RejectError = {
  /** `D0031` is DE31, `P9501` is PDS 9501. */
  readonly element: string;
  /** 04 to know, 08 refuses the record, 12 refuses the file. */
  readonly severity: string;
  readonly code: string;
  /** Part of the element, `000` for the whole. */
  readonly subfield: string;
};

/** Lines and their sum in minor units. */
export type PositionTotal = { readonly count: number; readonly amountMinor: bigint };

/** 1644/699: nothing of the file was taken. */
type FileReject = {
  readonly kind: 'file-reject';
  /** PDS0280: the PDS0105 of our file. */
  readonly sourceFileId: string;
  readonly errors: readonly RejectError[];
};

/** 1644/691: one record was not taken. */
type MessageReject = {
  readonly kind: 'message-reject';
  readonly sourceFileId: string;
  /** PDS0138: DE71 of the record in our file, never that of its header. */
  readonly sourceRecordNumber: number;
  readonly arn?: string;
  readonly errors: readonly RejectError[];
};

/** 1644/685 (financial position) or 688 (settlement position): what was taken, in PDS0390 and PDS0391. */
export type Reconciliation = {
  readonly kind: 'reconciliation';
  readonly position: 'financial' | 'settlement';
  readonly sourceFileId: string;
  /** ISO 4217 numeric, three digits. */
  readonly currency: string;
  readonly debit: PositionTotal;
  readonly credit: PositionTotal;
};

/** 1442: 450 and 453 (partial) are first chargebacks, 451 and 454 (partial) arbitration. */
export type Chargeback = {
  readonly kind: 'chargeback';
  readonly arn: string;
  readonly cycle: 'first' | 'arbitration';
  readonly isPartial: boolean;
  /** DE4, never above the original. */
  readonly amountMinor: bigint;
  /** DE30: DE4 of the presentment. */
  readonly originalMinor: bigint;
  readonly currency: string;
  /** DE25, of the profile's list. */
  readonly reason: string;
  readonly fundingReference: string;
  /** DE72, for people. */
  readonly text?: string;
};

/** 1644/603: the issuer asks for the documents of a line. */
export type Retrieval = {
  readonly kind: 'retrieval';
  readonly arn: string;
  readonly reason: string;
  readonly text?: string;
};

/** 1740: a fee between issuer and clearing, or the return of one. */
export type FeeCollection = {
  readonly kind: 'fee';
  /** DE24, of the profile's list: `system` is a fee that a card system made, `return` gives one back in whole. */
  readonly use: FeeUse;
  /** DE3: `charged` to the clearing, or `paid` to it. A return goes the other way than its fee. */
  readonly direction: 'charged' | 'paid';
  readonly amountMinor: bigint;
  readonly currency: string;
  /** DE25, of the profile's list. */
  readonly reason: string;
  /** PDS 0137: 1 to 20 letters and digits, of one fee and its return, never of another. */
  readonly reference: string;
  /** DE73, YYMMDD: the day on which it fell due. */
  readonly date: string;
  /** DE31: the line that it is about, where it is about one. */
  readonly arn?: string;
  /** DE72, for people. */
  readonly text?: string;
};

/** What a 1740 does. */
export type FeeUse = 'collection' | 'return' | 'system';

/** One message of an issuer's file, before it has its place in it. */
export type InboundBody =
  FileReject | MessageReject | Reconciliation | Chargeback | Retrieval | FeeCollection;

/** One message of an issuer's file; `recordNumber` is its DE71. */
export type InboundMessage = InboundBody & { readonly recordNumber: number };
