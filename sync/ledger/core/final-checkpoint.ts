/** The one rule for "L2": a checkpoint signed by a log of the policy and cosigned by its quorum (DESIGN section 5). */
import { type TreeHead, parseCheckpoint } from './checkpoint.ts';
import { type SignedNote, parseNote } from './note.ts';
import type { Verify } from './note-key.ts';
import { verifyNote } from './note-verify.ts';
import { type Policy, quorumMet } from './policy.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A tree head that is final under a policy. */
export interface FinalHead extends TreeHead {
  readonly note: SignedNote;
  /** Policy names of the witnesses whose cosignatures verified, with the earliest time of each (POSIX seconds). */
  readonly cosignedAtS: ReadonlyMap<string, number>;
}

/** Verifies a checkpoint note against a policy; with several logs in it, the origin's own key must have signed. */
export const verifyFinalCheckpoint = (
  bytes: Uint8Array,
  policy: Policy,
  verify: Verify,
): Outcome<FinalHead> => {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const head = parseCheckpoint(note.value.text);
  if (!head.ok) return head;
  const logKeys = policy.logs.map((log) => log.key).filter((key) => key.name === head.value.origin);
  const keys = [...logKeys, ...policy.witnesses.map((witness) => witness.key)];
  const signatures = verifyNote(note.value, keys, verify);
  if (!signatures.ok) return signatures;
  if (!signatures.value.some((signature) => logKeys.includes(signature.key))) {
    return bad('not signed by a log of the policy');
  }
  const cosignedAtS = new Map<string, number>();
  for (const { key, timeS } of signatures.value) {
    const witness = policy.witnesses.find((known) => known.key === key);
    if (witness === undefined || timeS === undefined) continue;
    cosignedAtS.set(witness.name, Math.min(timeS, cosignedAtS.get(witness.name) ?? timeS));
  }
  return quorumMet(policy, new Set(cosignedAtS.keys()))
    ? ok({ ...head.value, note: note.value, cosignedAtS })
    : bad('the policy is not met: too few cosignatures');
};
