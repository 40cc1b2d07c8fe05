import { KiriError } from '../kiri-error.ts';
import { utf8Length, writeUtf8 } from './utf8.ts';

/** Bytes of the largest item that is encoded in one piece. */
const MAX_ENCODED_BYTES = 1_048_576;

const FIRST_BYTES = 1024;
/** A larger scratch buffer is given back after use. */
const KEPT_BYTES = 65_536;
/** Below this, a loop copies faster than TypedArray.set does. */
const LOOP_COPY_BYTES = 24;

const TWO_32 = 0x1_0000_0000;
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** Major types, in place (RFC 8949 §3.1). */
export const UNSIGNED = 0x00;
export const NEGATIVE = 0x20;
export const BYTES = 0x40;
export const TEXT = 0x60;
export const ARRAY = 0x80;
export const MAP = 0xa0;
export const TAG = 0xc0;
export const FALSE = 0xf4;
export const TRUE = 0xf5;
export const NULL = 0xf6;

/** A growing buffer that knows minimal heads and nothing of structure. */
export class ByteSink {
  private buffer: Uint8Array = new Uint8Array(FIRST_BYTES);
  private length = 0;

  /** Forgets what was written, also after an encoding that threw halfway. */
  reset(): void {
    this.length = 0;
    if (this.buffer.length > KEPT_BYTES) this.buffer = new Uint8Array(FIRST_BYTES);
  }

  /** A copy of what was written. */
  copy(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }

  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  /** The shortest head for `argument` (0 … 2⁵³ − 1). */
  head(major: number, argument: number): void {
    this.reserve(9);
    const buffer = this.buffer;
    let at = this.length;
    if (argument < 24) {
      buffer[at++] = major | argument;
    } else if (argument < 0x100) {
      buffer[at++] = major | 24;
      buffer[at++] = argument;
    } else if (argument < 0x1_0000) {
      buffer[at++] = major | 25;
      buffer[at++] = argument >>> 8;
      buffer[at++] = argument;
    } else if (argument < TWO_32) {
      buffer[at++] = major | 26;
      at = put32(buffer, at, argument);
    } else {
      buffer[at++] = major | 27;
      at = put32(buffer, at, Math.floor(argument / TWO_32));
      at = put32(buffer, at, argument % TWO_32);
    }
    this.length = at;
  }

  /** An integer in −2⁶⁴ … 2⁶⁴ − 1, exact; anything else is a caller's bug. */
  integer(value: number | bigint): void {
    if (typeof value === 'number') {
      if (!Number.isSafeInteger(value)) {
        throw new KiriError('CBOR_ENCODE', `${value} is not a safe integer`);
      }
      if (value >= 0) this.head(UNSIGNED, value);
      else this.head(NEGATIVE, -1 - value);
      return;
    }
    if (value >= 0n) this.bigHead(UNSIGNED, value);
    else this.bigHead(NEGATIVE, -1n - value);
  }

  /** A count or tag number from a caller: an integer 0 … 2⁵³ − 1. */
  count(major: number, argument: number): void {
    if (!Number.isSafeInteger(argument) || argument < 0) {
      throw new KiriError('CBOR_ENCODE', `${argument} is no count or tag`);
    }
    this.head(major, argument);
  }

  byteString(value: Uint8Array): void {
    this.head(BYTES, value.length);
    this.raw(value);
  }

  text(value: string): void {
    const size = utf8Length(value);
    if (size < 0) {
      throw new KiriError('CBOR_ENCODE', 'text with a lone surrogate or a byte order mark');
    }
    this.head(TEXT, size);
    this.reserve(size);
    writeUtf8(value, this.buffer, this.length);
    this.length += size;
  }

  raw(value: Uint8Array): void {
    const size = value.length;
    this.reserve(size);
    if (size <= LOOP_COPY_BYTES) {
      const buffer = this.buffer;
      const at = this.length;
      for (let i = 0; i < size; i += 1) buffer[at + i] = value[i]!;
    } else {
      this.buffer.set(value, this.length);
    }
    this.length += size;
  }

  private bigHead(major: number, argument: bigint): void {
    if (argument <= MAX_SAFE) {
      this.head(major, Number(argument));
      return;
    }
    if (argument > MAX_U64) throw new KiriError('CBOR_ENCODE', 'integer outside 64 bits');
    this.reserve(9);
    const buffer = this.buffer;
    buffer[this.length] = major | 27;
    const low = put32(buffer, this.length + 1, Number(argument >> 32n));
    this.length = put32(buffer, low, Number(argument & 0xffff_ffffn));
  }

  private reserve(size: number): void {
    const needed = this.length + size;
    if (needed > this.buffer.length) this.grow(needed);
  }

  private grow(needed: number): void {
    if (needed > MAX_ENCODED_BYTES) {
      throw new KiriError('CBOR_ENCODE', `more than ${MAX_ENCODED_BYTES} bytes`);
    }
    const larger = new Uint8Array(Math.max(needed, this.buffer.length * 2));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }
}

function put32(buffer: Uint8Array, at: number, value: number): number {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
  return at + 4;
}
