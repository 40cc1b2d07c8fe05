import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  scryptSync,
  type KeyObject,
} from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ALG_EDDSA, type CoseAlg, type Signer } from '../../protocol/public-key.ts';
import { KEY_STORE_PLAIN_FILE, KEY_STORE_SEALED_FILE, type KeyStore } from '../core/key-store.ts';
import { nodeSigner } from './node-signatures.ts';

/**
 * A private key in a file of mode 0600: PKCS #8, as it is or sealed under a passphrase with scrypt
 * (RFC 7914) and AES-256-GCM. The key is born here and no function gives it out.
 */
const FORMAT = 'kiri-key/1';
/** A key file is some 400 bytes; more is not one. */
const MAX_FILE_BYTES = 4096;
const MODE = 0o600;
/** 32 MiB and about 0.1 s for each guess. */
const SCRYPT = { N: 32_768, r: 8, p: 1, maxmem: 64 * 1024 * 1024 } as const;
const SALT_BYTES = 16;
const IV_BYTES = 12;
const TAG_BYTES = 16;

interface KeyFile {
  readonly format: typeof FORMAT;
  /** Id of the public key, to tell files apart; bound into the seal. */
  readonly id: string;
  readonly sealed: boolean;
  /** Base64: PKCS #8, or salt ‖ iv ‖ tag ‖ ciphertext. */
  readonly data: string;
}

export interface KeyFileOptions {
  /** Seals the file, and is needed to open it again. */
  readonly passphrase?: string;
}

function sealingKey(passphrase: string, salt: Uint8Array): Buffer {
  return scryptSync(passphrase.normalize('NFC'), salt, 32, SCRYPT);
}

function seal(plain: Uint8Array, passphrase: string, id: string): Buffer {
  const salt = randomBytes(SALT_BYTES);
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', sealingKey(passphrase, salt), iv);
  cipher.setAAD(Buffer.from(`${FORMAT} ${id}`));
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([salt, iv, cipher.getAuthTag(), sealed]);
}

/** Undefined for a wrong passphrase or changed bytes; GCM cannot tell the two apart. */
function unseal(sealed: Buffer, passphrase: string, id: string): Buffer | undefined {
  const ivAt = SALT_BYTES;
  const tagAt = ivAt + IV_BYTES;
  const bodyAt = tagAt + TAG_BYTES;
  if (sealed.length <= bodyAt) return undefined;
  const key = sealingKey(passphrase, sealed.subarray(0, ivAt));
  const options = { authTagLength: TAG_BYTES };
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(ivAt, tagAt), options);
  decipher.setAAD(Buffer.from(`${FORMAT} ${id}`));
  decipher.setAuthTag(sealed.subarray(tagAt, bodyAt));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(bodyAt)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function syncFolder(path: string): void {
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'wx', MODE);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Whole or not at all, and an existing key is never written over: link() is what gives both. */
function writeNew(path: string, text: string): void {
  const draft = `${path}.new`;
  try {
    rmSync(draft, { force: true }); // of a start that failed or lost power; nobody has seen that key
    writeDurably(draft, text);
    linkSync(draft, path);
    rmSync(draft);
    syncFolder(path);
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === 'EEXIST';
    if (exists) rmSync(draft, { force: true });
    throw new KiriError(
      exists ? 'KEY_FILE_EXISTS' : 'KEY_FILE_UNWRITABLE',
      exists ? `${path} exists and is not overwritten` : `cannot write key file ${path}`,
      { cause: error },
    );
  }
}

/** Reads through one descriptor, so that the mode checked is the mode of what is read. */
function readPrivate(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new KiriError('KEY_FILE_UNREADABLE', `cannot read key file ${path}`, { cause: error });
  }
  try {
    const { mode, size } = fstatSync(file);
    // Windows has no such bits; there the folder's access list has to do it.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      const seen = (mode & 0o777).toString(8).padStart(4, '0');
      throw new KiriError(
        'KEY_FILE_MODE',
        `${path} has mode ${seen}: others may read the key; run chmod 600 on it`,
      );
    }
    if (size > MAX_FILE_BYTES) throw notAKeyFile(path);
    const buffer = Buffer.alloc(MAX_FILE_BYTES);
    return buffer.toString('utf8', 0, readSync(file, buffer, 0, MAX_FILE_BYTES, 0));
  } finally {
    closeSync(file);
  }
}

/** No cause: a parser's message would quote the file. */
function notAKeyFile(path: string): KiriError {
  return new KiriError('KEY_FILE_CORRUPT', `${path} is not a ${FORMAT} file`);
}

function parse(path: string, text: string): KeyFile {
  let value: Partial<KeyFile> | null;
  try {
    value = JSON.parse(text) as Partial<KeyFile> | null;
  } catch {
    throw notAKeyFile(path);
  }
  const known =
    value?.format === FORMAT &&
    typeof value.id === 'string' &&
    typeof value.sealed === 'boolean' &&
    typeof value.data === 'string';
  if (!known) throw notAKeyFile(path);
  return value as KeyFile;
}

function newPrivateKey(alg: CoseAlg): KeyObject {
  return alg === ALG_EDDSA
    ? generateKeyPairSync('ed25519').privateKey
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/**
 * Makes a key on this machine and keeps it in a new file.
 * @throws KiriError KEY_FILE_EXISTS, KEY_FILE_UNWRITABLE
 */
export function createKeyFile(
  path: string,
  alg: CoseAlg = ALG_EDDSA,
  { passphrase }: KeyFileOptions = {},
): KeyStore {
  const privateKey = newPrivateKey(alg);
  const signer = nodeSigner(privateKey);
  const id = signer.key.hex;
  const plain = privateKey.export({ type: 'pkcs8', format: 'der' });
  const sealed = passphrase !== undefined;
  const data = (sealed ? seal(plain, passphrase, id) : plain).toString('base64');
  plain.fill(0);
  const file: KeyFile = { format: FORMAT, id, sealed, data };
  writeNew(path, `${JSON.stringify(file)}\n`);
  return { level: sealed ? KEY_STORE_SEALED_FILE : KEY_STORE_PLAIN_FILE, signer };
}

function openSealed(path: string, file: KeyFile, passphrase: string | undefined): Buffer {
  if (passphrase === undefined) {
    throw new KiriError('KEY_FILE_SEALED', `${path} is sealed and needs its passphrase`);
  }
  const plain = unseal(Buffer.from(file.data, 'base64'), passphrase, file.id);
  if (!plain) throw new KiriError('KEY_FILE_SEALED', `${path}: wrong passphrase or damaged file`);
  return plain;
}

/**
 * @throws KiriError KEY_FILE_UNREADABLE, KEY_FILE_MODE (looser than 0600), KEY_FILE_CORRUPT,
 * KEY_FILE_SEALED (no or a wrong passphrase)
 */
export function openKeyFile(path: string, { passphrase }: KeyFileOptions = {}): KeyStore {
  const file = parse(path, readPrivate(path));
  const plain = file.sealed ? openSealed(path, file, passphrase) : Buffer.from(file.data, 'base64');
  let signer: Signer;
  try {
    signer = nodeSigner(createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' }));
  } catch {
    throw notAKeyFile(path);
  } finally {
    plain.fill(0);
  }
  if (signer.key.hex !== file.id) throw notAKeyFile(path);
  return { level: file.sealed ? KEY_STORE_SEALED_FILE : KEY_STORE_PLAIN_FILE, signer };
}

/** The Signer of `openKeyFile`, for programs that ask for nothing else. */
export function loadSigner(path: string, options: KeyFileOptions = {}): Signer {
  return openKeyFile(path, options).signer;
}
