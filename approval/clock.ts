import type { Now } from '../platform/ports.ts';
import type { ApproverState } from './state.ts';

/** Milliseconds of the approver's monotonic clock in this epoch (accept-by of an Offer). */
export function epochMs(state: ApproverState, now: Now): number {
  return Math.floor(now.monotonicMs - state.startedMs);
}

/** What the approver believes about the wall clock. */
export interface Judged {
  readonly unixS: number;
  readonly quality: number;
}

const MAX_U32 = 0xffff_ffff;

/**
 * The wall clock, where something vouches for it and no centre-signed time contradicts it. Else
 * the quality is 0 and the time is the last signed one, run on by the monotonic clock: a device
 * that woke up in 1970 or 2099 expires nothing by mistake (DESIGN §4, time floor).
 */
export function judgedTime(state: ApproverState, now: Now): Judged {
  const unixS = Math.min(Math.max(0, Math.floor(now.unixMs / 1_000)), MAX_U32);
  const { centre } = state;
  if (!centre) return { unixS, quality: now.timeQuality };
  if (now.timeQuality > 0 && unixS >= centre.timeS) return { unixS, quality: now.timeQuality };
  const sinceS = Math.floor((now.monotonicMs - centre.receivedMs) / 1_000);
  return { unixS: Math.min(centre.timeS + sinceS, MAX_U32), quality: 0 };
}

/**
 * Seconds since a signed time, at least: since it came here by the monotonic clock, and by what is
 * believed of the wall clock, which is never before the latest signed time (`judgedTime`).
 */
export function ageS(judged: Judged, signedS: number, receivedMs: number, now: Now): number {
  const hereS = Math.floor((now.monotonicMs - receivedMs) / 1_000);
  return Math.max(hereS, judged.unixS - signedS);
}
