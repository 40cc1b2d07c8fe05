import { invariant } from '../../../protocol/kiri-error.ts';
import { fromHex, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { parseCheckpoint, type TreeHead } from '../../../sync/ledger/core/checkpoint.ts';
import {
  CHECKPOINT_PATH,
  payloadPath,
  tlogPath,
  type OpenBundle,
} from '../../../sync/ledger/core/log-batch.ts';
import type { FoundLog, LogHead } from '../../../sync/ledger/core/log-writer-types.ts';
import { EMPTY_ROOT } from '../../../sync/ledger/core/merkle.ts';
import { parseNote } from '../../../sync/ledger/core/note.ts';
import { decodeUtf8, type Outcome } from '../../../sync/ledger/core/text.ts';
import {
  hashesAtLevel,
  parseBundle,
  parseTile,
  TILE_WIDTH,
  tileWidth,
  type TileId,
} from '../../../sync/ledger/core/tile.ts';
import { treeFromEdge, type Tree } from '../../../sync/ledger/core/tree.ts';
import {
  consistencyRanges,
  hashRanges,
  tilesForRanges,
} from '../../../sync/ledger/core/tree-proof.ts';

/** Reads one file of a log, by its path below the log's folder. */
export type ReadFile = (path: string) => Uint8Array | undefined;

export const HEAD_PATH = 'state/head';

function must<T>(outcome: Outcome<T>, path: string): T {
  invariant(outcome.ok, `a log of this world has whole files: ${path}`);
  return outcome.value;
}

/** A tile or bundle; a full one stands in for a partial one that was removed. */
function tileFile(read: ReadFile, tile: TileId): { bytes: Uint8Array; width: number } {
  const bytes = read(tlogPath(tile));
  if (bytes !== undefined) return { bytes, width: tile.width };
  const full = read(tlogPath({ ...tile, width: TILE_WIDTH }));
  invariant(full !== undefined, `a log of this world has all its tiles: ${tlogPath(tile)}`);
  return { bytes: full, width: TILE_WIDTH };
}

function tileHashes(read: ReadFile, tile: TileId): readonly Uint8Array[] {
  const file = tileFile(read, tile);
  return must(parseTile(file.bytes, file.width), 'tile').slice(0, tile.width);
}

export function entriesAt(read: ReadFile, index: number, size: number): readonly Uint8Array[] {
  const width = tileWidth(size, 0, index);
  if (width === 0) return [];
  const file = tileFile(read, { level: 'entries', index, width });
  return must(parseBundle(file.bytes, file.width), 'entries').slice(0, width);
}

export function recordsAt(read: ReadFile, index: number, size: number): readonly Uint8Array[] {
  const width = tileWidth(size, 0, index);
  if (width === 0) return [];
  const bytes = read(payloadPath(index));
  invariant(bytes !== undefined, 'a log of this world has all its payloads');
  return must(parseBundle(bytes, width, false), 'payloads');
}

/** The growing edge of the tree of `size`, from the tiles of a tree of `within`. */
export function readTree(read: ReadFile, size: number, within: number = size): Tree {
  const edge: (readonly Uint8Array[])[] = [];
  for (let level = 0; hashesAtLevel(size, level) > 0; level += 1) {
    const all = hashesAtLevel(size, level);
    const index = Math.floor(all / TILE_WIDTH);
    const width = all % TILE_WIDTH;
    const tile = { level, index, width: tileWidth(within, level, index) };
    edge.push(width === 0 ? [] : tileHashes(read, tile).slice(0, width));
  }
  return treeFromEdge(size, edge);
}

export function openBundle(read: ReadFile, size: number): OpenBundle {
  const open = Math.floor(size / TILE_WIDTH);
  return {
    leaves: [...entriesAt(read, open, size)],
    payloads: [...recordsAt(read, open, size)],
  };
}

export function consistencyProof(
  read: ReadFile,
  oldSize: number,
  size: number,
): readonly Uint8Array[] {
  const ranges = consistencyRanges(oldSize, size);
  const tiles = new Map(
    tilesForRanges(ranges, size).map((tile) => [
      `${tile.level}/${tile.index}`,
      tileHashes(read, tile),
    ]),
  );
  return hashRanges(ranges, (level, index) => tiles.get(`${level}/${index}`) ?? []);
}

/** The head of a checkpoint file, its signatures unseen. */
export function headOfNote(bytes: Uint8Array | undefined): TreeHead | undefined {
  const note = bytes && parseNote(bytes);
  const head = note?.ok === true ? parseCheckpoint(note.value.text) : undefined;
  return head?.ok === true ? head.value : undefined;
}

export function encodeHead({ size, root, cursor }: LogHead): Uint8Array {
  return utf8ToBytes(JSON.stringify({ size, root: toHex(root), cursor: cursor ?? null }));
}

export function readHead(read: ReadFile): LogHead {
  const bytes = read(HEAD_PATH);
  if (bytes === undefined) return { size: 0, root: EMPTY_ROOT };
  const { size, root, cursor } = JSON.parse(decodeUtf8(bytes)!) as {
    size: number;
    root: string;
    cursor: LogHead['cursor'] | null;
  };
  const head = { size, root: fromHex(root) };
  return cursor ? { ...head, cursor } : head;
}

/** What a start of the log writer finds. */
export function findLog(read: ReadFile): FoundLog {
  const head = readHead(read);
  const published = headOfNote(read(CHECKPOINT_PATH));
  return {
    head,
    tree: readTree(read, head.size),
    bundle: openBundle(read, head.size),
    ...(published ? { published } : {}),
  };
}
