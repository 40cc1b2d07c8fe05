import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';

/** `1014`: 1012 bytes of data and two pad bytes per block; `none`: the record stream as it is. */
export type Blocking = '1014' | 'none';

/** One record of the stream; `offset` counts in the unblocked stream, see {@link fileOffset}. */
export type VbsRecord = { readonly offset: number; readonly bytes: Uint8Array };

const LENGTH_PREFIX = 4;
const BLOCK_DATA = 1012;
const BLOCK_LENGTH = 1014;
const PAD = 0x40;

/** Longest record: what readers of the field reserve. Longer ones are refused on both sides. */
const RECORD_LENGTH_MAX = 6000;

/** The bytes of one record in the stream: 4-byte big-endian length, then the record. */
export const frameRecord = (record: Uint8Array): Coded<Uint8Array> => {
  if (record.length === 0) return refused('WRONG_LENGTH', 0, 'record', 'empty');
  if (record.length > RECORD_LENGTH_MAX) {
    return refused('TOO_LONG', 0, 'record', `${record.length} bytes, at most ${RECORD_LENGTH_MAX}`);
  }
  const framed = new Uint8Array(LENGTH_PREFIX + record.length);
  new DataView(framed.buffer).setUint32(0, record.length);
  framed.set(record, LENGTH_PREFIX);
  return coded(framed);
};

/** Position in the file of a position in the unblocked stream. */
export const fileOffset = (at: number, blocking: Blocking): number =>
  blocking === 'none' ? at : Math.floor(at / BLOCK_DATA) * BLOCK_LENGTH + (at % BLOCK_DATA);

/** A zero length ends the stream. */
export const VBS_TERMINATOR: Uint8Array = new Uint8Array(LENGTH_PREFIX);

/**
 * Cuts a stream of chunks into blocks without holding more than one block. With `none` the chunks pass through.
 * The last block is filled with pad bytes; a stream that ends on a block boundary gets no extra block.
 */
export function* blocked(chunks: Iterable<Uint8Array>, blocking: Blocking): Generator<Uint8Array> {
  if (blocking === 'none') {
    yield* chunks;
    return;
  }
  let block = new Uint8Array(BLOCK_LENGTH).fill(PAD);
  let filled = 0;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + BLOCK_DATA - filled);
      block.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === BLOCK_DATA) {
        yield block;
        block = new Uint8Array(BLOCK_LENGTH).fill(PAD);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield block;
}

/** Removes 1014 blocking: whole blocks only, and the two pad bytes of each must be pad bytes. */
const unblock = (bytes: Uint8Array): Coded<Uint8Array> => {
  if (bytes.length === 0 || bytes.length % BLOCK_LENGTH !== 0) {
    const detail = `${bytes.length} bytes is no whole number of ${BLOCK_LENGTH}-byte blocks`;
    return refused('BAD_FRAMING', bytes.length, 'blocking', detail);
  }
  const blocks = bytes.length / BLOCK_LENGTH;
  const data = new Uint8Array(blocks * BLOCK_DATA);
  for (let index = 0; index < blocks; index++) {
    const start = index * BLOCK_LENGTH;
    data.set(bytes.subarray(start, start + BLOCK_DATA), index * BLOCK_DATA);
    for (let at = start + BLOCK_DATA; at < start + BLOCK_LENGTH; at++) {
      if (bytes[at] !== PAD) return refused('BAD_PADDING', at, 'blocking', 'block pad is not 0x40');
    }
  }
  return coded(data);
};

/**
 * After the terminator nothing may follow in an unblocked stream. A blocked one is padded to the end of the block;
 * one further block of padding is accepted when the stream ends on the boundary, as some writers add it.
 */
const checkTail = (data: Uint8Array, end: number, blocking: Blocking): Coded<void> => {
  const tail = data.length - end;
  if (blocking === 'none') {
    return tail === 0
      ? coded(undefined)
      : refused('TRAILING_DATA', end, 'stream', `${tail} bytes after the terminator`);
  }
  if (tail > BLOCK_DATA || (tail === BLOCK_DATA && end % BLOCK_DATA !== 0)) {
    return refused(
      'TRAILING_DATA',
      fileOffset(end, blocking),
      'stream',
      'blocks after the terminator',
    );
  }
  for (let at = end; at < data.length; at++) {
    if (data[at] !== PAD)
      return refused('BAD_PADDING', fileOffset(at, blocking), 'stream', 'pad is not 0x40');
  }
  return coded(undefined);
};

/** Reads the record stream of a whole file. Missing terminator, bad padding and over-long records are refused. */
export const decodeVbs = (file: Uint8Array, blocking: Blocking): Coded<VbsRecord[]> => {
  const unblocked: Coded<Uint8Array> = blocking === '1014' ? unblock(file) : coded(file);
  if (!unblocked.ok) return unblocked;
  const data = unblocked.value;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const records: VbsRecord[] = [];
  let at = 0;
  while (at + LENGTH_PREFIX <= data.length) {
    const length = view.getUint32(at);
    if (length === 0) {
      const tail = checkTail(data, at + LENGTH_PREFIX, blocking);
      return tail.ok ? coded(records) : tail;
    }
    if (length > RECORD_LENGTH_MAX) {
      const hint =
        length >>> 16 === 0x4040 ? 'padding where a length should be' : `${length} bytes`;
      return refused('BAD_FRAMING', fileOffset(at, blocking), 'record', `record length: ${hint}`);
    }
    const start = at + LENGTH_PREFIX;
    if (start + length > data.length) {
      return refused('TRUNCATED', fileOffset(at, blocking), 'record', `${length} bytes announced`);
    }
    records.push({ offset: start, bytes: data.subarray(start, start + length) });
    at = start + length;
  }
  return refused(
    'MISSING_TERMINATOR',
    fileOffset(at, blocking),
    'stream',
    'ends without a zero length',
  );
};
