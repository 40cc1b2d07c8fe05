import { appended } from '../../sync/ledger/core/log-batch.ts';
import type { Storage } from './machine.ts';
import type { Seed } from './seed.ts';
import type { VirtualClock } from './virtual-clock.ts';
import type { CommitEnd, DiskCounts, DiskFaults } from './virtual-disk.ts';

/** A file that is written whole: temporary file, fsync, rename. */
export interface WholeFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Bytes written in place behind an offset; what stood there is cut off. */
interface TailWrite extends WholeFile {
  readonly offset: number;
}

/** Written together; `obsolete` folders go once all of it is durable. */
export interface FolderBatch {
  readonly files: readonly WholeFile[];
  readonly appends?: readonly TailWrite[];
  readonly obsolete?: readonly string[];
}

interface Writing {
  readonly files: readonly WholeFile[];
  readonly appends: readonly TailWrite[];
  isRenamed: boolean;
}

/**
 * A folder of files that are replaced whole, on a disk that keeps only what was synced. Between rename and the sync of the
 * folder everybody reads the new file, and a crash may give the old one back, each file by its own chance; a removed file
 * may come back as well. Such a file is never torn: its bytes were synced before the rename. A tail that is written in
 * place is: a crash leaves any number of its first bytes, and of what stood there before perhaps the cut alone.
 */
export class VirtualFolder implements Storage {
  readonly #clock: VirtualClock;
  readonly #seed: Seed;
  readonly #counts: DiskCounts;
  readonly #faults: () => DiskFaults;
  #visible = new Map<string, Uint8Array>();
  #durable = new Map<string, Uint8Array>();
  readonly #writing = new Set<Writing>();
  /** Removed, and not yet known to be so by the disk. */
  #removed: string[] = [];
  #life = 0;

  constructor(clock: VirtualClock, seed: Seed, counts: DiskCounts, faults: () => DiskFaults) {
    this.#clock = clock;
    this.#seed = seed;
    this.#counts = counts;
    this.#faults = faults;
  }

  /** What a program reads now. */
  read(path: string): Uint8Array | undefined {
    return this.#visible.get(path);
  }

  /** What a crash at this moment could not take away. */
  readDurable(path: string): Uint8Array | undefined {
    return this.#durable.get(path);
  }

  paths(): readonly string[] {
    return [...this.#visible.keys()];
  }

  /** Makes the files durable; `end.durable` hears of it with 0. Writes may overlap; their ends then come in any order. */
  write({ files, appends = [], obsolete = [] }: FolderBatch, end: CommitEnd): void {
    const life = this.#life;
    const faults = this.#faults();
    const isSlow = this.#seed.chance(faults.slow);
    if (isSlow) this.#counts.slowSyncs += 1;
    const fails = this.#seed.chance(faults.failure);
    const ms = isSlow ? faults.slowSyncMs : this.#seed.between(faults.minSyncMs, faults.maxSyncMs);
    const writing: Writing = { files, appends, isRenamed: false };
    this.#writing.add(writing);
    this.#clock.after(ms * this.#seed.unit(), () => {
      if (this.#life !== life || fails) return;
      writing.isRenamed = true;
      for (const { path, bytes } of files) this.#visible.set(path, bytes);
      for (const tail of appends) place(this.#visible, tail, tail.bytes.length);
    });
    this.#clock.after(ms, () => {
      if (this.#life !== life) return;
      this.#writing.delete(writing);
      if (fails) {
        this.#counts.failures += 1;
        end.failed('no space left on device');
        return;
      }
      this.#synced(writing, obsolete);
      this.#clock.after(this.#seed.between(0, 0.5), () => {
        if (this.#life === life) end.durable(0);
      });
    });
  }

  #synced({ files, appends }: Writing, obsolete: readonly string[]): void {
    this.#counts.syncs += 1;
    for (const path of this.#removed) if (!this.#visible.has(path)) this.#durable.delete(path);
    this.#removed = [];
    for (const { path, bytes } of files) this.#durable.set(path, bytes);
    for (const tail of appends) place(this.#durable, tail, tail.bytes.length);
    for (const folder of obsolete) {
      for (const path of this.#visible.keys()) {
        if (path.startsWith(`${folder}/`)) this.remove(path);
      }
    }
  }

  /** Removes a file without syncing its folder. */
  remove(path: string): void {
    if (this.#visible.delete(path)) this.#removed.push(path);
  }

  /** Destroys a file for good: erased and synced, and nothing under way brings it back. */
  destroy(path: string): void {
    this.#visible.delete(path);
    this.#durable.delete(path);
  }

  crash(): void {
    this.#life += 1;
    this.#counts.crashes += 1;
    for (const { files, appends, isRenamed } of this.#writing) {
      for (const tail of appends) {
        if (this.#seed.chance(0.5)) continue;
        place(this.#durable, tail, Math.floor(this.#seed.unit() * (tail.bytes.length + 1)));
        this.#counts.tornBlocks += 1;
      }
      const survived = files.filter(() => isRenamed && this.#seed.chance(0.5));
      for (const { path, bytes } of survived) this.#durable.set(path, bytes);
      if (survived.length > 0) this.#counts.survivedBlocks += 1;
      if (survived.length > 0 && survived.length < files.length) this.#counts.tornBlocks += 1;
      for (const { bytes } of files) this.#counts.forgottenBytes += bytes.length;
      for (const { bytes } of survived) this.#counts.forgottenBytes -= bytes.length;
    }
    this.#writing.clear();
    for (const path of this.#removed) {
      if (!this.#visible.has(path) && this.#seed.chance(0.5)) this.#durable.delete(path);
    }
    this.#removed = [];
    this.#visible = new Map(this.#durable);
  }

  /** A copy of all that is durable: a backup. */
  backup(): ReadonlyMap<string, Uint8Array> {
    return new Map(this.#durable);
  }

  /** The disk was replaced by one with these contents; of a machine that is off. */
  replace(contents: ReadonlyMap<string, Uint8Array>): void {
    this.#life += 1;
    this.#writing.clear();
    this.#removed = [];
    this.#durable = new Map(contents);
    this.#visible = new Map(contents);
  }
}

/** Puts the first `count` bytes of a tail into its file, and cuts off what is behind them. */
function place(files: Map<string, Uint8Array>, tail: TailWrite, count: number): void {
  const bytes = tail.bytes.subarray(0, count);
  files.set(tail.path, appended(files.get(tail.path), { ...tail, bytes }));
}
