import { hash } from 'node:crypto';
import type { HmacSha256, Sha256 } from '../approval/ports.ts';
import { concatBytes } from '../protocol/bytes.ts';

const BLOCK_BYTES = 64;

export const nodeSha256: Sha256 = (bytes) => hash('sha256', bytes, 'buffer');

interface Pads {
  readonly key: Uint8Array;
  readonly inner: Uint8Array;
  readonly outer: Uint8Array;
}

function padsOf(key: Uint8Array): Pads {
  const short = key.length > BLOCK_BYTES ? nodeSha256(key) : key;
  const inner = new Uint8Array(BLOCK_BYTES).fill(0x36);
  const outer = new Uint8Array(BLOCK_BYTES).fill(0x5c);
  for (const [i, byte] of short.entries()) {
    inner[i]! ^= byte;
    outer[i]! ^= byte;
  }
  return { key, inner, outer };
}

/**
 * HMAC-SHA256 (RFC 2104) from two one-shot hashes: `createHmac` takes twice as long, and every Offer
 * costs two. The pads of the key used last are kept, by identity: a key is never written to.
 */
export function nodeHmacSha256(): HmacSha256 {
  let pads: Pads | undefined;
  return (key, bytes) => {
    if (pads?.key !== key) pads = padsOf(key);
    return nodeSha256(concatBytes(pads.outer, nodeSha256(concatBytes(pads.inner, bytes))));
  };
}
