import { concatBytes } from '../../../protocol/bytes.ts';
import { coded, inRecord, refused } from './fault.ts';
import type { CodecFault, Coded } from './fault.ts';

/** `1014`: 1012 bytes of data and two pad bytes per block; `none`: the record stream as it is. */
export type Blocking = '1014' | 'none';

/** One record of the stream; `offset` counts in the unblocked stream, see {@link fileOffset}. */
export type VbsRecord = { readonly offset: number; readonly bytes: Uint8Array };

const LENGTH_PREFIX = 4;
const BLOCK_DATA = 1012;
const BLOCK_LENGTH = 1014;
const PADS = BLOCK_LENGTH - BLOCK_DATA;
const PAD = 0x40;

/** Longest record: what readers of the field reserve. Longer ones are refused on both sides. */
const RECORD_LENGTH_MAX = 6000;

/** Position in the file of a position in the unblocked stream. */
export const fileOffset = (at: number, blocking: Blocking): number =>
  blocking === 'none' ? at : Math.floor(at / BLOCK_DATA) * BLOCK_LENGTH + (at % BLOCK_DATA);

/** Bytes of a chunk at least: what is worth a write. */
const CHUNK_BYTES = 262_144;
/** A block that no chunk fills. */
const UNBLOCKED = 2 ** 30;
/** More than the longest message that the field table allows, with its length and the pads of its blocks. */
const RECORD_ROOM = 16_384;

/** Where a record that is being written begins: its length goes in front of it. */
export const RECORD_AT: number = LENGTH_PREFIX;

/**
 * Frames records into a stream. A record is laid down in {@link bytes} from {@link RECORD_AT}, in room kept for it, and
 * {@link append} copies it with its length behind the others, two pad bytes wherever it crosses a block. Chunks are
 * handed out as they fill up and belong to whoever gets them.
 */
export class VbsWriter {
  readonly #emit: (chunk: Uint8Array) => void;
  readonly #chunkBytes: number;
  /** Bytes of data in a block: as good as endless where there are none. */
  readonly #blockData: number;
  /** Next byte of the stream. */
  #at = RECORD_ROOM;
  /** Where the data of the open block ends. */
  #blockEnd: number;
  #view: DataView;
  /** The record that is being written; another array after some {@link append}, with the same record in it. */
  bytes: Uint8Array;

  /** @param chunkBytes 1 hands out every record by itself */
  constructor(
    blocking: Blocking,
    emit: (chunk: Uint8Array) => void,
    chunkBytes: number = CHUNK_BYTES,
  ) {
    this.#emit = emit;
    this.#chunkBytes = chunkBytes;
    this.#blockData = blocking === '1014' ? BLOCK_DATA : UNBLOCKED;
    this.#blockEnd = this.#at + this.#blockData;
    this.bytes = new Uint8Array(RECORD_ROOM + chunkBytes + RECORD_ROOM);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Puts the first `length` bytes from {@link RECORD_AT} into the stream as a record, or says why they are none. */
  append(length: number): CodecFault | undefined {
    if (length === 0) return refused('WRONG_LENGTH', 0, 'record', 'empty').fault;
    if (length > RECORD_LENGTH_MAX) return tooLong(length);
    this.#view.setUint32(0, length);
    this.#put(LENGTH_PREFIX + length);
    if (this.#at >= RECORD_ROOM + this.#chunkBytes) {
      const { bytes } = this;
      this.bytes = new Uint8Array(bytes.length);
      this.bytes.set(bytes.subarray(0, RECORD_ROOM));
      this.#view = new DataView(this.bytes.buffer);
      this.#handOut(bytes);
    }
    return undefined;
  }

  /**
   * Ends the stream with a zero length and hands out what is left. The last block is filled with pad bytes; a stream
   * that ends on a block boundary gets no extra block.
   */
  close(): void {
    this.#view.setUint32(0, 0);
    this.#put(LENGTH_PREFIX);
    const isOpen = this.#at > this.#blockEnd - this.#blockData;
    if (isOpen && this.#blockData === BLOCK_DATA) {
      this.bytes.fill(PAD, this.#at, this.#blockEnd + PADS);
      this.#at = this.#blockEnd + PADS;
    }
    this.#handOut(this.bytes);
  }

  /** Copies the bytes from 0 to `end` behind the stream, with the pads of each block that gets full. */
  #put(end: number): void {
    let from = 0;
    let at = this.#at;
    for (;;) {
      const room = this.#blockEnd - at;
      if (end - from < room) break;
      this.#copy(from, from + room, at);
      from += room;
      at += room + PADS;
      this.bytes[at - 2] = PAD;
      this.bytes[at - 1] = PAD;
      this.#blockEnd = at + this.#blockData;
    }
    this.#copy(from, end, at);
    this.#at = at + end - from;
  }

  /** Four bytes at a time: up to three behind the last one are copied too, where the next copy goes. */
  #copy(from: number, end: number, to: number): void {
    const view = this.#view;
    for (let at = from; at < end; at += 4) view.setInt32(to + at - from, view.getInt32(at));
  }

  #handOut(bytes: Uint8Array): void {
    const chunk = bytes.subarray(RECORD_ROOM, this.#at);
    if (this.#blockData === BLOCK_DATA) this.#blockEnd -= chunk.length;
    this.#at = RECORD_ROOM;
    this.#emit(chunk);
  }
}

const tooLong = (length: number): CodecFault =>
  refused('TOO_LONG', 0, 'record', `${length} bytes, at most ${RECORD_LENGTH_MAX}`).fault;

/** A whole stream of records that are there already; a fault names the record, counted from 1. */
export const encodeVbs = (records: Iterable<Uint8Array>, blocking: Blocking): Coded<Uint8Array> => {
  const chunks: Uint8Array[] = [];
  const writer = new VbsWriter(blocking, (chunk) => chunks.push(chunk));
  let count = 0;
  for (const record of records) {
    count++;
    const isShort = record.length <= RECORD_LENGTH_MAX;
    if (isShort) writer.bytes.set(record, RECORD_AT);
    const fault = isShort ? writer.append(record.length) : tooLong(record.length);
    if (fault) return inRecord(fault, count);
  }
  writer.close();
  return coded(concatBytes(...chunks));
};

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
