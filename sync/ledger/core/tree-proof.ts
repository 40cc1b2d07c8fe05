/**
 * Building proofs from tiles. Each proof is a list of leaf ranges (RFC 6962 PATH and PROOF); each range is folded from
 * complete subtrees; each subtree lies inside one tile. So a reader first asks which tiles it needs, fetches them all at
 * once, then computes without waiting.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { type Sha256, nodeHash } from './merkle.ts';
import { TILE_HEIGHT, TILE_WIDTH, tileWidth } from './tile.ts';

/** Leaves `start` (inclusive) to `end` (exclusive). */
export interface LeafRange {
  readonly start: number;
  readonly end: number;
}

/** A hash tile by place; its width follows from the tree size. */
export interface TilePlace {
  readonly level: number;
  readonly index: number;
  readonly width: number;
}

/** Gives the hashes of one tile; must know every tile that {@link tilesForRanges} named. */
export type TileLookup = (level: number, index: number) => readonly Uint8Array[];

/** Largest power of two smaller than `count` (the k of RFC 6962). */
const splitPoint = (count: number): number => {
  let k = 1;
  while (k * 2 < count) k *= 2;
  return k;
};

/** Ranges of PATH(index, D[size]), lowest sibling first. */
export const inclusionRanges = (index: number, size: number): readonly LeafRange[] => {
  if (index < 0 || index >= size) throw new RangeError('leaf index outside the tree');
  const ranges: LeafRange[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      ranges.unshift({ start: middle, end });
      end = middle;
    } else {
      ranges.unshift({ start, end: middle });
      start = middle;
    }
  }
  return ranges;
};

/** Ranges of PROOF(oldSize, D[size]); empty for equal sizes and for `oldSize` 0 (tlog-witness). */
export const consistencyRanges = (oldSize: number, size: number): readonly LeafRange[] => {
  if (oldSize < 0 || oldSize > size) throw new RangeError('old size above the tree size');
  if (oldSize === 0 || oldSize === size) return [];
  const ranges: LeafRange[] = [];
  let start = 0;
  let end = size;
  // SUBPROOF(m, D, b): b stays true while the old tree is still a left prefix that starts at 0.
  while (end !== oldSize) {
    const middle = start + splitPoint(end - start);
    if (oldSize <= middle) {
      ranges.unshift({ start: middle, end });
      end = middle;
    } else {
      ranges.unshift({ start, end: middle });
      start = middle;
    }
  }
  if (start > 0) ranges.unshift({ start, end });
  return ranges;
};

/** Complete subtrees of a range, left to right. `start` is a multiple of every subtree size used, by construction. */
const subtreesOf = (range: LeafRange): readonly { height: number; index: number }[] => {
  const subtrees: { height: number; index: number }[] = [];
  let start = range.start;
  while (start < range.end) {
    let height = 0;
    let width = 1;
    while (width * 2 <= range.end - start && start % (width * 2) === 0) {
      width *= 2;
      height += 1;
    }
    subtrees.push({ height, index: start / width });
    start += width;
  }
  return subtrees;
};

const placeOf = (subtree: { height: number; index: number }): TilePlace & { offset: number } => {
  const level = Math.floor(subtree.height / TILE_HEIGHT);
  const count = 2 ** (subtree.height - level * TILE_HEIGHT);
  const first = subtree.index * count;
  const index = Math.floor(first / TILE_WIDTH);
  return { level, index, width: count, offset: first - index * TILE_WIDTH };
};

/** The tiles that the ranges need, each once, at their widths in a tree of `size`. */
export const tilesForRanges = (
  ranges: readonly LeafRange[],
  size: number,
): readonly TilePlace[] => {
  const places = new Map<string, TilePlace>();
  for (const subtree of ranges.flatMap(subtreesOf)) {
    const { level, index } = placeOf(subtree);
    places.set(`${level}/${index}`, { level, index, width: tileWidth(size, level, index) });
  }
  return [...places.values()];
};

const foldSubtree = (hashes: readonly Uint8Array[], hash: Sha256): Uint8Array => {
  let row = hashes;
  while (row.length > 1) {
    const above: Uint8Array[] = [];
    for (let at = 0; at + 1 < row.length; at += 2) {
      above.push(nodeHash(row[at] as Uint8Array, row[at + 1] as Uint8Array, hash));
    }
    row = above;
  }
  return row[0] as Uint8Array;
};

/** MTH of every range, computed from tiles. Throws where the lookup has too few hashes: the folder is incomplete. */
export const hashRanges = (
  ranges: readonly LeafRange[],
  lookup: TileLookup,
  hash: Sha256 = sha256,
): readonly Uint8Array[] =>
  ranges.map((range) => {
    const values = subtreesOf(range).map((subtree) => {
      const { level, index, width, offset } = placeOf(subtree);
      const hashes = lookup(level, index).slice(offset, offset + width);
      if (hashes.length !== width) throw new RangeError(`tile ${level}/${index} is too short`);
      return foldSubtree(hashes, hash);
    });
    return values.reduceRight((right, left) => nodeHash(left, right, hash));
  });
