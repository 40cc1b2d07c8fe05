import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { keyFault } from '../../identity/core/key-check.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import {
  ALG_EDDSA,
  ALG_ES256,
  coseKeyOf,
  publicKey,
  publicKeyFromCose,
  type PublicKey,
} from '../../protocol/public-key.ts';

/** The two standard forms of one public key, as they stand in `trust/`. */
export interface KeyFiles {
  /** Canonical COSE_Key (RFC 9053 §7). */
  readonly cosekey: Uint8Array;
  /** SubjectPublicKeyInfo (RFC 5280, RFC 8410). */
  readonly pem: string;
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

export function keyFilesOf(key: PublicKey): KeyFiles {
  const { point } = key;
  const jwk: JsonWebKey =
    key.alg === ALG_EDDSA
      ? { kty: 'OKP', crv: 'Ed25519', x: base64url(point) }
      : {
          kty: 'EC',
          crv: 'P-256',
          x: base64url(point.subarray(0, 32)),
          y: base64url(point.subarray(32)),
        };
  const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  return { cosekey: encodeCanonical(coseKeyOf(key)), pem: pem.toString() };
}

const MAX_KEY_BYTES = 256;

/** Undefined unless it is the one canonical form of a key that may sign. */
export function keyOfCose(bytes: Uint8Array): PublicKey | undefined {
  const decoded = decodeCanonical(bytes, { maxBytes: MAX_KEY_BYTES });
  const key = decoded.ok ? publicKeyFromCose(decoded.value) : undefined;
  return key && keyFault(key) === undefined ? key : undefined;
}

/** Undefined unless it is exactly the text that {@link keyFilesOf} writes for a key that may sign. */
export function keyOfPem(bytes: Uint8Array): PublicKey | undefined {
  try {
    const { crv, x, y } = createPublicKey(Buffer.from(bytes)).export({ format: 'jwk' });
    const parts = [x ?? '', y ?? ''].map((part) => Buffer.from(part, 'base64url'));
    const key =
      crv === 'Ed25519'
        ? publicKey(ALG_EDDSA, Buffer.concat(parts))
        : publicKey(ALG_ES256, Buffer.concat(parts));
    if (!key || keyFault(key) !== undefined) return undefined;
    return bytesEqual(Buffer.from(keyFilesOf(key).pem), bytes) ? key : undefined;
  } catch {
    return undefined; // no PEM, or a curve that is not ours
  }
}
