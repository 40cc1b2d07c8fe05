import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { publicKeyFromCose, type PublicKey } from '../../protocol/public-key.ts';
import { parseVerifierKey, type VerifierKey } from '../../sync/ledger/core/note-key.ts';
import { UsageError } from '../command.ts';

/** A configuration file is read whole; none needs more. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

type Values = Readonly<Record<string, unknown>>;

/** One object of a JSON configuration; every error names the file, the key and what is wanted. */
export class Config {
  readonly #values: Values;
  readonly #file: string;
  readonly #at: string;

  constructor(values: Values, file: string, at = '') {
    this.#values = values;
    this.#file = file;
    this.#at = at;
  }

  #fault(key: string, want: string): KiriError {
    return new KiriError('CONFIG_INVALID', `${this.#file}: ${this.#at}${key} is not ${want}`);
  }

  text(key: string): string {
    const value = this.#values[key];
    if (typeof value !== 'string' || value === '') throw this.#fault(key, 'a text');
    return value;
  }

  texts(key: string): string[] {
    const value = this.#values[key];
    const isTexts = Array.isArray(value) && value.every((one) => typeof one === 'string' && one);
    if (!isTexts || value.length === 0) throw this.#fault(key, 'a list of texts');
    return value as string[];
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined;
  }

  /** true or false; false where it is not stated. */
  flag(key: string): boolean {
    const value = this.#values[key] ?? false;
    if (typeof value !== 'boolean') throw this.#fault(key, 'true or false');
    return value;
  }

  port(key: string): number {
    const value = this.#values[key] ?? 0;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 65_535) {
      throw this.#fault(key, 'a port 0 … 65535');
    }
    return value;
  }

  /** A whole number from 1 on; `otherwise` where the key is absent. */
  count(key: string, otherwise: number): number {
    const value = this.#values[key] ?? otherwise;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
      throw this.#fault(key, 'a whole number from 1 on');
    }
    return value;
  }

  /** A whole number from 0 on. */
  whole(key: string): number {
    const value = this.#values[key];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw this.#fault(key, 'a whole number from 0 on');
    }
    return value;
  }

  /** A decimal text: JSON numbers are not exact above 2⁵³. */
  bigint(key: string): bigint {
    const text = this.text(key);
    if (!/^[0-9]{1,30}$/.test(text)) throw this.#fault(key, 'a decimal number as a text');
    return BigInt(text);
  }

  /** Relative paths count from the configuration file. */
  path(key: string): string {
    return resolve(dirname(this.#file), this.text(key));
  }

  bytes(key: string): Uint8Array {
    return readBytes(this.path(key));
  }

  publicKey(key: string): PublicKey {
    return readPublicKey(this.path(key));
  }

  publicKeys(key: string): PublicKey[] {
    return this.texts(key).map((entry) => readPublicKey(resolve(dirname(this.#file), entry)));
  }

  /** A log's or witness's verifier key (c2sp.org/signed-note). */
  vkey(key: string): VerifierKey {
    const parsed = parseVerifierKey(this.text(key));
    if (!parsed.ok) throw this.#fault(key, `a vkey: ${parsed.reason}`);
    return parsed.value;
  }

  /** Several paths, each as {@link path}. */
  paths(key: string): string[] {
    return this.texts(key).map((entry) => resolve(dirname(this.#file), entry));
  }

  /** Contents of several files. */
  files(key: string): Uint8Array[] {
    return this.paths(key).map(readBytes);
  }

  part(key: string): Config {
    const value = this.#values[key];
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#fault(key, 'an object');
    }
    return new Config(value as Values, this.#file, `${this.#at}${key}.`);
  }

  parts(key: string): Config[] {
    const value = this.#values[key];
    if (!Array.isArray(value)) throw this.#fault(key, 'a list');
    return value.map((entry, i) => {
      if (typeof entry !== 'object' || entry === null)
        throw this.#fault(`${key}[${i}]`, 'an object');
      return new Config(entry as Values, this.#file, `${this.#at}${key}[${i}].`);
    });
  }
}

export function readBytes(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new KiriError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** A public key file: one canonical COSE_Key. */
export function readPublicKey(path: string): PublicKey {
  const decoded = decodeCanonical(readBytes(path), { maxBytes: 256 });
  const key = decoded.ok ? publicKeyFromCose(decoded.value) : undefined;
  if (!key) throw new KiriError('KEY_INVALID', `${path} is not a COSE_Key (Ed25519 or P-256)`);
  return key;
}

/** `--config FILE` of every long-running program. */
export function configFromArgs(argv: readonly string[]): Config {
  const { values } = parseArgs({
    args: [...argv],
    options: { config: { type: 'string' } },
    strict: false,
  });
  if (typeof values.config !== 'string') throw new UsageError('--config FILE is needed');
  const file = resolve(values.config);
  const bytes = readBytes(file);
  if (bytes.length > MAX_CONFIG_BYTES) {
    throw new KiriError('CONFIG_INVALID', `${file} is larger than ${MAX_CONFIG_BYTES} bytes`);
  }
  try {
    return new Config(JSON.parse(Buffer.from(bytes).toString('utf8')) as Values, file);
  } catch (error) {
    throw new KiriError('CONFIG_INVALID', `${file} is not JSON: ${(error as Error).message}`);
  }
}
