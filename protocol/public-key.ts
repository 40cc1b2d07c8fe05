import { sha256 } from '@noble/hashes/sha2.js';
import { toHex } from './bytes.ts';
import { encodeCanonical } from './cbor/encode.ts';
import type { CborValue } from './cbor/value.ts';
import { ID_BYTES } from './ids.ts';

/** COSE algorithm numbers: EdDSA with Ed25519 by default, ES256 for keys in hardware. */
export const ALG_EDDSA = -8;
export const ALG_ES256 = -7;
export type CoseAlg = typeof ALG_EDDSA | typeof ALG_ES256;

/**
 * A public key with its id. `point` is 32 bytes (Ed25519) or 64 bytes x ‖ y (P-256).
 * `id` is the COSE key thumbprint (RFC 9679, SHA-256) cut to 16 bytes; `hex` its text form.
 */
export interface PublicKey {
  readonly alg: CoseAlg;
  readonly point: Uint8Array;
  readonly id: Uint8Array;
  readonly hex: string;
}

/** Signs bytes with one private key; the key never leaves what implements this. */
export interface Signer {
  readonly key: PublicKey;
  sign(message: Uint8Array): Uint8Array;
}

/**
 * The one signature rule (DESIGN §3): strict Ed25519 (no small-order or non-canonical keys), P-256
 * accepts high-S. Never throws; false for anything malformed.
 */
export interface Verifier {
  verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean;
}

/** COSE_Key (RFC 9053 §7) with the required parameters only, as the thumbprint wants it. */
export function coseKeyOf(key: Pick<PublicKey, 'alg' | 'point'>): Map<number, CborValue> {
  const map = new Map<number, CborValue>();
  if (key.alg === ALG_EDDSA) {
    map.set(1, 1).set(-1, 6).set(-2, key.point);
  } else {
    map.set(1, 2).set(-1, 1).set(-2, key.point.subarray(0, 32)).set(-3, key.point.subarray(32, 64));
  }
  return map;
}

/** Undefined where the length does not fit the algorithm. Curve checks belong to the Verifier. */
export function publicKey(alg: CoseAlg, point: Uint8Array): PublicKey | undefined {
  if (point.length !== (alg === ALG_EDDSA ? 32 : 64)) return undefined;
  const own = new Uint8Array(point); // slice() of a Buffer would share its memory
  const id = sha256(encodeCanonical(coseKeyOf({ alg, point: own }))).subarray(0, ID_BYTES);
  return { alg, point: own, id, hex: toHex(id) };
}

/** Reads a decoded COSE_Key; undefined where it is not exactly one of the two kinds. */
export function publicKeyFromCose(value: CborValue): PublicKey | undefined {
  if (!(value instanceof Map)) return undefined;
  const x = value.get(-2);
  const y = value.get(-3);
  if (!(x instanceof Uint8Array) || x.length !== 32) return undefined;
  if (value.get(1) === 1n && value.get(-1) === 6n && value.size === 3) {
    return publicKey(ALG_EDDSA, x);
  }
  const isP256 = value.get(1) === 2n && value.get(-1) === 1n && value.size === 4;
  if (!isP256 || !(y instanceof Uint8Array) || y.length !== 32) return undefined;
  const point = new Uint8Array(64);
  point.set(x);
  point.set(y, 32);
  return publicKey(ALG_ES256, point);
}
