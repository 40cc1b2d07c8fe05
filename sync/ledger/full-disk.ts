/**
 * Waiting for room on a full disk. Every write of the ledger is the same when it is made again (a new temporary file, then
 * a rename; an append at its own offset, after what stands behind it was cut off), so a write that found no room is simply
 * repeated; until it succeeds nothing that rests on it is signed. Any other failure leaves a disk in a state that nobody
 * knows and is not repeated.
 */
import { KiriError } from '../../protocol/kiri-error.ts';

const RETRY_MS = 250;

export class RoomWaiter {
  #trouble: string | undefined;
  #isClosed = false;

  /** What the last attempt said while a write waits for room. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** From now on nothing waits any more. */
  close(): void {
    this.#isClosed = true;
  }

  /** Carries a write out, again and again while the disk is full. @throws what the write throws otherwise */
  async write<T>(write: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const done = await write();
        this.#trouble = undefined;
        return done;
      } catch (error) {
        const isFull = error instanceof KiriError && error.code === 'DISK_FULL';
        if (!isFull || this.#isClosed) throw error;
        this.#trouble = error.message;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }
}
