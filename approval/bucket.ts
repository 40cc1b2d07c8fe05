/** Token bucket without a timer: `burst` at once, then one per interval. */
export class Buckets {
  private readonly rows = new Map<string, { tokens: number; atMs: number }>();
  private readonly burst: number;
  private readonly intervalMs: number;
  private readonly maxRows: number;

  constructor(burst: number, intervalMs: number, maxRows: number) {
    this.burst = burst;
    this.intervalMs = intervalMs;
    this.maxRows = maxRows;
  }

  /** Whether `who` has a token left; a sender without a row has all of them. */
  has(who: string, nowMs: number): boolean {
    const row = this.rows.get(who);
    return row === undefined || row.tokens > 0 || nowMs - row.atMs >= this.intervalMs;
  }

  /** Takes one token of `who`; false when there is none. */
  take(who: string, nowMs: number): boolean {
    let row = this.rows.get(who);
    if (row === undefined) {
      // The oldest row goes: it is at most as empty as a fresh one, so forgetting favours a sender.
      if (this.rows.size >= this.maxRows) {
        for (const oldest of this.rows.keys()) {
          this.rows.delete(oldest);
          break;
        }
      }
      row = { tokens: this.burst, atMs: nowMs };
      this.rows.set(who, row);
    }
    const earned = Math.floor((nowMs - row.atMs) / this.intervalMs);
    if (earned > 0) {
      row.tokens = Math.min(this.burst, row.tokens + earned);
      row.atMs += earned * this.intervalMs;
    }
    if (row.tokens === 0) return false;
    row.tokens -= 1;
    return true;
  }
}
