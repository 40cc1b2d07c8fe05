/** The one rule for "L2": a checkpoint signed by a log of the policy and cosigned by its quorum (DESIGN section 5). */
import { bytesEqual } from '../../../protocol/bytes.ts';
import { type TreeHead, parseCheckpoint } from './checkpoint.ts';
import { type SignedNote, parseNote } from './note.ts';
import type { Verify, VerifierKey } from './note-key.ts';
import { type VerifiedSignature, verifyNote } from './note-verify.ts';
import { type Policy, quorumMet } from './policy.ts';
import { type FinalityRules, type PolicySpan, countsIn, policySpans } from './policy-book.ts';
import { keysOfLog } from './shard.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A tree head that is final under a policy. */
export interface FinalHead extends TreeHead {
  readonly note: SignedNote;
  /** The policy that it is final under; of a book the first one that it met. */
  readonly policy: Policy;
  /** Policy names of the witnesses whose cosignatures verified, with the earliest time of each (POSIX seconds). */
  readonly cosignedAtS: ReadonlyMap<string, number>;
}

const isOf = (key: VerifierKey, known: VerifierKey): boolean =>
  key === known ||
  (key.name === known.name &&
    bytesEqual(key.keyId, known.keyId) &&
    bytesEqual(key.publicKey, known.publicKey));

const finalIn = (
  head: TreeHead,
  note: SignedNote,
  signatures: readonly VerifiedSignature[],
  span: PolicySpan,
): Outcome<FinalHead> => {
  const { policy } = span;
  const logKeys = keysOfLog(policy, head.origin);
  if (!signatures.some(({ key }) => logKeys.some((known) => isOf(key, known)))) {
    return bad('not signed by a log of the policy');
  }
  const cosignedAtS = new Map<string, number>();
  for (const { key, timeS } of signatures) {
    const witness = policy.witnesses.find((known) => isOf(key, known.key));
    if (witness === undefined || timeS === undefined || !countsIn(span, timeS)) continue;
    cosignedAtS.set(witness.name, Math.min(timeS, cosignedAtS.get(witness.name) ?? timeS));
  }
  if (!quorumMet(policy, cosignedAtS)) return bad('the policy is not met: too few cosignatures');
  const { origin, size, root } = head; // a spread of it costs 2 % of a whole proof check
  return ok({ origin, size, root, note, policy, cosignedAtS });
};

/**
 * Verifies a checkpoint note against a policy, or against a book: then it is final if one version's quorum cosigned it
 * while that version was in force ({@link countsIn}); a later key does not vouch for the past, a retired one not for the
 * future. The times are the witnesses' own word. With several logs in a policy, the origin's own key must have signed.
 */
export const verifyFinalCheckpoint = (
  bytes: Uint8Array,
  rules: FinalityRules,
  verify: Verify,
): Outcome<FinalHead> => {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const head = parseCheckpoint(note.value.text);
  if (!head.ok) return head;
  const spans = policySpans(rules);
  const keys: VerifierKey[] = [];
  for (const { policy } of spans) {
    keys.push(...keysOfLog(policy, head.value.origin));
    for (const witness of policy.witnesses) keys.push(witness.key);
  }
  const signatures = verifyNote(note.value, keys, verify);
  if (!signatures.ok) return signatures;
  let last: Outcome<FinalHead> = bad('no policy');
  for (const span of spans) {
    last = finalIn(head.value, note.value, signatures.value, span);
    if (last.ok) return last;
  }
  return last;
};
