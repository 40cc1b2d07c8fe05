/**
 * What the cores know of the machine: types only, so that a pure core can import this file.
 * The real implementations stand beside it; edges and the simulator choose one.
 */

/** How far a wall-clock reading can be trusted (field 11 of a Payment, DESIGN §3). */
export type TimeQuality = 0 | 1 | 2 | 3;

/** One reading of the clocks, handed to every `step`. */
export interface Now {
  /** Wall clock, milliseconds since 1970-01-01 UTC. May jump either way. */
  readonly unixMs: number;
  /** Milliseconds since an arbitrary start; never goes back within one process. May have a fraction. */
  readonly monotonicMs: number;
  /** 0 unknown, 1 own clock, 2 network-synchronised, 3 signed time. */
  readonly timeQuality: TimeQuality;
}

export interface Clock {
  now(): Now;
}

export interface Random {
  /** `n` bytes fit for keys, nonces and epochs. The caller owns the array. */
  bytes(n: number): Uint8Array;
}

/** One record read back from a journal. `record` is a copy that the caller may keep. */
export interface JournalRecord {
  readonly index: number;
  readonly record: Uint8Array;
}

/** Append-only durable record store: the one truth for money and counters. */
export interface Journal {
  /** Index that the next appended record gets; the first record of a journal has 0. */
  readonly nextIndex: number;
  /** Bytes appended and not yet durable; `append` refuses above a stated limit (JOURNAL_BUSY). */
  readonly pendingBytes: number;
  /**
   * Buffers a copy of `record` and returns its index. Nothing is durable before `commit`.
   * @throws KiriError RECORD_TOO_LARGE, JOURNAL_BUSY, JOURNAL_CLOSED, or the error that stopped the journal
   */
  append(record: Uint8Array): number;
  /**
   * Makes everything appended so far durable; calls made while a batch gathers share its sync and its promise.
   * Resolves with the highest durable index (-1: none). Rejects with KiriError DISK_FULL or DISK_FAILED, after which
   * the journal stays stopped until it is opened anew; what was acknowledged before is not touched.
   */
  commit(): Promise<number>;
  /** Reads back what was durable at the call, in order, one block at a time. */
  records(fromIndex?: number): Iterable<JournalRecord>;
  /**
   * Commits what is pending and lets go of the folder. Rejects when that fails; the folder is released all the same.
   * A journal that had stopped before closes quietly: `commit` has told.
   */
  close(): Promise<void>;
}

/** Where a follower stands in another process's journal. Plain data: persist it as JSON. */
export interface JournalPosition {
  /** First index of the segment that is being read. */
  readonly segment: number;
  /** Byte offset of the next block in it; 0: its header has not been read yet. */
  readonly offset: number;
  /** Index of the next record. */
  readonly nextIndex: number;
  /** Hash chain up to here, 64 hex digits; empty before the first segment header. */
  readonly head: string;
}

export interface JournalSlice {
  readonly records: readonly JournalRecord[];
  readonly nextPosition: JournalPosition;
}

/** Follows a journal that another process writes. Returns only records that are durable there. */
export interface JournalReader {
  /**
   * @param position from an earlier answer; absent: from the very beginning
   * @throws KiriError JOURNAL_CORRUPT when the chain is broken or the journal has become shorter than `position`
   */
  readFrom(position?: JournalPosition): Promise<JournalSlice>;
}
