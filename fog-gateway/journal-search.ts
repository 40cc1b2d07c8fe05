import { KiriError } from '../protocol/kiri-error.ts';
import type { Journal } from '../platform/ports.ts';

/** Comparisons (a record with one wanted hash) before other work gets its turn. */
const COMPARISONS_PER_TURN = 4_096;

interface Wanted {
  readonly hash: Uint8Array;
  readonly found: Uint8Array[];
  readonly resolve: (records: readonly Uint8Array[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Finds money records by Payment hash in the journal itself: one pass serves everybody who waits,
 * nothing is kept in memory and there is no index that could disagree. Rare by design, because
 * answers of the last tens of thousands of Payments are in memory (approval/limits.ts).
 */
export class JournalSearch {
  readonly #journal: Journal;
  #waiting: Wanted[] = [];
  #isRunning = false;
  #isStopped = false;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  find(hash: Uint8Array): Promise<readonly Uint8Array[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ hash, found: [], resolve, reject });
      if (!this.#isRunning) void this.#run();
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#pass(batch);
        for (const wanted of batch) wanted.resolve(wanted.found);
      } catch (error) {
        for (const wanted of batch) wanted.reject(error);
      }
    }
    this.#isRunning = false;
  }

  async #pass(batch: readonly Wanted[]): Promise<void> {
    let turn = 0;
    for (const { record } of this.#journal.records()) {
      const view = Buffer.from(record.buffer, record.byteOffset, record.length);
      for (const wanted of batch)
        if (view.includes(wanted.hash as Buffer)) wanted.found.push(record);
      turn += batch.length;
      if (turn < COMPARISONS_PER_TURN) continue;
      turn = 0;
      await new Promise(setImmediate);
      if (this.#isStopped) throw new KiriError('GATEWAY_STOPPED', 'the journal is being closed');
    }
  }
}
