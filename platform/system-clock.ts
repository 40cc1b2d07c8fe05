import type { Clock, TimeQuality } from './ports.ts';

/**
 * The machine's clocks.
 * @param timeQuality what is known of the wall clock: 1 own clock, 2 when a network service keeps it
 */
export function systemClock(timeQuality: TimeQuality = 1): Clock {
  return {
    now: () => ({ unixMs: Date.now(), monotonicMs: performance.now(), timeQuality }),
  };
}
