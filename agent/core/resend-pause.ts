import { RESEND_MAX_MS, RESEND_MIN_MS } from './limits.ts';

/**
 * Pause before the same bytes go out again: doubling, and spread over the fleet by their own hash,
 * so that devices cut off together do not come back in one instant.
 */
export function resendPauseMs(hash: Uint8Array, sends: number): number {
  const fullMs = Math.min(RESEND_MAX_MS, RESEND_MIN_MS * 2 ** Math.min(sends, 16));
  const spread = (hash[sends % hash.length] ?? 0) / 256;
  return Math.round(fullMs * (0.5 + spread / 2));
}
