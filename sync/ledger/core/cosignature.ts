/** C2SP tlog-cosignature (v1.0.1), Ed25519 form: a witness's timestamped signature on a checkpoint. */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { signatureLine } from './note.ts';
import { type Signer, TYPE_COSIGNATURE } from './note-key.ts';

const TIMESTAMP_BYTES = 8;
const SIGNATURE_BYTES = 64;

/** The signed bytes: header line, time line, whole checkpoint text. `timeS` is a POSIX time. */
export const cosignatureMessage = (text: string, timeS: number): Uint8Array =>
  utf8ToBytes(`cosignature/v1\ntime ${timeS}\n${text}`);

/** Splits `timestamped_signature`; `undefined` for another length or a time beyond 2^53 - 1. */
export const splitCosignature = (
  bytes: Uint8Array,
): { readonly timeS: number; readonly signature: Uint8Array } | undefined => {
  if (bytes.length !== TIMESTAMP_BYTES + SIGNATURE_BYTES) return undefined;
  const timeS = bytes.slice(0, TIMESTAMP_BYTES).reduce((sum, byte) => sum * 256 + byte, 0);
  if (!Number.isSafeInteger(timeS)) return undefined;
  return { timeS, signature: bytes.slice(TIMESTAMP_BYTES) };
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
  const signature = signer.sign(cosignatureMessage(text, timeS));
  return signatureLine(signer.key.name, signer.key.keyId, concatBytes(timestamp, signature));
};
