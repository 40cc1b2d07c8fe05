import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { bytesEqual, concatBytes } from '../../protocol/bytes.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import {
  ALG_EDDSA,
  publicKey,
  type CoseAlg,
  type PublicKey,
  type Signer,
  type Verifier,
} from '../../protocol/public-key.ts';
import { edwardsEncodingFault } from './key-check.ts';

const { Point } = ed25519;

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

/**
 * R = S·B − k·A compared as bytes (RFC 8032 §5.1.7 without the cofactor), as OpenSSL does. Noble's
 * own `verify` multiplies by the cofactor even with `zip215: false`, so it would accept signatures
 * with a torsion component that OpenSSL refuses.
 */
function verifyEdwards(point: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (edwardsEncodingFault(point) !== undefined) return false;
  const encodedR = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= Point.Fn.ORDER) return false;
  const k = littleEndian(sha512(concatBytes(encodedR, point, message))) % Point.Fn.ORDER;
  const minusA = Point.fromBytes(point, false).negate();
  const r = Point.BASE.multiplyUnsafe(s).add(minusA.multiplyUnsafe(k));
  return bytesEqual(r.toBytes(), encodedR);
}

function uncompressed(point: Uint8Array): Uint8Array {
  return concatBytes(Uint8Array.of(4), point);
}

/**
 * The reference Verifier: pure JavaScript, about 25 times slower than the one of node:crypto. Not
 * for an agent's hot path: loading the curves costs some 15 MB.
 */
export function nobleVerifier(): Verifier {
  return {
    verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
      if (signature.length !== 64) return false;
      try {
        if (key.alg === ALG_EDDSA) return verifyEdwards(key.point, message, signature);
        // Hardware keys sign with high S in half of all cases; ids are never made from signatures.
        return p256.verify(signature, message, uncompressed(key.point), { lowS: false });
      } catch {
        return false; // noble throws for points that are not on the curve
      }
    },
  };
}

/** Signs with a raw 32-byte secret. The secret lives in the closure and shows nowhere. */
export function nobleSigner(alg: CoseAlg, secret: Uint8Array): Signer {
  const own = new Uint8Array(secret);
  const edwards = alg === ALG_EDDSA;
  const point = edwards ? ed25519.getPublicKey(own) : p256.getPublicKey(own, false).subarray(1);
  const key = publicKey(alg, point);
  invariant(key !== undefined, 'a derived public key has its algorithm length');
  return {
    key,
    sign: (message) => (edwards ? ed25519.sign(message, own) : p256.sign(message, own)),
  };
}
