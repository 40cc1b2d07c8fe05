import type { KeyObject } from 'node:crypto';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Trust } from '../../identity/core/chain.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import { wrappedKeyPath } from '../ledger/content-keys.ts';
import { type FinalHead, verifyFinalCheckpoint } from '../ledger/core/final-checkpoint.ts';
import { commitsTo, parseLeaf } from '../ledger/core/leaf.ts';
import { readErasure } from '../ledger/erasure.ts';
import { leafHash, verifyConsistency } from '../ledger/core/merkle.ts';
import { noteVerify } from '../ledger/core/note-ports.ts';
import type { FinalityRules } from '../ledger/core/policy-book.ts';
import { parseShard } from '../ledger/core/shard.ts';
import { TILE_WIDTH } from '../ledger/core/tile.ts';
import { type Tree, appendLeaves, treeRoot } from '../ledger/core/tree.ts';
import { unwrapContentKey } from '../ledger/key-wrap.ts';
import { nativeHash } from '../ledger/log-copy.ts';
import {
  consistencyProof,
  readCheckpoint,
  readEntries,
  readPayloads,
  readTree,
} from '../ledger/log-folder.ts';
import type { LogSource } from '../ledger/log-source.ts';
import { openPayload, parsePayloadRecord } from '../ledger/payload-record.ts';
import type { ClearingService } from './clearing-service.ts';
import type { LogPlace, RejectedItem, VerifiedItem } from './core/ingest.ts';
import { readEvidence } from './core/read-evidence.ts';
import type { Registry } from './core/registry.ts';
import { ForkWatch, type SeenHead, stopOf } from './fork-watch.ts';
import type { StoppedLog } from './stopped-logs.ts';

/** Faults kept in words; beyond it they are only counted. */
export const MAX_FAULTS = 100;
/** Content keys held in memory. */
const MAX_KEYS = 4_096;
/** Read and proven at a time: so many bundles or this much of payloads, whichever comes first. */
const MAX_CHUNK_BUNDLES = 16;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

export interface PullOptions {
  /** The log itself, then its mirrors: the one that has got farthest is read, the others stand in for what it lacks. */
  readonly sources: readonly LogSource[];
  readonly origin: string;
  readonly policy: FinalityRules;
  readonly registry: Registry;
  readonly verifier: Verifier;
  /** Opens the wrapped content keys: P-256, private. */
  readonly contentKey: KeyObject;
  /** Whose request explains a content key that is gone; without it the payload counts as one that cannot be opened. */
  readonly erasure?: Trust;
  /** Id of this clearing's key. */
  readonly clearing: Uint8Array;
}

export interface PullResult {
  readonly origin: string;
  /** Entries booked, and the root of the tree that they make. */
  readonly size: number;
  readonly rootHex: string;
  readonly ingested: number;
  readonly faultCount: number;
  readonly faults: readonly string[];
  /** The log signed two histories: nothing beyond this many entries is read or paid. */
  readonly stoppedAt?: number;
}

/** Entries of one bundle that are not booked yet, with the root behind them. */
interface Bundle {
  readonly index: number;
  readonly from: number;
  readonly leaves: readonly Uint8Array[];
  readonly records: readonly Uint8Array[];
  readonly rootHex: string;
}

interface Served extends SeenHead {
  readonly head: FinalHead;
}

const NOTHING_SERVED: { readonly served: readonly Served[]; readonly failure: unknown } = {
  served: [],
  failure: undefined,
};

const badPredecessor = (detail: string): { code: string; detail: string } => ({
  code: 'PREDECESSOR_INVALID',
  detail,
});

/**
 * One log as clearing follows it: chunk by chunk, each proven to lie under a final head before anything of it is booked,
 * each record isolated from the others. How far it is booked stands in the store and moves with the bookings.
 */
export class LogPuller {
  readonly #options: PullOptions;
  readonly #keys = new Map<string, Uint8Array>();
  readonly #watch: ForkWatch;
  readonly #faults: string[] = [];
  #faultCount = 0;

  constructor(options: PullOptions) {
    this.#options = options;
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
    while (tree.size < end) {
      const bundles = await this.#nextChunk(served, tree, end);
      await this.#prove(served, tree);
      for (const bundle of bundles) {
        const items = await this.#itemsOf(clearing, bundle, cosignedAtS);
        const nextIndex = bundle.index * TILE_WIDTH + bundle.from + bundle.leaves.length;
        const cursor = { origin, nextIndex, rootHex: bundle.rootHex, note: signed.note };
        await clearing.ingestBatch(items, nowS, cursor);
        for (const item of items) if (item.kind === 'rejected') this.#fault(item);
      }
    }
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
      bundles.push({ index, from, leaves, records, rootHex });
      bytes += records.reduce((sum, record) => sum + record.length, 0);
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

  async #itemsOf(
    clearing: ClearingService,
    bundle: Bundle,
    cosignedAtS: number,
  ): Promise<(VerifiedItem | RejectedItem)[]> {
    const { origin } = this.#options;
    const items: (VerifiedItem | RejectedItem)[] = [];
    for (const [at, leaf] of bundle.leaves.entries()) {
      const leafIndex = bundle.index * TILE_WIDTH + bundle.from + at;
      const record = await this.#recordFor(leaf, bundle, at);
      const place = { origin, leafIndex };
      const kind = parseLeaf(leaf)?.kind;
      if (kind === 'predecessor' && record) {
        const fault = await this.#predecessorFault(clearing, leafIndex, record);
        if (fault !== undefined) items.push({ ...place, kind: 'rejected', ...fault });
        continue;
      }
      items.push(await this.#read(record, place, cosignedAtS));
    }
    return items;
  }

  /** The record that the leaf commits to, from whichever source has it. */
  async #recordFor(leaf: Uint8Array, bundle: Bundle, at: number): Promise<Uint8Array | undefined> {
    const record = bundle.records[at];
    if (record && commitsTo(leaf, record, nativeHash)) return record;
    const size = bundle.index * TILE_WIDTH + bundle.from + at + 1;
    for (const source of this.#options.sources) {
      try {
        const other = (await readPayloads(source, bundle.index, size))[bundle.from + at];
        if (other && commitsTo(leaf, other, nativeHash)) return other;
      } catch {
        // The next source may have it; without one the record is noted as a fault.
      }
    }
    return undefined;
  }

  /**
   * The first entry of a shard is the end of the one before it (DESIGN section 5). What that one holds is booked from its
   * own log; an end that is not final, or beyond what was booked, is said and stops nothing.
   */
  async #predecessorFault(
    clearing: ClearingService,
    leafIndex: number,
    record: Uint8Array,
  ): Promise<{ code: string; detail: string } | undefined> {
    const { policy, verifier, origin } = this.#options;
    const end = verifyFinalCheckpoint(record, policy, noteVerify(verifier));
    if (leafIndex !== 0)
      return badPredecessor('only the first entry of a shard names its predecessor');
    if (!end.ok) return badPredecessor(end.reason);
    const [before, here] = [parseShard(end.value.origin), parseShard(origin)];
    if (!before || !here || before.prefix !== here.prefix || before.index >= here.index) {
      return badPredecessor(`${end.value.origin} is no earlier shard of this log`);
    }
    const { nextIndex, rootHex } = await clearing.cursor(end.value.origin);
    if (nextIndex === end.value.size && rootHex === toHex(end.value.root)) return undefined;
    return badPredecessor(
      `ends at ${end.value.size}, of which ${nextIndex} entries are booked here`,
    );
  }

  #fault({ leafIndex, code, detail }: RejectedItem): void {
    this.#faultCount += 1;
    if (this.#faults.length < MAX_FAULTS)
      this.#faults.push(`leaf ${leafIndex}: ${code}: ${detail}`);
  }

  /** One record; whatever is wrong with it is noted in the store and holds up no other. */
  async #read(
    record: Uint8Array | undefined,
    place: LogPlace,
    cosignedAtS: number,
  ): Promise<VerifiedItem | RejectedItem> {
    const reject = (code: string, detail: string): RejectedItem => ({
      kind: 'rejected',
      ...place,
      code,
      detail,
    });
    if (!record) return reject('PAYLOAD_MISMATCH', 'the payload is not what the leaf commits to');
    const parsed = parsePayloadRecord(record);
    const key = parsed && (await this.#contentKey(toHex(parsed.kid)));
    const plain = parsed && key && openPayload(parsed, key);
    if (!parsed || !plain) {
      const erased = parsed && !key && (await this.#erasure(toHex(parsed.kid)));
      return erased
        ? reject('PAYLOAD_ERASED', erased)
        : reject('PAYLOAD_SEALED', 'the payload cannot be opened');
    }
    const { registry, verifier, clearing } = this.#options;
    const outcomeHash = parsed.receiptPayloadHash;
    const context = { ...place, cosignedAtS, outcomeHash, clearing };
    const entry = readEvidence(registry, verifier, plain, context);
    return entry.ok ? entry.value.item : reject(entry.code, entry.reason);
  }

  /** In words, where the issuer had the key erased: no fault of anybody's. */
  async #erasure(kid: string): Promise<string | undefined> {
    const { sources, erasure, origin } = this.#options;
    if (!erasure) return undefined;
    for (const source of sources) {
      // A source that is out of reach explains nothing; the record is noted as sealed.
      const state = await readErasure(source, erasure, origin, kid).catch(() => undefined);
      if (!state?.ok) continue;
      const { period, reason } = state.value.request;
      return `its content key of ${period} was erased on the issuer's request (reason ${reason})`;
    }
    return undefined;
  }

  async #contentKey(kid: string): Promise<Uint8Array | undefined> {
    const known = this.#keys.get(kid);
    if (known) return known;
    for (const source of this.#options.sources) {
      const key = await this.#unwrap(source, kid);
      if (!key) continue;
      if (this.#keys.size >= MAX_KEYS) this.#keys.clear();
      this.#keys.set(kid, key);
      return key;
    }
    return undefined;
  }

  async #unwrap(source: LogSource, kid: string): Promise<Uint8Array | undefined> {
    try {
      const wrapped = await source.read(wrappedKeyPath(kid));
      if (wrapped === undefined) return undefined;
      const opened = unwrapContentKey(wrapped, this.#options.contentKey);
      return toHex(opened.kid) === kid ? opened.contentKey : undefined;
    } catch (error) {
      // A key that was altered, or wrapped to another, costs its own records and not the whole log.
      if (error instanceof KiriError && error.code === 'KEY_UNREADABLE') return undefined;
      if (this.#options.sources.length > 1) return undefined;
      throw error;
    }
  }
}
