/**
 * The files that one batch of leaves adds to a log folder: hash tiles, entry bundles and payload bundles. Tiles and entry
 * bundles follow tlog-tiles; `payload/<N>` holds the ciphertexts of the same 256 entries, outside the log (DESIGN §5),
 * and only ever grows at its end: a memory card would not outlive a bundle that is replaced with every batch.
 */
import { type Sha256, leafHash } from './merkle.ts';
import {
  TILE_WIDTH,
  type TileId,
  bundleLength,
  encodeBundle,
  indexPath,
  partialFolder,
  tilePath,
} from './tile.ts';
import { type Tree, appendLeaves } from './tree.ts';

/** One log entry with its ciphertext, ready to be appended. */
export interface LogEntry {
  /** 33 bytes, see leaf.ts. */
  readonly leaf: Uint8Array;
  /** The encrypted payload that the leaf commits to. */
  readonly payload: Uint8Array;
  /** When the approver accepted, Unix milliseconds: for the measurement of finality only. */
  readonly acceptedAtMs: number;
  /** The approver's sequence number; grows from entry to entry. Absent in logs without an approver. */
  readonly sequence?: number;
}

/** Entries of the rightmost, still partial bundle (0 to 255 of them). */
export interface OpenBundle {
  leaves: Uint8Array[];
  payloads: Uint8Array[];
}

/** A file to be written whole, by its path below the log's folder. */
export interface LogFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Bytes that go into a file at an offset; what stands behind that offset was never covered by a head and is cut off. */
export interface LogAppend {
  readonly path: string;
  /** Where the records under the durable head end. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** The file's content after an append. Throws on a file that is shorter than the offset: a caller's bug. */
export const appended = (
  file: Uint8Array | undefined,
  { offset, bytes }: LogAppend,
): Uint8Array => {
  if ((file?.length ?? 0) < offset) throw new RangeError('the file ends before the offset');
  const grown = new Uint8Array(offset + bytes.length);
  if (file !== undefined) grown.set(file.subarray(0, offset));
  grown.set(bytes, offset);
  return grown;
};

/** Where the C2SP part and the payloads stand below a log's folder. */
const TLOG_FOLDER = 'tlog';
export const CHECKPOINT_PATH = 'tlog/checkpoint';
export const payloadPath = (bundle: number): string => `payload/${indexPath(bundle)}`;
export const tlogPath = (tile: TileId): string => `${TLOG_FOLDER}/${tilePath(tile)}`;

export interface BatchFiles {
  readonly files: readonly LogFile[];
  /** At most one for a path. */
  readonly appends: readonly LogAppend[];
  /** Folders of partial tiles to be removed once all of the above is durable. */
  readonly obsolete: readonly string[];
}

/** Appends entries to tree and bundle (both changed in place) and gives the files that make them durable. */
export const appendBatch = (
  tree: Tree,
  bundle: OpenBundle,
  entries: readonly LogEntry[],
  hash?: Sha256,
): BatchFiles => {
  const files: LogFile[] = [];
  const appends: LogAppend[] = [];
  const obsolete: string[] = [];
  let held = bundle.payloads.length;
  const closeBundle = (index: number): void => {
    const id = { level: 'entries', index, width: bundle.leaves.length } as const;
    files.push({ path: tlogPath(id), bytes: encodeBundle(bundle.leaves) });
    appends.push({
      path: payloadPath(index),
      offset: bundleLength(bundle.payloads.slice(0, held)),
      bytes: encodeBundle(bundle.payloads.slice(held)),
    });
    if (id.width < TILE_WIDTH) return;
    obsolete.push(`${TLOG_FOLDER}/${partialFolder(id)}`);
    bundle.leaves = [];
    bundle.payloads = [];
    held = 0;
  };
  let size = tree.size;
  for (const entry of entries) {
    bundle.leaves.push(entry.leaf);
    bundle.payloads.push(entry.payload);
    size += 1;
    if (bundle.leaves.length === TILE_WIDTH) closeBundle(size / TILE_WIDTH - 1);
  }
  if (entries.length > 0 && bundle.leaves.length > 0) closeBundle(Math.floor(size / TILE_WIDTH));
  const leaves = entries.map((entry) => leafHash(entry.leaf, hash));
  for (const tile of appendLeaves(tree, leaves, hash)) {
    files.push({ path: tlogPath(tile), bytes: tile.bytes });
    if (tile.width === TILE_WIDTH) obsolete.push(`${TLOG_FOLDER}/${partialFolder(tile)}`);
  }
  return { files, appends, obsolete };
};
