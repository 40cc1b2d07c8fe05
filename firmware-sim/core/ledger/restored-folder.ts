import { bytesEqual } from '../../../protocol/bytes.ts';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import { appended, CHECKPOINT_PATH } from '../../../sync/ledger/core/log-batch.ts';
import { growCopy, reaches } from '../../../sync/ledger/core/mirror.ts';
import { bad, ok, type Outcome } from '../../../sync/ledger/core/text.ts';
import { TILE_WIDTH } from '../../../sync/ledger/core/tile.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import type { Consortium } from './consortium.ts';
import {
  encodeHead,
  entriesAt,
  HEAD_PATH,
  headOfNote,
  readTree,
  recordsAt,
  type ReadFile,
} from './log-files.ts';
import type { LogFeed } from './log-feed.ts';
import { SIGNED_HEAD_PATH } from './mirror-copy.ts';
import { keyPath, kidOfRecord } from './sealed-record.ts';

export interface RestoredFolder {
  readonly size: number;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** The first row of the journal that is not in the log; every entry before it is compared. */
function nextRow(feed: LogFeed, records: readonly Uint8Array[]): Outcome<number> {
  let index = 0;
  for (let at = 0; at < records.length; index += 1) {
    const [row] = feed.read(index, 1);
    if (!row) return bad('the journal ends before the log');
    for (const { receiptPayloadHash } of row) {
      const logged = records[at]?.subarray(0, receiptPayloadHash.length);
      if (!logged || !bytesEqual(logged, receiptPayloadHash)) return bad('another journal');
      at += 1;
    }
  }
  return ok(index);
}

/**
 * A log's folder as `kiri ledger restore` makes it (restore-log.ts): all contents against the log's own signature, the
 * checkpoint against the policy, the cursor by comparing every receipt of the journal.
 * @param feed absent where the journal was lost too
 */
export function restoredFolder(
  from: ReadFile,
  { policy, verify }: Consortium,
  feed: LogFeed | undefined,
): Outcome<RestoredFolder> {
  const head = headOfNote(from(SIGNED_HEAD_PATH));
  const note = from(CHECKPOINT_PATH);
  if (!head || !note) return bad('the mirror holds no final copy of this log');
  const final = verifyFinalCheckpoint(note, policy, verify);
  if (!final.ok) return final;
  if (final.value.size > head.size) return bad('the final checkpoint is larger than the copy');
  const copy = { tree: emptyTree(), bundle: { leaves: [], payloads: [] } };
  const files = new Map<string, Uint8Array>();
  const records: Uint8Array[] = [];
  while (copy.tree.size < head.size) {
    const index = Math.floor(copy.tree.size / TILE_WIDTH);
    const payloads = recordsAt(from, index, head.size);
    const grown = growCopy(copy, { leaves: entriesAt(from, index, head.size), payloads });
    if (!grown.ok) return grown;
    for (const { path, bytes } of grown.value.files) files.set(path, bytes);
    for (const tail of grown.value.appends) {
      files.set(tail.path, appended(files.get(tail.path), tail));
    }
    records.push(...payloads);
  }
  if (!reaches(copy, head)) return bad('the copy does not lead to the signed root');
  const read: ReadFile = (path) => files.get(path);
  const finalRoot = treeRoot(readTree(read, final.value.size, head.size));
  if (!bytesEqual(finalRoot, final.value.root)) return bad('the checkpoint is of another tree');
  for (const kid of new Set(records.map(kidOfRecord))) {
    const key = from(keyPath(kid));
    if (key) files.set(keyPath(kid), key);
  }
  const next = feed ? nextRow(feed, records) : ok(undefined);
  if (!next.ok) return next;
  const { size, root } = head;
  const nextIndex = next.value;
  const cursor =
    nextIndex === undefined
      ? {}
      : { cursor: { segment: 0, offset: nextIndex, nextIndex, head: '' } };
  files.set(CHECKPOINT_PATH, note);
  files.set(HEAD_PATH, encodeHead({ size, root, ...cursor }));
  return ok({ size, files });
}
