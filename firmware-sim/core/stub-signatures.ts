import { ed25519 } from '@noble/curves/ed25519.js';
import { toHex } from '../../protocol/bytes.ts';
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

/** Keys made once: documents are refused whose keys are not on the curve, and making one costs more than all the rest. */
const made = new Map<string, PublicKey>();
const MAX_MADE = 256;

/** @param secret 32 bytes; the public key is the real one of Ed25519 */
export function stubSigner(secret: Uint8Array): Signer {
  const hex = toHex(secret);
  let key = made.get(hex);
  if (key === undefined) {
    key = publicKey(ALG_EDDSA, ed25519.getPublicKey(secret));
    invariant(key !== undefined, 'an Ed25519 key has 32 bytes');
    if (made.size < MAX_MADE) made.set(hex, key);
  }
  const own = key;
  return { key: own, sign: (message) => stubSignature(own, message) };
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
