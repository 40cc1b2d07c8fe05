/** The log entry of one receipt (DESIGN section 5): nothing personal, checkable by whoever stores the ciphertext. */
import { sha256 } from '@noble/hashes/sha2.js';
import { HASH_BYTES, type Sha256 } from './merkle.ts';

/** First byte of every entry; another layout takes another number. */
const LEAF_VERSION = 1;
/** Version byte and one SHA-256. */
const LEAF_BYTES = 33;

/**
 * Version ‖ SHA-256(SHA-256(Receipt payload) ‖ SHA-256(ciphertext)). The Receipt's nonce hides its content; the second
 * hash lets a mirror check what it stores.
 * @param receiptPayloadHash SHA-256 of the Receipt's payload, 32 bytes
 * @param ciphertext the encrypted payload exactly as stored in the payload bundle
 */
export const encodeLeaf = (
  receiptPayloadHash: Uint8Array,
  ciphertext: Uint8Array,
  hash: Sha256 = sha256,
): Uint8Array => {
  if (receiptPayloadHash.length !== HASH_BYTES) throw new RangeError('not a SHA-256 hash');
  const both = new Uint8Array(2 * HASH_BYTES);
  both.set(receiptPayloadHash, 0);
  both.set(hash(ciphertext), HASH_BYTES);
  const leaf = new Uint8Array(LEAF_BYTES);
  leaf[0] = LEAF_VERSION;
  leaf.set(hash(both), 1);
  return leaf;
};
