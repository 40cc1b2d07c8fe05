import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';

/** Lines kept to show when something went wrong. */
const KEPT = 400;

/** The history of one world: all of it in a digest, its end in words. */
export class TraceDigest {
  readonly #hash = sha256.create();
  readonly #last: string[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(line: string): void {
    this.#count += 1;
    this.#hash.update(utf8ToBytes(`${line}\n`));
    this.#last.push(line);
    if (this.#last.length >= 2 * KEPT) this.#last.splice(0, KEPT);
  }

  last(n: number): readonly string[] {
    return this.#last.slice(-n);
  }

  /** SHA-256 over every line so far, 64 hex digits. */
  digest(): string {
    return toHex(this.#hash.clone().digest());
  }
}
