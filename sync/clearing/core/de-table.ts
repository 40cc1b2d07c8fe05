/**
 * What a data element may hold. `n` digits; `an` upper-case letters, digits and spaces; `ans` any character the
 * profile's text rule allows; `amount` an unsigned number of minor units, a BigInt in memory; `location` is `ans` with
 * the profile's delimiter; `pds` sub-elements.
 */
type FieldContent = 'n' | 'an' | 'ans' | 'amount' | 'location' | 'pds';

/** One row of the field table: `length` is exact for `fixed` and the maximum for `ll` and `lll`. */
export type FieldSpec = {
  readonly form: 'fixed' | 'll' | 'lll';
  readonly length: number;
  readonly content: FieldContent;
  readonly name: string;
};

const fixed = (length: number, content: FieldContent, name: string): FieldSpec => ({
  form: 'fixed',
  length,
  content,
  name,
});
const ll = (length: number, content: FieldContent, name: string): FieldSpec => ({
  form: 'll',
  length,
  content,
  name,
});
const lll = (length: number, content: FieldContent, name: string): FieldSpec => ({
  form: 'lll',
  length,
  content,
  name,
});

/**
 * The data elements of an IPM-style ISO 8583:1993 clearing message. An element that is not here is refused by
 * name, on writing and on reading: a reader that guesses a length misreads everything after it.
 */
export const DE_TABLE: ReadonlyMap<number, FieldSpec> = new Map<number, FieldSpec>([
  [2, ll(19, 'n', 'primary account number')],
  [3, fixed(6, 'n', 'processing code')],
  [4, fixed(12, 'amount', 'amount, transaction')],
  [5, fixed(12, 'amount', 'amount, reconciliation')],
  [6, fixed(12, 'amount', 'amount, cardholder billing')],
  [9, fixed(8, 'n', 'conversion rate, reconciliation')],
  [10, fixed(8, 'n', 'conversion rate, cardholder billing')],
  [12, fixed(12, 'n', 'date and time, local transaction')],
  [14, fixed(4, 'n', 'expiration date')],
  [22, fixed(12, 'an', 'point of service data code')],
  [23, fixed(3, 'n', 'card sequence number')],
  [24, fixed(3, 'n', 'function code')],
  [25, fixed(4, 'n', 'message reason code')],
  [26, fixed(4, 'n', 'card acceptor business code')],
  [30, fixed(24, 'n', 'amounts, original')],
  [31, ll(23, 'n', 'acquirer reference data')],
  [32, ll(11, 'n', 'acquiring institution id')],
  [33, ll(11, 'n', 'forwarding institution id')],
  [37, fixed(12, 'an', 'retrieval reference number')],
  [38, fixed(6, 'ans', 'approval code')],
  [40, fixed(3, 'n', 'service code')],
  [41, fixed(8, 'ans', 'card acceptor terminal id')],
  [42, fixed(15, 'ans', 'card acceptor id')],
  [43, ll(99, 'location', 'card acceptor name and location')],
  [48, lll(999, 'pds', 'additional data')],
  [49, fixed(3, 'n', 'currency code, transaction')],
  [50, fixed(3, 'n', 'currency code, reconciliation')],
  [51, fixed(3, 'n', 'currency code, cardholder billing')],
  [54, lll(120, 'ans', 'amounts, additional')],
  [62, lll(999, 'pds', 'additional data 2')],
  [63, lll(16, 'ans', 'transaction life cycle id')],
  [71, fixed(8, 'n', 'message number')],
  [72, lll(999, 'ans', 'data record')],
  [73, fixed(6, 'n', 'date, action')],
  [93, ll(11, 'n', 'transaction destination institution id')],
  [94, ll(11, 'n', 'transaction originator institution id')],
  [95, ll(10, 'ans', 'card issuer reference data')],
  [100, ll(11, 'n', 'receiving institution id')],
  [105, lll(999, 'ans', 'multi-use transaction id')],
  [111, lll(12, 'ans', 'amount, currency conversion assessment')],
  [123, lll(999, 'pds', 'additional data 3')],
  [124, lll(999, 'pds', 'additional data 4')],
  [125, lll(999, 'pds', 'additional data 5')],
  [127, lll(999, 'ans', 'network data')],
]);

/** The elements that carry PDS, in the order in which they fill up. */
export const PDS_CARRIERS: readonly number[] = [48, 62, 123, 124, 125];

/** The message types this codec writes and reads: presentment, chargeback, administrative and fee collection. */
export const MESSAGE_TYPES: ReadonlySet<string> = new Set(['1240', '1442', '1644', '1740']);
