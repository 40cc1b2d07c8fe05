import { Low, type Adapter } from 'lowdb';
import { KiriError } from '../protocol/kiri-error.ts';
import { readIfPresent, writeFileDurable } from './durable-file.ts';

/** Settings are small; a file above this is not one of ours. */
const MAX_SETTINGS_BYTES = 1024 * 1024;

/**
 * Settings, enrolment state and address books in one JSON file, through lowdb with an adapter that syncs file and folder.
 * Money and counters never live here but in the journal: this file is rewritten as a whole, keeps no history, and JSON
 * cannot carry an amount (BigInt is refused, a large number would lose digits).
 * @param defaults used only when the file does not exist
 * @throws KiriError SETTINGS_CORRUPT (names the file; never replaced by defaults), DISK_*
 */
export async function openSettings<T extends object>(path: string, defaults: T): Promise<Low<T>> {
  const settings = new Low<T>(new DurableJson<T>(path), defaults);
  await settings.read();
  return settings;
}

class DurableJson<T extends object> implements Adapter<T> {
  readonly #path: string;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** null tells lowdb that there is no file, and only that. */
  async read(): Promise<T | null> {
    const bytes = await readIfPresent(this.#path);
    if (bytes === undefined) return null;
    if (bytes.length > MAX_SETTINGS_BYTES)
      throw this.#corrupt(`is over ${MAX_SETTINGS_BYTES} bytes`);
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (error) {
      throw this.#corrupt('is not JSON', error);
    }
    // lowdb would silently put the defaults in the place of null, 0 or ''.
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#corrupt('does not hold an object');
    }
    return value as T;
  }

  async write(value: T): Promise<void> {
    const text = `${JSON.stringify(value, refuseBigInt, 2)}\n`;
    if (text.length > MAX_SETTINGS_BYTES) {
      throw new KiriError('SETTINGS_TOO_LARGE', `${this.#path}: over ${MAX_SETTINGS_BYTES} bytes`);
    }
    // One after the other: the later call's content must be the one that stays.
    const before = this.#lastWrite.catch(() => {});
    this.#lastWrite = before.then(() => writeFileDurable(this.#path, text));
    await this.#lastWrite;
  }

  #corrupt(what: string, cause?: unknown): KiriError {
    return new KiriError('SETTINGS_CORRUPT', `${this.#path} ${what}`, { cause });
  }
}

function refuseBigInt(key: string, value: unknown): unknown {
  if (typeof value === 'bigint') {
    throw new KiriError(
      'SETTINGS_BIGINT',
      `'${key}' is a BigInt: money does not belong in settings`,
    );
  }
  return value;
}
