import { invariant } from '../../protocol/kiri-error.ts';
import {
  ALG_EDDSA,
  publicKey,
  type PublicKey,
  type Signer,
  type Verifier,
} from '../../protocol/public-key.ts';

/**
 * Stands in for Ed25519 where ten thousand worlds have to run: about 50 times cheaper, and still false for every message,
 * key or signature in which a byte was changed. It is no signature: whoever knows the public key can make one, which the
 * attackers of the simulation do not do.
 */
const SIGNATURE_BYTES = 64;

/** 64 bits in two lanes; every step is a bijection of its lane, so one changed byte cannot cancel out. */
function mix(a: number, b: number, bytes: Uint8Array): [number, number] {
  let x = a;
  let y = b;
  for (let i = 0; i < bytes.length; i += 1) {
    x = Math.imul(x ^ bytes[i]!, 0x0100_0193);
    x ^= x >>> 15;
    y = Math.imul(y ^ bytes[i]!, 0x85eb_ca6b);
    y ^= y >>> 13;
  }
  return [x ^ Math.imul(bytes.length, 0x9e37_79b1), y];
}

function stubSignature(key: PublicKey, message: Uint8Array): Uint8Array {
  let [x, y] = mix(0x811c_9dc5, 0x1b87_3593, key.point);
  [x, y] = mix(x, y, message);
  const out = new Uint8Array(SIGNATURE_BYTES);
  const view = new DataView(out.buffer);
  for (let at = 0; at < SIGNATURE_BYTES; at += 8) {
    view.setUint32(at, x);
    view.setUint32(at + 4, y);
    x = Math.imul(x ^ at, 0xc2b2_ae35);
    y = Math.imul(y ^ at, 0x27d4_eb2f);
  }
  return out;
}

/** @param point 32 bytes that stand for a key pair */
export function stubSigner(point: Uint8Array): Signer {
  const key = publicKey(ALG_EDDSA, point);
  invariant(key !== undefined, 'stub key: 32 bytes');
  return { key, sign: (message) => stubSignature(key, message) };
}

export function stubVerifier(): Verifier {
  return {
    verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
      if (signature.length !== SIGNATURE_BYTES) return false;
      const expected = stubSignature(key, message);
      for (let i = 0; i < SIGNATURE_BYTES; i += 1) if (expected[i] !== signature[i]) return false;
      return true;
    },
  };
}
