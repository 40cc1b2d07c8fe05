import { join } from 'node:path';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { ANCHORS_FOLDER } from '../../sync/ledger/core/anchor-file.ts';
import { verifyFinalCheckpoint, type FinalHead } from '../../sync/ledger/core/final-checkpoint.ts';
import { parseLeaf } from '../../sync/ledger/core/leaf.ts';
import { policySpans } from '../../sync/ledger/core/policy-book.ts';
import { keysOfLog } from '../../sync/ledger/core/shard.ts';
import { CHECKPOINT_PATH } from '../../sync/ledger/core/log-batch.ts';
import { HASH_BYTES, leafHash } from '../../sync/ledger/core/merkle.ts';
import { TILE_WIDTH } from '../../sync/ledger/core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from '../../sync/ledger/core/tree.ts';
import { readEntries, readPayloads } from '../../sync/ledger/log-folder.ts';
import { folderSource, type LogSource } from '../../sync/ledger/log-source.ts';
import { verifyLog } from '../../sync/ledger/verify-log.ts';
import { nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/** A log after every tile and entry was recomputed to the root of its cosigned checkpoint. */
export interface LogView {
  readonly origin: string;
  readonly size: number;
  /** Earliest cosignature of its checkpoint, POSIX seconds. */
  readonly cosignedS: number;
  /** Whether its payloads were deleted under its stated retention: then it has no places, and tells of no receipt. */
  readonly isRetired: boolean;
  /** Root in hex. */
  readonly root: string;
  /** Leaf index by the SHA-256 (hex) of the payload of the Receipt or Void that it commits to. */
  readonly places: ReadonlyMap<string, number>;
  /** Entry 0 with its record; absent in an empty log, and where contents were retired. */
  readonly first?: { readonly leaf: Uint8Array; readonly record: Uint8Array };
  /** Checkpoints that stand in a roll-up log, in order; none in another. */
  readonly rolledNotes: readonly { readonly index: number; readonly note: Uint8Array }[];
  /** The root in hex that the log had at a smaller size; undefined where it never had that size. */
  rootAt(size: number): string | undefined;
}

/** A signature line that nobody checks could say anything: none by a key that the policy does not know. */
function checkLines(path: string, head: FinalHead, store: TrustStore, findings: Findings): void {
  const spans = store.policy ? policySpans(store.policy) : [];
  const keys = spans.flatMap(({ policy }) => [
    ...keysOfLog(policy, head.origin),
    ...policy.witnesses.map((one) => one.key),
  ]);
  for (const { name, keyId } of head.note.signatures) {
    const isKnown = keys.some((key) => key.name === name && bytesEqual(key.keyId, keyId));
    if (!isKnown) findings.fault(path, 'a signature line by a key that the policy does not know');
  }
}

/** Verifies a checkpoint alone, under the policy. */
export function checkCheckpoint(
  path: string,
  bytes: Uint8Array,
  store: TrustStore,
  findings: Findings,
): void {
  if (!store.policy) return;
  findings.count('checkpoints');
  const head = verifyFinalCheckpoint(bytes, store.policy, store.noteVerify);
  if (head.ok) checkLines(path, head.value, store, findings);
  else findings.fault(path, head.reason);
}

interface Contents {
  readonly hashes: Uint8Array[];
  readonly places: Map<string, number>;
  readonly first?: NonNullable<LogView['first']>;
  readonly rolledNotes: { index: number; note: Uint8Array }[];
}

/** Leaf hashes and payloads of a log whose files were just found sound. */
async function readContents(
  source: LogSource,
  size: number,
  isRetired: boolean,
): Promise<Contents> {
  const hashes: Uint8Array[] = [];
  const places = new Map<string, number>();
  const rolledNotes: Contents['rolledNotes'] = [];
  let first: Contents['first'];
  for (let index = 0; index * TILE_WIDTH < size; index += 1) {
    const entries = await readEntries(source, index, size);
    hashes.push(...entries.map((entry) => leafHash(entry, nativeSha256)));
    if (isRetired) continue;
    for (const [at, record] of (await readPayloads(source, index, size)).entries()) {
      const position = index * TILE_WIDTH + at;
      if (position === 0 && entries[0]) first = { leaf: entries[0], record };
      const kind = parseLeaf(entries[at] ?? record)?.kind;
      if (kind === 'rollUp') rolledNotes.push({ index: position, note: record });
      else places.set(toHex(record.subarray(0, HASH_BYTES)), position);
    }
  }
  return { hashes, places, rolledNotes, ...(first ? { first } : {}) };
}

export interface LogPlace {
  /** Of the log's folder below the artefacts, with its last slash; empty for the folder itself. */
  readonly prefix: string;
  /** What the folder is named after; undefined for a folder of any name. */
  readonly origin?: string;
  /** Whether files that the checkpoint does not cover are faults: not in the folder of a log that still runs. */
  readonly isClosed: boolean;
}

/**
 * Checks one log folder. Undefined where its checkpoint does not hold, or a file of it: what rests on the log is then
 * not judged by it.
 */
export async function checkLog(
  files: Artefacts,
  { prefix, origin, isClosed }: LogPlace,
  store: TrustStore,
  findings: Findings,
): Promise<LogView | undefined> {
  if (!store.policy) return undefined;
  findings.count('logs');
  const source = folderSource(join(files.root, prefix));
  const own = files.below(prefix).map((path) => path.slice(prefix.length));
  // Anchors are checked for themselves (anchors.ts): they rest on the log, and the log on none of them.
  const parts = own.filter((path) =>
    isClosed ? !path.startsWith(ANCHORS_FOLDER) : /^(?:tlog|payload|keys|erased)\//.test(path),
  );
  const report = await verifyLog(source, parts, store.policy, store.noteVerify, store.book.trust);
  for (const { path, reason } of report.problems) findings.fault(prefix + path, reason);
  // An erasure is done when every holder that was asked has confirmed it.
  for (const { path, reason } of report.keys?.unconfirmed ?? []) {
    findings.fault(prefix + path, reason);
  }
  if (report.keys && report.keys.erased > 0) findings.count('erased keys', report.keys.erased);
  for (const path of report.uncovered) {
    if (isClosed) findings.fault(prefix + path, 'the log’s checkpoint says nothing about it');
  }
  for (const path of isClosed ? (report.retired?.left ?? []) : []) {
    findings.fault(prefix + path, 'is retired and still there: call `kiri ledger retire` again');
  }
  const { head } = report;
  if (!head) return undefined;
  const path = `${prefix}${CHECKPOINT_PATH}`;
  findings.count('log files', parts.length);
  findings.count('log entries', head.size);
  checkLines(path, head, store, findings);
  if (origin !== undefined && head.origin !== origin) {
    findings.fault(path, 'is of another log than its folder');
  }
  if (report.problems.length > 0) return undefined;
  const isRetired = report.retired !== undefined;
  if (isRetired) findings.count('retired logs');
  const { hashes, places, first, rolledNotes } = await readContents(source, head.size, isRetired);
  return {
    origin: head.origin,
    size: head.size,
    cosignedS: Math.min(...head.cosignedAtS.values()),
    root: toHex(head.root),
    isRetired,
    places,
    ...(first ? { first } : {}),
    rolledNotes,
    rootAt: (size) => {
      if (!Number.isSafeInteger(size) || size < 0 || size > hashes.length) return undefined;
      const tree = emptyTree();
      appendLeaves(tree, hashes.slice(0, size), nativeSha256);
      return toHex(treeRoot(tree, nativeSha256));
    },
  };
}

/** Where the C2SP part stands below a log's folder. */
const TLOG = 'tlog';

/** Prefixes of all log folders below a path: everything that has a `tlog/`. */
export function logPrefixes(files: Artefacts, below: string): readonly string[] {
  const found = new Set<string>();
  for (const path of files.below(below)) {
    const at = `/${path}`.indexOf(`/${TLOG}/`);
    if (at >= 0) found.add(path.slice(0, at));
  }
  return [...found];
}
