/**
 * Carries out an issuer's request at one holder: every copy of the content keys below a folder is deleted, the request takes
 * their place, and the holder signs that it is done. Deleting is all that software can promise: flash storage and copy-on-
 * write file systems keep old blocks for a while, and backups are other copies (docs/ledger.md).
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ERASURE_REQUEST, type ErasureRequest } from '../../identity/core/documents/erasure.ts';
import { openDocument, type Opened } from '../../identity/core/document.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { issueErasureConfirmation } from '../../identity/core/issue.ts';
import { systemCode, toDiskError } from '../../platform/disk-error.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { CONTENT_KEYS_PATH, kidOfStoredKey, periodOf, wrappedKeyPath } from './content-keys.ts';
import { parseCheckpoint } from './core/checkpoint.ts';
import { parseNote } from './core/note.ts';
import { parseShard } from './core/shard.ts';
import { type Outcome, bad, ok } from './core/text.ts';
import { confirmationPath, tombstonePath } from './erasure.ts';
import { SIGNED_HEAD_PATH } from './log-copy.ts';
import { readCheckpoint } from './log-folder.ts';
import { folderSource } from './log-source.ts';

/** A reason to keep what a request wants erased: `kid` or `period` or both; with neither the whole log is held. */
export interface LegalHold {
  readonly origin: string;
  readonly period?: string;
  readonly kid?: string;
}

export interface EraseOptions {
  /** The folder with `keys/` and, at the log's own site, `state/content-keys/`; no program is working on it. */
  readonly root: string;
  /** The request as signed. */
  readonly request: Uint8Array;
  readonly trust: Trust;
  /** One of the request's holders. */
  readonly holder: Signer;
  readonly holds: readonly LegalHold[];
  /** Unix milliseconds. */
  readonly nowMs: number;
}

export interface ErasedKey {
  readonly kid: string;
  readonly wrappedCopies: number;
  readonly plainCopies: number;
  /** Below the folder. */
  readonly confirmation: string;
}

const HOLD = /^([!-~]+)(?: (\*|[0-9]{4}-[0-9]{2}))?(?: (\*|[0-9a-f]{32}))?$/;

/** Reads a list of holds: one a line, `<origin> [<period>|*] [<kid>|*]`; empty lines and `#` comments. */
export const parseHolds = (text: string): Outcome<readonly LegalHold[]> => {
  const holds: LegalHold[] = [];
  for (const [at, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const [, origin, period = '*', kid = '*'] = HOLD.exec(line) ?? [];
    if (origin === undefined) return bad(`line ${at + 1} is no "origin [period] [key id]"`);
    holds.push({
      origin,
      ...(period === '*' ? {} : { period }),
      ...(kid === '*' ? {} : { kid }),
    });
  }
  return ok(holds);
};

/** Whether a hold keeps this key. One that names the prefix of a chain of shards holds each of them. */
const holdsKey = (hold: LegalHold, { origin, period }: ErasureRequest, kid: string): boolean =>
  (hold.origin === origin || hold.origin === parseShard(origin)?.prefix) &&
  (hold.period === undefined || hold.period === period) &&
  (hold.kid === undefined || hold.kid === kid);

export const listIfPresent = async (folder: string): Promise<readonly string[]> => {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw toDiskError(error, 'list', folder);
  }
};

/** Overwrites a file where it lies, which some disks honour, deletes it and makes the deletion durable. */
export const deleteDurably = async (path: string): Promise<void> => {
  try {
    const file = await open(path, 'r+');
    try {
      const { size } = await file.stat();
      await file.write(randomBytes(size), 0, size, 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await rm(path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw toDiskError(error, 'erase', path);
  }
};

interface Copies {
  readonly wrapped: readonly string[];
  readonly plain: readonly { readonly path: string; readonly period: string }[];
}

/** Every file below the folder that holds the key, also what a crash left half written. */
const findCopies = async (root: string, kid: string): Promise<Copies> => {
  const path = wrappedKeyPath(kid);
  const names = await listIfPresent(join(root, dirname(path)));
  const wrapped = names
    .filter((name) => name === kid || (name.startsWith(`${kid}.`) && name.endsWith('.tmp')))
    .map((name) => join(root, dirname(path), name));
  const plain: { path: string; period: string }[] = [];
  for (const period of await listIfPresent(join(root, CONTENT_KEYS_PATH))) {
    const folder = join(root, CONTENT_KEYS_PATH, period);
    for (const name of await listIfPresent(folder)) {
      const stored = await readFile(join(folder, name)).catch((error: unknown) => {
        throw toDiskError(error, 'read', join(folder, name));
      });
      if (kidOfStoredKey(stored) === kid) plain.push({ path: join(folder, name), period });
    }
  }
  return { wrapped, plain };
};

const eraseOne = async (
  options: EraseOptions,
  request: Opened<ErasureRequest>,
  name: string,
  kidBytes: Uint8Array,
): Promise<ErasedKey> => {
  const { root, holder, nowMs } = options;
  const kid = toHex(kidBytes);
  const confirmation = confirmationPath(kid, holder.key.hex);
  const { wrapped, plain } = await findCopies(root, kid);
  // The request stands there before the key goes: at no moment is a key missing that nobody ordered to be erased.
  await writeFileDurable(join(root, tombstonePath(kid)), options.request, 0o644);
  for (const { path } of plain) await deleteDurably(path);
  for (const path of wrapped) await deleteDurably(path);
  const done = { kid, wrappedCopies: wrapped.length, plainCopies: plain.length, confirmation };
  const isConfirmed = (await readIfPresent(join(root, confirmation))) !== undefined;
  // Called again after a crash there is less to delete; what was confirmed before stays as it is.
  if (isConfirmed && wrapped.length + plain.length === 0) return done;
  const { origin, period, reason } = request.value;
  const cose = issueErasureConfirmation(holder, {
    issuedS: Math.floor(nowMs / 1000),
    requestHash: request.hash,
    origin,
    period,
    kid: kidBytes,
    holder: name,
    wrappedCopies: Math.min(255, wrapped.length),
    plainCopies: Math.min(255, plain.length),
    reason,
  });
  await writeFileDurable(join(root, confirmation), cose, 0o644);
  return done;
};

/** Origin of the log that a folder holds a copy of. @throws KiriError DISK_* */
const originIn = async (root: string): Promise<string | undefined> => {
  const source = folderSource(root);
  const bytes = (await readCheckpoint(source)) ?? (await source.read(SIGNED_HEAD_PATH));
  const note = bytes && parseNote(bytes);
  const head = note?.ok === true ? parseCheckpoint(note.value.text) : undefined;
  return head?.ok === true ? head.value.origin : undefined;
};

/** What forbids it, before anything is touched. */
const refusal = async (
  { holds, nowMs, root }: EraseOptions,
  request: ErasureRequest,
): Promise<string | undefined> => {
  if (request.period >= periodOf(nowMs)) {
    return `ERASURE_EARLY: ${request.period} is not over: payments of it are still written`;
  }
  // Nobody signs "no copy is left" for a folder that never held one.
  if ((await originIn(root)) !== request.origin) {
    return `ERASURE_OTHER_LOG: ${root} holds no copy of ${request.origin}`;
  }
  for (const kidBytes of request.kids) {
    const kid = toHex(kidBytes);
    if (holds.some((hold) => holdsKey(hold, request, kid))) {
      return `ERASURE_HELD: a legal hold keeps key ${kid}`;
    }
    const { plain } = await findCopies(root, kid);
    const other = plain.find(({ period }) => period !== request.period);
    if (other) return `ERASURE_MISMATCH: key ${kid} is of ${other.period}, not ${request.period}`;
  }
  return undefined;
};

/**
 * Erases what a request names. May be called again after a crash: it goes on where it stopped. A refusal (its code in front)
 * leaves everything as it was.
 * @throws KiriError DISK_*
 */
export const eraseKeys = async (options: EraseOptions): Promise<Outcome<readonly ErasedKey[]>> => {
  const { trust, holder } = options;
  const request = openDocument(trust.verifier, trust.issuerKey, ERASURE_REQUEST, options.request);
  if (!request.ok) return bad(`ERASURE_INVALID: ${request.reason}`);
  const { value } = request.value;
  const own = value.holders.find(({ key }) => key.hex === holder.key.hex);
  if (own === undefined) return bad(`ERASURE_OTHER_HOLDER: ${holder.key.hex} is not asked`);
  const forbidden = await refusal(options, value);
  if (forbidden !== undefined) return bad(forbidden);
  const erased: ErasedKey[] = [];
  for (const kid of value.kids) erased.push(await eraseOne(options, request.value, own.name, kid));
  return ok(erased);
};
