import { ARRAY, BYTES, FALSE, MAP, NEGATIVE, TAG, TEXT, TRUE, UNSIGNED } from './sink.ts';
import { invalidUtf8At, readUtf8 } from './utf8.ts';

const EMPTY = new Uint8Array(0);
const TWO_32 = 0x1_0000_0000;

/**
 * Cursor over bytes that `checkCanonical` has passed, for decoders that need no Map. Failure is
 * sticky: a read that meets something else, or a value out of its bounds, gives an empty value and
 * so do all later ones, so a decoder reads straight through and asks `complete` once at the end.
 * Never throws and never reads outside the input, checked or not. Integers are numbers from
 * `uint` and `int` (exact, bounded) and bigints from `u64`.
 */
export class CborReader {
  private input: Uint8Array = EMPTY;
  private at = 0;
  private failed = false;
  private low = 0;
  private high = 0;

  start(input: Uint8Array): this {
    this.input = input;
    this.at = 0;
    this.failed = false;
    return this;
  }

  /** Whether every read fitted and nothing is left over. */
  get complete(): boolean {
    return !this.failed && this.at === this.input.length;
  }

  /** Pairs of the map that starts here; 0 on failure. */
  map(): number {
    return this.number(MAP, Number.MAX_SAFE_INTEGER);
  }

  /** Items, at most `max`, of the array that starts here; 0 on failure. */
  array(max: number = Number.MAX_SAFE_INTEGER): number {
    return this.number(ARRAY, max);
  }

  /** Steps over this tag. */
  tag(tag: number): void {
    if (this.number(TAG, Number.MAX_SAFE_INTEGER) !== tag) this.fail();
  }

  /** Steps over this integer key. */
  key(key: number): void {
    if (!this.hasKey(key)) this.fail();
  }

  /** Steps over this integer key if it is the next item; for optional fields. */
  hasKey(key: number): boolean {
    const before = this.at;
    const major = key < 0 ? NEGATIVE : UNSIGNED;
    if (this.failed || this.at >= this.input.length) return false;
    const found =
      (this.input[before]! & 0xe0) === major &&
      this.head(major) &&
      this.safe() === (key < 0 ? -1 - key : key);
    if (!found && !this.failed) this.at = before;
    return found;
  }

  /** Unsigned integer up to `max`, which is at most 2⁵³ − 1. */
  uint(max: number): number {
    return this.number(UNSIGNED, max);
  }

  /** Any integer that is exact as a number. */
  int(): number {
    if ((this.input[this.at]! & 0xe0) !== NEGATIVE) return this.uint(Number.MAX_SAFE_INTEGER);
    const argument = this.number(NEGATIVE, Number.MAX_SAFE_INTEGER - 1);
    return this.failed ? 0 : -1 - argument;
  }

  /** Unsigned 64-bit integer. */
  u64(): bigint {
    if (!this.head(UNSIGNED)) return 0n;
    if (this.high < 0x20_0000) return BigInt(this.high * TWO_32 + this.low);
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  /** Byte string of `min` … `max` bytes, as a VIEW on the input; copy what outlives the packet. */
  bytes(min: number, max: number = min): Uint8Array {
    const size = this.string(BYTES, max);
    if (size < min) this.fail();
    if (this.failed) return EMPTY;
    return this.input.subarray(this.at - size, this.at);
  }

  /** Text of at most `maxBytes` bytes of UTF-8. */
  text(maxBytes: number): string {
    const size = this.string(TEXT, maxBytes);
    const start = this.at - size;
    if (invalidUtf8At(this.input, start, this.at) >= 0) this.fail();
    return this.failed ? '' : readUtf8(this.input, start, this.at);
  }

  bool(): boolean {
    const byte = this.failed ? undefined : this.input[this.at];
    if (byte !== TRUE && byte !== FALSE) this.fail();
    else this.at += 1;
    return byte === TRUE;
  }

  /** Length of a string that is stepped over; 0 on failure. */
  private string(major: number, max: number): number {
    const size = this.number(major, max);
    if (size > this.input.length - this.at) this.fail();
    if (this.failed) return 0;
    this.at += size;
    return size;
  }

  private number(major: number, max: number): number {
    if (!this.head(major)) return 0;
    const value = this.safe();
    if (value <= max) return value;
    this.fail();
    return 0;
  }

  private safe(): number {
    return this.high * TWO_32 + this.low;
  }

  /** Reads one head into `high` and `low`. */
  private head(major: number): boolean {
    const { input, at } = this;
    const initial = at < input.length ? input[at]! : -1;
    const info = initial & 0x1f;
    const size = info < 24 ? 0 : 1 << (info - 24);
    if (this.failed || (initial & ~0x1f) !== major || info > 27 || at + size >= input.length) {
      this.fail();
      return false;
    }
    this.at = at + 1 + size;
    this.high = 0;
    if (size === 0) this.low = info;
    else if (size === 1) this.low = input[at + 1]!;
    else if (size === 2) this.low = (input[at + 1]! << 8) | input[at + 2]!;
    else if (size === 4) this.low = uint32(input, at + 1);
    else {
      this.high = uint32(input, at + 1);
      this.low = uint32(input, at + 5);
    }
    return true;
  }

  /** Makes this and all later reads fail: for a value that fits here and not where it was read. */
  fail(): void {
    this.failed = true;
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  const lower = (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return bytes[at]! * 0x100_0000 + lower;
}
