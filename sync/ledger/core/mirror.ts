/**
 * What a mirror holds against a log, as pure functions (DESIGN section 5): every payload record is checked against its
 * entry, and the tree is the mirror's own, grown from its own last head. A head that it reaches is therefore consistent
 * with every head before; a log cannot talk it into another history.
 */
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { TreeHead } from './checkpoint.ts';
import { commitsTo, parseLeaf } from './leaf.ts';
import { type BatchFiles, type LogFile, type OpenBundle, appendBatch } from './log-batch.ts';
import type { Sha256 } from './merkle.ts';
import { type Outcome, bad, ok } from './text.ts';
import { TILE_WIDTH } from './tile.ts';
import { type Tree, treeRoot } from './tree.ts';

/** A copy that grows towards a head; owned by its holder, changed in place, thrown away where the head is not reached. */
export interface GrowingCopy {
  readonly tree: Tree;
  readonly bundle: OpenBundle;
}

/** One bundle as the log serves it, from its first entry on. */
export interface ServedBundle {
  readonly leaves: readonly Uint8Array[];
  readonly payloads: readonly Uint8Array[];
}

/**
 * An entry commits to a checkpoint's text alone: a shard that was made again after a loss may carry other cosignatures of
 * it, and is the same log. The record that was copied first stays.
 */
const isSameRecord = (
  leaf: Uint8Array,
  old: Uint8Array,
  record: Uint8Array,
  hash: Sha256 | undefined,
): boolean =>
  bytesEqual(old, record) || (parseLeaf(leaf)?.kind !== 'receipt' && commitsTo(leaf, record, hash));

/**
 * Appends what a served bundle has beyond the copy. The entries that the copy has already must be served unchanged.
 * @returns the files that make it durable, or what is wrong with the bundle; then the copy is unchanged
 */
export const growCopy = (
  copy: GrowingCopy,
  { leaves, payloads }: ServedBundle,
  hash?: Sha256,
): Outcome<BatchFiles> => {
  const { bundle, tree } = copy;
  const known = bundle.leaves.length;
  const first = tree.size - known;
  if (leaves.length !== payloads.length || leaves.length <= known || leaves.length > TILE_WIDTH) {
    return bad(`bundle at ${first} does not have the promised entries`);
  }
  for (const [at, leaf] of leaves.entries()) {
    const record = payloads[at] ?? leaf;
    if (at >= known && !commitsTo(leaf, record, hash)) {
      return bad(`entry ${first + at} does not commit to its payload`);
    }
    const [oldLeaf, oldRecord] = [bundle.leaves[at], bundle.payloads[at]];
    const isKept =
      oldLeaf === undefined ||
      oldRecord === undefined ||
      (bytesEqual(oldLeaf, leaf) && isSameRecord(oldLeaf, oldRecord, record, hash));
    if (!isKept) return bad(`entry ${first + at} is not the one that was served before`);
  }
  const entries = leaves.slice(known).map((leaf, at) => ({
    leaf: leaf.slice(),
    payload: (payloads[known + at] ?? leaf).slice(),
    acceptedAtMs: 0,
  }));
  return ok(appendBatch(tree, bundle, entries, hash));
};

/** Whether a grown copy is the tree that the log signed. */
export const reaches = (
  copy: GrowingCopy,
  head: Pick<TreeHead, 'size' | 'root'>,
  hash?: Sha256,
): boolean => copy.tree.size === head.size && bytesEqual(treeRoot(copy.tree, hash), head.root);

/**
 * Files of a chunk that is written before the head is reached: full ones only. A partial tile says something about one
 * tree size; that size is not verified yet, so the last version of each waits in `held` for the end. Payload records
 * beyond the head are cut off by the next append.
 */
export const fullFiles = (files: BatchFiles, held: Map<string, LogFile>): BatchFiles => {
  for (const folder of files.obsolete) held.delete(folder);
  const full: LogFile[] = [];
  for (const file of files.files) {
    const [, folder] = /^(.+\.p)\/[0-9]+$/.exec(file.path) ?? [];
    if (folder === undefined) full.push(file);
    else held.set(folder, file);
  }
  return { files: full, appends: files.appends, obsolete: files.obsolete };
};
