/** A checkpoint under its log's own signature alone: what mirrors keep and evidence of a fork is made of. */
import { type TreeHead, parseCheckpoint } from './checkpoint.ts';
import { parseNote, signatureLine } from './note.ts';
import type { Verify, VerifierKey } from './note-key.ts';
import { verifyNote } from './note-verify.ts';
import { type Outcome, bad, decodeUtf8, ok } from './text.ts';

/** A checkpoint with its log's verified signature and no other. */
export interface SignedHead extends TreeHead {
  readonly note: string;
}

/** Reads a note that one of the log's keys signed; other signature lines are dropped. */
export const parseSignedHead = (
  bytes: Uint8Array,
  keys: readonly VerifierKey[],
  verify: Verify,
): Outcome<SignedHead> => {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const head = parseCheckpoint(note.value.text);
  if (!head.ok) return head;
  const signed = verifyNote(
    note.value,
    keys.filter((key) => key.name === head.value.origin),
    verify,
  );
  if (!signed.ok) return signed;
  const { line } = signed.value[0] ?? {};
  if (line === undefined || decodeUtf8(bytes) === undefined) return bad('no signature of the log');
  const text = signatureLine(line.name, line.keyId, line.signature);
  return ok({ ...head.value, note: `${note.value.text}\n${text}` });
};
