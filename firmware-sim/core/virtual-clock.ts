import { invariant } from '../../protocol/kiri-error.ts';

/** Events waiting at once; a world that needs more is running away. */
const MAX_EVENTS = 200_000;

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/**
 * Time that passes only from one event to the next. Events of one moment run in the order in which they were set, so a run
 * is the same every time.
 */
export class VirtualClock {
  #nowMs = 0;
  #order = 0;
  /** Binary heap by (atMs, order). */
  readonly #heap: Entry[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  get waiting(): number {
    return this.#heap.length;
  }

  /** Runs `run` after `delayMs` of virtual time, never before what is already due. */
  after(delayMs: number, run: () => void): void {
    invariant(delayMs >= 0 && this.#heap.length < MAX_EVENTS, 'virtual clock: bad delay or full');
    const entry = { atMs: this.#nowMs + delayMs, order: this.#order, run };
    this.#order += 1;
    let at = this.#heap.length;
    this.#heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, this.#heap[parent]!)) break;
      this.#heap[at] = this.#heap[parent]!;
      at = parent;
    }
    this.#heap[at] = entry;
  }

  /** Runs the next event; false when none is left at or before `untilMs` (time then stands at `untilMs`). */
  step(untilMs: number): boolean {
    const next = this.#heap[0];
    if (next === undefined || next.atMs > untilMs) {
      this.#nowMs = Math.max(this.#nowMs, untilMs);
      return false;
    }
    this.#pop();
    this.#nowMs = next.atMs;
    next.run();
    return true;
  }

  #pop(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) break;
      const right = this.#heap[child + 1];
      if (right !== undefined && isBefore(right, this.#heap[child]!)) child += 1;
      if (!isBefore(this.#heap[child]!, last)) break;
      this.#heap[at] = this.#heap[child]!;
      at = child;
    }
    this.#heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
