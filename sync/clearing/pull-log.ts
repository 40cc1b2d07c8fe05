import type { KeyObject } from 'node:crypto';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { TILE_WIDTH } from '../ledger/core/tile.ts';
import type { Trust } from '../../identity/core/chain.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { wrappedKeyPath } from '../ledger/content-keys.ts';
import { verifyFinalCheckpoint, type FinalHead } from '../ledger/core/final-checkpoint.ts';
import { readErasure } from '../ledger/erasure.ts';
import { leafHash } from '../ledger/core/merkle.ts';
import { noteVerify } from '../ledger/core/note-ports.ts';
import type { FinalityRules } from '../ledger/core/policy-book.ts';
import { appendLeaves, treeRoot, type Tree } from '../ledger/core/tree.ts';
import { unwrapContentKey } from '../ledger/key-wrap.ts';
import { readCheckpoint, readEntries, readPayloads, readTree } from '../ledger/log-folder.ts';
import type { LogSource } from '../ledger/log-source.ts';
import { leafOfRecord, openPayload, parsePayloadRecord } from '../ledger/payload-record.ts';
import type { ClearingService } from './clearing-service.ts';
import { chargeOf, type LogPlace, type RejectedItem } from './core/ingest.ts';
import { readEvidence, type ReadEntry } from './core/read-evidence.ts';
import type { Registry } from './core/registry.ts';

/** Faults kept in words; beyond it they are only counted. */
const MAX_FAULTS = 100;
/** Content keys held in memory. */
const MAX_KEYS = 4_096;

export interface PullOptions {
  readonly source: LogSource;
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
  /** The head ingested last stands in this file, so that a log that shrank or forked is noticed. */
  readonly headFile: string;
}

/** What was taken from one approver so far; the substance of an acknowledgement. */
export interface Taken {
  readonly throughSequence: number;
  readonly count: number;
  readonly sumMicro: bigint;
}

interface PulledHead {
  readonly size: number;
  readonly rootHex: string;
  /** By approver id in hex. */
  readonly taken: Readonly<
    Record<string, { throughSequence: number; count: number; sumMicro: string }>
  >;
}

const parseHead = (text: string): PulledHead | undefined => {
  try {
    const { size, rootHex, taken } = JSON.parse(text) as PulledHead;
    const isHead =
      Number.isSafeInteger(size) &&
      size >= 0 &&
      /^[0-9a-f]{64}$/.test(rootHex) &&
      Object.values(taken).every(
        (row) =>
          Number.isSafeInteger(row.throughSequence) &&
          Number.isSafeInteger(row.count) &&
          /^[0-9]+$/.test(row.sumMicro),
      );
    return isHead ? { size, rootHex, taken } : undefined;
  } catch {
    return undefined;
  }
};

export interface PullResult {
  readonly size: number;
  readonly rootHex: string;
  readonly ingested: number;
  readonly faultCount: number;
  readonly faults: readonly string[];
  readonly taken: ReadonlyMap<string, Taken>;
}

/** One log as clearing follows it: verified, decrypted, each record isolated from the others. */
export class LogPuller {
  readonly #options: PullOptions;
  readonly #keys = new Map<string, Uint8Array>();
  readonly #taken = new Map<string, Taken>();
  readonly #faults: string[] = [];
  #faultCount = 0;
  #size = 0;
  #rootHex = '';

  private constructor(options: PullOptions) {
    this.#options = options;
  }

  static async open(options: PullOptions): Promise<LogPuller> {
    const puller = new LogPuller(options);
    const stored = await readIfPresent(options.headFile);
    if (stored === undefined) return puller;
    const head = parseHead(stored.toString('utf8'));
    if (!head) {
      throw new KiriError(
        'STATE_CORRUPT',
        `${options.headFile} is damaged; without it the log is read again from its beginning`,
      );
    }
    puller.#size = head.size;
    puller.#rootHex = head.rootHex;
    for (const [hex, row] of Object.entries(head.taken)) {
      puller.#taken.set(hex, { ...row, sumMicro: BigInt(row.sumMicro) });
    }
    return puller;
  }

  /** Ingests what is final and new. @throws KiriError LOG_NOT_FINAL, LOG_FORKED, LOG_*, HTTP_* */
  async pull(clearing: ClearingService, nowS: number): Promise<PullResult> {
    const head = await this.#finalHead();
    const before = this.#size;
    if (head && head.size > before) await this.#ingest(clearing, head, nowS);
    return {
      size: this.#size,
      rootHex: this.#rootHex,
      ingested: this.#size - before,
      faultCount: this.#faultCount,
      faults: this.#faults,
      taken: this.#taken,
    };
  }

  async #finalHead(): Promise<FinalHead | undefined> {
    const { source, policy, verifier, origin } = this.#options;
    const note = await readCheckpoint(source);
    if (note === undefined) return undefined;
    const head = verifyFinalCheckpoint(note, policy, noteVerify(verifier));
    if (!head.ok) throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${head.reason}`);
    if (head.value.origin !== origin) {
      throw new KiriError('LOG_NOT_FINAL', `${source.place}: origin is ${head.value.origin}`);
    }
    if (head.value.size < this.#size) {
      throw new KiriError('LOG_FORKED', `${source.place}: shorter than what was ingested`);
    }
    if (
      head.value.size === this.#size &&
      this.#size > 0 &&
      toHex(head.value.root) !== this.#rootHex
    ) {
      throw new KiriError('LOG_FORKED', `${source.place}: another root at size ${this.#size}`);
    }
    return head.value;
  }

  async #startTree(): Promise<Tree> {
    const { source } = this.#options;
    const tree = await readTree(source, this.#size);
    if (this.#size > 0 && toHex(treeRoot(tree)) !== this.#rootHex) {
      throw new KiriError('LOG_FORKED', `${source.place}: what was ingested is no longer in it`);
    }
    return tree;
  }

  async #ingest(clearing: ClearingService, head: FinalHead, nowS: number): Promise<void> {
    const { source, origin } = this.#options;
    // The first cosignature seen here; a policy may ask for none, then it is now.
    const cosignedAtS = Math.min(nowS, ...head.cosignedAtS.values());
    const tree = await this.#startTree();
    const entries: ReadEntry[] = [];
    const rejected: RejectedItem[] = [];
    for (let index = this.#size; index < head.size;) {
      const bundle = Math.floor(index / TILE_WIDTH);
      const from = index % TILE_WIDTH;
      const leaves = (await readEntries(source, bundle, head.size)).slice(from);
      const records = (await readPayloads(source, bundle, head.size)).slice(from);
      appendLeaves(
        tree,
        leaves.map((leaf) => leafHash(leaf)),
      );
      for (const [i, leaf] of leaves.entries()) {
        const entry = await this.#read(
          leaf,
          records[i],
          { origin, leafIndex: index + i },
          cosignedAtS,
        );
        if ('kind' in entry) rejected.push(entry);
        else entries.push(entry);
      }
      index += leaves.length;
    }
    if (!bytesEqual(treeRoot(tree), head.root)) {
      throw new KiriError('LOG_FORKED', `${source.place}: its entries do not make its root`);
    }
    const items = [...entries.map((entry) => entry.item), ...rejected];
    await clearing.ingestBatch(items, nowS, { origin, nextIndex: head.size });
    for (const entry of entries) this.#count(entry);
    for (const { leafIndex, code, detail } of rejected) {
      this.#fault(leafIndex, `${code}: ${detail}`);
    }
    this.#size = head.size;
    this.#rootHex = toHex(head.root);
    await this.#remember();
  }

  #fault(leafIndex: number, reason: string): void {
    this.#faultCount += 1;
    if (this.#faults.length < MAX_FAULTS) this.#faults.push(`leaf ${leafIndex}: ${reason}`);
  }

  /** One record; whatever is wrong with it is noted in the store and holds up no other. */
  async #read(
    leaf: Uint8Array,
    record: Uint8Array | undefined,
    place: LogPlace,
    cosignedAtS: number,
  ): Promise<ReadEntry | RejectedItem> {
    const reject = (code: string, detail: string): RejectedItem => ({
      kind: 'rejected',
      ...place,
      code,
      detail,
    });
    const committed = record && leafOfRecord(record);
    if (!record || !committed || !bytesEqual(committed, leaf)) {
      return reject('PAYLOAD_MISMATCH', 'the payload is not what the leaf commits to');
    }
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
    return entry.ok ? entry.value : reject(entry.code, entry.reason);
  }

  /** In words, where the issuer had the key erased: no fault of anybody's. */
  async #erasure(kid: string): Promise<string | undefined> {
    const { source, erasure, origin } = this.#options;
    const state = erasure && (await readErasure(source, erasure, origin, kid));
    if (!state?.ok) return undefined;
    const { period, reason } = state.value.request;
    return `its content key of ${period} was erased on the issuer's request (reason ${reason})`;
  }

  async #contentKey(kid: string): Promise<Uint8Array | undefined> {
    const known = this.#keys.get(kid);
    if (known) return known;
    const wrapped = await this.#options.source.read(wrappedKeyPath(kid));
    if (wrapped === undefined) return undefined;
    try {
      const { contentKey } = unwrapContentKey(wrapped, this.#options.contentKey);
      if (this.#keys.size >= MAX_KEYS) this.#keys.clear();
      this.#keys.set(kid, contentKey);
      return contentKey;
    } catch (error) {
      // A key that was altered, or wrapped to another, costs its own records and not the whole log.
      if (error instanceof KiriError && error.code === 'KEY_UNREADABLE') return undefined;
      throw error;
    }
  }

  /** Rows of an approver ascend; the gaps are acceptances that it took back before they left. */
  #count({ item, approverHex, sequence }: ReadEntry): void {
    const before = this.#taken.get(approverHex) ?? { throughSequence: 0, count: 0, sumMicro: 0n };
    // A row that stands in the log once more was counted.
    if (sequence <= before.throughSequence) return;
    const charged = item.kind === 'receipt' ? chargeOf(item) : 0n;
    this.#taken.set(approverHex, {
      throughSequence: sequence,
      count: before.count + (item.kind === 'receipt' ? 1 : 0),
      sumMicro: before.sumMicro + charged,
    });
  }

  async #remember(): Promise<void> {
    const taken = Object.fromEntries(
      [...this.#taken].map(([hex, row]) => [hex, { ...row, sumMicro: row.sumMicro.toString() }]),
    );
    const head: PulledHead = { size: this.#size, rootHex: this.#rootHex, taken };
    await writeFileDurable(this.#options.headFile, Buffer.from(JSON.stringify(head)), 0o600);
  }
}
