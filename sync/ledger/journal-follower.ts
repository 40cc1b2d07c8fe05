/** One journal of an approver read from its start, slice by slice, only as far as somebody needs it. */
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalPosition, JournalReader } from '../../platform/ports.ts';

const LAG_PAUSE_MS = 50;

/** Hands every record to `take`, in order and once. */
export class JournalFollower {
  readonly #reader: JournalReader;
  readonly #take: (record: Uint8Array) => void;
  #position: JournalPosition | undefined;

  constructor(folder: string, take: (record: Uint8Array) => void) {
    this.#reader = journalReader(folder);
    this.#take = take;
  }

  /** Reads on while something is lacking. @returns whether nothing is lacking any more */
  async readWhile(isLacking: () => boolean, maxLagMs: number): Promise<boolean> {
    for (let waitedMs = 0; isLacking();) {
      const slice = await this.#reader.readFrom(this.#position);
      for (const { record } of slice.records) this.#take(record);
      this.#position = slice.nextPosition;
      if (slice.records.length > 0) continue;
      if (waitedMs >= maxLagMs) return false;
      await new Promise((resolve) => setTimeout(resolve, LAG_PAUSE_MS));
      waitedMs += LAG_PAUSE_MS;
    }
    return true;
  }
}
