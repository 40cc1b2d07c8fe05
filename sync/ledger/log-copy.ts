/**
 * A verified copy of a log in a folder of its own: tiles, entries, payload records, wrapped content keys and, last,
 * `signed-head`, the checkpoint that the log signed for all of it. Nothing counts before `signed-head` is durable.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { wrappedKeyPath } from './content-keys.ts';
import { parseLeaf } from './core/leaf.ts';
import type { BatchFiles, LogAppend, LogFile } from './core/log-batch.ts';
import { EMPTY_ROOT, type Sha256 } from './core/merkle.ts';
import { type GrowingCopy, fullFiles, growCopy, reaches } from './core/mirror.ts';
import type { Verify, VerifierKey } from './core/note-key.ts';
import { RETIRED_PATH } from './core/retention.ts';
import { type SignedHead, parseSignedHead } from './core/signed-head.ts';
import { type Outcome, bad, ok } from './core/text.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { treeRoot } from './core/tree.ts';
import { openTombstone, tombstonePath } from './erasure.ts';
import { contentKeyId } from './key-wrap.ts';
import {
  consistencyProof,
  readEntries,
  readOpenBundle,
  readPayloads,
  readTree,
} from './log-folder.ts';
import { type LogSource, folderSource } from './log-source.ts';
import { parsePayloadRecord } from './payload-record.ts';
import { prepareLogFolder, writeLogFiles } from './tile-store.ts';

export const SIGNED_HEAD_PATH = 'signed-head';
/** Copied between two writes: this much of payloads or so many bundles, whichever comes first. */
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;
const MAX_CHUNK_BUNDLES = 16;
/** Content keys known to be in the folder; beyond it they are looked up again. */
const MAX_KNOWN_KEYS = 65_536;

/** The runtime's own SHA-256: a mirror hashes every ciphertext. */
export const nativeHash: Sha256 = (bytes) =>
  new Uint8Array(createHash('sha256').update(bytes).digest());

/** Whose log is copied and how its signatures are checked. */
export interface CopiedLog {
  readonly origin: string;
  readonly keys: readonly VerifierKey[];
  readonly verify: Verify;
  /** Whose signed request stands in the place of an erased content key; without it such a log is not copied. */
  readonly erasure?: Trust;
}

/** One writer at a time: the holder of the folder's lock calls {@link extend} one after the other. */
export class LogCopy {
  /** Its payloads were deleted here on purpose (retire-shard.ts): it vouches for nothing and grows no more. */
  readonly isRetired: boolean;
  readonly #log: CopiedLog;
  readonly #root: string;
  readonly #own: LogSource;
  readonly #keys = new Set<string>();
  #head: SignedHead;
  /** Grown up to the head; `undefined` after a failure, then read again from the folder. */
  #grown: GrowingCopy | undefined;

  private constructor(root: string, log: CopiedLog, head: SignedHead, isRetired: boolean) {
    this.isRetired = isRetired;
    this.#log = log;
    this.#root = root;
    this.#own = folderSource(root);
    this.#head = head;
  }

  /** @throws KiriError DISK_*, STATE_CORRUPT, LOG_INCOMPLETE, LOG_CORRUPT */
  static async open(root: string, log: CopiedLog): Promise<LogCopy> {
    await prepareLogFolder(root);
    const path = join(root, SIGNED_HEAD_PATH);
    const bytes = await readIfPresent(path);
    const empty = { origin: log.origin, size: 0, root: EMPTY_ROOT, note: '' };
    const head = bytes === undefined ? ok(empty) : parseSignedHead(bytes, log.keys, log.verify);
    if (!head.ok || head.value.origin !== log.origin) {
      throw new KiriError('STATE_CORRUPT', `${path}: ${head.ok ? 'another log' : head.reason}`);
    }
    const isRetired = (await readIfPresent(join(root, RETIRED_PATH))) !== undefined;
    const copy = new LogCopy(root, log, head.value, isRetired);
    if (!isRetired) copy.#grown = await copy.#reload();
    return copy;
  }

  /** The last head whose contents are durable and checked. */
  get head(): SignedHead {
    return this.#head;
  }

  async #reload(): Promise<GrowingCopy> {
    const { size, root } = this.#head;
    const tree = await readTree(this.#own, size, nativeHash);
    const bundle = await readOpenBundle(this.#own, size, nativeHash);
    if (!bytesEqual(treeRoot(tree, nativeHash), root)) {
      throw new KiriError('STATE_CORRUPT', `${this.#root}: the tiles do not lead to the head`);
    }
    return { tree, bundle };
  }

  /** Root of the copied tree at a size that it has passed. */
  async rootAt(size: number): Promise<Uint8Array> {
    const tree = await readTree(this.#own, size, nativeHash, this.#head.size);
    return treeRoot(tree, nativeHash);
  }

  /** RFC 6962 consistency proof from a size that the copied tree has passed to its head. */
  proofFrom(size: number): Promise<readonly Uint8Array[]> {
    return consistencyProof(this.#own, size, this.#head.size, nativeHash);
  }

  /**
   * Copies everything up to `head` from `source` and checks it: payload against entry, content key against the id that
   * the record names, entries against the signed root. When it answers ok, all of it is durable, and the head too.
   * @throws KiriError DISK_*, HTTP_*, LOG_* ; then the copy stands where it stood
   */
  async extend(source: LogSource, head: SignedHead): Promise<Outcome<SignedHead>> {
    if (this.isRetired) return bad('was retired here');
    const copy = this.#grown ?? (await this.#reload());
    this.#grown = undefined;
    const done = await this.#copyTo(copy, source, head);
    if (!done.ok) return done;
    await writeFileDurable(join(this.#root, SIGNED_HEAD_PATH), head.note, 0o644);
    this.#head = head;
    this.#grown = copy;
    return ok(head);
  }

  async #copyTo(
    copy: GrowingCopy,
    source: LogSource,
    head: SignedHead,
  ): Promise<Outcome<undefined>> {
    const held = new Map<string, LogFile>();
    while (copy.tree.size < head.size) {
      const chunk = await this.#nextChunk(copy, source, head.size);
      if (!chunk.ok) return chunk;
      if (copy.tree.size < head.size) {
        await this.#write(fullFiles(chunk.value, held));
        continue;
      }
      if (!reaches(copy, head, nativeHash)) break;
      const { files, ...rest } = fullFiles(chunk.value, held);
      await this.#write({ files: [...files, ...held.values()], ...rest });
    }
    return reaches(copy, head, nativeHash)
      ? ok(undefined)
      : bad('the entries do not lead to the signed root');
  }

  async #write(batch: BatchFiles): Promise<void> {
    await writeLogFiles(this.#root, batch);
    for (const { path } of batch.files) {
      if (path.startsWith('keys/')) this.#keys.add(path);
    }
    if (this.#keys.size > MAX_KNOWN_KEYS) this.#keys.clear();
  }

  async #nextChunk(
    copy: GrowingCopy,
    source: LogSource,
    size: number,
  ): Promise<Outcome<BatchFiles>> {
    const files = new Map<string, LogFile>();
    const appends: LogAppend[] = [];
    const obsolete: string[] = [];
    let bytes = 0;
    for (let bundles = 0; bundles < MAX_CHUNK_BUNDLES && bytes < MAX_CHUNK_BYTES; bundles += 1) {
      if (copy.tree.size >= size) break;
      const index = Math.floor(copy.tree.size / TILE_WIDTH);
      const known = copy.bundle.payloads.length;
      const [leaves, payloads] = await Promise.all([
        readEntries(source, index, size),
        readPayloads(source, index, size),
      ]);
      const keys = await this.#keyFiles(source, leaves.slice(known), payloads.slice(known));
      if (!keys.ok) return keys;
      const grown = growCopy(copy, { leaves, payloads }, nativeHash);
      if (!grown.ok) return grown;
      for (const file of [...keys.value, ...grown.value.files]) files.set(file.path, file);
      appends.push(...grown.value.appends);
      obsolete.push(...grown.value.obsolete);
      bytes += payloads.reduce((sum, record) => sum + record.length, 0);
    }
    return ok({ files: [...files.values()], appends, obsolete });
  }

  /** The wrapped keys that the records name, or what stands in their place. */
  async #keyFiles(
    source: LogSource,
    leaves: readonly Uint8Array[],
    records: readonly Uint8Array[],
  ): Promise<Outcome<readonly LogFile[]>> {
    const files = new Map<string, LogFile>();
    for (const [at, record] of records.entries()) {
      // A checkpoint stands in clear: there is no key to fetch.
      if (parseLeaf(leaves[at] ?? record)?.kind !== 'receipt') continue;
      const parsed = parsePayloadRecord(record);
      if (parsed === undefined) return bad('a payload record is malformed');
      const kid = toHex(parsed.kid);
      if (files.has(kid) || this.#keys.has(wrappedKeyPath(kid))) continue;
      const file = await this.#keyFile(source, kid);
      if (!file.ok) return file;
      files.set(kid, file.value);
    }
    return ok([...files.values()]);
  }

  /**
   * A wrapped key as the folder or the source has it, or the request by which it was erased. A key that was erased here is
   * not fetched again from a source that still has it.
   */
  async #keyFile(source: LogSource, kid: string): Promise<Outcome<LogFile>> {
    const [path, tombstone] = [wrappedKeyPath(kid), tombstonePath(kid)];
    const erased = await this.#own.read(tombstone);
    if (erased !== undefined) return ok({ path: tombstone, bytes: erased });
    const bytes = (await this.#own.read(path)) ?? (await source.read(path));
    if (bytes !== undefined) {
      return toHex(contentKeyId(bytes)) === kid
        ? ok({ path, bytes })
        : bad(`${path} is not the key that is named`);
    }
    const request = await source.read(tombstone);
    if (request === undefined) return bad(`${path} is missing`);
    const { erasure, origin } = this.#log;
    if (erasure === undefined)
      return bad(`${path} was erased; no issuer key is known to check that`);
    const opened = openTombstone(erasure, origin, kid, request);
    return opened.ok
      ? ok({ path: tombstone, bytes: request })
      : bad(`${tombstone}: ${opened.reason}`);
  }
}
