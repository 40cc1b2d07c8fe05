import {
  createPublicKey,
  sign as signWith,
  verify as verifyWith,
  type KeyObject,
  type VerifyKeyObjectInput,
} from 'node:crypto';
import { KiriError } from '../../protocol/kiri-error.ts';
import {
  ALG_EDDSA,
  ALG_ES256,
  publicKey,
  type PublicKey,
  type Signer,
  type Verifier,
} from '../../protocol/public-key.ts';
import { edwardsEncodingFault } from '../core/key-check.ts';

/** Imported keys kept at most; about 1 kB each. */
const MAX_CACHED_KEYS = 4096;

/** Order of the Ed25519 base point, little-endian (RFC 8032 §5.1). */
const ORDER_25519 = Buffer.from(
  'edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010',
  'hex',
);

export interface NodeVerifierOptions {
  /** Default 4,096. */
  readonly maxCachedKeys?: number;
}

/** What a key became at import; `refused` is cached too, so that junk is looked at once. */
type Imported = KeyObject | VerifyKeyObjectInput | 'refused';

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

function importKey({ alg, point }: PublicKey): Imported {
  try {
    if (alg === ALG_EDDSA) {
      if (point.length !== 32 || edwardsEncodingFault(point) !== undefined) return 'refused';
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: base64url(point) };
      return createPublicKey({ key: jwk, format: 'jwk' });
    }
    if (point.length !== 64) return 'refused';
    const [x, y] = [base64url(point.subarray(0, 32)), base64url(point.subarray(32))];
    const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
    return { key, dsaEncoding: 'ieee-p1363' };
  } catch {
    return 'refused'; // not on the curve
  }
}

/** S < L is said here and not left to the OpenSSL at hand. */
function isReduced(signature: Uint8Array): boolean {
  for (let i = 31; i >= 0; i -= 1) {
    const difference = signature[32 + i]! - ORDER_25519[i]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** Two generations: a key asked for in the last n imports is still there, and a hit moves nothing. */
class KeyCache {
  readonly #half: number;
  #young = new Map<string, Imported>();
  #old = new Map<string, Imported>();

  constructor(maxKeys: number) {
    this.#half = Math.max(1, Math.floor(maxKeys / 2));
  }

  get(key: PublicKey): Imported {
    const young = this.#young.get(key.hex);
    if (young) return young;
    const imported = this.#old.get(key.hex) ?? importKey(key);
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key.hex, imported);
    return imported;
  }
}

/**
 * The Verifier of devices and gateways: node:crypto, synchronous, imported keys cached and bounded.
 * Gives the verdict of `nobleVerifier` on every input (test/identity/signatures.test.ts).
 */
export function nodeVerifier(options: NodeVerifierOptions = {}): Verifier {
  const cache = new KeyCache(options.maxCachedKeys ?? MAX_CACHED_KEYS);
  return {
    verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
      if (signature.length !== 64) return false;
      const imported = cache.get(key);
      if (imported === 'refused') return false;
      if (key.alg === ALG_ES256) return verifyWith('sha256', message, imported, signature);
      return isReduced(signature) && verifyWith(null, message, imported, signature);
    },
  };
}

/** The public half in Kiri's form. @throws KiriError KEY_UNSUPPORTED */
function publicKeyOf(key: KeyObject): PublicKey {
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  const x = Buffer.from(jwk.x ?? '', 'base64url');
  const own =
    jwk.crv === 'Ed25519'
      ? publicKey(ALG_EDDSA, x)
      : jwk.crv === 'P-256'
        ? publicKey(ALG_ES256, Buffer.concat([x, Buffer.from(jwk.y ?? '', 'base64url')]))
        : undefined;
  if (!own) throw new KiriError('KEY_UNSUPPORTED', 'the key is neither Ed25519 nor P-256');
  return own;
}

/**
 * Signs with a private KeyObject, which stays in the closure: neither JSON nor `util.inspect` of
 * the Signer shows it. @throws KiriError KEY_UNSUPPORTED
 */
export function nodeSigner(privateKey: KeyObject): Signer {
  const key = publicKeyOf(privateKey);
  if (key.alg === ALG_EDDSA) {
    return { key, sign: (message) => new Uint8Array(signWith(null, message, privateKey)) };
  }
  const input = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
  return { key, sign: (message) => new Uint8Array(signWith('sha256', message, input)) };
}
