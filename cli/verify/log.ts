import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { parseCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { verifyFinalCheckpoint, type FinalHead } from '../../sync/ledger/core/final-checkpoint.ts';
import { CHECKPOINT_PATH, TLOG_FOLDER, tlogPath } from '../../sync/ledger/core/log-batch.ts';
import { HASH_BYTES, leafHash } from '../../sync/ledger/core/merkle.ts';
import { parseNote } from '../../sync/ledger/core/note.ts';
import { TILE_WIDTH, tilesOfTree } from '../../sync/ledger/core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from '../../sync/ledger/core/tree.ts';
import { parseWrappedKey } from '../../sync/ledger/key-wrap.ts';
import { parsePayloadRecord } from '../../sync/ledger/payload-record.ts';
import { nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import { readLogEntries, type LogEntries } from './log-entries.ts';
import type { TrustStore } from './trust.ts';

/** A log after every tile and entry was recomputed to the root. */
export interface LogView {
  readonly origin: string;
  /** Leaves under the published, cosigned checkpoint. */
  readonly size: number;
  /** Root in hex. */
  readonly root: string;
  /** The root that the log had at another size; undefined above its entries. */
  rootAt(size: number): string | undefined;
  /** Leaf index by the SHA-256 (hex) of the payload of the Receipt or Void that it commits to. */
  readonly places: ReadonlyMap<string, number>;
}

/** Verifies a checkpoint under the policy. Stricter than a reader in the field: no line by a stranger. */
export function checkCheckpoint(
  path: string,
  bytes: Uint8Array,
  store: TrustStore,
  findings: Findings,
): FinalHead | undefined {
  if (!store.policy) return undefined;
  findings.count('checkpoints');
  const head = verifyFinalCheckpoint(bytes, store.policy, store.noteVerify);
  if (!head.ok) {
    findings.fault(path, head.reason);
    return undefined;
  }
  const { logs, witnesses } = store.policy;
  const keys = [...logs, ...witnesses].map((one) => one.key);
  const isKnown = ({ name, keyId }: { name: string; keyId: Uint8Array }): boolean =>
    keys.some((key) => key.name === name && bytesEqual(key.keyId, keyId));
  if (head.value.note.signatures.every(isKnown)) return head.value;
  findings.fault(path, 'a signature line by a key that the policy does not know');
  return undefined;
}

/** Every tile of the tree and every older partial one, from the hashes of the leaves. */
function checkTiles(
  files: Artefacts,
  prefix: string,
  tiles: LogEntries['tiles'],
  hashes: readonly Uint8Array[],
  size: number,
  findings: Findings,
): void {
  const expected = new Map<string, Uint8Array>();
  for (const tile of appendLeaves(emptyTree(), hashes, nativeSha256)) {
    expected.set(`${tile.level}/${tile.index}`, tile.bytes);
  }
  for (const { path, id, bytes } of tiles) {
    if (id.level === 'entries') continue;
    const whole = expected.get(`${id.level}/${id.index}`) ?? new Uint8Array(0);
    const length = id.width * HASH_BYTES;
    if (whole.length < length || !bytesEqual(bytes, whole.subarray(0, length))) {
      findings.fault(path, 'is not the tile that the entries give');
    }
  }
  for (const tile of tilesOfTree(size)) {
    const ids = tile.level === 0 ? [tile, { ...tile, level: 'entries' as const }] : [tile];
    for (const id of ids) {
      const paths = [id, { ...id, width: TILE_WIDTH }].map((one) => `${prefix}${tlogPath(one)}`);
      if (!paths.some((path) => files.has(path))) findings.fault(paths[0]!, 'missing');
    }
  }
}

/** Wrapped content keys: well-formed, named after their key, one for every payload. */
function checkKeys(
  files: Artefacts,
  prefix: string,
  { records }: LogEntries,
  findings: Findings,
): void {
  const folder = `${prefix}keys/`;
  for (const path of files.below(folder)) {
    findings.count('wrapped content keys');
    const bytes = files.read(path);
    const wrapped = bytes && findings.guard(path, () => parseWrappedKey(bytes));
    if (wrapped && toHex(wrapped.kid) !== path.slice(folder.length)) {
      findings.fault(path, 'is not named after the key it wraps');
    }
  }
  const missing = new Set<string>();
  for (const record of records) {
    const parsed = record && parsePayloadRecord(record);
    const path = parsed && `${folder}${toHex(parsed.kid)}`;
    if (path !== undefined && !files.has(path)) missing.add(path);
  }
  for (const path of missing) findings.fault(path, 'missing: the content key of a payload');
}

function placesOf(
  prefix: string,
  { records }: LogEntries,
  size: number,
  findings: Findings,
): Map<string, number> {
  const places = new Map<string, number>();
  records.forEach((record, index) => {
    if (!record) return;
    if (!parsePayloadRecord(record)) {
      findings.fault(`${prefix}payload`, `record ${index} is not a sealed payload`);
    }
    if (index < size) places.set(toHex(record.subarray(0, HASH_BYTES)), index);
  });
  return places;
}

/**
 * Checks one log folder (`tlog/`, `payload/`, `keys/` below `prefix`).
 * @param expectedOrigin what the folder is named after; undefined for a folder of any name
 */
export function checkLog(
  files: Artefacts,
  prefix: string,
  expectedOrigin: string | undefined,
  store: TrustStore,
  findings: Findings,
): LogView | undefined {
  findings.count('logs');
  const path = `${prefix}${CHECKPOINT_PATH}`;
  const isPart = (one: string): boolean =>
    one === path ||
    [`${TLOG_FOLDER}/tile/`, 'payload/', 'keys/'].some((part) => one.startsWith(prefix + part));
  for (const other of files.below(prefix)) {
    if (!isPart(other)) findings.fault(other, 'is no part of a published log');
  }
  const note = files.read(path);
  const entries = readLogEntries(files, prefix, findings);
  const { tiles, leaves } = entries;
  const hashes = leaves.map((leaf) => leafHash(leaf, nativeSha256));
  findings.count('log entries', leaves.length);
  checkKeys(files, prefix, entries, findings);
  const head = note && checkCheckpoint(path, note, store, findings);
  checkTiles(files, prefix, tiles, hashes, head?.size ?? leaves.length, findings);
  const rootAt = (size: number): string | undefined => {
    if (!Number.isSafeInteger(size) || size < 0 || size > leaves.length) return undefined;
    const tree = emptyTree();
    appendLeaves(tree, hashes.slice(0, size), nativeSha256);
    return toHex(treeRoot(tree, nativeSha256));
  };
  if (head && expectedOrigin !== undefined && head.origin !== expectedOrigin) {
    findings.fault(path, 'is of another log than its folder');
  }
  if (head && head.size > leaves.length) {
    findings.fault(path, `is of ${head.size} entries, the folder holds ${leaves.length}`);
  } else if (head && rootAt(head.size) !== toHex(head.root)) {
    findings.fault(path, 'the entries do not lead to its root');
  }
  // With a broken checkpoint the rest still needs a tree to be measured by; the fault above stands.
  const unsigned = note && unsignedHead(note);
  const origin = head?.origin ?? unsigned?.origin ?? expectedOrigin ?? '';
  const size = Math.min(head?.size ?? leaves.length, leaves.length);
  const places = placesOf(prefix, entries, size, findings);
  return { origin: expectedOrigin ?? origin, size, root: rootAt(size) ?? '', rootAt, places };
}

function unsignedHead(bytes: Uint8Array): { readonly origin: string } | undefined {
  const note = parseNote(bytes);
  const head = note.ok ? parseCheckpoint(note.value.text) : note;
  return head.ok ? head.value : undefined;
}

/** Prefixes of all log folders below a path: everything that has a `tlog/`. */
export function logPrefixes(files: Artefacts, below: string): readonly string[] {
  const found = new Set<string>();
  for (const path of files.below(below)) {
    const at = `/${path}`.indexOf(`/${TLOG_FOLDER}/`);
    if (at >= 0) found.add(path.slice(0, at));
  }
  return [...found];
}
