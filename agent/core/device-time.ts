import type { Now } from '../../platform/ports.ts';
import { TIME_UNKNOWN } from '../../protocol/messages/payment.ts';

/** A time that a device may state, and how far to trust it. */
export interface DeviceTime {
  readonly timeS: number;
  readonly quality: number;
}

/**
 * Time for a signed message. The floor comes only from issuer- or witness-signed times (DESIGN §4):
 * a clock behind it is wrong, so the floor is stated instead and its quality is "unknown".
 */
export function deviceTime(floorS: number, now: Now): DeviceTime {
  const ownS = Math.floor(now.unixMs / 1_000);
  const usable = ownS >= 0 && ownS <= 0xffff_ffff;
  if (now.timeQuality === TIME_UNKNOWN || !usable || ownS < floorS) {
    return {
      timeS: now.timeQuality === TIME_UNKNOWN && usable ? Math.max(ownS, floorS) : floorS,
      quality: TIME_UNKNOWN,
    };
  }
  return { timeS: ownS, quality: now.timeQuality };
}
