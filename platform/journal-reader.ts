import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { KiriError } from '../protocol/kiri-error.ts';
import { SEGMENT_HEADER_BYTES } from './core/journal-format.ts';
import { systemCode, toDiskError } from './disk-error.ts';
import { nodeJournalFs, type JournalFs } from './journal-fs.ts';
import {
  blocksFrom,
  corrupt,
  isDamagedMiddle,
  listSegments,
  readHeader,
  recordsOf,
  segmentPath,
  type Block,
  type SegmentPlace,
} from './journal-segments.ts';
import type { JournalPosition, JournalReader, JournalRecord, JournalSlice } from './ports.ts';

/** A slice ends with the block that takes it to this size; call again for more. */
const MAX_SLICE_BYTES = 1024 * 1024;

const START: JournalPosition = { segment: 0, offset: 0, nextIndex: 0, head: '' };

/**
 * Follows the journal in `folder` from another process. A block is returned only once something valid stands behind it
 * (next block, mark or next segment's header): the writer puts that there only after the block's sync has returned, so a
 * record that is merely visible in the page cache is never returned. No lock, no write, nothing to agree on with the writer.
 * @param maxSliceBytes a slice ends with the block that takes it to this size; 1 gives one block at a time
 */
export function journalReader(
  folder: string,
  files: JournalFs = nodeJournalFs,
  maxSliceBytes: number = MAX_SLICE_BYTES,
): JournalReader {
  return {
    readFrom: async (position = START) => {
      try {
        return readSlice(files, folder, position, maxSliceBytes);
      } catch (error) {
        throw toDiskError(error, 'read journal', folder);
      }
    },
  };
}

function readSlice(
  files: JournalFs,
  folder: string,
  from: JournalPosition,
  maxSliceBytes: number,
): JournalSlice {
  const records: JournalRecord[] = [];
  let position = from;
  for (;;) {
    // Listed before the segment is read: a segment that had a successor then is complete now.
    const segments = listIfPresent(files, folder);
    const next = segments.find((first) => first > position.segment);
    const fd = openSegment(files, folder, position, segments);
    if (fd === undefined) return { records, nextPosition: position };
    try {
      const place = placeOf(files, folder, fd, position, next !== undefined);
      if (place === undefined) return { records, nextPosition: position };
      const read = readSegment(files, fd, place, records, maxSliceBytes);
      position = toPosition(position.segment, read.durable);
      if (read.isSliceFull) return { records, nextPosition: position };
      if (next === undefined) {
        assertTornOnly(files, fd, read.valid, segmentPath(folder, position.segment));
        return { records, nextPosition: position };
      }
      if (read.valid.offset !== files.size(fd)) {
        throw corrupt(segmentPath(folder, position.segment), read.valid.offset, 'damaged block');
      }
      if (next !== read.valid.nextIndex) {
        throw corrupt(segmentPath(folder, next), 0, `records before ${next} are missing`);
      }
      if (!hasValidHeader(files, folder, next)) return { records, nextPosition: position };
      if (read.held !== undefined) records.push(...recordsOf(read.held, 0));
      position = { ...toPosition(next, read.valid), offset: 0 };
    } finally {
      files.close(fd);
    }
  }
}

interface SegmentRead {
  /** Behind the last block that has been returned. */
  readonly durable: SegmentPlace;
  /** Behind the last valid block; it is one further than `durable` when a block is held back. */
  readonly valid: SegmentPlace;
  readonly held: Block | undefined;
  readonly isSliceFull: boolean;
}

/** Adds to `records` every block that has a valid one behind it. */
function readSegment(
  files: JournalFs,
  fd: number,
  from: SegmentPlace,
  records: JournalRecord[],
  maxSliceBytes: number,
): SegmentRead {
  let durable = from;
  let held: Block | undefined;
  let sliceBytes = 0;
  for (const block of blocksFrom(files, fd, from)) {
    if (held !== undefined) {
      for (const record of recordsOf(held, 0)) records.push(record);
      sliceBytes += held.end - held.at;
      durable = held.after;
      if (sliceBytes >= maxSliceBytes)
        return { durable, valid: durable, held: undefined, isSliceFull: true };
    }
    held = block;
  }
  return { durable, valid: held?.after ?? durable, held, isSliceFull: false };
}

/** The place in the segment where reading goes on; undefined while the segment's header is still being written. */
function placeOf(
  files: JournalFs,
  folder: string,
  fd: number,
  position: JournalPosition,
  isFollowed: boolean,
): SegmentPlace | undefined {
  const path = segmentPath(folder, position.segment);
  const header = readHeader(files, fd, position.segment);
  if (header === undefined) {
    if (isFollowed || position.offset > 0 || files.size(fd) > SEGMENT_HEADER_BYTES) {
      throw corrupt(path, 0, 'damaged segment header');
    }
    return undefined;
  }
  if (position.offset > 0) {
    if (files.size(fd) < position.offset) {
      throw corrupt(path, files.size(fd), 'shorter than what was read before, ends');
    }
    const { offset, nextIndex } = position;
    return { id: header.id, offset, head: hexToBytes(position.head), nextIndex };
  }
  if (position.head !== '' && position.head !== bytesToHex(header.head)) {
    throw corrupt(path, 0, 'segment does not continue the one before');
  }
  return header;
}

/**
 * What follows the last valid block may be a write under way or a torn tail, never damage with valid blocks behind it.
 * Looked at twice: between two reads the writer may have finished the block and written the next.
 */
function assertTornOnly(files: JournalFs, fd: number, place: SegmentPlace, path: string): void {
  if (files.size(fd) <= place.offset || !isDamagedMiddle(files, fd, place)) return;
  if (blocksFrom(files, fd, place).next().done === true) {
    throw corrupt(path, place.offset, 'damaged block');
  }
}

function hasValidHeader(files: JournalFs, folder: string, firstIndex: number): boolean {
  const fd = files.open(segmentPath(folder, firstIndex), 'r');
  try {
    return readHeader(files, fd, firstIndex) !== undefined;
  } finally {
    files.close(fd);
  }
}

function listIfPresent(files: JournalFs, folder: string): number[] {
  try {
    return listSegments(files, folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** undefined: the journal has not been started yet. */
function openSegment(
  files: JournalFs,
  folder: string,
  position: JournalPosition,
  segments: readonly number[],
): number | undefined {
  if (segments.includes(position.segment)) {
    return files.open(segmentPath(folder, position.segment), 'r');
  }
  if (position.head === '' && segments.length === 0) return undefined;
  throw new KiriError(
    'JOURNAL_CORRUPT',
    `${segmentPath(folder, position.segment)} is missing: records from ${position.nextIndex} on are gone`,
  );
}

function toPosition(segment: number, place: SegmentPlace): JournalPosition {
  return {
    segment,
    offset: place.offset,
    nextIndex: place.nextIndex,
    head: bytesToHex(place.head),
  };
}
