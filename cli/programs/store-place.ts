import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { isPostgresUrl } from '../../sync/clearing/postgres-url.ts';
import type { Config } from './config.ts';

/** A clearing's store: a file or a `postgres://` address, and the password for the latter if a file holds it. */
export interface StorePlace {
  readonly location: string;
  readonly access: { readonly password?: string };
}

const PASSWORD_BYTES_MAX = 1024;

function readOwnFile(path: string): Buffer {
  // Links are followed: secrets are often mounted as such. What is judged is what is read.
  const file = openSync(path, 'r');
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > PASSWORD_BYTES_MAX || (stats.mode & 0o077) !== 0) {
      throw new KiriError(
        'PASSWORD_FILE_INVALID',
        `${path} is no file of mode 0600 with at most ${PASSWORD_BYTES_MAX} bytes`,
      );
    }
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

function readPassword(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readOwnFile(path);
  } catch (cause) {
    if (cause instanceof KiriError) throw cause;
    throw new KiriError('FILE_UNREADABLE', `password file ${path} cannot be read`, { cause });
  }
  const password = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (/^$|[\n\r\0]/.test(password)) {
    throw new KiriError('PASSWORD_FILE_INVALID', `${path} holds no password in one line`);
  }
  return password;
}

/** @throws KiriError FILE_UNREADABLE, PASSWORD_FILE_INVALID */
export function storePlace(location: string, passwordFile?: string): StorePlace {
  const access = passwordFile === undefined ? {} : { password: readPassword(passwordFile) };
  return { location, access };
}

/** `store` and `storePasswordFile` of a clearing's configuration; `clearing.sqlite` in its folder by default. */
export function configuredStore(config: Config, folder: string): StorePlace {
  const password = config.has('storePasswordFile') ? config.path('storePasswordFile') : undefined;
  if (!config.has('store')) return storePlace(join(folder, 'clearing.sqlite'), password);
  const store = config.text('store');
  return storePlace(isPostgresUrl(store) ? store : config.path('store'), password);
}
