/**
 * When to try a lost connection again: exponential with full jitter, so that a thousand devices which lost one gateway at
 * the same moment come back spread over the whole interval and not in waves.
 */
export interface ReconnectState {
  /** Attempts since the last stable connection. */
  readonly attempt: number;
  /** Monotonic time of the connection that is up; undefined while there is none. */
  readonly upSinceMs: number | undefined;
}

export interface ReconnectLimits {
  /** Upper bound of the first delay. */
  readonly baseMs: number;
  /** Upper bound of every delay. */
  readonly capMs: number;
  /** A connection that lasted this long starts the schedule anew; a flapping one does not. */
  readonly stableMs: number;
}

export const RECONNECT_LIMITS: ReconnectLimits = { baseMs: 200, capMs: 30_000, stableMs: 10_000 };
export const RECONNECT_START: ReconnectState = { attempt: 0, upSinceMs: undefined };

/** 2^30 × baseMs is far above any cap; the exponent stays a small integer. */
const MAX_EXPONENT = 30;

export function connected(state: ReconnectState, monotonicMs: number): ReconnectState {
  return { attempt: state.attempt, upSinceMs: monotonicMs };
}

/**
 * A connection was lost or could not be made.
 * @param randomUnit uniform in [0, 1)
 * @returns the delay before the next attempt: uniform in [0, min(capMs, baseMs × 2^attempt))
 */
export function disconnected(
  state: ReconnectState,
  monotonicMs: number,
  randomUnit: number,
  limits: ReconnectLimits = RECONNECT_LIMITS,
): { state: ReconnectState; delayMs: number } {
  const wasStable =
    state.upSinceMs !== undefined && monotonicMs - state.upSinceMs >= limits.stableMs;
  const attempt = wasStable ? 0 : state.attempt;
  const boundMs = Math.min(limits.capMs, limits.baseMs * 2 ** Math.min(attempt, MAX_EXPONENT));
  return { state: { attempt: attempt + 1, upSinceMs: undefined }, delayMs: randomUnit * boundMs };
}
