import { CHALLENGE_LIFETIME_MS, MAX_LIVE_CHALLENGES } from './limits.ts';

/** Challenges of one chunk; chunks are dropped whole. */
const CHUNK = 4_096;

interface Chunk {
  readonly bits: Uint32Array;
  /** Epoch clock; the youngest grant in the chunk. */
  lastGrantMs: number;
}

/**
 * Which challenges of this epoch are used up: one bit each by their running number, so that an
 * accepted Payment costs nothing to remember until its challenge dies (DESIGN §4, duplicates).
 */
export class UsedChallenges {
  private readonly chunks = new Map<number, Chunk>();
  private next = 0;

  /** Reserves `count` running numbers; undefined when too many are alive (BUSY). */
  grant(count: number, atMs: number): number | undefined {
    this.drop(atMs);
    if (this.chunks.size * CHUNK + count > MAX_LIVE_CHALLENGES) return undefined;
    if (this.next + count > 0xffff_ffff) return undefined;
    const first = this.next;
    this.next += count;
    for (let chunk = Math.floor(first / CHUNK); chunk * CHUNK < this.next; chunk += 1) {
      const row = this.chunks.get(chunk);
      if (row) row.lastGrantMs = atMs;
      else {
        this.chunks.set(chunk, {
          bits: new Uint32Array(CHUNK / 32),
          lastGrantMs: atMs,
        });
      }
    }
    return first;
  }

  isUsed(number: number): boolean {
    const row = this.chunks.get(Math.floor(number / CHUNK));
    if (!row) return true; // dropped: every challenge in it is long expired
    const at = number % CHUNK;
    return (row.bits[at >>> 5]! & (1 << (at & 31))) !== 0;
  }

  use(number: number): void {
    const row = this.chunks.get(Math.floor(number / CHUNK));
    if (!row) return;
    const at = number % CHUNK;
    row.bits[at >>> 5]! |= 1 << (at & 31);
  }

  /** Forgets chunks whose youngest challenge has expired. */
  drop(nowMs: number): void {
    for (const [chunk, row] of this.chunks) {
      const full = (chunk + 1) * CHUNK <= this.next;
      if (!full || row.lastGrantMs + CHALLENGE_LIFETIME_MS > nowMs) return;
      this.chunks.delete(chunk);
    }
  }
}
