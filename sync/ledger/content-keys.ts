/**
 * One content key per party and month (DESIGN section 5): erasing it erases what that party paid in that month. The
 * secret half stays in `state/content-keys/`, mode 0600; `keys/<kid>` holds the key wrapped to the issuer and the party and
 * may be served. A period is a calendar month in Japan Standard Time, the zone of the settlement windows' default.
 */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { CONTENT_KEY_BYTES, contentKeyId, wrapContentKey } from './key-wrap.ts';
import type { LedgerEntry } from './ledger-types.ts';
import type { ContentKey } from './payload-record.ts';

const KID_BYTES = 16;
/** Keys kept in memory; beyond it the oldest is read again from its file. */
const MAX_CACHED_KEYS = 4_096;
/** JST is UTC+9 without daylight saving. */
const JST_OFFSET_MS = 9 * 3_600_000;

/** The secret halves, by period and SHA-256 of the party's reference; never served. */
export const CONTENT_KEYS_PATH = 'state/content-keys';

/** The id in front of a stored key, hexadecimal; shorter where the file is torn. */
export const kidOfStoredKey = (stored: Uint8Array): string => toHex(stored.subarray(0, KID_BYTES));

/** Where the wrapped key stands below a log's folder. */
export const wrappedKeyPath = (kid: string): string => `keys/${kid}`;

/** `2026-11`: the JST month of a Unix time in milliseconds. */
export const periodOf = (unixMs: number): string =>
  new Date(unixMs + JST_OFFSET_MS).toISOString().slice(0, 7);

/** What of an entry chooses its key. */
type KeyedEntry = Pick<LedgerEntry, 'partyRef' | 'partyKey' | 'acceptedAtMs'>;

export interface ContentKeys {
  /**
   * The key for a party's payment at a time; made, wrapped and durable before it is returned. A party whose credential
   * names a key-agreement key only later reads its receipts from the next month on.
   * @throws KiriError DISK_*, STATE_CORRUPT
   */
  keyFor(entry: KeyedEntry): Promise<ContentKey>;
}

/** Opens the keys below a log folder; new ones are wrapped to `issuer` (P-256). */
export const openContentKeys = (root: string, issuer: PublicKey): ContentKeys => {
  const cache = new Map<string, Promise<ContentKey>>();
  const load = async (path: string, party: PublicKey | undefined): Promise<ContentKey> => {
    const stored = await readIfPresent(path);
    if (stored === undefined) return make(path, party);
    if (stored.length !== KID_BYTES + CONTENT_KEY_BYTES) {
      throw new KiriError('STATE_CORRUPT', `${path} is no content key`);
    }
    const kid = new Uint8Array(stored.subarray(0, KID_BYTES));
    return { kid, key: new Uint8Array(stored.subarray(KID_BYTES)) };
  };
  const make = async (path: string, party: PublicKey | undefined): Promise<ContentKey> => {
    const key = new Uint8Array(randomBytes(CONTENT_KEY_BYTES));
    // The wrapped form first: a key in use that the issuer cannot open would make its payloads unpayable.
    const wrapped = wrapContentKey(key, issuer, party);
    const kid = contentKeyId(wrapped);
    await writeFileDurable(join(root, wrappedKeyPath(toHex(kid))), wrapped, 0o644);
    await writeFileDurable(path, Buffer.concat([kid, key]), 0o600);
    return { kid, key };
  };
  return {
    keyFor: ({ partyRef, partyKey, acceptedAtMs }) => {
      const party = createHash('sha256').update(partyRef).digest('hex');
      const path = join(root, CONTENT_KEYS_PATH, periodOf(acceptedAtMs), party);
      const known = cache.get(path);
      if (known !== undefined) return known;
      const loading = load(path, partyKey);
      const [oldest] = cache.keys();
      if (cache.size >= MAX_CACHED_KEYS && oldest !== undefined) cache.delete(oldest);
      cache.set(path, loading);
      loading.catch(() => cache.delete(path));
      return loading;
    },
  };
};
