/** Files of line accounts: each account behind its length, and beside the file the clearing's signed manifest. */
import { createHash } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { toDiskError } from '../../platform/disk-error.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import { MAX_MESSAGE_BYTES } from '../../protocol/schema.ts';
import { LINE_ACCOUNT, type LineAccount } from './core/line-account.ts';
import {
  LINE_ACCOUNTS_MANIFEST,
  LINE_ACCOUNTS_TYP,
  type LineAccountsManifest,
} from './core/line-accounts-manifest.ts';
import { readLineAccounts, type AccountReader } from './line-account.ts';
import type { SqlDatabase } from './sql.ts';

const LENGTH_BYTES = 4;
const READ_BYTES = 1_048_576;
/** Accounts gathered before they are written. */
const WRITE_BYTES = 262_144;

/** Where the manifest of a file of line accounts stands. */
export const accountsManifestPath = (path: string): string => `${path}.manifest`;

/** Pieces appended to a new file and hashed on the way. */
class HashedFile {
  readonly #handle: Awaited<ReturnType<typeof open>>;
  readonly #hash = createHash('sha256');
  #pieces: Uint8Array[] = [];
  #waiting = 0;
  bytes = 0;

  constructor(handle: Awaited<ReturnType<typeof open>>) {
    this.#handle = handle;
  }

  async add(piece: Uint8Array): Promise<void> {
    this.#hash.update(piece);
    this.#pieces.push(piece);
    this.bytes += piece.length;
    this.#waiting += piece.length;
    if (this.#waiting >= WRITE_BYTES) await this.#write();
  }

  async #write(): Promise<void> {
    await this.#handle.appendFile(Buffer.concat(this.#pieces));
    this.#pieces = [];
    this.#waiting = 0;
  }

  async end(): Promise<Uint8Array> {
    await this.#write();
    await this.#handle.sync();
    await this.#handle.close();
    return new Uint8Array(this.#hash.digest());
  }
}

/**
 * Writes the account of every line, the manifest last.
 * @throws KiriError DISK_*; the file that stood there before is whole then
 */
export async function writeLineAccounts(
  database: SqlDatabase,
  clearing: Signer,
  path: string,
  nowS: number,
  after?: AccountReader['after'],
): Promise<LineAccountsManifest> {
  const temporary = `${path}.tmp`;
  try {
    const file = new HashedFile(await open(temporary, 'w', 0o600));
    let lines = 0;
    const account = async (one: LineAccount): Promise<void> => {
      const bytes = LINE_ACCOUNT.encode(one);
      const head = new Uint8Array(LENGTH_BYTES);
      new DataView(head.buffer).setUint32(0, bytes.length);
      await file.add(head);
      await file.add(bytes);
      lines += 1;
    };
    await readLineAccounts(database, nowS, { account, ...(after && { after }) });
    const fileSha256 = await file.end();
    const manifest = { fileSha256, fileBytes: file.bytes, lines, asOfS: nowS };
    await rm(accountsManifestPath(path), { force: true });
    await rename(temporary, path);
    const payload = LINE_ACCOUNTS_MANIFEST.encode(manifest);
    const cose = signSign1(clearing, payload, { kid: clearing.key.id, typ: LINE_ACCOUNTS_TYP });
    await writeFileDurable(accountsManifestPath(path), cose, 0o600);
    return manifest;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error instanceof KiriError ? error : toDiskError(error, 'write', path);
  }
}

const invalid = (path: string, why: string): KiriError =>
  new KiriError('LINE_ACCOUNTS_INVALID', `${path}: ${why}`);

async function* piecesOf(path: string): AsyncGenerator<Uint8Array> {
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw new KiriError('FILE_UNREADABLE', `${path} cannot be read`, { cause });
  });
  try {
    for (;;) {
      const buffer = new Uint8Array(READ_BYTES);
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** The manifest beside the file, once its signature and the file's hash and length hold. @throws KiriError LINE_ACCOUNTS_INVALID, FILE_UNREADABLE */
export async function checkLineAccounts(
  path: string,
  clearing: PublicKey,
  verifier: Verifier,
): Promise<LineAccountsManifest> {
  const cose = await readFile(accountsManifestPath(path)).catch((cause: unknown) => {
    throw new KiriError('FILE_UNREADABLE', `${accountsManifestPath(path)} cannot be read`, {
      cause,
    });
  });
  const signed = decodeSign1(new Uint8Array(cose));
  if (!signed.ok) throw invalid(path, signed.reason);
  if (signed.value.header.typ !== LINE_ACCOUNTS_TYP) throw invalid(path, 'another document');
  if (!verifySign1(verifier, clearing, signed.value)) {
    throw invalid(path, 'the manifest is not signed by the clearing');
  }
  const manifest = LINE_ACCOUNTS_MANIFEST.decode(signed.value.payload);
  if (!manifest.ok) throw invalid(path, manifest.reason);
  const hash = createHash('sha256');
  let length = 0;
  for await (const piece of piecesOf(path)) {
    hash.update(piece);
    length += piece.length;
  }
  const { fileSha256, fileBytes } = manifest.value;
  if (length !== fileBytes || !bytesEqual(new Uint8Array(hash.digest()), fileSha256)) {
    throw invalid(path, 'the file is not the one that the manifest names');
  }
  return manifest.value;
}

/** The accounts of a file that {@link checkLineAccounts} has checked. @throws KiriError LINE_ACCOUNTS_INVALID */
export async function* lineAccountsIn(path: string): AsyncGenerator<LineAccount> {
  let held: Uint8Array = new Uint8Array(0);
  for await (const piece of piecesOf(path)) {
    held = held.length === 0 ? piece : Buffer.concat([held, piece]);
    let at = 0;
    while (held.length - at >= LENGTH_BYTES) {
      const length = new DataView(held.buffer, held.byteOffset + at).getUint32(0);
      if (length > MAX_MESSAGE_BYTES) throw invalid(path, `an account of ${length} bytes`);
      if (held.length - at < LENGTH_BYTES + length) break;
      const account = LINE_ACCOUNT.decode(
        held.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length),
      );
      if (!account.ok) throw invalid(path, account.reason);
      yield account.value;
      at += LENGTH_BYTES + length;
    }
    held = held.subarray(at);
  }
  if (held.length > 0) throw invalid(path, 'it ends within an account');
}
