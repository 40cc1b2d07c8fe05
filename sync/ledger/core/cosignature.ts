/** C2SP tlog-cosignature (v1.0.1), Ed25519 form: a witness's timestamped signature on a checkpoint. */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { signatureLine } from './note.ts';
import { type Signer, TYPE_COSIGNATURE } from './note-key.ts';

const HEADER = utf8ToBytes('cosignature/v1\ntime ');
const TIMESTAMP_BYTES = 8;
const SIGNATURE_BYTES = 64;

/** The signed bytes: header line, time line, whole checkpoint text (in UTF-8). `timeS` is a POSIX time. */
export const cosignatureMessage = (text: Uint8Array, timeS: number): Uint8Array => {
  const time = `${timeS}\n`;
  const message = new Uint8Array(HEADER.length + time.length + text.length);
  message.set(HEADER);
  for (let at = 0; at < time.length; at += 1) message[HEADER.length + at] = time.charCodeAt(at);
  message.set(text, HEADER.length + time.length);
  return message;
};

/** Splits `timestamped_signature`; `undefined` for another length or a time beyond 2^53 - 1. */
export const splitCosignature = (
  bytes: Uint8Array,
): { readonly timeS: number; readonly signature: Uint8Array } | undefined => {
  if (bytes.length !== TIMESTAMP_BYTES + SIGNATURE_BYTES) return undefined;
  let timeS = 0;
  for (let at = 0; at < TIMESTAMP_BYTES; at += 1) timeS = timeS * 256 + bytes[at]!;
  if (!Number.isSafeInteger(timeS)) return undefined;
  return { timeS, signature: bytes.subarray(TIMESTAMP_BYTES) };
};

/** A cosignature line on a checkpoint text. */
export const cosign = (text: string, signer: Signer, timeS: number): string => {
  if (signer.key.type !== TYPE_COSIGNATURE || !Number.isSafeInteger(timeS) || timeS < 0) {
    throw new RangeError('not a cosignature key or time');
  }
  const timestamp = new Uint8Array(TIMESTAMP_BYTES);
  let rest = timeS;
  for (let at = TIMESTAMP_BYTES - 1; at >= 0; at -= 1) {
    timestamp[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  const signature = signer.sign(cosignatureMessage(utf8ToBytes(text), timeS));
  return signatureLine(signer.key.name, signer.key.keyId, concatBytes(timestamp, signature));
};
