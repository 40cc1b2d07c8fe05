import type { UpVerb } from '../../protocol/topics.ts';

/** What payer and payee alike ask of their shell. Effects are carried out in order. */
export type DeviceEffect =
  /**
   * Numbers count up from 0 in each start; the shell answers `persisted`. What is not `urgent` can
   * be had again after a crash: nothing waits for it, so its sync may wait for the next one.
   */
  | {
      readonly kind: 'append';
      readonly number: number;
      readonly record: Uint8Array;
      readonly urgent: boolean;
    }
  /** To the approver, or through it to `peer`. Lossy: what matters is sent again by the core. */
  | {
      readonly kind: 'publish';
      readonly approver: Uint8Array;
      readonly verb: UpVerb;
      readonly peer?: Uint8Array;
      readonly payload: Uint8Array;
    }
  /** Call `tick` then at the latest; a later effect replaces an earlier one. */
  | { readonly kind: 'wakeAt'; readonly monotonicMs: number }
  /** Something that a person should see: a refused document, an approver that said both things. */
  | { readonly kind: 'notice'; readonly code: string; readonly reason: string };

/** Takes at least the effects that both devices have. */
export interface EffectSink {
  push(effect: DeviceEffect): unknown;
}

interface Appending {
  /** Number of the next append in this start. */
  appends: number;
}

/** Returns the number that `persisted` will name. */
export function append(
  state: Appending,
  record: Uint8Array,
  out: EffectSink,
  pace: 'urgent' | 'lazy',
): number {
  const number = state.appends;
  state.appends += 1;
  out.push({ kind: 'append', number, record, urgent: pace === 'urgent' });
  return number;
}

interface Waking {
  wakeAtMs: number | undefined;
}

/** `nextMs` Infinity: nothing is due at any time. */
export function wakeAt(state: Waking, nextMs: number, out: EffectSink): void {
  if (nextMs === (state.wakeAtMs ?? Infinity)) return;
  state.wakeAtMs = nextMs === Infinity ? undefined : nextMs;
  if (nextMs !== Infinity) out.push({ kind: 'wakeAt', monotonicMs: nextMs });
}
