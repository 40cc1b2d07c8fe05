/** Evidence of the file anchor: the same note with a cosignature/v1 of a consortium's key, carried in by hand. */
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { AnchoredNote, VerifyAnchor } from './anchor-port.ts';
import { parseNote } from './note.ts';
import type { Verify, VerifierKey } from './note-key.ts';
import { verifyNote } from './note-verify.ts';
import { type Outcome, bad, ok } from './text.ts';

/** Checks a countersigned note against the consortium's keys; the earliest cosignature tells the time. */
export const verifyCountersigned =
  (keys: readonly VerifierKey[], verify: Verify): VerifyAnchor =>
  (evidence, note): Outcome<AnchoredNote> => {
    const own = parseNote(note);
    if (!own.ok) return own;
    const countersigned = parseNote(evidence);
    if (!countersigned.ok) return countersigned;
    // All of the note, signatures too: what comes after it is the consortium's.
    if (!bytesEqual(evidence.slice(0, note.length), note)) {
      return bad('the countersigned note is another');
    }
    const signatures = verifyNote(countersigned.value, keys, verify);
    if (!signatures.ok) return signatures;
    const timed = signatures.value.flatMap(({ key, timeS }) =>
      timeS === undefined ? [] : [{ name: key.name, timeS }],
    );
    const [first] = timed.toSorted((one, other) => one.timeS - other.timeS);
    return first === undefined
      ? bad('no cosignature of the consortium')
      : ok({ anchoredAtS: first.timeS, by: `countersignature of ${first.name}` });
  };
