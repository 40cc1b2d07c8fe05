/** Paths and contents of C2SP tlog-tiles resources (v0.1.0): hash tiles, entry bundles, widths of partial ones. */
import { HASH_BYTES } from './merkle.ts';
import { type Outcome, bad, ok, parseDecimal } from './text.ts';

/** Hashes in a full tile, entries in a full bundle. */
export const TILE_WIDTH = 256;
/** Tree levels that one tile spans (2^8 = 256). */
export const TILE_HEIGHT = 8;
/** An entry's length stands in a uint16. */
const MAX_ENTRY_BYTES = 0xffff;
/** tlog-tiles: `<L>` is between 0 and 63. */
const MAX_LEVEL = 63;

/** One tile or bundle: `level` is a number for hash tiles; a bundle of entries has level `entries`. */
export interface TileId {
  readonly level: number | 'entries';
  readonly index: number;
  /** 1 to 256; below 256 the tile is partial. */
  readonly width: number;
}

/** `x001/x234/067` for 1234067. */
export const indexPath = (index: number): string => {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  }
  return groups.join('/');
};

/** `tile/<L>/<N>[.p/<W>]`, relative to the log's prefix. */
export const tilePath = (tile: TileId): string =>
  `tile/${tile.level}/${indexPath(tile.index)}${tile.width < TILE_WIDTH ? `.p/${tile.width}` : ''}`;

/** The folder that holds the partial versions of a tile; deleted once the full one is durable. */
export const partialFolder = (tile: TileId): string =>
  `tile/${tile.level}/${indexPath(tile.index)}.p`;

const INDEX = /^((?:x[0-9]{3}\/){0,4})([0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** Reads a tile path; refuses every spelling that {@link tilePath} would not write. */
export const parseTilePath = (path: string): Outcome<TileId> => {
  const parts = /^tile\/(entries|0|[1-9][0-9]?)\/(.+)$/.exec(path);
  const rest = INDEX.exec(parts?.[2] ?? '');
  if (parts === null || rest === null) return bad('not a tile path');
  const level = parts[1] === 'entries' ? 'entries' : (parseDecimal(parts[1] ?? '') ?? Infinity);
  if (level !== 'entries' && level > MAX_LEVEL) return bad('tile level above 63');
  const index = Number((rest[1] ?? '').replaceAll(/[x/]/g, '') + (rest[2] ?? ''));
  const width = rest[3] === undefined ? TILE_WIDTH : Number(rest[3]);
  const tile = { level, index, width } as const;
  const canonical = Number.isSafeInteger(index) && (rest[3] === undefined || width < TILE_WIDTH);
  return canonical && tilePath(tile) === path ? ok(tile) : bad('not a canonical tile path');
};

/** Hashes that a tree of `size` has at a tile level: floor(size / 256^level). */
export const hashesAtLevel = (size: number, level: number): number =>
  Math.floor(size / TILE_WIDTH ** level);

/** Width of tile `index` at `level` in a tree of `size`; 0 where the tree has no such tile. */
export const tileWidth = (size: number, level: number, index: number): number =>
  Math.max(0, Math.min(TILE_WIDTH, hashesAtLevel(size, level) - index * TILE_WIDTH));

/** All tiles of a tree of `size`, full and partial, lowest level first. */
export const tilesOfTree = (size: number): readonly (TileId & { readonly level: number })[] => {
  const tiles: { level: number; index: number; width: number }[] = [];
  for (let level = 0; hashesAtLevel(size, level) > 0; level += 1) {
    for (let index = 0; tileWidth(size, level, index) > 0; index += 1) {
      tiles.push({ level, index, width: tileWidth(size, level, index) });
    }
  }
  return tiles;
};

/** Splits a tile into its hashes. */
export const parseTile = (bytes: Uint8Array, width: number): Outcome<readonly Uint8Array[]> => {
  if (bytes.length !== width * HASH_BYTES) return bad(`tile is not ${width} hashes long`);
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    hashes.push(bytes.subarray(at, at + HASH_BYTES));
  }
  return ok(hashes);
};

/** Concatenates hashes into a tile's bytes. */
export const encodeTile = (hashes: readonly Uint8Array[]): Uint8Array => {
  const bytes = new Uint8Array(hashes.length * HASH_BYTES);
  hashes.forEach((hash, at) => bytes.set(hash, at * HASH_BYTES));
  return bytes;
};

/** Length of these entries as a bundle. */
export const bundleLength = (entries: readonly Uint8Array[]): number =>
  entries.reduce((sum, entry) => sum + 2 + entry.length, 0);

/** Big-endian uint16 length before every entry. Throws on an entry over 65,535 bytes: a caller's bug. */
export const encodeBundle = (entries: readonly Uint8Array[]): Uint8Array => {
  const bytes = new Uint8Array(bundleLength(entries));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > MAX_ENTRY_BYTES) throw new RangeError('log entry over 65,535 bytes');
    bytes[at] = entry.length >>> 8;
    bytes[at + 1] = entry.length & 0xff;
    bytes.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bytes;
};

/**
 * Reads the first `width` entries of a bundle.
 * @param exact refuse bytes after them (entry bundles); false for payload bundles, which grow in place
 */
export const parseBundle = (
  bytes: Uint8Array,
  width: number,
  exact = true,
): Outcome<readonly Uint8Array[]> => {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (entries.length < width) {
    const end = at + 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
    if (at + 2 > bytes.length || end > bytes.length) return bad('bundle ends inside an entry');
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return exact && at !== bytes.length ? bad('bytes after the last entry') : ok(entries);
};
