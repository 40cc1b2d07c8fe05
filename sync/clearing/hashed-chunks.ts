import { createHash } from 'node:crypto';

/** Bytes in one write at least: a record by itself would cost a call of the system. */
const CHUNK_BYTES = 65_536;

/** Gathers pieces of a file into chunks that are worth a write, and hashes them on the way. */
export class HashedChunks {
  readonly #hash = createHash('sha256');
  #pieces: Uint8Array[] = [];
  #waiting = 0;
  /** Of the whole file, once {@link end} was called. */
  bytes = 0;

  /** A chunk as soon as one is full; a piece that is one by itself goes through as it is. */
  add(piece: Uint8Array): Uint8Array | undefined {
    this.#pieces.push(piece);
    this.#waiting += piece.length;
    return this.#waiting < CHUNK_BYTES ? undefined : this.end();
  }

  /** What is left; may be empty. */
  end(): Uint8Array {
    const [first] = this.#pieces;
    const isWhole = first !== undefined && this.#pieces.length === 1;
    const chunk = isWhole ? first : Buffer.concat(this.#pieces);
    this.#hash.update(chunk);
    this.bytes += chunk.length;
    this.#pieces = [];
    this.#waiting = 0;
    return chunk;
  }

  /** Of everything that was handed out; once. */
  sha256(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }
}
