import { KiriError } from '../../protocol/kiri-error.ts';
import type { TraceEvent } from './trace.ts';

/** Events that belong together: they stand in the same second of the trace and are started together. */
export interface Burst {
  /** Milliseconds after the start of the replay; 0 for every burst when the replay runs as fast as it can. */
  readonly dueMs: number;
  readonly events: readonly TraceEvent[];
}

/**
 * The replay of a trace: `speed` 60 plays an hour in a minute, 0 as fast as the payments go. Order and bursts are those of
 * the trace at any speed.
 * @throws KiriError TRACE_OPTIONS for a speed that is negative or no number
 */
export function replaySchedule(events: readonly TraceEvent[], speed = 0): readonly Burst[] {
  if (!Number.isFinite(speed) || speed < 0) {
    throw new KiriError('TRACE_OPTIONS', 'speed is not a number of 0 or more');
  }
  const bursts: { dueMs: number; events: TraceEvent[] }[] = [];
  let second = -1;
  for (const event of events) {
    const eventSecond = Math.floor(event.atMs / 1000);
    if (eventSecond !== second) {
      bursts.push({ dueMs: speed === 0 ? 0 : Math.round(event.atMs / speed), events: [] });
      second = eventSecond;
    }
    bursts.at(-1)!.events.push(event);
  }
  return bursts;
}
