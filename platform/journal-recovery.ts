import { randomBytes } from 'node:crypto';
import {
  encodeSegmentHeader,
  ID_BYTES,
  SEGMENT_HEADER_BYTES,
  type Chain,
} from './core/journal-format.ts';
import type { JournalFs } from './journal-fs.ts';
import {
  blocksFrom,
  chainHash,
  corrupt,
  isDamagedMiddle,
  listSegments,
  readHeader,
  recordsOf,
  sameChain,
  segmentPath,
  type SegmentPlace,
} from './journal-segments.ts';
import type { JournalRecord } from './ports.ts';

/** An open segment ready for the next block. */
export interface OpenSegment {
  readonly fd: number;
  readonly firstIndex: number;
  readonly place: SegmentPlace;
}

/** What recovery found. `cutBytes`: length of the torn tail that was cut off (never acknowledged). */
export interface Recovered {
  readonly segment: OpenSegment;
  readonly cutBytes: number;
}

/**
 * Verifies every segment of a folder from the first block to the last, cuts a torn tail and makes the rest durable: after a
 * mere process crash the last block may be whole in the page cache and not on the disk, and from here on it counts.
 * @throws KiriError JOURNAL_CORRUPT with file and offset
 */
export function recover(files: JournalFs, folder: string): Recovered {
  const segments = listSegments(files, folder);
  let previous: SegmentPlace | undefined;
  for (const [i, firstIndex] of segments.entries()) {
    const isLast = i === segments.length - 1;
    const path = segmentPath(folder, firstIndex);
    if (firstIndex !== (previous?.nextIndex ?? 0)) {
      throw corrupt(path, 0, `records before ${firstIndex} are missing`);
    }
    const fd = files.open(path, 'r+');
    let keepOpen = false;
    try {
      const header = readHeader(files, fd, firstIndex);
      // A header is synced before the first block is written, so a bad one with nothing behind it was torn at creation.
      if (header === undefined && isLast && files.size(fd) <= SEGMENT_HEADER_BYTES) {
        const segment = createSegment(files, folder, firstIndex, previous ?? newChain());
        return { segment, cutBytes: 0 };
      }
      if (header === undefined) throw corrupt(path, 0, 'damaged segment header');
      if (previous !== undefined && !sameChain(previous, header)) {
        throw corrupt(path, 0, 'segment does not continue the one before');
      }
      previous = lastPlace(files, fd, header);
      const cutBytes = files.size(fd) - previous.offset;
      if (cutBytes > 0 && (!isLast || isDamagedMiddle(files, fd, previous))) {
        throw corrupt(path, previous.offset, 'damaged block');
      }
      if (!isLast) continue;
      if (cutBytes > 0) files.truncate(fd, previous.offset);
      files.syncNow(fd);
      files.syncFolder(folder);
      keepOpen = true;
      return { segment: { fd, firstIndex, place: previous }, cutBytes };
    } finally {
      if (!keepOpen) files.close(fd);
    }
  }
  return { segment: createSegment(files, folder, 0, newChain()), cutBytes: 0 };
}

/** Makes a segment file durable, header and directory entry included, before any block goes into it. */
export function createSegment(
  files: JournalFs,
  folder: string,
  firstIndex: number,
  chain: Chain,
): OpenSegment {
  const fd = files.open(segmentPath(folder, firstIndex), 'w+');
  try {
    files.writeNow(fd, encodeSegmentHeader(firstIndex, chain, chainHash), 0);
    files.syncNow(fd);
    files.syncFolder(folder);
  } catch (error) {
    files.close(fd);
    throw error;
  }
  const { id, head } = chain;
  return {
    fd,
    firstIndex,
    place: { offset: SEGMENT_HEADER_BYTES, id, head, nextIndex: firstIndex },
  };
}

/** A new journal's chain begins with its random id. */
function newChain(): Chain {
  const id = randomBytes(ID_BYTES);
  return { id, head: id };
}

/** Yields copies of the records with `fromIndex` <= index <= `lastIndex`, holding one window in memory. */
export function* readRecords(
  files: JournalFs,
  folder: string,
  fromIndex: number,
  lastIndex: number,
): Generator<JournalRecord> {
  const segments = listSegments(files, folder);
  let seen = -1;
  for (const [i, firstIndex] of segments.entries()) {
    if ((segments[i + 1] ?? Infinity) <= fromIndex || firstIndex > lastIndex) continue;
    const path = segmentPath(folder, firstIndex);
    const fd = files.open(path, 'r');
    try {
      const header = readHeader(files, fd, firstIndex);
      if (header === undefined) throw corrupt(path, 0, 'damaged segment header');
      for (const block of blocksFrom(files, fd, header)) {
        if (block.firstIndex > lastIndex) return;
        seen = block.after.nextIndex - 1;
        if (block.after.nextIndex > fromIndex) yield* recordsOf(block, fromIndex);
      }
    } finally {
      files.close(fd);
    }
  }
  if (seen < lastIndex) throw corrupt(folder, 0, `records ${seen + 1} to ${lastIndex} are gone`);
}

function lastPlace(files: JournalFs, fd: number, from: SegmentPlace): SegmentPlace {
  const blocks = blocksFrom(files, fd, from);
  for (;;) {
    const step = blocks.next();
    if (step.done === true) return step.value;
  }
}
