import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, toHex } from '../../../protocol/bytes.ts';
import { encodeLeaf } from '../../../sync/ledger/core/leaf.ts';
import { HASH_BYTES } from '../../../sync/ledger/core/merkle.ts';

/**
 * Stands in for payload-record.ts, which needs the runtime's AES: SHA-256 of the Receipt payload ‖ key id ‖ masked payload.
 * The mask follows from key and hash, so the same payload gives the same record, as the real one does. It hides nothing
 * from anybody who looks; no rule of a world depends on that.
 */
const KID_BYTES = 16;
export const CONTENT_KEY_BYTES = 32;

/** Where a content key stands below a log's folder. In a world the wrapped key is the key. */
export const keyPath = (kidHex: string): string => `keys/${kidHex}`;

export const kidOf = (key: Uint8Array): Uint8Array => sha256(key).slice(0, KID_BYTES);

function mask(key: Uint8Array, hash: Uint8Array, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  let x = 0x9e37_79b9;
  for (let i = 0; i < key.length; i += 1) x = Math.imul(x ^ key[i]! ^ hash[i]!, 0x0100_0193);
  for (let i = 0; i < bytes.length; i += 1) {
    x = Math.imul(x ^ (x >>> 15), 0x85eb_ca6b) + i;
    out[i] = bytes[i]! ^ (x >>> 24);
  }
  return out;
}

export const sealRecord = (hash: Uint8Array, plain: Uint8Array, key: Uint8Array): Uint8Array =>
  concatBytes(hash, kidOf(key), mask(key, hash, plain));

/** Hex of the key id that a record names. */
export const kidOfRecord = (record: Uint8Array): string =>
  toHex(record.subarray(HASH_BYTES, HASH_BYTES + KID_BYTES));

export const openRecord = (record: Uint8Array, key: Uint8Array): Uint8Array =>
  mask(key, record.subarray(0, HASH_BYTES), record.subarray(HASH_BYTES + KID_BYTES));

export const leafOf = (record: Uint8Array): Uint8Array =>
  encodeLeaf(record.subarray(0, HASH_BYTES), record.subarray(HASH_BYTES));
