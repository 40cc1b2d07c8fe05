/** Checking a note's signatures against known keys (signed-note, "Signatures"). */
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { cosignatureMessage, splitCosignature } from './cosignature.ts';
import type { NoteSignature, SignedNote } from './note.ts';
import { TYPE_COSIGNATURE, type Verify, type VerifierKey } from './note-key.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A verified signature; `timeS` stands for cosignatures only. */
export interface VerifiedSignature {
  readonly key: VerifierKey;
  readonly line: NoteSignature;
  readonly timeS?: number;
}

const verifyLine = (
  text: Uint8Array,
  line: NoteSignature,
  key: VerifierKey,
  verify: Verify,
): VerifiedSignature | undefined => {
  if (key.type !== TYPE_COSIGNATURE) {
    const good = verify(key.publicKey, text, line.signature);
    return good ? { key, line } : undefined;
  }
  const parts = splitCosignature(line.signature);
  if (parts === undefined) return undefined;
  const message = cosignatureMessage(text, parts.timeS);
  return verify(key.publicKey, message, parts.signature)
    ? { key, line, timeS: parts.timeS }
    : undefined;
};

/**
 * Verifies every signature of a known key. Unknown keys are ignored, also those that share only a name or only an id
 * with a known one; a known key with a bad signature spoils the whole note; no known key at all is an error.
 */
export const verifyNote = (
  note: SignedNote,
  keys: readonly VerifierKey[],
  verify: Verify,
): Outcome<readonly VerifiedSignature[]> => {
  const verified: VerifiedSignature[] = [];
  const text = utf8ToBytes(note.text);
  for (const line of note.signatures) {
    const key = keys.find(
      (known) => known.name === line.name && bytesEqual(known.keyId, line.keyId),
    );
    if (key === undefined) continue;
    const signature = verifyLine(text, line, key, verify);
    if (signature === undefined) return bad(`bad signature of ${key.name}`);
    verified.push(signature);
  }
  return verified.length > 0 ? ok(verified) : bad('no signature of a known key');
};
