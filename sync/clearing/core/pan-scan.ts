import { isLuhnValid } from './arn.ts';

/** Something that reads as a card number. `offset` counts bytes from the start of the file. */
export type PanHit = {
  readonly offset: number;
  readonly digits: number;
  readonly charset: 'ASCII' | 'EBCDIC';
};

/** ISO/IEC 7812-1: card numbers as they are issued. */
const PAN_MIN = 13;
const PAN_MAX = 19;
/** Two digits of length before the number, as DE2 of ISO 8583 has them. */
const LENGTH_DIGITS = 2;
/** Ids and hashes are hex strings of at least so many characters; the digits in them are no number of anything. */
const HEX_ID_MIN = 24;

// 0 is not issued for cards; 1 only by airlines with 15 digits, and milliseconds of our time begin with 1.
const ISSUED = /^(?:[2-9]\d{12,18}|1\d{14})$/;

const isPan = (digits: string): boolean => ISSUED.test(digits) && isLuhnValid(digits);

/**
 * Runs of one character set. A run is taken as a whole, so the 23 digits of an ARN (DE31, the map beside a file)
 * are never a hit; in a longer run only a number behind its own length, where DE2 would stand, is.
 */
class Runs {
  readonly #charset: PanHit['charset'];
  readonly #zero: number;
  #start = 0;
  #count = 0;
  #digits = '';
  #hexLength = 0;
  #hasLetter = false;
  #held: PanHit[] = [];

  constructor(charset: PanHit['charset'], zero: number) {
    this.#charset = charset;
    this.#zero = zero;
  }

  take(byte: number, offset: number, hits: PanHit[]): void {
    const digit = byte - this.#zero;
    if (digit >= 0 && digit <= 9) {
      if (this.#count === 0) this.#start = offset;
      if (this.#count < PAN_MAX + LENGTH_DIGITS) this.#digits += String(digit);
      this.#count++;
      this.#hexLength++;
      return;
    }
    if (this.#count > 0) this.#endRun();
    const lower = byte | 0x20;
    const isHex = this.#charset === 'ASCII' && lower >= 0x61 && lower <= 0x66;
    if (isHex) {
      this.#hexLength++;
      this.#hasLetter = true;
    } else if (this.#hexLength > 0) this.#endText(hits);
  }

  end(hits: PanHit[]): void {
    this.#endRun();
    this.#endText(hits);
  }

  #endRun(): void {
    const length = Number(this.#digits.slice(0, LENGTH_DIGITS));
    const behind = this.#digits.slice(LENGTH_DIGITS, LENGTH_DIGITS + length);
    const charset = this.#charset;
    if (this.#count <= PAN_MAX && this.#count >= PAN_MIN && isPan(this.#digits)) {
      this.#held.push({ offset: this.#start, digits: this.#count, charset });
    } else if (behind.length === length && isPan(behind)) {
      this.#held.push({ offset: this.#start + LENGTH_DIGITS, digits: length, charset });
    }
    this.#count = 0;
    this.#digits = '';
    // A text this long is an id whatever follows: nothing in it is held any longer.
    if (this.#isId) this.#held = [];
  }

  /** Letters are part of it: a long run of digits alone is judged by the rules above. */
  get #isId(): boolean {
    return this.#hexLength >= HEX_ID_MIN && this.#hasLetter;
  }

  #endText(hits: PanHit[]): void {
    if (!this.#isId) hits.push(...this.#held);
    this.#held = [];
    this.#hexLength = 0;
    this.#hasLetter = false;
  }
}

/** Looks for card numbers in bytes of any kind, chunk by chunk, in memory that does not grow. */
export class PanScanner {
  readonly #runs: readonly Runs[] = [new Runs('ASCII', 0x30), new Runs('EBCDIC', 0xf0)];
  #offset = 0;

  /** The hits that are certain by the end of this chunk. */
  push(chunk: Uint8Array): PanHit[] {
    const hits: PanHit[] = [];
    for (const byte of chunk) {
      for (const runs of this.#runs) runs.take(byte, this.#offset, hits);
      this.#offset++;
    }
    return hits;
  }

  /** The rest, at the end of the file. */
  end(): PanHit[] {
    const hits: PanHit[] = [];
    for (const runs of this.#runs) runs.end(hits);
    return hits;
  }
}
