import { KiriError } from '../protocol/kiri-error.ts';
import { BLOCK_OVERHEAD_BYTES, HEAD_BYTES, type Chain } from './core/journal-format.ts';
import { toDiskError } from './disk-error.ts';
import { lockFolder } from './folder-lock.ts';
import { BLOCK_AT, BODY_AT, gather, newBatch, seal, type Batch } from './journal-batch.ts';
import { nodeJournalFs, type JournalFs } from './journal-fs.ts';
import { createSegment, readRecords, recover, type Recovered } from './journal-recovery.ts';
import { segmentPath } from './journal-segments.ts';
import type { Journal, JournalRecord } from './ports.ts';

/** A segment is closed before it grows beyond this (one block larger than it gets a segment of its own). */
const MAX_SEGMENT_BYTES = 64 * 1024 * 1024;
/** Quiet time after which the last block is announced to readers by a mark of its own. Under load the next block does it. */
const MARK_DELAY_MS = 5;

export interface JournalOptions {
  readonly files?: JournalFs;
  readonly maxSegmentBytes?: number;
}

export interface OpenedJournal {
  readonly journal: Journal;
  /** Length of the torn, never acknowledged tail that opening cut off; 0 after a clean stop. */
  readonly cutBytes: number;
}

/**
 * Opens (and creates) the journal in `folder` for this process alone, verifies all of it and cuts a torn tail.
 * Read what is there with `journal.records()`.
 * @throws KiriError FOLDER_LOCKED, JOURNAL_CORRUPT (file and offset named; nothing is changed), DISK_*
 */
export async function openJournal(
  folder: string,
  options: JournalOptions = {},
): Promise<OpenedJournal> {
  const files = options.files ?? nodeJournalFs;
  let unlock: (() => void) | undefined;
  try {
    files.makeFolder(folder);
    unlock = lockFolder(folder);
    const recovered = recover(files, folder);
    const maxSegmentBytes = options.maxSegmentBytes ?? MAX_SEGMENT_BYTES;
    const journal = new FileJournal(files, folder, maxSegmentBytes, recovered, unlock);
    // The mark that announces what recovery made durable: readers may have waited for it since the crash.
    await journal.announce().catch(async (error: unknown) => {
      await journal.close();
      throw error;
    });
    return { journal, cutBytes: recovered.cutBytes };
  } catch (error) {
    unlock?.();
    throw toDiskError(error, 'open journal', folder);
  }
}

class FileJournal implements Journal {
  readonly #files: JournalFs;
  readonly #folder: string;
  readonly #maxSegmentBytes: number;
  readonly #unlock: () => void;
  #fd: number;
  #segmentFirst: number;
  #offset: number;
  #chain: Chain;
  #nextIndex: number;
  #durableIndex: number;
  #gathering: Batch = newBatch();
  #writing: Batch = newBatch();
  readonly #mark: Uint8Array = new Uint8Array(BODY_AT + HEAD_BYTES);
  #isMarked = false;
  #isMarking = false;
  #isBusy = false;
  #isScheduled = false;
  #markTimer: NodeJS.Timeout | undefined;
  #stopped: KiriError | undefined;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(
    files: JournalFs,
    folder: string,
    maxSegmentBytes: number,
    { segment }: Recovered,
    unlock: () => void,
  ) {
    this.#files = files;
    this.#folder = folder;
    this.#maxSegmentBytes = maxSegmentBytes;
    this.#unlock = unlock;
    this.#fd = segment.fd;
    this.#segmentFirst = segment.firstIndex;
    this.#offset = segment.place.offset;
    this.#chain = segment.place;
    this.#nextIndex = segment.place.nextIndex;
    this.#durableIndex = segment.place.nextIndex - 1;
  }

  get nextIndex(): number {
    return this.#nextIndex;
  }

  get pendingBytes(): number {
    const writing = this.#isBusy && !this.#isMarking ? this.#writing.used - BODY_AT : 0;
    return this.#gathering.used - BODY_AT + writing;
  }

  append(record: Uint8Array): number {
    if (this.#stopped !== undefined) throw this.#stopped;
    if (this.#closing !== undefined) throw this.#closed();
    gather(this.#gathering, record);
    this.#nextIndex += 1;
    return this.#nextIndex - 1;
  }

  commit(): Promise<number> {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped);
    if (this.#closing !== undefined) return Promise.reject(this.#closed());
    const batch = this.#gathering;
    if (batch.used === BODY_AT) {
      const inFlight = this.#isBusy && !this.#isMarking ? this.#writing.promise : undefined;
      return inFlight ?? Promise.resolve(this.#durableIndex);
    }
    if (batch.promise === undefined) {
      batch.promise = new Promise((resolve, reject) => {
        batch.resolve = resolve;
        batch.reject = reject;
      });
      this.#schedule();
    }
    return batch.promise;
  }

  records(fromIndex = 0): Iterable<JournalRecord> {
    return readRecords(this.#files, this.#folder, fromIndex, this.#durableIndex);
  }

  close(): Promise<void> {
    if (this.#closing === undefined) {
      const last = this.#stopped === undefined ? this.commit() : undefined;
      this.#closing = this.#close(last);
    }
    return this.#closing;
  }

  /** Writes a mark if the last block has nothing behind it, and resolves when it is written (it needs no sync). */
  async announce(): Promise<void> {
    this.#writeMark();
    await this.#idle();
    if (this.#stopped !== undefined) throw this.#stopped;
  }

  /** After the I/O callbacks of this turn: one batch takes all that this turn has read from the sockets. */
  #schedule(): void {
    if (this.#isBusy || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isScheduled = false;
    if (this.#isBusy || this.#stopped !== undefined) return;
    const batch = this.#gathering;
    this.#gathering = this.#writing;
    this.#writing = batch;
    this.#isBusy = true;
    batch.lastIndex = this.#nextIndex - 1;
    try {
      const blockBytes = BLOCK_OVERHEAD_BYTES + batch.used - BODY_AT;
      const isFull = this.#offset + blockBytes > this.#maxSegmentBytes;
      if (isFull && this.#durableIndex >= this.#segmentFirst) this.#rotate();
    } catch (error) {
      this.#stop(error, 'rotate');
      return;
    }
    seal(batch.bytes, batch.used, this.#chain);
    this.#write(batch.bytes, BLOCK_AT, batch.used + HEAD_BYTES, this.#offset);
  };

  /** Writes bytes[from..to) at `position`, however many calls that takes, then goes on to the sync. */
  #write(bytes: Uint8Array, from: number, to: number, position: number): void {
    this.#files.write(this.#fd, bytes, from, to - from, position, (error, written) => {
      if (error !== null) this.#stop(error, 'write');
      else if (written === 0) this.#stop(new Error('nothing could be written'), 'write');
      else if (written < to - from) this.#write(bytes, from + written, to, position + written);
      else if (this.#isMarking) this.#markWritten();
      else this.#files.fdatasync(this.#fd, this.#synced);
    });
  }

  readonly #synced = (error: Error | null): void => {
    if (error !== null) {
      this.#stop(error, 'sync');
      return;
    }
    const batch = this.#writing;
    this.#advance(batch.bytes, batch.used);
    this.#durableIndex = batch.lastIndex;
    this.#isMarked = false;
    this.#isBusy = false;
    batch.promise = undefined;
    batch.used = BODY_AT;
    const { resolve, lastIndex } = batch;
    this.#goOn();
    resolve(lastIndex);
  };

  #markWritten(): void {
    this.#advance(this.#mark, BODY_AT);
    this.#isMarked = true;
    this.#isMarking = false;
    this.#isBusy = false;
    this.#goOn();
  }

  /** Takes over the chain head that `seal` left behind the body. */
  #advance(bytes: Uint8Array, bodyEnd: number): void {
    const end = bodyEnd + HEAD_BYTES;
    this.#chain = { id: this.#chain.id, head: bytes.slice(bodyEnd, end) };
    this.#offset += end - BLOCK_AT;
  }

  #goOn(): void {
    if (this.#gathering.promise !== undefined) {
      this.#flush();
      return;
    }
    if (!this.#isMarked && this.#closing === undefined) this.#armMark();
    this.#onIdle?.();
  }

  #armMark(): void {
    if (this.#markTimer === undefined) {
      this.#markTimer = setTimeout(() => this.#writeMark(), MARK_DELAY_MS).unref();
    } else {
      this.#markTimer.refresh();
    }
  }

  #writeMark(): void {
    if (this.#isBusy || this.#isScheduled || this.#isMarked || this.#stopped !== undefined) return;
    this.#isBusy = true;
    this.#isMarking = true;
    seal(this.#mark, BODY_AT, this.#chain);
    this.#write(this.#mark, BLOCK_AT, BODY_AT + HEAD_BYTES, this.#offset);
  }

  /**
   * Starts the next segment. The old one is synced first: its last mark may not be durable yet, and the new header
   * continues that mark's head.
   */
  #rotate(): void {
    this.#files.syncNow(this.#fd);
    const firstIndex = this.#durableIndex + 1;
    const next = createSegment(this.#files, this.#folder, firstIndex, this.#chain);
    this.#files.close(this.#fd);
    this.#fd = next.fd;
    this.#segmentFirst = firstIndex;
    this.#offset = next.place.offset;
  }

  /**
   * Stops for ever. A failed sync is never tried again: the kernel may have marked the lost pages clean, so a second one
   * would succeed without having written them. What was not acknowledged is cut off, so that neither recovery nor a reader
   * can take it from the page cache for durable.
   */
  #stop(error: unknown, doing: string): void {
    const path = segmentPath(this.#folder, this.#segmentFirst);
    const failure = toDiskError(error, doing, path);
    this.#stopped = failure;
    try {
      this.#files.truncate(this.#fd, this.#offset);
    } catch {
      // The disk is broken or full; recovery cuts what is torn.
    }
    clearTimeout(this.#markTimer);
    this.#isBusy = false;
    this.#isMarking = false;
    for (const batch of [this.#writing, this.#gathering]) {
      if (batch.promise !== undefined) batch.reject(failure);
      batch.promise = undefined;
    }
    this.#onIdle?.();
  }

  #idle(): Promise<void> {
    if (!this.#isBusy && !this.#isScheduled) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = () => {
        this.#onIdle = undefined;
        resolve();
      };
    });
  }

  async #close(last: Promise<number> | undefined): Promise<void> {
    try {
      if (last === undefined) return;
      await last;
      await this.announce();
      this.#files.syncNow(this.#fd);
    } catch (error) {
      throw toDiskError(error, 'close journal', this.#folder);
    } finally {
      clearTimeout(this.#markTimer);
      this.#stopped ??= this.#closed();
      this.#files.close(this.#fd);
      this.#unlock();
    }
  }

  #closed(): KiriError {
    return new KiriError('JOURNAL_CLOSED', `journal ${this.#folder} is closed`);
  }
}
