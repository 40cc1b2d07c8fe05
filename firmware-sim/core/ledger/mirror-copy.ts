import { bytesEqual, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import type { TreeHead } from '../../../sync/ledger/core/checkpoint.ts';
import { payloadPath, tlogPath, type BatchFiles } from '../../../sync/ledger/core/log-batch.ts';
import { EMPTY_ROOT } from '../../../sync/ledger/core/merkle.ts';
import {
  fullFiles,
  growCopy,
  reaches,
  type GrowingCopy,
} from '../../../sync/ledger/core/mirror.ts';
import { forkEvidence, isProvenFork } from '../../../sync/ledger/core/fork-evidence.ts';
import { bad, decodeUtf8, ok, type Outcome } from '../../../sync/ledger/core/text.ts';
import {
  hashesAtLevel,
  parseBundle,
  TILE_WIDTH,
  tileWidth,
  type TileId,
} from '../../../sync/ledger/core/tile.ts';
import { treeRoot } from '../../../sync/ledger/core/tree.ts';
import { consistencyRanges, tilesForRanges } from '../../../sync/ledger/core/tree-proof.ts';
import type { WholeFile } from '../virtual-folder.ts';
import type { Answer } from './ledger-node.ts';
import { consistencyProof, headOfNote, openBundle, readTree, type ReadFile } from './log-files.ts';
import { keyPath, kidOf, kidOfRecord } from './sealed-record.ts';

/** A head with the log's signature alone. */
export interface SignedHead extends TreeHead {
  readonly note: string;
}

/** What a copy needs of its mirror. */
export interface CopyDesk {
  /** Files of this copy. */
  readonly read: ReadFile;
  readonly write: (batch: BatchFiles, end: (isDurable: boolean) => void) => void;
  readonly get: (
    from: string,
    path: string,
    end: (bytes: Uint8Array | 'missing' | undefined) => void,
  ) => void;
}

type Verdict = Answer | undefined;

export const SIGNED_HEAD_PATH = 'signed-head';
const EVIDENCE_PATH = 'evidence';
const FORKED: Answer = { status: 422, body: 'this log has signed two histories\n' };
const LATER: Answer = { status: 503, body: 'CONTENT_MISMATCH\n' };

/**
 * One log at a mirror, in the order that mirror-log.ts and log-copy.ts keep: contents fetched and checked by the pure
 * rules of core/mirror.ts, made durable, then the signed head, only then the word that it may be cosigned.
 */
export class MirrorCopy {
  head: SignedHead;
  isForked: boolean;
  readonly #desk: CopyDesk;
  /** Grown up to the head; read again from the folder after a failure. */
  #grown: GrowingCopy | undefined;
  readonly #waiting: (() => void)[] = [];
  #isBusy = false;

  constructor(origin: string, desk: CopyDesk) {
    this.#desk = desk;
    const note = desk.read(SIGNED_HEAD_PATH);
    const head = headOfNote(note) ?? { origin, size: 0, root: EMPTY_ROOT };
    this.head = { ...head, note: note ? (decodeUtf8(note) ?? '') : '' };
    this.isForked = desk.read(EVIDENCE_PATH) !== undefined;
  }

  /** Whether everything up to `head` is durable here: `undefined`, or the refusal. One after the other. */
  admit(from: string, head: SignedHead, end: (verdict: Verdict) => void): void {
    if (this.#isBusy) {
      this.#waiting.push(() => this.admit(from, head, end));
      return;
    }
    this.#isBusy = true;
    this.#check(from, head, (verdict) => {
      this.#isBusy = false;
      end(verdict);
      this.#waiting.shift()?.();
    });
  }

  #check(from: string, head: SignedHead, end: (verdict: Verdict) => void): void {
    const own = this.head;
    const { read } = this.#desk;
    if (this.isForked) {
      end(FORKED);
    } else if (head.size <= own.size) {
      const root = treeRoot(readTree(read, head.size, own.size));
      if (bytesEqual(root, head.root)) end(undefined);
      else this.#keepFork(head, own, root, consistencyProof(read, head.size, own.size), end);
    } else {
      this.#extend(from, head, (extended) => {
        if (extended.ok) end(undefined);
        else this.#forkIn(from, head, end);
      });
    }
  }

  #extend(from: string, head: SignedHead, end: (extended: Outcome<undefined>) => void): void {
    const { read, write } = this.#desk;
    const { size } = this.head;
    const copy = this.#grown ?? { tree: readTree(read, size), bundle: openBundle(read, size) };
    this.#grown = undefined;
    const held = new Map<string, WholeFile>();
    const next = (): void =>
      this.#chunk(from, copy, head.size, (chunk) => {
        if (!chunk.ok) {
          end(chunk);
          return;
        }
        const { files, appends, obsolete } = fullFiles(chunk.value, held);
        if (copy.tree.size < head.size) {
          write({ files, appends, obsolete }, (isDurable) =>
            isDurable ? next() : end(bad('disk')),
          );
        } else if (!reaches(copy, head)) {
          end(bad('the entries do not lead to the signed root'));
        } else {
          write({ files: [...files, ...held.values()], appends, obsolete }, (isDurable) =>
            isDurable ? this.#reached(copy, head, end) : end(bad('disk')),
          );
        }
      });
    next();
  }

  #reached(copy: GrowingCopy, head: SignedHead, end: (done: Outcome<undefined>) => void): void {
    const files = [{ path: SIGNED_HEAD_PATH, bytes: utf8ToBytes(head.note) }];
    this.#desk.write({ files, appends: [], obsolete: [] }, (isDurable) => {
      if (isDurable) {
        this.head = head;
        this.#grown = copy;
      }
      end(isDurable ? ok(undefined) : bad('disk'));
    });
  }

  /** One bundle with the keys that its new records name. */
  #chunk(
    from: string,
    copy: GrowingCopy,
    size: number,
    end: (chunk: Outcome<BatchFiles>) => void,
  ): void {
    const index = Math.floor(copy.tree.size / TILE_WIDTH);
    const width = tileWidth(size, 0, index);
    const id = { level: 'entries', index, width } as const;
    this.#getAll(from, [tlogPath(id), payloadPath(index)], (files) => {
      const entries = files && fileOf(files, id);
      const payloads = files?.get(payloadPath(index));
      if (!entries || !payloads) {
        end(bad('missing'));
        return;
      }
      const leaves = parseBundle(entries.bytes, entries.width);
      const records = parseBundle(payloads, width, false);
      if (!leaves.ok || !records.ok) {
        end(bad('malformed'));
        return;
      }
      this.#keysOf(from, records.value.slice(copy.bundle.payloads.length), (keys) => {
        const served = { leaves: leaves.value.slice(0, width), payloads: records.value };
        const grown = keys ? growCopy(copy, served) : bad('a content key is missing');
        end(grown.ok ? ok({ ...grown.value, files: [...keys!, ...grown.value.files] }) : grown);
      });
    });
  }

  #keysOf(
    from: string,
    records: readonly Uint8Array[],
    end: (files: readonly WholeFile[] | undefined) => void,
  ): void {
    const kids = [...new Set(records.map(kidOfRecord))].filter(
      (kid) => this.#desk.read(keyPath(kid)) === undefined,
    );
    this.#getAll(from, kids.map(keyPath), (files) => {
      const isWhole = kids.every((kid) => {
        const key = files?.get(keyPath(kid));
        return key !== undefined && toHex(kidOf(key)) === kid;
      });
      end(isWhole && files ? Array.from(files, ([path, bytes]) => ({ path, bytes })) : undefined);
    });
  }

  /** All files that there are; `undefined` where one request had no answer. */
  #getAll(
    from: string,
    paths: readonly string[],
    end: (files: ReadonlyMap<string, Uint8Array> | undefined) => void,
  ): void {
    const files = new Map<string, Uint8Array>();
    let open = paths.length;
    let isLost = false;
    const closed = (): void => {
      open -= 1;
      if (open === 0) end(isLost ? undefined : files);
    };
    const fetch = (path: string): void =>
      this.#desk.get(from, path, (bytes) => {
        const full = bytes === 'missing' ? fullPath(path) : undefined;
        if (full !== undefined) {
          fetch(full);
          return;
        }
        if (bytes === undefined) isLost = true;
        else if (bytes !== 'missing') files.set(path, bytes);
        closed();
      });
    if (open === 0) end(files);
    for (const path of paths) fetch(path);
  }

  /** The log's own tiles may prove that its new head does not extend ours; a mere wrong file does not. */
  #forkIn(from: string, head: SignedHead, end: (verdict: Verdict) => void): void {
    const own = this.head;
    const wanted = [
      ...edgeTiles(own.size, head.size),
      ...tilesForRanges(consistencyRanges(own.size, head.size), head.size),
    ].map(tlogPath);
    this.#getAll(from, [...new Set(wanted)], (files) => {
      try {
        const read: ReadFile = (path) => files?.get(path);
        const root = treeRoot(readTree(read, own.size, head.size));
        const proof = consistencyProof(read, own.size, head.size);
        if (isProvenFork(own, head, root, proof)) {
          this.#keepFork(own, head, root, proof, end);
          return;
        }
      } catch {
        // Not all of it was served: nothing is proven.
      }
      end(LATER);
    });
  }

  #keepFork(
    first: SignedHead,
    second: SignedHead,
    root: Uint8Array,
    proof: readonly Uint8Array[],
    end: (verdict: Verdict) => void,
  ): void {
    const evidence = forkEvidence(first.origin, [first.note, second.note], root, proof);
    const files = [{ path: EVIDENCE_PATH, bytes: utf8ToBytes(JSON.stringify(evidence)) }];
    this.#desk.write({ files, appends: [], obsolete: [] }, (isDurable) => {
      if (isDurable) this.isForked = true;
      end(isDurable ? FORKED : LATER);
    });
  }
}

/** A full tile stands in for a partial one that was removed. */
const fullPath = (path: string): string | undefined => /^(.+)\.p\/\d+$/.exec(path)?.[1];

const fileOf = (
  files: ReadonlyMap<string, Uint8Array>,
  tile: TileId,
): { bytes: Uint8Array; width: number } | undefined => {
  const bytes = files.get(tlogPath(tile));
  if (bytes) return { bytes, width: tile.width };
  const full = files.get(tlogPath({ ...tile, width: TILE_WIDTH }));
  return full && { bytes: full, width: TILE_WIDTH };
};

function edgeTiles(size: number, within: number): readonly TileId[] {
  const tiles: TileId[] = [];
  for (let level = 0; hashesAtLevel(size, level) > 0; level += 1) {
    const count = hashesAtLevel(size, level);
    if (count % TILE_WIDTH === 0) continue;
    const index = Math.floor(count / TILE_WIDTH);
    tiles.push({ level, index, width: tileWidth(within, level, index) });
  }
  return tiles;
}
