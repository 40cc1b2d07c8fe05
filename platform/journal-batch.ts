import { hash } from 'node:crypto';
import { KiriError } from '../protocol/kiri-error.ts';
import {
  BLOCK_HEADER_BYTES,
  HEAD_BYTES,
  ID_BYTES,
  MAX_BODY_BYTES,
  MAX_RECORD_BYTES,
  putBlockHeader,
  putRecord,
  RECORD_OVERHEAD_BYTES,
  type Chain,
} from './core/journal-format.ts';

/** In a batch buffer journal id and previous head stand before the block: one contiguous hash; the write starts behind. */
export const BLOCK_AT: number = ID_BYTES + HEAD_BYTES;
export const BODY_AT: number = BLOCK_AT + BLOCK_HEADER_BYTES;
const FIRST_BUFFER_BYTES = 8 * 1024;

/** One group commit: it gathers records, then is sealed and written. Reused; a journal has two. */
export interface Batch {
  bytes: Uint8Array;
  used: number;
  lastIndex: number;
  promise: Promise<number> | undefined;
  resolve: (index: number) => void;
  reject: (error: KiriError) => void;
}

/**
 * Copies a record into the batch.
 * @throws KiriError RECORD_TOO_LARGE, JOURNAL_BUSY
 */
export function gather(batch: Batch, record: Uint8Array): void {
  if (record.length > MAX_RECORD_BYTES) {
    throw new KiriError(
      'RECORD_TOO_LARGE',
      `a record of ${record.length} bytes is over the limit of ${MAX_RECORD_BYTES}`,
    );
  }
  const end = batch.used + RECORD_OVERHEAD_BYTES + record.length;
  if (end + HEAD_BYTES > batch.bytes.length) grow(batch, end + HEAD_BYTES);
  batch.used = putRecord(batch.bytes, batch.used, record);
}

export function newBatch(): Batch {
  return {
    bytes: new Uint8Array(FIRST_BUFFER_BYTES),
    used: BODY_AT,
    lastIndex: -1,
    promise: undefined,
    resolve: () => {},
    reject: () => {},
  };
}

/** Doubles a batch's buffer up to the limit of one block. */
function grow(batch: Batch, needed: number): void {
  if (needed - BODY_AT - HEAD_BYTES > MAX_BODY_BYTES) {
    throw new KiriError('JOURNAL_BUSY', `more than ${MAX_BODY_BYTES} bytes wait for the disk`);
  }
  const limit = BODY_AT + MAX_BODY_BYTES + HEAD_BYTES;
  let size = batch.bytes.length;
  while (size < needed) size = Math.min(size * 2, limit);
  const bytes = new Uint8Array(size);
  bytes.set(batch.bytes.subarray(0, batch.used));
  batch.bytes = bytes;
}

/** Completes a block whose body ends at `bodyEnd`: header, and the chain head behind the body. */
export function seal(bytes: Uint8Array, bodyEnd: number, chain: Chain): void {
  bytes.set(chain.id, 0);
  bytes.set(chain.head, ID_BYTES);
  putBlockHeader(bytes, BLOCK_AT, bodyEnd - BODY_AT);
  bytes.set(hash('sha256', bytes.subarray(0, bodyEnd), 'buffer'), bodyEnd);
}
