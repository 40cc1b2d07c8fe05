import { bytesToHex } from '@noble/hashes/utils.js';
import type { ConnectToken } from '../../protocol/messages/connect.ts';
import { refused, type Refused } from '../../protocol/refusal.ts';

/** How far a token's time may be from ours where both are known. */
const MAX_SKEW_S = 300;
/** Nonces remembered; oldest forgotten first. */
const MAX_NONCES = 16_384;

/**
 * Refuses a connect token that was used before. MQTT 3.1.1 gives the broker no challenge of its
 * own, so a token is fresh when its nonce is new and its time, where known, is near.
 */
export class Freshness {
  private readonly nonces = new Set<string>();

  check(token: ConnectToken, unixS: number, timeQuality: number): Refused | undefined {
    const isTimed = token.timeS > 0 && timeQuality > 0;
    if (isTimed && Math.abs(token.timeS - unixS) > MAX_SKEW_S) {
      return refused('CREDENTIAL_EXPIRED', 'the connect token is not of now');
    }
    const nonce = `${token.key.hex}${bytesToHex(token.nonce)}`;
    if (this.nonces.has(nonce)) {
      return refused('CREDENTIAL_INVALID', 'the connect token was used before');
    }
    for (const oldest of this.nonces) {
      if (this.nonces.size < MAX_NONCES) break;
      this.nonces.delete(oldest);
    }
    this.nonces.add(nonce);
    return undefined;
  }
}
