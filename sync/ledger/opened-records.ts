/** The payloads of a log that one key opens: all of them for the issuer, its own for a liable party. */
import type { KeyObject } from 'node:crypto';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { wrappedKeyPath } from './content-keys.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { unwrapContentKey } from './key-wrap.ts';
import { readEntries, readPayloads } from './log-folder.ts';
import type { LogSource } from './log-source.ts';
import { leafOfRecord, openPayload, parsePayloadRecord } from './payload-record.ts';

/** Content keys that were tried and are remembered, opened or not. */
const MAX_REMEMBERED_KEYS = 65_536;

export interface OpenedRecord {
  /** Its entry in the log, from 0. */
  readonly index: number;
  /** Content key, hexadecimal. */
  readonly kid: string;
  readonly plain: Uint8Array;
}

/** Opens wrapped keys of a log with a recipient's private key, each once. */
class KeyRing {
  readonly #source: LogSource;
  readonly #privateKey: KeyObject;
  readonly #keys = new Map<string, Uint8Array | undefined>();

  constructor(source: LogSource, privateKey: KeyObject) {
    this.#source = source;
    this.#privateKey = privateKey;
  }

  async get(kid: string): Promise<Uint8Array | undefined> {
    if (this.#keys.has(kid)) return this.#keys.get(kid);
    const key = await this.#open(kid);
    if (this.#keys.size >= MAX_REMEMBERED_KEYS) this.#keys.clear();
    this.#keys.set(kid, key);
    return key;
  }

  /** Undefined where the file is gone, altered, or wrapped to others. */
  async #open(kid: string): Promise<Uint8Array | undefined> {
    const wrapped = await this.#source.read(wrappedKeyPath(kid));
    if (wrapped === undefined) return undefined;
    try {
      const opened = unwrapContentKey(wrapped, this.#privateKey);
      return toHex(opened.kid) === kid ? opened.contentKey : undefined;
    } catch (error) {
      if (error instanceof KiriError && error.code === 'KEY_UNREADABLE') return undefined;
      throw error;
    }
  }
}

/**
 * Reads a log from its start and gives each payload that the key opens. That the entries lead to a signed root is for the
 * caller to check; a record is given only where it is what its entry commits to.
 * @throws KiriError LOG_* and what the source throws
 */
export async function* openedRecords(
  source: LogSource,
  size: number,
  privateKey: KeyObject,
): AsyncGenerator<OpenedRecord> {
  const ring = new KeyRing(source, privateKey);
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle += 1) {
    const leaves = await readEntries(source, bundle, size);
    const records = await readPayloads(source, bundle, size);
    for (const [at, record] of records.entries()) {
      const parsed = parsePayloadRecord(record);
      const committed = leafOfRecord(record);
      const leaf = leaves[at];
      if (!parsed || !committed || !leaf || !bytesEqual(committed, leaf)) continue;
      const kid = toHex(parsed.kid);
      const key = await ring.get(kid);
      const plain = key && openPayload(parsed, key);
      if (plain) yield { index: bundle * TILE_WIDTH + at, kid, plain };
    }
  }
}
