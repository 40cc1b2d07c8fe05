/** What has to be fetched before a log's records can be checked: records that a source lacks, content keys, erasures. */
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { wrappedKeyPath } from '../ledger/content-keys.ts';
import { verifyFinalCheckpoint } from '../ledger/core/final-checkpoint.ts';
import { commitsTo, parseLeaf } from '../ledger/core/leaf.ts';
import { noteVerify } from '../ledger/core/note-ports.ts';
import { parseShard } from '../ledger/core/shard.ts';
import { TILE_WIDTH } from '../ledger/core/tile.ts';
import { readErasure } from '../ledger/erasure.ts';
import { unwrapContentKey } from '../ledger/key-wrap.ts';
import { nativeHash } from '../ledger/log-copy.ts';
import { readPayloads } from '../ledger/log-folder.ts';
import type { LogSource } from '../ledger/log-source.ts';
import { parsePayloadRecord } from '../ledger/payload-record.ts';
import type { ClearingService } from './clearing-service.ts';
import type { LogPlace, RejectedItem } from './core/ingest.ts';
import type { PullOptions } from './pull-log.ts';
import { rejected, type SealedRecord } from './record-check.ts';

/** Content keys held in memory. */
const MAX_KEYS = 4_096;

/** Entries of one bundle that are not booked yet, with the root behind them. */
export interface Bundle {
  readonly index: number;
  readonly from: number;
  readonly leaves: readonly Uint8Array[];
  readonly records: readonly Uint8Array[];
  readonly rootHex: string;
  /** Length of its records together. */
  readonly bytes: number;
}

/** A bundle's records with their keys, and what is wrong with those that have none. */
export interface OpenedBundle {
  readonly records: readonly SealedRecord[];
  readonly rejected: readonly RejectedItem[];
}

const badPredecessor = (place: LogPlace, detail: string): RejectedItem =>
  rejected(place, 'PREDECESSOR_INVALID', detail);

/** Fetches what the records of one log need, from whichever of its sources has it. */
export class RecordOpener {
  readonly #options: PullOptions;
  readonly #keys = new Map<string, Uint8Array>();

  constructor(options: PullOptions) {
    this.#options = options;
  }

  async open(clearing: ClearingService, bundle: Bundle): Promise<OpenedBundle> {
    const records: SealedRecord[] = [];
    const bad: RejectedItem[] = [];
    for (const [at, leaf] of bundle.leaves.entries()) {
      const leafIndex = bundle.index * TILE_WIDTH + bundle.from + at;
      const record = await this.#recordFor(leaf, bundle, at);
      const place = { origin: this.#options.origin, leafIndex };
      if (parseLeaf(leaf)?.kind === 'predecessor' && record) {
        const fault = await this.#predecessorFault(clearing, place, record);
        if (fault) bad.push(fault);
        continue;
      }
      const opened = await this.#withKey(record, place);
      if ('kind' in opened) bad.push(opened);
      else records.push(opened);
    }
    return { records, rejected: bad };
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
    place: LogPlace,
    record: Uint8Array,
  ): Promise<RejectedItem | undefined> {
    const { policy, verifier, origin } = this.#options;
    const end = verifyFinalCheckpoint(record, policy, noteVerify(verifier));
    if (place.leafIndex !== 0)
      return badPredecessor(place, 'only the first entry of a shard names its predecessor');
    if (!end.ok) return badPredecessor(place, end.reason);
    const [before, here] = [parseShard(end.value.origin), parseShard(origin)];
    if (!before || !here || before.prefix !== here.prefix || before.index >= here.index) {
      return badPredecessor(place, `${end.value.origin} is no earlier shard of this log`);
    }
    const { nextIndex, rootHex } = await clearing.cursor(end.value.origin);
    if (nextIndex === end.value.size && rootHex === toHex(end.value.root)) return undefined;
    return badPredecessor(
      place,
      `ends at ${end.value.size}, of which ${nextIndex} entries are booked here`,
    );
  }

  async #withKey(
    record: Uint8Array | undefined,
    place: LogPlace,
  ): Promise<SealedRecord | RejectedItem> {
    if (!record) {
      return rejected(place, 'PAYLOAD_MISMATCH', 'the payload is not what the leaf commits to');
    }
    const parsed = parsePayloadRecord(record);
    const kid = parsed && toHex(parsed.kid);
    const key = kid === undefined ? undefined : await this.#contentKey(kid);
    if (key) return { leafIndex: place.leafIndex, record, key };
    const erased = kid === undefined ? undefined : await this.#erasure(kid);
    return erased === undefined
      ? rejected(place, 'PAYLOAD_SEALED', 'the payload cannot be opened')
      : rejected(place, 'PAYLOAD_ERASED', erased);
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
