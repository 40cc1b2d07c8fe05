/** Where Receipts stand in a log, read whole: so that "it is not there" is as sure as "it is there". */
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { type FinalHead, verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { commitsTo, parseLeaf } from './core/leaf.ts';
import { HASH_BYTES, leafHash } from './core/merkle.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from './core/tree.ts';
import { nativeHash } from './log-copy.ts';
import { readCheckpoint, readEntries, readPayloads } from './log-folder.ts';
import type { LogSource } from './log-source.ts';
import type { ProvingPorts } from './prove-receipts.ts';

/** A final head, and the leaf index of each wanted Receipt that is under it. */
interface FoundReceipts {
  readonly head: FinalHead;
  readonly places: ReadonlyMap<string, number>;
}

/**
 * Reads every entry and payload record under the published checkpoint: the entries must lead to its root, and each record
 * must be the one that its entry commits to.
 * @param wanted hex SHA-256 of Receipt payloads
 * @throws KiriError LOG_NOT_FINAL, LOG_CORRUPT, LOG_INCOMPLETE, and what the source throws
 */
export const findReceipts = async (
  source: LogSource,
  wanted: ReadonlySet<string>,
  { policy, verify }: ProvingPorts,
): Promise<FoundReceipts> => {
  const note = await readCheckpoint(source);
  const head = note && verifyFinalCheckpoint(note, policy, verify);
  if (head?.ok !== true) {
    const reason = head?.reason ?? 'no checkpoint is there';
    throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${reason}`);
  }
  const { size, root } = head.value;
  const tree = emptyTree();
  const places = new Map<string, number>();
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle += 1) {
    const entries = await readEntries(source, bundle, size);
    const records = await readPayloads(source, bundle, size);
    appendLeaves(
      tree,
      entries.map((entry) => leafHash(entry, nativeHash)),
      nativeHash,
    );
    for (const [at, entry] of entries.entries()) {
      const record = records[at];
      const index = bundle * TILE_WIDTH + at;
      if (record === undefined || !commitsTo(entry, record, nativeHash)) {
        throw new KiriError('LOG_CORRUPT', `${source.place}: record ${index} is not its entry's`);
      }
      const hash = toHex(record.subarray(0, HASH_BYTES));
      if (parseLeaf(entry)?.kind === 'receipt' && wanted.has(hash)) places.set(hash, index);
    }
  }
  if (!bytesEqual(treeRoot(tree, nativeHash), root)) {
    throw new KiriError('LOG_CORRUPT', `${source.place}: the entries do not lead to the root`);
  }
  return { head: head.value, places };
};
