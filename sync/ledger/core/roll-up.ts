/**
 * The roll-up log's entries (DESIGN section 5): final checkpoints of gateways' logs. A checkpoint gets in only where it is
 * final under the policy and its log has grown, and the host has shown that it grew from the last one that got in.
 */
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { TreeHead } from './checkpoint.ts';
import { type FinalHead, verifyFinalCheckpoint } from './final-checkpoint.ts';
import { type Sha256, verifyConsistency } from './merkle.ts';
import type { Verify } from './note-key.ts';
import type { FinalityRules } from './policy-book.ts';
import { type Outcome, bad, ok } from './text.ts';

/** Sixteen cosignatures fit many times over, and the note fits a payload bundle (65,535 bytes). */
const MAX_ROLLED_NOTE_BYTES = 16_384;

/** What a fetched checkpoint is, beside the last one of its log that got in. */
export type RollUpVerdict =
  | { readonly kind: 'grown'; readonly head: FinalHead }
  | { readonly kind: 'unchanged' }
  /** Smaller than what got in: an old copy is served. */
  | { readonly kind: 'older'; readonly size: number }
  /** Same size and another root, both final: the log and its quorum have signed two histories. */
  | { readonly kind: 'forked' };

/**
 * Judges a checkpoint note.
 * @param origin whose it should be
 * @param last of this origin in the roll-up log
 */
export const judgeCheckpoint = (
  note: Uint8Array,
  origin: string,
  last: TreeHead | undefined,
  policy: FinalityRules,
  verify: Verify,
): Outcome<RollUpVerdict> => {
  if (note.length > MAX_ROLLED_NOTE_BYTES) return bad(`a note over ${MAX_ROLLED_NOTE_BYTES} bytes`);
  const head = verifyFinalCheckpoint(note, policy, verify);
  if (!head.ok) return head;
  if (head.value.origin !== origin) return bad('the checkpoint is of another log');
  const { size, root } = head.value;
  if (last === undefined || size > last.size) {
    return size > 0 ? ok({ kind: 'grown', head: head.value }) : ok({ kind: 'unchanged' });
  }
  if (size < last.size) return ok({ kind: 'older', size });
  return ok({ kind: bytesEqual(root, last.root) ? 'unchanged' : 'forked' });
};

/** Whether a log's new head holds everything that the last one held. */
export const hasGrownFrom = (
  last: TreeHead | undefined,
  head: TreeHead,
  proof: readonly Uint8Array[],
  hash?: Sha256,
): boolean =>
  last === undefined || verifyConsistency(last.size, head.size, last.root, head.root, proof, hash);
