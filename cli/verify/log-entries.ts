import { bytesEqual } from '../../protocol/bytes.ts';
import { payloadPath, TLOG_FOLDER } from '../../sync/ledger/core/log-batch.ts';
import { HASH_BYTES, leafHash } from '../../sync/ledger/core/merkle.ts';
import {
  TILE_WIDTH,
  parseBundle,
  parseTilePath,
  type TileId,
} from '../../sync/ledger/core/tile.ts';
import { leafOfRecord } from '../../sync/ledger/payload-record.ts';
import { MAX_ARTEFACT_BYTES, nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';

/** One file of the log's tree: a hash tile or a bundle of entries. */
export interface TileFile {
  readonly path: string;
  readonly id: TileId;
  readonly bytes: Uint8Array;
}

/** A log folder as it was read; `leaves` are what at least two of entries, payloads and tiles agree on. */
export interface LogEntries {
  readonly tiles: readonly TileFile[];
  readonly leaves: readonly Uint8Array[];
  /** Payload record by leaf index; gaps where a bundle could not be read. */
  readonly records: readonly (Uint8Array | undefined)[];
}

interface Bundle {
  readonly path: string;
  readonly start: number;
  readonly width: number;
  readonly items: readonly Uint8Array[];
}

function readTiles(files: Artefacts, prefix: string, findings: Findings): TileFile[] {
  const tiles: TileFile[] = [];
  for (const path of files.below(`${prefix}${TLOG_FOLDER}/tile/`)) {
    const id = parseTilePath(path.slice(prefix.length + TLOG_FOLDER.length + 1));
    if (!id.ok) findings.fault(path, id.reason);
    const bytes = id.ok ? files.read(path, MAX_ARTEFACT_BYTES) : undefined;
    if (!id.ok || !bytes) continue;
    findings.count('log tiles and bundles');
    tiles.push({ path, id: id.value, bytes });
  }
  return tiles;
}

function entryBundles(tiles: readonly TileFile[], findings: Findings): Bundle[] {
  const bundles: Bundle[] = [];
  for (const { path, id, bytes } of tiles) {
    if (id.level !== 'entries') continue;
    const items = parseBundle(bytes, id.width);
    if (!items.ok) findings.fault(path, items.reason);
    const start = id.index * TILE_WIDTH;
    bundles.push({ path, start, width: id.width, items: items.ok ? items.value : [] });
  }
  return bundles;
}

/** All items of a bundle whose number is not known beforehand; undefined where it ends inside one. */
function allItems(bytes: Uint8Array): readonly Uint8Array[] | undefined {
  let width = 0;
  for (let at = 0; at < bytes.length; width += 1) {
    at += 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  }
  const items = parseBundle(bytes, width);
  return items.ok && width <= TILE_WIDTH ? items.value : undefined;
}

function payloadBundles(
  files: Artefacts,
  prefix: string,
  count: number,
  findings: Findings,
): Bundle[] {
  const bundles: Bundle[] = [];
  const expected = new Set<string>();
  for (let index = 0; index * TILE_WIDTH < count; index += 1) {
    const path = `${prefix}${payloadPath(index)}`;
    expected.add(path);
    const bytes = files.read(path, MAX_ARTEFACT_BYTES);
    if (!bytes) continue;
    findings.count('payload bundles');
    const start = index * TILE_WIDTH;
    const width = Math.min(TILE_WIDTH, count - start);
    const items = allItems(bytes);
    if (items?.length !== width) findings.fault(path, `does not hold exactly ${width} records`);
    bundles.push({ path, start, width, items: items ?? [] });
  }
  for (const path of files.below(`${prefix}payload/`)) {
    if (!expected.has(path)) findings.fault(path, 'payloads without entries in the log');
  }
  return bundles;
}

/** Hash of leaf `index` as a level-0 tile states it; the widest tile speaks. */
function tileHash(tiles: readonly TileFile[], index: number): Uint8Array | undefined {
  const place = Math.floor(index / TILE_WIDTH);
  const offset = (index % TILE_WIDTH) * HASH_BYTES;
  const widest = tiles
    .filter(({ id }) => id.level === 0 && id.index === place)
    .toSorted((a, b) => b.id.width - a.id.width)[0];
  return widest?.bytes.slice(offset, offset + HASH_BYTES);
}

/** Of two statements the one that the hash tile confirms; the entry's own where it confirms neither. */
function agreed(
  entry: Uint8Array | undefined,
  ofPayload: Uint8Array | undefined,
  stated: () => Uint8Array | undefined,
): Uint8Array | undefined {
  if (!entry || !ofPayload) return entry ?? ofPayload;
  if (bytesEqual(entry, ofPayload)) return entry;
  const hash = stated();
  return hash && bytesEqual(leafHash(ofPayload, nativeSha256), hash) ? ofPayload : entry;
}

/**
 * Reads entries, payloads and tiles, and says which of them disagree with the other two. Older partial bundles (kept
 * until the full one is there, tlog-tiles) must say the same as the newest.
 */
export function readLogEntries(files: Artefacts, prefix: string, findings: Findings): LogEntries {
  const tiles = readTiles(files, prefix, findings);
  const bundles = entryBundles(tiles, findings);
  const count = bundles.reduce((most, { start, width }) => Math.max(most, start + width), 0);
  const payloads = payloadBundles(files, prefix, count, findings);
  const entries: (Uint8Array | undefined)[] = [];
  // Widest last, so that it decides.
  for (const { start, items } of bundles.toSorted((a, b) => a.items.length - b.items.length)) {
    items.forEach((item, at) => (entries[start + at] = item));
  }
  const records: (Uint8Array | undefined)[] = [];
  for (const { start, items } of payloads)
    items.forEach((item, at) => (records[start + at] = item));
  const leaves: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) {
    const record = records[index];
    const ofPayload = record && leafOfRecord(record, nativeSha256);
    const leaf = agreed(entries[index], ofPayload, () => tileHash(tiles, index));
    if (!leaf) {
      findings.fault(`${prefix}${TLOG_FOLDER}`, `entry ${index} cannot be read`);
      break;
    }
    leaves.push(leaf);
  }
  const disagree = (bundle: Bundle, leafOf: (item: Uint8Array) => Uint8Array | undefined): void => {
    const at = bundle.items.findIndex((item, offset) => {
      const leaf = leaves[bundle.start + offset];
      const own = leafOf(item);
      return leaf !== undefined && !(own && bytesEqual(own, leaf));
    });
    if (at >= 0)
      findings.fault(bundle.path, `entry ${bundle.start + at} is not what the log holds`);
  };
  for (const bundle of bundles) disagree(bundle, (item) => item);
  for (const bundle of payloads) disagree(bundle, (item) => leafOfRecord(item, nativeSha256));
  return { tiles, leaves, records };
}
