import type { AmountMicro } from '../../protocol/amount.ts';
import type { Signer, Verifier } from '../../protocol/public-key.ts';
import type { UpVerb } from '../../protocol/topics.ts';

/** Fixed for the life of the state. */
export interface PayeeSetup {
  readonly signer: Signer;
  readonly verifier: Verifier;
  /** Merchant credential and what leads to it, shown to the approver at connection. */
  readonly present: readonly Uint8Array[];
  /** How long the payer may use an Offer after it came, by the payer's own clock. */
  readonly offerLifetimeMs: number;
  /** How long the approver may accept a Payment on an Offer, by the approver's clock. */
  readonly acceptWindowMs: number;
}

export type PayeeInput =
  | { readonly kind: 'inbox'; readonly verb: string; readonly payload: Uint8Array }
  | { readonly kind: 'linkUp'; readonly approver: Uint8Array }
  | { readonly kind: 'linkDown' }
  | { readonly kind: 'persisted'; readonly through: number }
  | { readonly kind: 'diskFailed'; readonly reason: string }
  | { readonly kind: 'documents'; readonly documents: readonly Uint8Array[] }
  /** The meter's own word on what is to be paid for `item`: it beats the quantity of an ask. */
  | {
      readonly kind: 'metered';
      readonly item: string;
      readonly quantity: number;
      readonly readingHash?: Uint8Array;
    }
  /** Sign Offers ahead for one article and hand them to the approver. */
  | {
      readonly kind: 'stock';
      readonly item: string;
      readonly quantity: number;
      readonly count: number;
    }
  /** Give every kept sale to the approver at hand. */
  | { readonly kind: 'handIn' }
  | { readonly kind: 'tick' };

/** A paid and durable sale: open the gate. */
export interface Sale {
  /** Hash of the Payment payload, 32 bytes. */
  readonly paymentHash: Uint8Array;
  readonly payer: Uint8Array;
  readonly line: Uint8Array;
  readonly item: string;
  readonly quantity: number;
  readonly amountMicro: AmountMicro;
}

export type PayeeEffect =
  | { readonly kind: 'append'; readonly number: number; readonly record: Uint8Array }
  | {
      readonly kind: 'publish';
      readonly approver: Uint8Array;
      readonly verb: UpVerb;
      readonly peer?: Uint8Array;
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'wakeAt'; readonly monotonicMs: number }
  | { readonly kind: 'release'; readonly sale: Sale }
  | { readonly kind: 'notice'; readonly code: string; readonly reason: string };

/** An Offer that was signed and is not paid yet, or paid and still remembered. */
export interface OpenOffer {
  readonly payer: Uint8Array;
  readonly item: string;
  readonly quantity: number;
  readonly amountMicro: AmountMicro;
  readonly offerCose: Uint8Array;
  readonly approver: Uint8Array;
  /** Own monotonic clock; after it the approver accepts nothing on this Offer. */
  readonly acceptByMs: number;
  /** Hash in hex of the Payment that used it. */
  usedBy: string | undefined;
}

/** Challenges of one epoch of one approver. */
export interface ChallengeStock {
  readonly epochHex: string;
  /** Approver's monotonic clock minus our own, at most (the grant travelled for a while). */
  readonly clockOffsetMs: number;
  /** On the approver's clock. */
  readonly expiresMs: number;
  readonly challenges: Uint8Array[];
}
