import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '../../protocol/bytes.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_OVERHEAD_BYTES,
  hasBlockBehindDamage,
  HEAD_BYTES,
  ID_BYTES,
  MAX_BODY_BYTES,
  MAX_RECORD_BYTES,
  putBlockHeader,
  putRecord,
  RECORD_OVERHEAD_BYTES,
  scanBlock,
  visitRecords,
  type ChainHash,
} from '../../platform/core/journal-format.ts';
import type { Seed } from './seed.ts';
import type { VirtualClock } from './virtual-clock.ts';
import { VirtualFolder } from './virtual-folder.ts';

export interface DiskFaults {
  readonly minSyncMs: number;
  readonly maxSyncMs: number;
  /** Chance of a sync that takes `slowSyncMs`. */
  readonly slow: number;
  readonly slowSyncMs: number;
  /** Chance that a sync fails (full or broken disk); the journal then takes nothing more until it is opened anew. */
  readonly failure: number;
}

export const NO_DISK_FAULTS: DiskFaults = {
  minSyncMs: 0.1,
  maxSyncMs: 1,
  slow: 0,
  slowSyncMs: 0,
  failure: 0,
};

export interface DiskCounts {
  syncs: number;
  slowSyncs: number;
  failures: number;
  crashes: number;
  /** Unsynced bytes that a crash took away. */
  forgottenBytes: number;
  /** Blocks that a crash left half written; recovery cut them. */
  tornBlocks: number;
  /** Blocks whose sync had not returned and that were there after the crash all the same. */
  survivedBlocks: number;
}

/** Handed to the journal's owner when a commit ends. */
export interface CommitEnd {
  /** Highest durable index. */
  readonly durable: (throughIndex: number) => void;
  readonly failed: (reason: string) => void;
}

const GENESIS: Uint8Array = new Uint8Array(HEAD_BYTES);
const ID: Uint8Array = new Uint8Array(ID_BYTES);
const chainHash: ChainHash = (...parts) => {
  const hash = sha256.create();
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/**
 * One append-only journal in the real format of platform/core/journal-format, on a disk that keeps only what was synced:
 * a crash takes a random end of the rest and may leave the last block torn. One segment; what is buffered in memory is lost.
 */
export class VirtualJournal {
  readonly #clock: VirtualClock;
  readonly #seed: Seed;
  readonly #counts: DiskCounts;
  readonly #faults: () => DiskFaults;
  #file: Uint8Array = new Uint8Array(0);
  #head = GENESIS;
  #durableRecords: Uint8Array[] = [];
  #gathering: Uint8Array[] = [];
  #inFlight: { block: Uint8Array; records: Uint8Array[] } | undefined;
  /** A block whose sync failed and that could not be cut off again: it may be there at the next start. */
  #leftover: Uint8Array | undefined;
  /** Rises at every crash, so that a sync of an earlier life tells nobody. */
  #life = 0;
  #isStopped = false;

  constructor(clock: VirtualClock, seed: Seed, counts: DiskCounts, faults: () => DiskFaults) {
    this.#clock = clock;
    this.#seed = seed;
    this.#counts = counts;
    this.#faults = faults;
  }

  /** Records that a crash at this moment could not take away. The caller does not change them. */
  get durableRecords(): readonly Uint8Array[] {
    return this.#durableRecords;
  }

  get nextIndex(): number {
    const inFlight = this.#inFlight?.records.length ?? 0;
    return this.#durableRecords.length + inFlight + this.#gathering.length;
  }

  /** Becomes a copy of what another journal has durable now: somebody copied the card. */
  copyOf(other: VirtualJournal): void {
    this.#file = other.#file.slice();
    this.recover();
  }

  append(record: Uint8Array): number {
    invariant(record.length <= MAX_RECORD_BYTES, 'virtual journal: record too large');
    const index = this.nextIndex;
    this.#gathering.push(record.slice());
    return index;
  }

  /** Starts a sync of all that was appended; calls made while one is under way share the next (group commit). */
  commit(end: CommitEnd): void {
    const life = this.#life;
    if (this.#isStopped) {
      this.#clock.after(0, () => this.#life === life && end.failed('journal stopped'));
      return;
    }
    if (this.#inFlight !== undefined || this.#gathering.length === 0) return;
    const records = this.#gathering;
    this.#gathering = [];
    this.#inFlight = { records, block: this.#block(records) };
    const faults = this.#faults();
    const isSlow = this.#seed.chance(faults.slow);
    if (isSlow) this.#counts.slowSyncs += 1;
    const fails = this.#seed.chance(faults.failure);
    const ms = isSlow ? faults.slowSyncMs : this.#seed.between(faults.minSyncMs, faults.maxSyncMs);
    this.#clock.after(ms, () => {
      if (this.#life !== life) return;
      if (fails) this.#fail(end);
      else this.#synced(end);
    });
  }

  /** Power fails: memory is gone, and of the block under way a random part may be there. */
  crash(): void {
    this.#life += 1;
    this.#counts.crashes += 1;
    const block = this.#inFlight?.block ?? this.#leftover;
    this.#leftover = undefined;
    this.#gathering = [];
    this.#inFlight = undefined;
    this.#isStopped = false;
    if (block === undefined) return;
    const kept = this.#seed.chance(0.3) ? block.length : this.#seed.below(block.length + 1);
    this.#counts.forgottenBytes += block.length - kept;
    const tail = block.slice(0, kept);
    // A sector that never reached the disk reads as zeros even where a later one did.
    if (kept > 0 && this.#seed.chance(0.3)) {
      const from = this.#seed.below(kept);
      tail.fill(0, from, Math.min(kept, from + 512));
    }
    this.#file = concatBytes(this.#file, tail);
  }

  /** What the next start reads: verifies the chain from the first block and cuts a torn tail, as the real journal does. */
  recover(): readonly Uint8Array[] {
    let at = 0;
    let head = GENESIS;
    const records: Uint8Array[] = [];
    for (;;) {
      const scan = scanBlock(this.#file, at, { id: ID, head }, chainHash);
      if (scan.kind !== 'block') break;
      visitRecords(this.#file, at, scan.end, (record) => records.push(record.slice()));
      at = scan.end;
      head = scan.head;
    }
    if (at < this.#file.length) {
      const rest = this.#file.subarray(at);
      const isMiddle = hasBlockBehindDamage(rest, { id: ID, head }, chainHash);
      invariant(!isMiddle, 'virtual journal: corrupt middle');
      this.#counts.tornBlocks += 1;
      this.#file = this.#file.slice(0, at);
    }
    if (records.length > this.#durableRecords.length) this.#counts.survivedBlocks += 1;
    invariant(records.length >= this.#durableRecords.length, 'virtual journal: durable bytes lost');
    this.#head = head;
    this.#durableRecords = records;
    return records;
  }

  #block(records: readonly Uint8Array[]): Uint8Array {
    const bodyBytes = records.reduce(
      (sum, record) => sum + RECORD_OVERHEAD_BYTES + record.length,
      0,
    );
    invariant(bodyBytes <= MAX_BODY_BYTES, 'virtual journal: block too large');
    const block = new Uint8Array(bodyBytes + BLOCK_OVERHEAD_BYTES);
    putBlockHeader(block, 0, bodyBytes);
    let at = BLOCK_HEADER_BYTES;
    for (const record of records) at = putRecord(block, at, record);
    block.set(chainHash(ID, this.#head, block.subarray(0, at)), at);
    return block;
  }

  #synced(end: CommitEnd): void {
    const { block, records } = this.#inFlight!;
    this.#counts.syncs += 1;
    this.#inFlight = undefined;
    this.#file = concatBytes(this.#file, block);
    this.#head = block.slice(block.length - HEAD_BYTES);
    this.#durableRecords.push(...records);
    const life = this.#life;
    const through = this.#durableRecords.length - 1;
    // The disk has it; the program hears of it a moment later, and may be dead by then.
    this.#clock.after(this.#seed.between(0, 0.5), () => {
      if (this.#life === life) end.durable(through);
    });
    this.commit(end);
  }

  #fail(end: CommitEnd): void {
    this.#counts.failures += 1;
    this.#isStopped = true;
    if (this.#seed.chance(0.2)) this.#leftover = this.#inFlight?.block;
    this.#inFlight = undefined;
    this.#gathering = [];
    end.failed('no space left on device');
  }
}

/** All journals and folders of one world, with their faults and counts. */
export class VirtualDisk {
  faults: DiskFaults;
  readonly counts: DiskCounts = {
    syncs: 0,
    slowSyncs: 0,
    failures: 0,
    crashes: 0,
    forgottenBytes: 0,
    tornBlocks: 0,
    survivedBlocks: 0,
  };
  readonly #clock: VirtualClock;
  readonly #seed: Seed;

  constructor(clock: VirtualClock, seed: Seed, faults: DiskFaults) {
    this.#clock = clock;
    this.#seed = seed;
    this.faults = faults;
  }

  journal(): VirtualJournal {
    return new VirtualJournal(this.#clock, this.#seed.fork(), this.counts, () => this.faults);
  }

  folder(): VirtualFolder {
    return new VirtualFolder(this.#clock, this.#seed.fork(), this.counts, () => this.faults);
  }
}
