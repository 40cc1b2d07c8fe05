import type { AmountMicro } from '../../protocol/amount.ts';
import type { Close } from '../../protocol/messages/after-payment.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { RefusalCode, Refused } from '../../protocol/refusal.ts';
import type { DeviceEffect } from './effects.ts';
import type { Finals } from './final-through.ts';
import type { DeviceLink } from './link.ts';
import type { TrustBook } from './trust.ts';

/** What the application asks for: pay `payee` for `item`. */
export interface Want {
  /** The application's own name for this purchase: a ref is debited once while it is kept. */
  readonly ref: string;
  /** Payee key id, 16 bytes. */
  readonly payee: Uint8Array;
  readonly item: string;
  /** Minutes, pieces …; 1 for a passage. */
  readonly quantity: number;
  /** A dearer Offer is refused POLICY_REFUSED. */
  readonly maxAmountMicro: AmountMicro;
}

/** Fixed for the life of the state. Ports are known by type only. */
export interface PayerSetup {
  readonly signer: Signer;
  /** Minute of the day, 0 … 1439, in an IANA zone or the device's own, of seconds since 1970. */
  readonly localMinuteOfDay: (timeS: number, zone?: string) => number;
}

/** COSE bytes of a purchase, as they were sent and received. */
interface Evidence {
  readonly paymentCose: Uint8Array;
  readonly offerCose: Uint8Array;
  /** Absent where a Statement settled it and no Receipt was ever held. */
  readonly receiptCose?: Uint8Array;
}

/** What became of a want. `unknown` may be followed by one of the other two, never the reverse. */
export type Outcome =
  | {
      readonly kind: 'accepted';
      readonly ref: string;
      readonly paymentHash: Uint8Array;
      readonly amountMicro: AmountMicro;
      readonly counter: number;
      /** Absent when asked again later: the bytes stand in the journal. */
      readonly evidence?: Evidence;
    }
  | {
      readonly kind: 'refused';
      readonly ref: string;
      readonly code: RefusalCode;
      readonly reason: string;
      /** Present where a Payment was signed: the hash that the Void names. */
      readonly paymentHash?: Uint8Array;
    }
  | {
      readonly kind: 'unknown';
      readonly ref: string;
      readonly paymentHash: Uint8Array;
      /** The approver's last answer that settles nothing, if there was one. */
      readonly code?: RefusalCode;
      readonly reason: string;
    };

interface SignedClose {
  /** Of the allowance that has ended. */
  readonly generation: number;
  readonly close: Close;
  /** COSE bytes: an application may carry them to the issuer by a way of its own. */
  readonly closeCose: Uint8Array;
}

/** What became of a Close. `waiting` may be followed by `handed-in`, never the reverse. */
export type CloseOutcome =
  | (SignedClose & { readonly kind: 'waiting'; readonly reason: string })
  /** A gateway has it durable. The hold ends when the issuer's desk has booked it. */
  | (SignedClose & { readonly kind: 'handed-in'; readonly approver: Uint8Array })
  /** Nothing was signed. */
  | { readonly kind: 'refused'; readonly code: RefusalCode; readonly reason: string };

export type PayerInput =
  | { readonly kind: 'want'; readonly want: Want }
  /** Ends the allowance in force: no Payment under it any more, and its Close is handed in. */
  | { readonly kind: 'closeAllowance' }
  /** A message in this device's inbox; `verb` is the topic's last part. Hostile until checked. */
  | { readonly kind: 'inbox'; readonly verb: string; readonly payload: Uint8Array }
  /** Connected and subscribed at the gateway with this approver key id. */
  | { readonly kind: 'linkUp'; readonly approver: Uint8Array }
  | { readonly kind: 'linkDown' }
  /** Every append up to and including this number is durable. */
  | { readonly kind: 'persisted'; readonly through: number }
  /** The journal took nothing more; it stays so until a new start. */
  | { readonly kind: 'diskFailed'; readonly reason: string }
  /** Credentials, mandates, tariffs, a renewed allowance; each is checked before it counts. */
  | { readonly kind: 'documents'; readonly documents: readonly Uint8Array[] }
  /** A Statement for this line, as the issuer signed it. */
  | { readonly kind: 'statement'; readonly statement: Uint8Array }
  | { readonly kind: 'tick' }
  /** Orderly end: nothing new is signed; the clean mark is appended once nothing is journalling. */
  | { readonly kind: 'close' };

export type PayerEffect =
  | DeviceEffect
  | { readonly kind: 'outcome'; readonly outcome: Outcome }
  | { readonly kind: 'closed'; readonly outcome: CloseOutcome }
  /** Times for the application: the Offer came, the Payment left. */
  | { readonly kind: 'progress'; readonly ref: string; readonly stage: 'offered' | 'sent' };

/** An Offer that came before its want. Its lifetime counts from when it came, on our own clock. */
interface HeldOffer {
  readonly offerCose: Uint8Array;
  readonly untilMs: number;
}

/** A want that still waits for its Offer. Memory only: nothing is signed. */
export interface WaitingWant {
  readonly want: Want;
  readonly deadlineMs: number;
  askAtMs: number;
  askPauseMs: number;
  /** Why the last Offer that came could not be used. */
  lastRefusal: Refused | undefined;
}

/**
 * A signed Payment that has no Receipt, Void or Statement. Its bytes never change.
 * - `journalling`: not durable, not sent
 * - `waiting`: durable; to be sent at `sendAtMs` on the link of its approver
 */
export interface OpenPayment {
  readonly ref: string;
  readonly payment: Payment;
  readonly hash: Uint8Array;
  readonly paymentCose: Uint8Array;
  readonly offerCose: Uint8Array;
  stage:
    | { readonly kind: 'journalling'; readonly number: number }
    | { readonly kind: 'waiting'; readonly sends: number; readonly sendAtMs: number };
  /** When the application is told `unknown`; undefined once it has been told. */
  answerByMs: number | undefined;
  lastCode: RefusalCode | undefined;
}

/** An answered Payment, kept until the Statement says recorded. The bytes stay in the journal. */
export interface KeptPayment {
  readonly ref: string;
  readonly counter: number;
  readonly approver: Uint8Array;
  readonly payee: Uint8Array;
  readonly amountMicro: AmountMicro;
  readonly offerHex: string;
  /** `both`: Receipt and Void, evidence against the approver; the payer is not charged. */
  state: 'accepted' | 'void' | 'both';
  readonly code?: RefusalCode;
}

/**
 * An allowance that this device has ended.
 * - `journalling`: not durable, not signed
 * - `waiting`: signed; to be handed in at `sendAtMs`, the same bytes each time
 * - `handed-in`: a gateway has it durable
 */
export interface ClosedAllowance {
  readonly generation: number;
  readonly expiresS: number;
  readonly close: Close;
  readonly payload: Uint8Array;
  readonly hash: Uint8Array;
  stage:
    | { readonly kind: 'journalling'; readonly number: number }
    | {
        readonly kind: 'waiting';
        readonly closeCose: Uint8Array;
        readonly handIn: Uint8Array | undefined;
        readonly sends: number;
        readonly sendAtMs: number;
      }
    | {
        readonly kind: 'handed-in';
        readonly closeCose: Uint8Array;
        readonly approver: Uint8Array;
      };
  /** When the application is told `waiting`; undefined once it has been told. */
  answerByMs: number | undefined;
}

/** An answered Payment beside which a Close is handed in. */
interface BesideClose {
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
  readonly outcome: Uint8Array;
  readonly isReceipt: boolean;
}

/** One line's device. `payerStep` owns it: pass it on linearly, read it freely. */
export interface PayerState {
  readonly setup: PayerSetup;
  readonly trust: TrustBook;
  boot: number;
  /** Last counter used, and the gross total after it. */
  counter: number;
  totalMicro: AmountMicro;
  /** Cumulative sum given back by Voids, closes and Statements. */
  releasedMicro: AmountMicro;
  /** Reserved in the journal: the line may have been used up to here. */
  mark: { counter: number; totalMicro: AmountMicro };
  /** Sum jumped over by unclean starts, the last one to this counter: a Statement gives it back. */
  skippedMicro: AmountMicro;
  skippedCounter: number;
  /** Latest time that an issuer or witness has signed, seconds. */
  floorS: number;
  statementNumber: number;
  /** The Statement's word: what is recorded, and so counted in its released sum. */
  recordedThrough: number;
  except: ReadonlySet<number>;
  link: DeviceLink;
  disk: 'ok' | 'failed' | 'closing' | 'closed';
  appends: number;
  wakeAtMs: number | undefined;
  readonly wants: Map<string, WaitingWant>;
  readonly held: Map<string, HeldOffer>;
  /** By Payment hash in hex. */
  readonly open: Map<string, OpenPayment>;
  readonly kept: Map<string, KeptPayment>;
  /** Ref of the application to Payment hash in hex, for all of `open` and `kept`. */
  readonly refs: Map<string, string>;
  /** Offer hashes in hex of `open` and `kept`: an Offer is never signed for twice. */
  readonly usedOffers: Set<string>;
  readonly finals: Finals;
  /** Highest generation that this device has closed; -1: none. */
  closedGeneration: number;
  /** In order of closing; MAX_CLOSES_KEPT at most. */
  closes: ClosedAllowance[];
  beside: BesideClose | undefined;
}

export interface PayerStep {
  readonly state: PayerState;
  readonly effects: readonly PayerEffect[];
}
