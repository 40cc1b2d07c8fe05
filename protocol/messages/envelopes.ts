import { HASH_BYTES, ID_BYTES } from '../ids.ts';
import {
  bytes,
  bytesBetween,
  listOf,
  message,
  text,
  U32,
  U53,
  type Codec,
  type Field,
} from '../schema.ts';
import { CHALLENGE_BYTES, EPOCH_BYTES } from './offer.ts';
import * as types from './types.ts';

/** One signed message inside an envelope, as its signer sent it. */
const SIGNED: Field<Uint8Array> = bytesBetween(70, 1024);
const DOCUMENT: Field<Uint8Array> = bytesBetween(70, 4096);

/** Most Offers or challenges in one message. */
export const MAX_STOCK = 64;

/** Asks what became of a Payment: the same Payment and Offer bytes again, nothing new signed. */
export interface Query {
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
}
export const QUERY: Codec<Query> = message<Query>(types.TYPE_QUERY, {
  payment: [1, SIGNED],
  offer: [2, SIGNED],
});

/** Evidence given by either side, late, twice or out of order. */
export interface HandIn {
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
  /** Receipt or Void. */
  readonly outcome: Uint8Array;
  readonly credit?: Uint8Array;
  readonly close?: Uint8Array;
}
export const HAND_IN: Codec<HandIn> = message<HandIn>(types.TYPE_HAND_IN, {
  payment: [1, SIGNED],
  offer: [2, SIGNED],
  outcome: [3, SIGNED],
  credit: [4, SIGNED, 'optional'],
  close: [5, SIGNED, 'optional'],
});

/** Answer to a Hand-in: the bytes with this SHA-256 are durable at the approver. It says nothing of what they are worth. */
export interface HandedIn {
  readonly handInHash: Uint8Array;
}
export const HANDED_IN: Codec<HandedIn> = message<HandedIn>(types.TYPE_HANDED_IN, {
  handInHash: [1, bytes(HASH_BYTES)],
});

/** Signed Offers that a payee hands to its approver over its own authenticated link. */
export interface OfferStock {
  readonly offers: readonly Uint8Array[];
}
export const OFFER_STOCK: Codec<OfferStock> = message<OfferStock>(types.TYPE_OFFER_STOCK, {
  offers: [1, listOf(SIGNED, MAX_STOCK)],
});

/** Credentials shown once before the first Payment or Offer: binding, allowance, credentials. */
export interface Present {
  readonly documents: readonly Uint8Array[];
}
export const PRESENT: Codec<Present> = message<Present>(types.TYPE_PRESENT, {
  documents: [1, listOf(DOCUMENT, 16)],
});

/** Answer to Present: `code` 0 = taken and durable, else a refusal number, with words. */
export interface Presented {
  readonly code: number;
  readonly reason: string;
}
export const PRESENTED: Codec<Presented> = message<Presented>(types.TYPE_PRESENTED, {
  code: [1, U32],
  reason: [2, text(200)],
});

export interface ChallengeRequest {
  readonly count: number;
}
export const CHALLENGE_REQUEST: Codec<ChallengeRequest> = message<ChallengeRequest>(
  types.TYPE_CHALLENGE_REQUEST,
  { count: [1, U32] },
);

/** A stock of challenges, with the approver's monotonic clock now and until when they serve. */
export interface ChallengeGrant {
  readonly epoch: Uint8Array;
  readonly nowMs: number;
  readonly expiresMs: number;
  readonly challenges: readonly Uint8Array[];
}
export const CHALLENGE_GRANT: Codec<ChallengeGrant> = message<ChallengeGrant>(
  types.TYPE_CHALLENGE_GRANT,
  {
    epoch: [1, bytes(EPOCH_BYTES)],
    nowMs: [2, U53],
    expiresMs: [3, U53],
    challenges: [4, listOf(bytes(CHALLENGE_BYTES), MAX_STOCK)],
  },
);

/** A payer asks a payee for an Offer; unsigned, it binds nobody to anything. */
export interface Ask {
  readonly payer: Uint8Array;
  /** What is wanted, in the payee's words: lane, connector, article, session. */
  readonly item: string;
  /** Minutes, pieces …; 1 for a passage. */
  readonly quantity: number;
}
export const ASK: Codec<Ask> = message<Ask>(types.TYPE_ASK, {
  payer: [1, bytes(ID_BYTES)],
  item: [2, text(64)],
  quantity: [3, U32],
});

/** To the payee: the Payment on its Offer and the approver's Receipt. */
export interface Paid {
  readonly payment: Uint8Array;
  readonly receipt: Uint8Array;
}
export const PAID: Codec<Paid> = message<Paid>(types.TYPE_PAID, {
  payment: [1, SIGNED],
  receipt: [2, SIGNED],
});
