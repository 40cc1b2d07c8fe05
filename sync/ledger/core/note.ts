/** C2SP signed-note (v1.0.0): text, blank line, signature lines. Parsing is bounded and keeps the received text. */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { type Signer, TYPE_ED25519, isKeyName } from './note-key.ts';
import { type Outcome, bad, decodeBase64, decodeUtf8, encodeBase64, ok } from './text.ts';

/** Room for 16 post-quantum signatures of 5 kB and their text. */
const MAX_NOTE_BYTES = 131_072;
/** signed-note: at least 16 must be accepted. */
const MAX_SIGNATURES = 64;
const KEY_ID_BYTES = 4;

/** One signature line, unverified. */
export interface NoteSignature {
  readonly name: string;
  readonly keyId: Uint8Array;
  /** What follows the key id; its form depends on the key's type. */
  readonly signature: Uint8Array;
}

/** A parsed note; `text` ends in a newline and means nothing before a signature on it is verified. */
export interface SignedNote {
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** `— <name> <base64(key id ‖ signature)>` with its newline. */
export const signatureLine = (name: string, keyId: Uint8Array, signature: Uint8Array): string =>
  `\u2014 ${name} ${encodeBase64(concatBytes(keyId, signature))}\n`;

/** Reads signature lines (a witness's answer, or the end of a note). */
export const parseSignatureLines = (text: string): Outcome<readonly NoteSignature[]> => {
  if (!text.endsWith('\n')) return bad('signature line without its newline');
  const lines = text.slice(0, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) return bad(`more than ${MAX_SIGNATURES} signatures`);
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const [dash, name, base64, ...rest] = line.split(' ');
    const bytes = decodeBase64(base64 ?? '');
    if (dash !== '\u2014' || rest.length > 0 || !isKeyName(name ?? '')) {
      return bad('malformed signature line');
    }
    if (bytes === undefined || bytes.length <= KEY_ID_BYTES) return bad('malformed signature');
    signatures.push({
      name: name ?? '',
      keyId: bytes.slice(0, KEY_ID_BYTES),
      signature: bytes.slice(KEY_ID_BYTES),
    });
  }
  return ok(signatures);
};

/** Reads a note's structure; no signature is checked here. */
export const parseNote = (bytes: Uint8Array): Outcome<SignedNote> => {
  if (bytes.length > MAX_NOTE_BYTES) return bad(`note over ${MAX_NOTE_BYTES} bytes`);
  const whole = decodeUtf8(bytes);
  if (whole === undefined) return bad('note is not UTF-8');
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole)) return bad('control character in a note');
  const split = whole.lastIndexOf('\n\n');
  if (split < 0) return bad('note without a signature part');
  const signatures = parseSignatureLines(whole.slice(split + 2));
  if (!signatures.ok) return signatures;
  return ok({ text: whole.slice(0, split + 1), signatures: signatures.value });
};

/** Signs a text with an Ed25519 (type 0x01) key. Throws where the text is no note text or the key is of another type. */
export const signNote = (text: string, signer: Signer): string => {
  if (!text.endsWith('\n') || signer.key.type !== TYPE_ED25519) {
    throw new RangeError('not a note text, or not an Ed25519 note key');
  }
  const { name, keyId } = signer.key;
  return `${text}\n${signatureLine(name, keyId, signer.sign(utf8ToBytes(text)))}`;
};
