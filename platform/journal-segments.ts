import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { KiriError } from '../protocol/kiri-error.ts';
import {
  decodeSegmentHeader,
  hasBlockBehindDamage,
  scanBlock,
  SEGMENT_HEADER_BYTES,
  visitRecords,
  type Chain,
  type ChainHash,
} from './core/journal-format.ts';
import type { JournalFs } from './journal-fs.ts';
import type { JournalRecord } from './ports.ts';

const WINDOW_BYTES = 1024 * 1024;
const NAME_PATTERN = /^(\d{16})\.journal$/;

/** SHA-256 by node:crypto. */
export const chainHash: ChainHash = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** A place in one segment: the next block stands at `offset`, continues the chain and starts with record `nextIndex`. */
export interface SegmentPlace extends Chain {
  readonly offset: number;
  readonly nextIndex: number;
}

/** A verified block. `bytes` is a window that is valid until the next step; `after` is the place behind the block. */
export interface Block {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly end: number;
  readonly firstIndex: number;
  readonly after: SegmentPlace;
}

export function segmentPath(folder: string, firstIndex: number): string {
  return join(folder, `${String(firstIndex).padStart(16, '0')}.journal`);
}

/** First indexes of the segments in a folder, ascending. Other names are not the journal's. */
export function listSegments(files: JournalFs, folder: string): number[] {
  const found: number[] = [];
  for (const name of files.list(folder)) {
    const digits = NAME_PATTERN.exec(name)?.[1];
    if (digits !== undefined) found.push(Number(digits));
  }
  return found.toSorted((a, b) => a - b);
}

export function corrupt(path: string, offset: number, what: string): KiriError {
  return new KiriError('JOURNAL_CORRUPT', `${path}: ${what} at byte ${offset}`);
}

/** Reads a segment's header; undefined when it is torn or damaged. Its first index is the file's name. */
export function readHeader(
  files: JournalFs,
  fd: number,
  firstIndex: number,
): SegmentPlace | undefined {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  files.read(fd, bytes, 0);
  const header = decodeSegmentHeader(bytes, chainHash);
  if (header?.firstIndex !== firstIndex) return undefined;
  const { id, head } = header;
  return { offset: SEGMENT_HEADER_BYTES, id, head, nextIndex: firstIndex };
}

/** Yields the valid blocks from `from` on, through a window, and returns the place where validity ends. */
export function* blocksFrom(
  files: JournalFs,
  fd: number,
  from: SegmentPlace,
): Generator<Block, SegmentPlace> {
  let place = from;
  let wanted = WINDOW_BYTES;
  for (;;) {
    const left = files.size(fd) - place.offset;
    const bytes = new Uint8Array(Math.max(0, Math.min(left, wanted)));
    const window = bytes.subarray(0, files.read(fd, bytes, place.offset));
    const start = place.offset;
    wanted = WINDOW_BYTES;
    for (;;) {
      const at = place.offset - start;
      const scanned = scanBlock(window, at, place, chainHash);
      if (scanned.kind === 'bad') return place;
      if (scanned.kind === 'incomplete') {
        if (scanned.end > left || window.length < bytes.length) return place;
        wanted = Math.max(WINDOW_BYTES, scanned.end - at);
        break;
      }
      const count = visitRecords(window, at, scanned.end);
      const firstIndex = place.nextIndex;
      const nextIndex = firstIndex + count;
      place = { ...place, offset: start + scanned.end, head: scanned.head, nextIndex };
      yield { bytes: window, at, end: scanned.end, firstIndex, after: place };
    }
  }
}

/** Is what follows `place` damage inside durable bytes (true), or only a torn tail, or nothing (false)? */
export function isDamagedMiddle(files: JournalFs, fd: number, place: SegmentPlace): boolean {
  const bytes = new Uint8Array(Math.max(0, files.size(fd) - place.offset));
  const length = files.read(fd, bytes, place.offset);
  return hasBlockBehindDamage(bytes.subarray(0, length), place, chainHash);
}

/** Copies of a block's records with index >= `fromIndex`. */
export function recordsOf(block: Block, fromIndex: number): JournalRecord[] {
  const records: JournalRecord[] = [];
  let index = block.firstIndex;
  visitRecords(block.bytes, block.at, block.end, (record) => {
    if (index >= fromIndex) records.push({ index, record: record.slice() });
    index += 1;
  });
  return records;
}

/** Does a segment that begins with `b` continue one that ends with `a`? */
export function sameChain(a: Chain, b: Chain): boolean {
  return a.id.every((byte, i) => byte === b.id[i]) && a.head.every((byte, i) => byte === b.head[i]);
}
