import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, utf8ToBytes } from './bytes.ts';
import { encodeCanonical } from './cbor/encode.ts';

/** Bytes of a key id, line id: COSE key thumbprint (RFC 9679) or line hash, cut to this. */
export const ID_BYTES = 16;
/** Bytes of an Offer hash inside a Payment. */
export const OFFER_HASH_BYTES = 20;
/** Bytes of every other payload hash. */
export const HASH_BYTES = 32;

/** Ids are hashes of payloads, never of COSE or signature bytes: high-S twins share one id. */
export function payloadHash(payload: Uint8Array): Uint8Array {
  return sha256(payload);
}

/** The Offer hash that a Payment carries: SHA-256 of the Offer payload, first 20 bytes. */
export function offerHash(offerPayload: Uint8Array): Uint8Array {
  return sha256(offerPayload).subarray(0, OFFER_HASH_BYTES);
}

/**
 * The line (account of one device, party and currency). It is made from the first binding's
 * device key and outlives key rotation, so a rotated device keeps the id it was born with.
 */
export function lineId(
  firstDeviceKeyId: Uint8Array,
  partyId: Uint8Array,
  currency: number,
): Uint8Array {
  const name = concatBytes(
    utf8ToBytes('kiri/line/v1'),
    encodeCanonical([firstDeviceKeyId, partyId, currency]),
  );
  return sha256(name).subarray(0, ID_BYTES);
}
