import type { KeyObject } from 'node:crypto';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Trust } from '../../identity/core/chain.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import { type FinalHead, verifyFinalCheckpoint } from '../ledger/core/final-checkpoint.ts';
import { leafHash, verifyConsistency } from '../ledger/core/merkle.ts';
import { noteVerify } from '../ledger/core/note-ports.ts';
import type { FinalityRules } from '../ledger/core/policy-book.ts';
import { TILE_WIDTH } from '../ledger/core/tile.ts';
import { type Tree, appendLeaves, treeRoot } from '../ledger/core/tree.ts';
import { nativeHash } from '../ledger/log-copy.ts';
import {
  consistencyProof,
  readCheckpoint,
  readEntries,
  readPayloads,
  readTree,
} from '../ledger/log-folder.ts';
import type { LogSource } from '../ledger/log-source.ts';
import type { ClearingService } from './clearing-service.ts';
import type { ElsewhereItem, RejectedItem } from './core/ingest.ts';
import { ForkWatch, type SeenHead, stopOf } from './fork-watch.ts';
import {
  checkInLine,
  notedBy,
  type CheckedItem,
  type CheckRules,
  type RecordChecker,
} from './record-check.ts';
import { type Bundle, RecordOpener } from './record-opener.ts';
import type { StoppedLog } from './stopped-logs.ts';

/** Faults kept in words; beyond it they are only counted. */
export const MAX_FAULTS = 100;
/** Read and proven at a time: so many bundles or this much of payloads, whichever comes first. */
const MAX_CHUNK_BUNDLES = 16;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

/** Documents that change while a log is read: see document-watch.ts. */
export interface RuleChanges {
  /** Whether a change waits to come into force. */
  readonly waits: () => Promise<boolean>;
  /** Puts it in force; nothing may be under check or being booked. */
  readonly take: () => void;
}

export interface PullOptions extends CheckRules {
  /** The log itself, then its mirrors: the one that has got farthest is read, the others stand in for what it lacks. */
  readonly sources: readonly LogSource[];
  readonly origin: string;
  readonly policy: FinalityRules;
  readonly verifier: Verifier;
  /** Checks the records; without one this thread does, with `verifier`. */
  readonly checker?: RecordChecker;
  /** Asked between two chunks; without it the rules stay as they are. */
  readonly changes?: RuleChanges;
  /** Opens the wrapped content keys: P-256, private. */
  readonly contentKey: KeyObject;
  /** Whose request explains a content key that is gone; without it the payload counts as one that cannot be opened. */
  readonly erasure?: Trust;
}

export interface PullResult {
  readonly origin: string;
  /** Entries booked, and the root of the tree that they make. */
  readonly size: number;
  readonly rootHex: string;
  readonly ingested: number;
  /** Of them, records that another part of the clearing books; absent where the clearing is not parted. */
  readonly elsewhere?: number;
  readonly faultCount: number;
  readonly faults: readonly string[];
  /** The log signed two histories: nothing beyond this many entries is read or paid. */
  readonly stoppedAt?: number;
}

/** Bundles booked in one transaction: each costs its commit, and its accounts their balances, once. */
const BUNDLES_TOGETHER = 4;

/** A bundle whose records are being checked. */
interface CheckedBundle {
  readonly bundle: Bundle;
  readonly rejected: readonly (RejectedItem | ElsewhereItem)[];
  readonly items: Promise<readonly CheckedItem[]>;
}

/** The items of the next bundles, in the order of the log; fewer where one behind the first was not judged. */
const takeChecked = async (
  ahead: CheckedBundle[],
): Promise<{ readonly last: Bundle; readonly checked: CheckedItem[] }> => {
  const first = ahead.shift()!;
  let last = first.bundle;
  const checked = inOrder(first.rejected, await first.items);
  for (let taken = 1; taken < BUNDLES_TOGETHER; taken += 1) {
    const [next] = ahead;
    // What was not judged fails when it comes first.
    const items = await next?.items.catch(() => undefined);
    if (!next || !items) break;
    ahead.shift();
    last = next.bundle;
    for (const item of inOrder(next.rejected, items)) checked.push(item);
  }
  return { last, checked };
};

const inOrder = (
  rejected: CheckedBundle['rejected'],
  items: readonly CheckedItem[],
): CheckedItem[] => {
  const all = [...rejected, ...items];
  if (rejected.length > 0) all.sort((a, b) => a.leafIndex - b.leafIndex);
  return all;
};

interface Served extends SeenHead {
  readonly head: FinalHead;
}

const NOTHING_SERVED: { readonly served: readonly Served[]; readonly failure: unknown } = {
  served: [],
  failure: undefined,
};

/** While these are being checked and booked the next chunk is read: never more than two chunks in memory. */
const wantsMore = (ahead: readonly CheckedBundle[]): boolean =>
  ahead.length < MAX_CHUNK_BUNDLES &&
  ahead.reduce((sum, { bundle }) => sum + bundle.bytes, 0) < MAX_CHUNK_BYTES;

/**
 * One log as clearing follows it: chunk by chunk, each proven to lie under a final head before anything of it is booked,
 * each record isolated from the others. How far it is booked stands in the store and moves with the bookings.
 */
export class LogPuller {
  readonly #options: PullOptions;
  readonly #checker: RecordChecker;
  readonly #opener: RecordOpener;
  readonly #watch: ForkWatch;
  readonly #faults: string[] = [];
  #faultCount = 0;
  #elsewhere = 0;

  constructor(options: PullOptions) {
    this.#options = options;
    this.#checker = options.checker ?? checkInLine(options, options.verifier);
    this.#opener = new RecordOpener(options);
    this.#watch = new ForkWatch(options);
  }

  get origin(): string {
    return this.#options.origin;
  }

  /**
   * Books what is final and new.
   * @throws KiriError LOG_NOT_FINAL, LOG_FORKED, LOG_*, HTTP_*: what was booked before it stays, the next call goes on
   */
  async pull(clearing: ClearingService, nowS: number): Promise<PullResult> {
    const { origin } = this.#options;
    const before = (await clearing.cursor(origin)).nextIndex;
    this.#elsewhere = 0;
    let stopped = await stopOf(clearing, origin);
    // A log whose stop was reached is not asked at all.
    const isDone = stopped !== undefined && before >= stopped.commonSize;
    const { served, failure } = isDone ? NOTHING_SERVED : await this.#heads();
    if (!stopped) stopped = await this.#watch.look(clearing, served, nowS);
    let trouble = failure;
    for (const one of served) {
      try {
        await this.#follow(clearing, one, nowS, stopped);
        trouble = undefined;
        break;
      } catch (error) {
        trouble ??= error;
      }
    }
    if (trouble !== undefined) throw trouble;
    const { nextIndex, rootHex } = await clearing.cursor(origin);
    return {
      origin,
      size: nextIndex,
      rootHex: rootHex ?? '',
      ingested: nextIndex - before,
      faultCount: this.#faultCount,
      faults: this.#faults,
      ...(this.#options.part ? { elsewhere: this.#elsewhere } : {}),
      ...(stopped ? { stoppedAt: stopped.commonSize } : {}),
    };
  }

  /** The final heads that the sources publish, the largest first, and why one has none. */
  async #heads(): Promise<{ served: Served[]; failure: unknown }> {
    const served: Served[] = [];
    let failure: unknown;
    for (const source of this.#options.sources) {
      try {
        const found = await this.#finalHead(source);
        if (found) served.push({ source, ...found });
      } catch (error) {
        failure ??= error;
      }
    }
    // Stable: of two that are as far, the log itself comes first.
    served.sort((a, b) => b.head.size - a.head.size);
    return { served, failure: served.length > 0 ? undefined : failure };
  }

  async #finalHead(source: LogSource): Promise<Omit<Served, 'source'> | undefined> {
    const { policy, verifier, origin } = this.#options;
    const note = await readCheckpoint(source);
    if (note === undefined) return undefined;
    const head = verifyFinalCheckpoint(note, policy, noteVerify(verifier));
    if (!head.ok) throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${head.reason}`);
    if (head.value.origin !== origin) {
      throw new KiriError('LOG_NOT_FINAL', `${source.place}: origin is ${head.value.origin}`);
    }
    const signed = this.#watch.signed(note);
    return signed && { head: head.value, signed };
  }

  /** The tree that is booked, from the log's own tiles and held against the root in the store. */
  async #bookedTree(clearing: ClearingService, { source, head }: Served): Promise<Tree> {
    const { nextIndex, rootHex } = await clearing.cursor(this.#options.origin);
    // A cursor without its root is of an earlier store: the log is read once more, and books nothing twice.
    const size = rootHex === undefined ? 0 : nextIndex;
    if (head.size < size) {
      // True and old: a mirror that lags, or a copy that was put back. It contradicts nothing by itself.
      const sizes = `${head.size} entries of ${size} that are booked`;
      throw new KiriError('LOG_BEHIND', `${source.place}: has ${sizes}`);
    }
    const tree = await readTree(source, size, nativeHash, head.size);
    if (size > 0 && toHex(treeRoot(tree, nativeHash)) !== rootHex) {
      throw new KiriError('LOG_FORKED', `${source.place}: what was ingested is no longer in it`);
    }
    return tree;
  }

  async #follow(
    clearing: ClearingService,
    served: Served,
    nowS: number,
    stopped: StoppedLog | undefined,
  ): Promise<void> {
    const { origin } = this.#options;
    const { head, signed } = served;
    const end = Math.min(head.size, stopped?.commonSize ?? head.size);
    if ((await clearing.cursor(origin)).nextIndex >= end && stopped) return;
    const tree = await this.#bookedTree(clearing, served);
    await this.#prove(served, tree);
    // The first cosignature seen here; a policy may ask for none, then it is now.
    const cosignedAtS = Math.min(nowS, ...head.cosignedAtS.values());
    const ahead: CheckedBundle[] = [];
    let failure: { readonly error: unknown } | undefined;
    try {
      while (ahead.length > 0 || (tree.size < end && !failure)) {
        const mayRead = tree.size < end && !failure && wantsMore(ahead);
        if (mayRead && !(await this.#isHeldUp(ahead.length))) {
          try {
            const bundles = await this.#nextChunk(served, tree, end);
            await this.#prove(served, tree);
            for (const one of bundles) ahead.push(await this.#check(clearing, one, cosignedAtS));
          } catch (error) {
            // What was read and proven before is booked first.
            failure = { error };
          }
          continue;
        }
        await this.#book(clearing, ahead, nowS, signed.note);
      }
    } finally {
      // Where booking breaks off nothing stays under check: documents change only while nothing is.
      await Promise.allSettled(ahead.map(({ items }) => items));
    }
    if (failure) throw failure.error;
  }

  /** While a change waits no more is read, until what is under check is booked; then it comes into force. */
  async #isHeldUp(underCheck: number): Promise<boolean> {
    const { changes } = this.#options;
    if (!changes || !(await changes.waits())) return false;
    if (underCheck > 0) return true;
    changes.take();
    return false;
  }

  /** Begins to check a bundle, on whatever thread that happens. */
  async #check(
    clearing: ClearingService,
    bundle: Bundle,
    cosignedAtS: number,
  ): Promise<CheckedBundle> {
    const opened = await this.#opener.open(clearing, bundle);
    const { records } = opened;
    const rejected = opened.rejected.map((item) => notedBy(this.#options.part, item));
    const items = this.#checker.check({ origin: this.origin, cosignedAtS, records });
    // Looked at when its turn comes, if it does.
    items.catch(() => {});
    return { bundle, rejected, items };
  }

  /** Books the next bundles, their entries in the order of the log. */
  async #book(
    clearing: ClearingService,
    ahead: CheckedBundle[],
    nowS: number,
    note: string,
  ): Promise<void> {
    const { last, checked } = await takeChecked(ahead);
    const { origin } = this;
    const nextIndex = last.index * TILE_WIDTH + last.from + last.leaves.length;
    const cursor = { origin, nextIndex, rootHex: last.rootHex, note };
    this.#elsewhere += (await clearing.ingestBatch(checked, nowS, cursor)).elsewhere;
    for (const item of checked) if (item.kind === 'rejected') this.#fault(item);
  }

  /** Reads on from the tree, and grows it. */
  async #nextChunk({ source, head }: Served, tree: Tree, end: number): Promise<Bundle[]> {
    const bundles: Bundle[] = [];
    let bytes = 0;
    while (bundles.length < MAX_CHUNK_BUNDLES && bytes < MAX_CHUNK_BYTES && tree.size < end) {
      const index = Math.floor(tree.size / TILE_WIDTH);
      const from = tree.size % TILE_WIDTH;
      const to = end - index * TILE_WIDTH;
      const leaves = (await readEntries(source, index, head.size)).slice(from, to);
      const records = (await readPayloads(source, index, head.size)).slice(from, to);
      const hashes = leaves.map((leaf) => leafHash(leaf, nativeHash));
      appendLeaves(tree, hashes, nativeHash);
      const rootHex = toHex(treeRoot(tree, nativeHash));
      const size = records.reduce((sum, record) => sum + record.length, 0);
      bundles.push({ index, from, leaves, records, rootHex, bytes: size });
      bytes += size;
    }
    return bundles;
  }

  /** The tree so far is a prefix of the final one (RFC 6962 consistency, from the source's tiles). */
  async #prove({ source, head }: Served, tree: Tree): Promise<void> {
    if (tree.size === 0) return;
    const root = treeRoot(tree, nativeHash);
    const proven =
      tree.size === head.size
        ? bytesEqual(root, head.root)
        : verifyConsistency(
            tree.size,
            head.size,
            root,
            head.root,
            await consistencyProof(source, tree.size, head.size, nativeHash),
            nativeHash,
          );
    if (proven) return;
    throw new KiriError(
      'LOG_FORKED',
      `${source.place}: its first ${tree.size} entries do not lead to its root at ${head.size}`,
    );
  }

  #fault({ leafIndex, code, detail }: RejectedItem): void {
    this.#faultCount += 1;
    if (this.#faults.length < MAX_FAULTS)
      this.#faults.push(`leaf ${leafIndex}: ${code}: ${detail}`);
  }
}
