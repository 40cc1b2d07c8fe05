import { bytesEqual, concatBytes } from '../protocol/bytes.ts';
import { CHALLENGE_BYTES, EPOCH_BYTES } from '../protocol/messages/offer.ts';
import { CHALLENGE_LIFETIME_MS } from './limits.ts';
import type { HmacSha256 } from './ports.ts';

/*
 * Challenge = epoch 8 ‖ nonce 8 (grant second since epoch start u32 ‖ running number u32) ‖ MAC 8.
 * The MAC covers the payee, so a challenge serves only whom it was given to, and the grant second
 * bounds how long anything about it has to be remembered.
 */

const NONCE_BYTES = 8;
const MAC_AT = EPOCH_BYTES + NONCE_BYTES;

/** What the approver knows while one epoch lasts. The secret is never stored. */
export interface EpochKeys {
  readonly epoch: Uint8Array;
  readonly secret: Uint8Array;
}

export interface ReadChallenge {
  readonly epoch: Uint8Array;
  readonly number: number;
  /** Epoch clock: the last moment for an Offer on it. */
  readonly expiresMs: number;
}

function mac(
  hmac: HmacSha256,
  keys: EpochKeys,
  nonce: Uint8Array,
  payeeId: Uint8Array,
): Uint8Array {
  return hmac(keys.secret, concatBytes(keys.epoch, nonce, payeeId)).subarray(
    0,
    CHALLENGE_BYTES - MAC_AT,
  );
}

export function makeChallenge(
  hmac: HmacSha256,
  keys: EpochKeys,
  grant: { readonly second: number; readonly number: number; readonly payeeId: Uint8Array },
): Uint8Array {
  const out = new Uint8Array(CHALLENGE_BYTES);
  out.set(keys.epoch);
  const view = new DataView(out.buffer);
  view.setUint32(EPOCH_BYTES, grant.second);
  view.setUint32(EPOCH_BYTES + 4, grant.number);
  out.set(mac(hmac, keys, out.subarray(EPOCH_BYTES, MAC_AT), grant.payeeId), MAC_AT);
  return out;
}

export function readChallenge(challenge: Uint8Array): ReadChallenge {
  const view = new DataView(challenge.buffer, challenge.byteOffset, challenge.length);
  return {
    epoch: challenge.subarray(0, EPOCH_BYTES),
    number: view.getUint32(EPOCH_BYTES + 4),
    expiresMs: view.getUint32(EPOCH_BYTES) * 1_000 + CHALLENGE_LIFETIME_MS,
  };
}

/** Was it given to this payee in this epoch? */
export function isGenuineChallenge(
  hmac: HmacSha256,
  keys: EpochKeys,
  challenge: Uint8Array,
  payeeId: Uint8Array,
): boolean {
  if (!bytesEqual(challenge.subarray(0, EPOCH_BYTES), keys.epoch)) return false;
  const expected = mac(hmac, keys, challenge.subarray(EPOCH_BYTES, MAC_AT), payeeId);
  return bytesEqual(challenge.subarray(MAC_AT), expected);
}
