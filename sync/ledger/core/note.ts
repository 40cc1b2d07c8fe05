/** C2SP signed-note (v1.0.0): text, blank line, signature lines. Parsing is bounded and keeps the received text. */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { invalidUtf8At, readUtf8, utf8Length } from '../../../protocol/cbor/utf8.ts';
import { type Signer, TYPE_ED25519, isKeyName } from './note-key.ts';
import { type Outcome, bad, decodeBase64In, encodeBase64, ok } from './text.ts';

/** Room for 16 post-quantum signatures of 5 kB and their text. */
const MAX_NOTE_BYTES = 131_072;
/** signed-note: at least 16 must be accepted. */
const MAX_SIGNATURES = 64;
const KEY_ID_BYTES = 4;
const NEWLINE = 0x0a;
const SPACE = 0x20;
/** An em dash and a space: how every signature line begins. */
const DASH = utf8ToBytes('\u2014 ');

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

/** Reads one line in [from, to) of valid UTF-8, its newline excluded. */
const parseSignatureLine = (
  bytes: Uint8Array,
  from: number,
  to: number,
): NoteSignature | undefined => {
  for (let at = 0; at < DASH.length; at += 1) if (bytes[from + at] !== DASH[at]) return undefined;
  const nameFrom = from + DASH.length;
  const space = bytes.indexOf(SPACE, nameFrom);
  if (space < 0 || space > to) return undefined;
  const name = readUtf8(bytes, nameFrom, space);
  const signed = decodeBase64In(bytes, space + 1, to);
  if (!isKeyName(name) || signed === undefined || signed.length <= KEY_ID_BYTES) return undefined;
  return {
    name,
    keyId: signed.slice(0, KEY_ID_BYTES),
    signature: signed.subarray(KEY_ID_BYTES),
  };
};

/** Reads the signature lines from `start` to the end of valid UTF-8. */
const readSignatureLines = (
  bytes: Uint8Array,
  start: number,
): Outcome<readonly NoteSignature[]> => {
  if (start >= bytes.length || bytes.at(-1) !== NEWLINE) {
    return bad('signature line without its newline');
  }
  const signatures: NoteSignature[] = [];
  for (let from = start; from < bytes.length;) {
    if (signatures.length === MAX_SIGNATURES) return bad(`more than ${MAX_SIGNATURES} signatures`);
    const to = bytes.indexOf(NEWLINE, from);
    const line = parseSignatureLine(bytes, from, to);
    if (line === undefined) return bad('malformed signature line');
    signatures.push(line);
    from = to + 1;
  }
  return ok(signatures);
};

/** Reads signature lines (a witness's answer). A lone surrogate would come back as another character. */
export const parseSignatureLines = (text: string): Outcome<readonly NoteSignature[]> =>
  utf8Length(text) < 0 ? bad('no UTF-8 text') : readSignatureLines(utf8ToBytes(text), 0);

const hasControl = (bytes: Uint8Array): boolean => {
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at]! < SPACE && bytes[at] !== NEWLINE) return true;
  }
  return false;
};

/** Where the last empty line begins, its newline excluded; -1 without one. */
const lastEmptyLine = (bytes: Uint8Array): number => {
  let at = bytes.lastIndexOf(NEWLINE);
  while (at > 0 && bytes[at - 1] !== NEWLINE) at = bytes.lastIndexOf(NEWLINE, at - 1);
  return at > 0 ? at : -1;
};

/** Reads a note's structure; no signature is checked here. */
export const parseNote = (bytes: Uint8Array): Outcome<SignedNote> => {
  if (bytes.length > MAX_NOTE_BYTES) return bad(`note over ${MAX_NOTE_BYTES} bytes`);
  if (invalidUtf8At(bytes, 0, bytes.length) >= 0) return bad('note is not UTF-8');
  if (hasControl(bytes)) return bad('control character in a note');
  const split = lastEmptyLine(bytes);
  if (split < 0) return bad('note without a signature part');
  const signatures = readSignatureLines(bytes, split + 1);
  if (!signatures.ok) return signatures;
  return ok({ text: readUtf8(bytes, 0, split), signatures: signatures.value });
};

/** Signs a text with an Ed25519 (type 0x01) key. Throws where the text is no note text or the key is of another type. */
export const signNote = (text: string, signer: Signer): string => {
  if (!text.endsWith('\n') || signer.key.type !== TYPE_ED25519) {
    throw new RangeError('not a note text, or not an Ed25519 note key');
  }
  const { name, keyId } = signer.key;
  return `${text}\n${signatureLine(name, keyId, signer.sign(utf8ToBytes(text)))}`;
};
