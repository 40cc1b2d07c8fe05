/** Reading a log through its static files: tiles, entries, payloads, proofs, and the rightmost edge after a restart. */
import type { Sha256 } from './core/merkle.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { commitsTo } from './core/leaf.ts';
import { CHECKPOINT_PATH, type OpenBundle, payloadPath, tlogPath } from './core/log-batch.ts';
import {
  TILE_WIDTH,
  type TileId,
  hashesAtLevel,
  parseBundle,
  parseTile,
  tileWidth,
} from './core/tile.ts';
import { RETIRED_PATH } from './core/retention.ts';
import { type Tree, treeFromEdge } from './core/tree.ts';
import {
  type LeafRange,
  consistencyRanges,
  hashRanges,
  inclusionRanges,
  tilesForRanges,
} from './core/tree-proof.ts';
import type { Outcome } from './core/text.ts';
import type { LogSource } from './log-source.ts';

const missing = (source: LogSource, path: string): KiriError =>
  new KiriError('LOG_INCOMPLETE', `${source.place}/${path} is missing`);

const take = <T>(source: LogSource, path: string, outcome: Outcome<T>): T => {
  if (outcome.ok) return outcome.value;
  throw new KiriError('LOG_CORRUPT', `${source.place}/${path}: ${outcome.reason}`);
};

/** A tile or bundle at the asked width; a full one stands in for a partial one that was removed (tlog-tiles). */
const readTileFile = async (
  source: LogSource,
  tile: TileId,
): Promise<{ path: string; bytes: Uint8Array; width: number }> => {
  const path = tlogPath(tile);
  const bytes = await source.read(path);
  if (bytes !== undefined) return { path, bytes, width: tile.width };
  const full = tlogPath({ ...tile, width: TILE_WIDTH });
  const fullBytes = tile.width < TILE_WIDTH ? await source.read(full) : undefined;
  if (fullBytes === undefined) throw missing(source, path);
  return { path: full, bytes: fullBytes, width: TILE_WIDTH };
};

/**
 * Hashes of one tile of a tree.
 * @throws KiriError LOG_INCOMPLETE, LOG_CORRUPT and what the source throws
 */
export const readTile = async (source: LogSource, tile: TileId): Promise<readonly Uint8Array[]> => {
  const file = await readTileFile(source, tile);
  return take(source, file.path, parseTile(file.bytes, file.width)).slice(0, tile.width);
};

/** Entries (33-byte leaves) of bundle `index` in a tree of `size`. */
export const readEntries = async (
  source: LogSource,
  index: number,
  size: number,
): Promise<readonly Uint8Array[]> => {
  const width = tileWidth(size, 0, index);
  if (width === 0) return [];
  const file = await readTileFile(source, { level: 'entries', index, width });
  return take(source, file.path, parseBundle(file.bytes, file.width)).slice(0, width);
};

/**
 * Payload records of bundle `index` in a tree of `size`. The file may hold more than that tree, also a record that was
 * torn by a crash; one that is torn within the tree is an error.
 * @throws KiriError LOG_INCOMPLETE, LOG_CORRUPT, LOG_RETIRED (gone, as its holder says), and what the source throws
 */
export const readPayloads = async (
  source: LogSource,
  index: number,
  size: number,
): Promise<readonly Uint8Array[]> => {
  const path = payloadPath(index);
  const width = tileWidth(size, 0, index);
  if (width === 0) return [];
  const bytes = await source.read(path);
  if (bytes !== undefined) return take(source, path, parseBundle(bytes, width, false));
  if ((await source.read(RETIRED_PATH)) === undefined) throw missing(source, path);
  throw new KiriError('LOG_RETIRED', `${source.place}/${path}: the shard was retired`);
};

/**
 * The bundle that a log of `size` appends to, for its owner's start: the payload file is written in place, so every record
 * is held against its entry before anything follows it.
 * @throws KiriError LOG_INCOMPLETE, LOG_CORRUPT and what the source throws
 */
export const readOpenBundle = async (
  source: LogSource,
  size: number,
  hash?: Sha256,
): Promise<OpenBundle> => {
  const index = Math.floor(size / TILE_WIDTH);
  const leaves = [...(await readEntries(source, index, size))];
  const payloads = [...(await readPayloads(source, index, size))];
  for (const [at, leaf] of leaves.entries()) {
    if (commitsTo(leaf, payloads[at] ?? leaf, hash)) continue;
    const path = `${source.place}/${payloadPath(index)}`;
    throw new KiriError(
      'LOG_CORRUPT',
      `${path}: record ${at} and its entry do not belong together`,
    );
  }
  return { leaves, payloads };
};

/** The published checkpoint note, unverified. */
export const readCheckpoint = (source: LogSource): Promise<Uint8Array | undefined> =>
  source.read(CHECKPOINT_PATH);

const hashesOf = async (
  source: LogSource,
  ranges: readonly LeafRange[],
  size: number,
  hash?: Sha256,
): Promise<readonly Uint8Array[]> => {
  const tiles = tilesForRanges(ranges, size);
  const found = new Map<string, readonly Uint8Array[]>();
  await Promise.all(
    tiles.map(async (tile) => {
      found.set(`${tile.level}/${tile.index}`, await readTile(source, tile));
    }),
  );
  return hashRanges(ranges, (level, index) => found.get(`${level}/${index}`) ?? [], hash);
};

/** RFC 6962 consistency proof from `oldSize` to `size`. */
export const consistencyProof = (
  source: LogSource,
  oldSize: number,
  size: number,
  hash?: Sha256,
): Promise<readonly Uint8Array[]> => hashesOf(source, consistencyRanges(oldSize, size), size, hash);

/**
 * RFC 6962 inclusion proof of leaf `index` in the tree of `size`.
 * @param within size of the tree whose tiles are read, where that is a larger one
 */
export const inclusionProof = (
  source: LogSource,
  index: number,
  size: number,
  hash?: Sha256,
  within: number = size,
): Promise<readonly Uint8Array[]> => hashesOf(source, inclusionRanges(index, size), within, hash);

/**
 * The growing edge of the tree of `size`, from its partial tiles.
 * @param within size of the tree whose tiles are read, where that is a larger one
 */
export const readTree = async (
  source: LogSource,
  size: number,
  hash?: Sha256,
  within: number = size,
): Promise<Tree> => {
  const edge: (readonly Uint8Array[])[] = [];
  for (let level = 0; hashesAtLevel(size, level) > 0; level += 1) {
    const count = hashesAtLevel(size, level);
    const width = count % TILE_WIDTH;
    const index = Math.floor(count / TILE_WIDTH);
    const tile = { level, index, width: tileWidth(within, level, index) };
    edge.push(width === 0 ? [] : (await readTile(source, tile)).slice(0, width));
  }
  return treeFromEdge(size, edge, hash);
};
