import type { AmountMicro } from '../protocol/amount.ts';
import type { RefusalCode } from '../protocol/refusal.ts';
import { Buckets } from './bucket.ts';
import type { EpochKeys } from './challenge.ts';
import { Exposure, type Sum } from './exposure.ts';
import * as limits from './limits.ts';
import type { ApproverInput, JournalName } from './messages.ts';
import type { PayeeFacts, PayerFacts, StatusFacts } from './ports.ts';
import type { SignedRow } from './records.ts';
import { UsedChallenges } from './used-challenges.ts';

/** The answer to one Payment: fixed when it is journalled, signed when that is durable. */
export interface Answer {
  readonly kind: 'accepted' | 'void';
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** COSE bytes; absent until durable and after a restart, then signed again on demand. */
  signed: Uint8Array | undefined;
  durable: boolean;
}

/** A Payment with a verified device signature and a journalled answer. */
export interface SeenPayment {
  readonly key: string;
  readonly hash: Uint8Array;
  readonly line: LineState;
  readonly counter: number;
  readonly amountMicro: AmountMicro;
  readonly totalMicro: AmountMicro;
  readonly payee: Uint8Array;
  /** COSE_Sign1 as received: one half of a proof of misbehaviour. */
  readonly payment: Uint8Array;
  answer: Answer;
  /** Epoch clock: until then a voided Payment's Offer could still be used, so it is not forgotten. */
  readonly keepUntilMs: number;
}

export interface PartyState {
  readonly key: string;
  /** Lines in memory that belong to it. */
  lines: number;
  readonly unacknowledged: Sum;
}

/** The account of one device, party and currency, as far as this approver knows it. */
export interface LineState {
  readonly key: string;
  payer: PayerFacts | undefined;
  documentsKey: string | undefined;
  party: PartyState | undefined;
  blocked: boolean;
  /** Seen Payments that agree with each other, by counter; the youngest MAX_SEEN_PER_LINE. */
  readonly window: SeenPayment[];
  /** Counters up to here may have been seen and forgotten. */
  forgottenThrough: number;
  lastCounter: number;
  lastTotalMicro: AmountMicro;
  readonly unacknowledged: Sum;
}

export interface PayeeState {
  readonly facts: PayeeFacts;
  readonly documentsKey: string;
  liveOffers: number;
  /** Challenges granted in this window of one lifetime. */
  windowStartMs: number;
  granted: number;
}

/** An Offer that can be paid, or was paid a moment ago. */
export interface LiveOffer {
  readonly key: string;
  readonly hash: Uint8Array;
  readonly payeeHex: string;
  readonly payee: Uint8Array;
  readonly currency: number;
  readonly amountMicro: AmountMicro;
  readonly acceptByMs: number;
  readonly challengeNumber: number;
  /** Of its record in the offers journal. */
  index: number;
}

/** A journalled answer whose sync has not returned, oldest first. */
interface Pending {
  readonly index: number;
  readonly seen: SeenPayment;
  readonly answer: Answer;
  readonly to: string[];
  /** Present where a Receipt goes out: whom to tell, and until when that is allowed. */
  readonly offer: LiveOffer | undefined;
  /** Sequence of the acceptance that this Void takes back. */
  readonly reverses?: number;
}

/** A Hand-in that is answered when it is durable. */
interface PendingHandIn {
  readonly index: number;
  readonly from: string;
  readonly handInHash: Uint8Array;
}

export interface PendingDocuments {
  readonly index: number;
  readonly from: string;
  readonly documentsKey: string;
  readonly documentsHash: Uint8Array;
  readonly facts: PayerFacts | PayeeFacts;
}

interface HeldList {
  readonly facts: StatusFacts;
  readonly receivedMs: number;
}

export type PaymentInput = Extract<ApproverInput, { kind: 'payment' }>;

/** A Payment that waits until the disk was searched for an older answer to it. */
interface Lookup {
  readonly input: PaymentInput;
  readonly hash: Uint8Array;
  readonly line: LineState;
}

/** Owned and changed by `step` alone; treat it as opaque outside this folder. */
export interface ApproverState {
  /** `opening`: the epoch is not durable yet, every Payment gets BUSY. `full`: DISK_FULL instead. */
  phase: 'recovering' | 'opening' | 'open' | 'full';
  epochIndex: number;
  keys: EpochKeys | undefined;
  /** Monotonic reading that the epoch clock counts from. */
  startedMs: number;
  readonly epochs: Set<string>;
  readonly nextIndex: Record<JournalName, number>;
  nextSequence: number;
  /** Sequences up to here have their signature on disk, as far as recovery has read. */
  signedThrough: number;
  /** Recovered answers by sequence whose signature is not on disk; empty once open. */
  readonly unsigned: Map<number, Answer>;
  /** Signatures that wait until an older acceptance has been taken back durably. */
  readonly unwritten: SignedRow[];
  readonly lines: Map<string, LineState>;
  readonly parties: Map<string, PartyState>;
  readonly payees: Map<string, PayeeState>;
  /** Documents in force: line key or payee hex by documents key. */
  readonly documents: Map<string, string>;
  readonly seen: Map<string, SeenPayment>;
  /** Whether `seen` ever dropped one: then a miss proves nothing without the disk. */
  forgot: boolean;
  readonly pending: Pending[];
  readonly pendingDocuments: PendingDocuments[];
  /** By journal index, rising. */
  readonly pendingHandIns: PendingHandIn[];
  readonly lookups: Map<string, Lookup>;
  readonly offers: Map<string, LiveOffer>;
  readonly challenges: UsedChallenges;
  readonly exposure: Exposure;
  acknowledgedThrough: number;
  /** Status lists by URI. */
  readonly status: Map<string, HeldList>;
  /** Latest time signed by the centre, and when it came by the monotonic clock. */
  centre: { readonly timeS: number; readonly receivedMs: number } | undefined;
  readonly finalBuckets: Buckets;
  readonly refusalBuckets: Buckets;
  readonly badSignatureBuckets: Buckets;
  readonly presentBuckets: Buckets;
  readonly handInBuckets: Buckets;
  readonly counts: { accepted: number; voided: number; reversed: number; duplicates: number };
  readonly refusals: Map<RefusalCode | 'silent', number>;
}

export function initialState(): ApproverState {
  return {
    phase: 'recovering',
    epochIndex: -1,
    keys: undefined,
    startedMs: 0,
    epochs: new Set(),
    nextIndex: { money: 0, offers: 0, signed: 0, documents: 0 },
    nextSequence: 1,
    signedThrough: 0,
    unsigned: new Map(),
    unwritten: [],
    lines: new Map(),
    parties: new Map(),
    payees: new Map(),
    documents: new Map(),
    seen: new Map(),
    forgot: false,
    pending: [],
    pendingDocuments: [],
    pendingHandIns: [],
    lookups: new Map(),
    offers: new Map(),
    challenges: new UsedChallenges(),
    exposure: new Exposure(),
    acknowledgedThrough: 0,
    status: new Map(),
    centre: undefined,
    finalBuckets: new Buckets(
      limits.FINAL_REFUSAL_BURST,
      limits.FINAL_REFUSAL_INTERVAL_MS,
      limits.MAX_LINES,
    ),
    refusalBuckets: new Buckets(
      limits.REFUSAL_BURST,
      limits.REFUSAL_INTERVAL_MS,
      limits.MAX_SENDERS,
    ),
    badSignatureBuckets: new Buckets(
      limits.BAD_SIGNATURE_BURST,
      limits.BAD_SIGNATURE_INTERVAL_MS,
      limits.MAX_SENDERS,
    ),
    presentBuckets: new Buckets(
      limits.PRESENT_BURST,
      limits.PRESENT_INTERVAL_MS,
      limits.MAX_SENDERS,
    ),
    handInBuckets: new Buckets(
      limits.HAND_IN_BURST,
      limits.HAND_IN_INTERVAL_MS,
      limits.MAX_SENDERS,
    ),
    counts: { accepted: 0, voided: 0, reversed: 0, duplicates: 0 },
    refusals: new Map(),
  };
}
