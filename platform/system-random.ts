import { randomFillSync } from 'node:crypto';
import type { Random } from './ports.ts';

const POOL_BYTES = 4096;

/** The operating system's generator through a pool: one call into OpenSSL per 4 KiB instead of one per nonce. */
export function systemRandom(): Random {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  return {
    bytes: (n) => {
      if (n > POOL_BYTES) return randomFillSync(new Uint8Array(n));
      if (used + n > POOL_BYTES) {
        randomFillSync(pool);
        used = 0;
      }
      const bytes = pool.slice(used, used + n);
      // What was handed out may be a key: it must not stay readable here.
      pool.fill(0, used, used + n);
      used += n;
      return bytes;
    },
  };
}
