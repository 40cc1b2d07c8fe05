import type { AmountMicro } from '../../protocol/amount.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { DeviceEffect } from './effects.ts';
import type { Finals } from './final-through.ts';
import type { DeviceLink } from './link.ts';
import type { TrustBook } from './trust.ts';

/** Fixed for the life of the state. Ports are known by type only. */
export interface PayeeSetup {
  readonly signer: Signer;
  /** Minute of the day, 0 … 1439, in an IANA zone or the device's own, of seconds since 1970. */
  readonly localMinuteOfDay: (timeS: number, zone?: string) => number;
  /** How long the payer may use an Offer after it came, by the payer's own clock. */
  readonly offerLifetimeMs: number;
  /** How long the approver may accept a Payment on an Offer, by the approver's clock. */
  readonly acceptWindowMs: number;
}

/**
 * What the payee itself has measured of one use; it beats what the payer says in its ask. A
 * quantity of the meter's needs the hash of its signed reading.
 */
export interface Usage {
  readonly item: string;
  /** Which tariff, by its name; needed only where the merchant has several. */
  readonly tariff?: string;
  readonly localMinuteOfDay?: number;
  readonly metered?: { readonly quantity: number; readonly readingHash: Uint8Array };
}

export type PayeeInput =
  /** A message in this device's inbox. Hostile until checked. */
  | { readonly kind: 'inbox'; readonly verb: string; readonly payload: Uint8Array }
  | { readonly kind: 'linkUp'; readonly approver: Uint8Array }
  | { readonly kind: 'linkDown' }
  | { readonly kind: 'persisted'; readonly through: number }
  | { readonly kind: 'diskFailed'; readonly reason: string }
  | { readonly kind: 'documents'; readonly documents: readonly Uint8Array[] }
  | { readonly kind: 'usage'; readonly usage: Usage }
  | { readonly kind: 'tick' };

/** A paid and durable sale: open the gate. */
export interface Sale {
  /** SHA-256 of the Payment payload, 32 bytes. */
  readonly paymentHash: Uint8Array;
  /** Key id of the device that asked. */
  readonly payer: Uint8Array;
  readonly line: Uint8Array;
  readonly item: string;
  readonly quantity: number;
  readonly amountMicro: AmountMicro;
}

export type PayeeEffect =
  | DeviceEffect
  /** At most once for a Payment, also over restarts. */
  | { readonly kind: 'release'; readonly sale: Sale };

/** A payer's ask that waits for a challenge. */
export interface WaitingAsk {
  readonly payer: Uint8Array;
  readonly item: string;
  readonly quantity: number;
}

/** A signed Offer that no Receipt has come for. Memory only: until it is paid it is no money. */
export interface OpenOffer extends WaitingAsk {
  readonly amountMicro: AmountMicro;
  readonly currency: number;
  readonly offerCose: Uint8Array;
  readonly approver: Uint8Array;
  /** Own monotonic clock; after it the approver accepts nothing on this Offer. */
  readonly acceptByMs: number;
  /** Hash in hex of the Payment whose sale waits for the journal. */
  usedBy: string | undefined;
}

/** Challenges of one epoch of the approver at hand. */
interface ChallengeStock {
  readonly epochHex: string;
  /** The approver's clock is at least our own plus this (a grant travels for a while). */
  offsetMs: number;
  /** Oldest grant first; `expiresMs` is on the approver's clock. */
  readonly batches: { readonly expiresMs: number; readonly challenges: Uint8Array[] }[];
}

/** `payeeStep` owns it: pass it on linearly, read it freely. */
export interface PayeeState {
  readonly setup: PayeeSetup;
  readonly trust: TrustBook;
  link: DeviceLink;
  disk: 'ok' | 'failed';
  appends: number;
  wakeAtMs: number | undefined;
  /** Latest time that an issuer or witness has signed, seconds. */
  floorS: number;
  stock: ChallengeStock | undefined;
  /** Earliest time for the next request of challenges. */
  requestAtMs: number;
  readonly asks: WaitingAsk[];
  /** By Offer hash in hex, oldest first. */
  readonly open: Map<string, OpenOffer>;
  /** Open Offers by payer id in hex. */
  readonly openOf: Map<string, number>;
  readonly usages: Map<string, Usage>;
  readonly pending: { readonly number: number; readonly offerHex: string; readonly sale: Sale }[];
  /** Payment hashes in hex, oldest first. */
  readonly recent: Set<string>;
  salesKept: number;
  readonly finals: Finals;
}

export interface PayeeStep {
  readonly state: PayeeState;
  readonly effects: readonly PayeeEffect[];
}
