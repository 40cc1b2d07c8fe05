/**
 * What a thread found in a batch, on its way to the thread that books: receipts as rows of fixed length in one block of
 * memory that is handed over and not copied; what many of them share (lines, approvers, payees, keys) once, ever.
 */
import type { VerifiedReceipt } from './core/ingest.ts';
import type { CheckedItem } from './record-check.ts';

/** Hashes 2 × 32, four amounts, four numbers, six references: 19 words of 8 bytes. */
const ROW_WORDS = 19;
const ROW_BYTES: number = ROW_WORDS * 8;
const HASH_BYTES = 32;
const AMOUNTS_AT = 8;
const NUMBERS_AT = 12;
/** In words of 4 bytes. */
const REFERENCES_AT = 32;

/** What receipts share, kept at most on either side; then both begin anew. */
const SHARED_MAX = 65_536;
/** A reference to nothing. */
const NONE = 0xffff_ffff;

const HAS_CHARGE = 1;
const HAS_ROW = 2;
const IS_OWN_LOG = 4;
const IS_LATE = 8;
const IS_AFTER_CLOSING = 16;
const IS_AFTER_REVOCATION = 32;
const IS_TIME_FLAGGED = 64;
const IS_FINAL = 128;
const ISSUER_BEARS = 256;
const HAS_BEARER = 512;

type Shared = string | Uint8Array | VerifiedReceipt['key'];

export type PackedItems = {
  readonly origin: string;
  readonly rows: ArrayBuffer;
  /** Shared by receipts from here on, in the order of their references. */
  readonly shared: readonly Shared[];
  /** What was shared before counts no more. */
  readonly isReset: boolean;
  /** Everything that is no receipt, with its place among all. */
  readonly others: readonly (readonly [at: number, item: CheckedItem])[];
};

const flag = (holds: boolean | undefined, bit: number): number => (holds === true ? bit : 0);

const flagsOf = (item: VerifiedReceipt): number =>
  flag(item.chargedMicro !== undefined, HAS_CHARGE) |
  flag(item.row !== undefined, HAS_ROW) |
  flag(item.row?.isOwnLog, IS_OWN_LOG) |
  flag(item.isHandedInLate, IS_LATE) |
  flag(item.isAfterClosing, IS_AFTER_CLOSING) |
  flag(item.isAfterRevocation, IS_AFTER_REVOCATION) |
  flag(item.isTimeFlagged, IS_TIME_FLAGGED) |
  flag(item.level === 'L2', IS_FINAL) |
  flag(item.lossBearer === 'issuer', ISSUER_BEARS) |
  flag(item.lossBearer !== undefined, HAS_BEARER);

/** A receipt whose row says the same as its fields do, of the batch's own log. */
const fitsRow = (item: CheckedItem, origin: string): item is VerifiedReceipt =>
  item.kind === 'receipt' &&
  item.origin === origin &&
  (item.row === undefined ||
    (item.row.approver === item.approver && item.row.sequence === item.sequence));

/** The views of one block. */
const viewsOf = (
  rows: ArrayBuffer,
): {
  readonly bytes: Uint8Array;
  readonly amounts: BigUint64Array;
  readonly numbers: Float64Array;
  readonly references: Uint32Array;
} => ({
  bytes: new Uint8Array(rows),
  amounts: new BigUint64Array(rows),
  numbers: new Float64Array(rows),
  references: new Uint32Array(rows),
});

/** One thread's side. */
export class ItemPacker {
  readonly #references = new Map<Shared, number>();

  pack(origin: string, items: readonly CheckedItem[]): PackedItems {
    const isReset = this.#references.size > SHARED_MAX;
    if (isReset) this.#references.clear();
    const shared: Shared[] = [];
    const referTo = (one: Shared | undefined): number => {
      if (one === undefined) return NONE;
      const known = this.#references.get(one);
      if (known !== undefined) return known;
      const reference = this.#references.size;
      this.#references.set(one, reference);
      shared.push(one);
      return reference;
    };
    const others: [number, CheckedItem][] = [];
    const receipts: VerifiedReceipt[] = [];
    for (const [at, item] of items.entries()) {
      if (fitsRow(item, origin)) receipts.push(item);
      else others.push([at, item]);
    }
    const rows = new ArrayBuffer(receipts.length * ROW_BYTES);
    const { bytes, amounts, numbers, references } = viewsOf(rows);
    for (const [row, item] of receipts.entries()) {
      const at = row * ROW_WORDS;
      bytes.set(item.paymentHash, at * 8);
      bytes.set(item.receiptHash, at * 8 + HASH_BYTES);
      amounts[at + AMOUNTS_AT] = item.amountMicro;
      amounts[at + AMOUNTS_AT + 1] = item.totalMicro;
      amounts[at + AMOUNTS_AT + 2] = item.releasedMicro;
      amounts[at + AMOUNTS_AT + 3] = item.chargedMicro ?? 0n;
      numbers[at + NUMBERS_AT] = item.leafIndex;
      numbers[at + NUMBERS_AT + 1] = item.businessTimeS;
      numbers[at + NUMBERS_AT + 2] = item.counter;
      numbers[at + NUMBERS_AT + 3] = item.sequence;
      const first = at * 2 + REFERENCES_AT;
      references[first] = referTo(item.line);
      references[first + 1] = referTo(item.approver);
      references[first + 2] = referTo(item.payee);
      references[first + 3] = referTo(item.key);
      references[first + 4] = referTo(item.operator);
      references[first + 5] = flagsOf(item);
    }
    return { origin, rows, shared, isReset, others };
  }
}

/** The other side of one thread; takes its answers in the order in which it gave them. */
export class ItemUnpacker {
  #shared: Shared[] = [];

  unpack({ origin, rows, shared, isReset, others }: PackedItems): CheckedItem[] {
    if (isReset) this.#shared = [];
    for (const one of shared) this.#shared.push(one);
    const views = viewsOf(rows);
    const count = rows.byteLength / ROW_BYTES;
    const items: CheckedItem[] = [];
    const waiting = others.values();
    let next = waiting.next();
    for (let row = 0; row < count || !next.done;) {
      if (!next.done && next.value[0] === items.length) {
        items.push(next.value[1]);
        next = waiting.next();
      } else {
        items.push(this.#receipt(views, row, origin));
        row += 1;
      }
    }
    return items;
  }

  #receipt(
    { bytes, amounts, numbers, references }: ReturnType<typeof viewsOf>,
    row: number,
    origin: string,
  ): VerifiedReceipt {
    const at = row * ROW_WORDS;
    const first = at * 2 + REFERENCES_AT;
    const shared = (place: number): Shared | undefined =>
      this.#shared[references[first + place] ?? NONE];
    const flags = references[first + 5] ?? 0;
    const approver = shared(1) as Uint8Array;
    const operator = shared(4) as string | undefined;
    const sequence = numbers[at + NUMBERS_AT + 3]!;
    const has = (bit: number): boolean => (flags & bit) !== 0;
    return {
      kind: 'receipt',
      level: has(IS_FINAL) ? 'L2' : 'L1',
      origin,
      leafIndex: numbers[at + NUMBERS_AT]!,
      paymentHash: bytes.subarray(at * 8, at * 8 + HASH_BYTES),
      receiptHash: bytes.subarray(at * 8 + HASH_BYTES, at * 8 + 2 * HASH_BYTES),
      line: shared(0) as Uint8Array,
      counter: numbers[at + NUMBERS_AT + 2]!,
      amountMicro: amounts[at + AMOUNTS_AT]!,
      ...(has(HAS_CHARGE) ? { chargedMicro: amounts[at + AMOUNTS_AT + 3]! } : {}),
      totalMicro: amounts[at + AMOUNTS_AT + 1]!,
      releasedMicro: amounts[at + AMOUNTS_AT + 2]!,
      approver,
      sequence,
      ...(has(HAS_ROW) ? { row: { approver, sequence, isOwnLog: has(IS_OWN_LOG) } } : {}),
      ...(has(IS_LATE) ? { isHandedInLate: true } : {}),
      ...(has(IS_AFTER_CLOSING) ? { isAfterClosing: true } : {}),
      ...(has(IS_AFTER_REVOCATION) ? { isAfterRevocation: true } : {}),
      ...(has(HAS_BEARER) ? { lossBearer: has(ISSUER_BEARS) ? 'issuer' : 'party' } : {}),
      ...(operator === undefined ? {} : { operator }),
      payee: shared(2) as Uint8Array,
      key: shared(3) as VerifiedReceipt['key'],
      businessTimeS: numbers[at + NUMBERS_AT + 1]!,
      isTimeFlagged: has(IS_TIME_FLAGGED),
    };
  }
}
