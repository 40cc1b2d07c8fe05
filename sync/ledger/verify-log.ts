/**
 * Checks a whole log offline from its files and a policy alone: checkpoint, every entry, every tile at every width, every
 * payload record against its leaf, every content key file against the id that the records name. What is wrong is named
 * by its path; nothing needs a private key.
 */
import type { Trust } from '../../identity/core/chain.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { wrappedKeyPath } from './content-keys.ts';
import { type FinalHead, verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { encodeNoteLeaf } from './core/leaf.ts';
import { CHECKPOINT_PATH, payloadPath, tlogPath } from './core/log-batch.ts';
import {
  RETENTION_PATH,
  RETIRED_PATH,
  type Retired,
  checkRetired,
  parseRetention,
} from './core/retention.ts';
import { HASH_BYTES, leafHash } from './core/merkle.ts';
import { parseNote } from './core/note.ts';
import type { Verify } from './core/note-key.ts';
import type { FinalityRules } from './core/policy-book.ts';
import {
  TILE_WIDTH,
  type TileId,
  encodeBundle,
  parseBundle,
  parseTile,
  parseTilePath,
  tileWidth,
  tilesOfTree,
} from './core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from './core/tree.ts';
import { confirmationPath, readErasure, tombstonePath } from './erasure.ts';
import { contentKeyId, recipientCount } from './key-wrap.ts';
import type { LogSource } from './log-source.ts';
import { leafOfRecord, parsePayloadRecord } from './payload-record.ts';

interface LogProblem {
  /** Below the log's folder. */
  readonly path: string;
  readonly reason: string;
}

export interface LogReport {
  /** The final head; absent where the checkpoint itself does not hold. */
  readonly head?: FinalHead;
  readonly problems: readonly LogProblem[];
  /** Files that the checkpoint says nothing about: recorded after it, or not of this log. */
  readonly uncovered: readonly string[];
  /** Absent where the checkpoint or the entries do not hold. */
  readonly keys?: KeyReport;
  /** Where the payloads were deleted under the stated retention: by the holder's own word. */
  readonly retired?: Retired & {
    /** Files that should be gone: the deletion was interrupted. */
    readonly left: readonly string[];
  };
}

/** What became of the content keys that the log's records name. */
interface KeyReport {
  /** Keys that are there. */
  readonly held: number;
  /** Of those: keys that only the issuer opens, because their party had no key for it. */
  readonly issuerOnly: number;
  /** Keys that were erased on the issuer's signed request. */
  readonly erased: number;
  /** Holders of an erased key whose confirmation is not there. */
  readonly unconfirmed: readonly LogProblem[];
}

/** The entries that a checkpoint in clear may stand behind; none for another record. */
const noteLeavesOf = (record: Uint8Array, isFirst: boolean): readonly Uint8Array[] => {
  const note = parseNote(record);
  if (!note.ok) return [];
  const { text } = note.value;
  // Only a log's first entry can name a predecessor.
  const rollUp = encodeNoteLeaf('rollUp', text);
  return isFirst ? [rollUp, encodeNoteLeaf('predecessor', text)] : [rollUp];
};

class LogCheck {
  readonly problems: LogProblem[] = [];
  readonly uncovered: string[] = [];
  readonly keys = { held: 0, issuerOnly: 0, erased: 0, unconfirmed: [] as LogProblem[] };
  /** Files of erasures that were checked. */
  readonly accounted = new Set<string>();
  readonly #source: LogSource;
  readonly #head: FinalHead;
  readonly #trust: Trust | undefined;
  /** True leaf hashes, and every full or rightmost tile that follows from them, by "level/index". */
  #hashes: readonly Uint8Array[] = [];
  #tiles: ReadonlyMap<string, Uint8Array> = new Map();

  constructor(source: LogSource, head: FinalHead, trust: Trust | undefined) {
    this.#source = source;
    this.#head = head;
    this.#trust = trust;
  }

  #complain(path: string, reason: string): void {
    this.problems.push({ path, reason });
  }

  #bundles(): number {
    return Math.ceil(this.#head.size / TILE_WIDTH);
  }

  /** A tile or bundle of the tree of the checkpoint; the full one where the log has gone on. */
  async #read(id: TileId): Promise<Uint8Array | undefined> {
    const bytes = await this.#source.read(tlogPath(id));
    if (bytes !== undefined || id.width === TILE_WIDTH) return bytes;
    return this.#source.read(tlogPath({ ...id, width: TILE_WIDTH }));
  }

  /** Leaf hashes from the level-0 tiles or from the entries, whichever is asked; shorter where a file is unusable. */
  async #leafHashes(level: 0 | 'entries'): Promise<Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (let index = 0; index < this.#bundles(); index += 1) {
      const width = tileWidth(this.#head.size, 0, index);
      const bytes = (await this.#read({ level, index, width })) ?? new Uint8Array(0);
      const part =
        level === 0
          ? parseTile(bytes.subarray(0, width * HASH_BYTES), width)
          : parseBundle(bytes, width, false);
      if (!part.ok) return found;
      for (const item of part.value) found.push(level === 0 ? item : leafHash(item));
    }
    return found;
  }

  /** Finds the leaf hashes that lead to the signed root: so that a damaged file is blamed, and not its sound twin. */
  async findTruth(): Promise<boolean> {
    for (const level of [0, 'entries'] as const) {
      const hashes = await this.#leafHashes(level);
      const tree = emptyTree();
      const tiles = appendLeaves(tree, hashes);
      if (tree.size !== this.#head.size || !bytesEqual(treeRoot(tree), this.#head.root)) continue;
      this.#hashes = hashes;
      this.#tiles = new Map(tiles.map((tile) => [`${tile.level}/${tile.index}`, tile.bytes]));
      return true;
    }
    this.#complain('tlog/tile', 'neither tiles nor entries lead to the checkpoint’s root');
    return false;
  }

  /** Checks one file of `tlog/tile` at the width that its path says. */
  async checkTile(path: string, id: TileId): Promise<void> {
    const { level, index, width } = id;
    if (width > tileWidth(this.#head.size, level === 'entries' ? 0 : level, index)) {
      this.uncovered.push(path);
      return;
    }
    const bytes = await this.#source.read(path);
    if (bytes === undefined) {
      if ((await this.#read(id)) === undefined) this.#complain(path, 'is missing');
      return;
    }
    if (level !== 'entries') {
      const expected = this.#tiles.get(`${level}/${index}`)?.subarray(0, width * HASH_BYTES);
      if (expected === undefined || !bytesEqual(bytes, expected)) {
        this.#complain(path, 'is not the tile of the signed tree');
      }
      return;
    }
    const entries = parseBundle(bytes, width);
    const isTrue = (entry: Uint8Array, at: number): boolean =>
      bytesEqual(leafHash(entry), this.#hashes[index * TILE_WIDTH + at] ?? entry);
    if (!entries.ok) this.#complain(path, entries.reason);
    else if (!entries.value.every(isTrue)) this.#complain(path, 'holds another entry than signed');
  }

  /** Checks all payload bundles; answers the ids of the content keys that their records name. */
  async checkPayloads(): Promise<ReadonlySet<string>> {
    const kids = new Set<string>();
    for (let index = 0; index < this.#bundles(); index += 1) {
      const path = payloadPath(index);
      const bytes = await this.#source.read(path);
      const width = tileWidth(this.#head.size, 0, index);
      const records = parseBundle(bytes ?? new Uint8Array(0), width, false);
      if (bytes === undefined || !records.ok) {
        this.#complain(path, records.ok || bytes === undefined ? 'is missing' : records.reason);
        continue;
      }
      for (const [at, record] of records.value.entries()) {
        const truth = this.#hashes[index * TILE_WIDTH + at] ?? record;
        const isTrue = (leaf: Uint8Array | undefined): boolean =>
          leaf !== undefined && bytesEqual(leafHash(leaf), truth);
        const parsed = parsePayloadRecord(record);
        if (parsed !== undefined && isTrue(leafOfRecord(record))) kids.add(toHex(parsed.kid));
        else if (!noteLeavesOf(record, index === 0 && at === 0).some(isTrue)) {
          this.#complain(path, `record ${at} is not the one that the log commits to`);
        }
      }
      if (encodeBundle(records.value).length !== bytes.length) this.uncovered.push(path);
    }
    return kids;
  }

  /** What the log says of how long contents stay, and whether they are gone by that. */
  async checkRetention(nowS: number): Promise<Retired | undefined> {
    const retention = await this.#source.read(RETENTION_PATH);
    const retired = await this.#source.read(RETIRED_PATH);
    if (retention !== undefined) {
      this.accounted.add(RETENTION_PATH);
      const stated = parseRetention(retention);
      if (!stated.ok) this.#complain(RETENTION_PATH, stated.reason);
    }
    if (retired === undefined) return undefined;
    this.accounted.add(RETIRED_PATH);
    const record = checkRetired(retired, retention, this.#head, nowS);
    if (record.ok) return record.value;
    this.#complain(RETIRED_PATH, record.reason);
    return undefined;
  }

  async checkKey(kid: string): Promise<void> {
    const path = wrappedKeyPath(kid);
    const wrapped = await this.#source.read(path);
    const isErased = await this.#checkErasure(kid);
    if (isErased) {
      if (wrapped !== undefined) {
        this.#complain(path, 'is still there, though its erasure was ordered: erase it again');
      } else this.keys.erased += 1;
      return;
    }
    if (wrapped === undefined) this.#complain(path, 'is missing');
    else if (toHex(contentKeyId(wrapped)) !== kid) {
      this.#complain(path, 'is not the key file that the records name');
    } else {
      this.keys.held += 1;
      if (recipientCount(wrapped) === 1) this.keys.issuerOnly += 1;
    }
  }

  /** Whether a true request to erase this key is there. */
  async #checkErasure(kid: string): Promise<boolean> {
    const path = tombstonePath(kid);
    if (this.#trust === undefined) {
      if ((await this.#source.read(path)) !== undefined) {
        this.#complain(path, 'cannot be checked without the issuer’s public key');
      }
      return false;
    }
    const state = await readErasure(this.#source, this.#trust, this.#head.origin, kid);
    if (state === undefined) return false;
    this.accounted.add(path);
    if (!state.ok) {
      this.#complain(path, state.reason);
      return false;
    }
    const { request, unconfirmed, problems } = state.value;
    for (const { key } of request.holders) this.accounted.add(confirmationPath(kid, key.hex));
    for (const problem of problems) this.#complain(problem.path, problem.reason);
    for (const name of unconfirmed) {
      this.keys.unconfirmed.push({ path, reason: `${name} has not confirmed the erasure` });
    }
    return true;
  }
}

/** The key that the file of an order of erasure is about. */
const erasedKid = (path: string): readonly string[] => {
  const [, kid] = /^erased\/([0-9a-f]{32})$/.exec(path) ?? [];
  return kid === undefined ? [] : [kid];
};

/**
 * Checks a log.
 * @param paths every file below the log's folder to be accounted for (`tlog/`, `payload/`, `keys/`), also partial tiles
 * of older checkpoints
 * @param trust the issuer, whose signed requests stand in the place of erased content keys
 * @param nowS POSIX seconds; what is retired must have been due by then
 * @throws what the source throws: an unreadable disk is no verdict
 */
export const verifyLog = async (
  source: LogSource,
  paths: readonly string[],
  policy: FinalityRules,
  verify: Verify,
  trust?: Trust,
  nowS: number = Math.floor(Date.now() / 1_000),
): Promise<LogReport> => {
  const note = await source.read(CHECKPOINT_PATH);
  const final = note && verifyFinalCheckpoint(note, policy, verify);
  if (final?.ok !== true) {
    const reason = final?.reason ?? 'is missing';
    return { problems: [{ path: CHECKPOINT_PATH, reason }], uncovered: [] };
  }
  const head = final.value;
  const check = new LogCheck(source, head, trust);
  let retired: Retired | undefined;
  const left = paths.filter((path) => /^(?:payload|keys)\//.test(path));
  if (await check.findTruth()) {
    retired = await check.checkRetention(nowS);
    // Orders of erasure outlive what they erased.
    const kids =
      retired === undefined ? await check.checkPayloads() : new Set(paths.flatMap(erasedKid));
    for (const kid of kids) await check.checkKey(kid);
    const bundles = Array.from({ length: Math.ceil(head.size / TILE_WIDTH) }, (_, index) => index);
    const widthOf = (index: number): number => tileWidth(head.size, 0, index);
    const wanted = new Set([
      ...tilesOfTree(head.size).map(tlogPath),
      ...bundles.map((index) => tlogPath({ level: 'entries', index, width: widthOf(index) })),
      ...paths,
    ]);
    const known = [
      CHECKPOINT_PATH,
      ...bundles.map(payloadPath),
      ...Array.from(kids, wrappedKeyPath),
    ];
    const gone = retired === undefined ? [] : left;
    for (const path of [...known, ...check.accounted, ...gone]) wanted.delete(path);
    for (const path of wanted) {
      const tile = parseTilePath(path.startsWith('tlog/') ? path.slice('tlog/'.length) : '');
      if (tile.ok) await check.checkTile(path, tile.value);
      else check.uncovered.push(path);
    }
  }
  const { problems, uncovered, keys } = check;
  return { head, problems, uncovered, keys, ...(retired ? { retired: { ...retired, left } } : {}) };
};
