/** How old, how fast and until when along one log: measurements for its levels (protocol/levels.ts). */
import type { LevelMark } from '../../../protocol/levels.ts';

/** The rate counts what became final within this time. */
const RATE_WINDOW_MS = 60_000;
/** More samples than this are merged: four rounds a second fill a quarter of it. */
const MAX_SAMPLES = 1_024;
/** Batches whose ages are known one by one; beyond it neighbours share the older one's. */
const MAX_AGES = 4_096;
/** Final heads whose sequence is remembered, to find the one under an anchor. */
const MAX_MARKS = 1_024;

interface Sample {
  readonly atMs: number;
  readonly size: number;
}

/** Ages, rates and sequences along one log; bounded however long an outage lasts. */
export class LevelMeter {
  #samples: Sample[] = [];
  #ages: { size: number; oldestMs: number }[] = [];
  #marks: LevelMark[] = [];

  /** @param last the oldest unfinal payment that an earlier run knew of, below a head of `size` */
  constructor(last?: { readonly size: number; readonly oldestMs: number }) {
    if (last !== undefined) this.#ages.push({ ...last });
  }

  /** Leaves up to `size` were recorded. */
  recorded(size: number, acceptedAtMs: readonly number[]): void {
    const oldestMs = acceptedAtMs.reduce((least, ms) => Math.min(least, ms), Infinity);
    if (oldestMs === Infinity) return;
    this.#ages.push({ size, oldestMs });
    if (this.#ages.length <= MAX_AGES) return;
    // Each pair becomes one that is as old as its older half and as long as both.
    this.#ages = this.#ages.flatMap((age, at, all) => {
      if (at % 2 === 1) return [];
      return [{ oldestMs: age.oldestMs, size: all[at + 1]?.size ?? age.size }];
    });
  }

  /** Leaves up to `mark.size` became final; `before` is what was final until then. */
  final(mark: LevelMark, before: number, nowMs: number): void {
    if (this.#samples.length === 0) this.#samples.push({ atMs: nowMs, size: before });
    this.#samples.push({ atMs: nowMs, size: mark.size });
    if (this.#samples.length > MAX_SAMPLES) {
      this.#samples = this.#samples.filter((_, at) => at % 2 === 0 || at === MAX_SAMPLES);
    }
    const firstLater = this.#ages.findIndex((age) => age.size > mark.size);
    this.#ages.splice(0, firstLater < 0 ? this.#ages.length : firstLater);
    this.#marks.push(mark);
    if (this.#marks.length > MAX_MARKS) this.#marks = this.#marks.filter((_, at) => at % 2 === 1);
  }

  /** When the oldest recorded payment that is not final was accepted. */
  get oldestUnfinalMs(): number | undefined {
    return this.#ages[0]?.oldestMs;
  }

  /** Entries per second over the last minute, or since the first one where that is later. */
  drainPerS(nowMs: number): number {
    const fromMs = nowMs - RATE_WINDOW_MS;
    // The last sample before the window is the size that the window began with.
    while ((this.#samples[1]?.atMs ?? Infinity) <= fromMs) this.#samples.shift();
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined) return 0;
    const seconds = (nowMs - Math.max(first.atMs, fromMs)) / 1_000;
    return seconds <= 0 ? 0 : (last.size - first.size) / seconds;
  }

  /** The largest known final mark at or below `size`. */
  markBelow(size: number): LevelMark | undefined {
    return this.#marks.findLast((mark) => mark.size <= size);
  }
}
