/**
 * The growing tree of a log: a compact range (one hash per set bit of the size) plus the hashes of the rightmost tile
 * of every tile level. Appending costs two hashes a leaf, amortised, and hands out the tiles that changed.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { EMPTY_ROOT, type Sha256, nodeHash } from './merkle.ts';
import { TILE_HEIGHT, TILE_WIDTH, encodeTile, hashesAtLevel } from './tile.ts';

/** Owned by its holder: {@link appendLeaves} changes it in place. */
export interface Tree {
  size: number;
  /** Roots of the complete subtrees of the compact range, largest first. */
  peaks: { height: number; hash: Uint8Array }[];
  /** `edge[level]`: hashes of the partial tile at that level (0 to 255 of them). */
  edge: Uint8Array[][];
}

/** A tile that an append changed. */
export interface ChangedTile {
  readonly level: number;
  readonly index: number;
  readonly width: number;
  readonly bytes: Uint8Array;
}

export const emptyTree = (): Tree => ({ size: 0, peaks: [], edge: [] });

/** Root of the tree (MTH), folding the peaks from the right. */
export const treeRoot = (tree: Tree, hash: Sha256 = sha256): Uint8Array =>
  tree.peaks.reduceRight<Uint8Array | undefined>(
    (right, peak) => (right === undefined ? peak.hash : nodeHash(peak.hash, right, hash)),
    undefined,
  ) ?? EMPTY_ROOT;

const pushPeak = (
  peaks: Tree['peaks'],
  height: number,
  value: Uint8Array,
  hash: Sha256,
  merged?: (height: number, hash: Uint8Array) => void,
): void => {
  let top = { height, hash: value };
  for (let below = peaks.at(-1); below?.height === top.height; below = peaks.at(-1)) {
    peaks.pop();
    top = { height: top.height + 1, hash: nodeHash(below.hash, top.hash, hash) };
    merged?.(top.height, top.hash);
  }
  peaks.push(top);
};

/**
 * Appends leaf hashes.
 * @returns every tile that is new or longer, full ones included, lowest level first
 */
export const appendLeaves = (
  tree: Tree,
  leaves: readonly Uint8Array[],
  hash: Sha256 = sha256,
): readonly ChangedTile[] => {
  const oldSize = tree.size;
  const full: ChangedTile[] = [];
  const pushEdge = (level: number, value: Uint8Array): void => {
    const row = (tree.edge[level] ??= []);
    row.push(value);
    if (row.length < TILE_WIDTH) return;
    const index = hashesAtLevel(tree.size, level) / TILE_WIDTH - 1;
    full.push({ level, index, width: TILE_WIDTH, bytes: encodeTile(row) });
    tree.edge[level] = [];
  };
  for (const leaf of leaves) {
    tree.size += 1;
    pushEdge(0, leaf);
    pushPeak(tree.peaks, 0, leaf, hash, (height, value) => {
      if (height % TILE_HEIGHT === 0) pushEdge(height / TILE_HEIGHT, value);
    });
  }
  const partial = tree.edge.flatMap((row, level): ChangedTile[] => {
    const count = hashesAtLevel(tree.size, level);
    if (row.length === 0 || count === hashesAtLevel(oldSize, level)) return [];
    const index = Math.floor(count / TILE_WIDTH);
    return [{ level, index, width: row.length, bytes: encodeTile(row) }];
  });
  return [...full, ...partial].toSorted((one, other) => one.level - other.level);
};

/**
 * Rebuilds the tree from its rightmost tiles after a restart.
 * @param edge `edge[level]` = hashes of the partial tile at that level, as {@link Tree.edge}
 */
export const treeFromEdge = (
  size: number,
  edge: readonly (readonly Uint8Array[])[],
  hash: Sha256 = sha256,
): Tree => {
  const tree: Tree = { size, peaks: [], edge: edge.map((row) => [...row]) };
  for (let level = 0; hashesAtLevel(size, level) > 0 || level < edge.length; level += 1) {
    const width = hashesAtLevel(size, level) % TILE_WIDTH;
    if ((edge[level]?.length ?? 0) !== width) {
      throw new RangeError(`tile level ${level} does not have ${width} hashes`);
    }
  }
  for (let level = edge.length - 1; level >= 0; level -= 1) {
    for (const value of edge[level] ?? []) {
      pushPeak(tree.peaks, level * TILE_HEIGHT, value, hash);
    }
  }
  return tree;
};
