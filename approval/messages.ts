import type { DownVerb } from '../protocol/topics.ts';

/** `signed` may be committed at leisure: only the ledger waits for it. */
export type JournalName = 'money' | 'offers' | 'signed' | 'documents';

/** What an approver is told. `from` is the sender's key id in hex, as the transport proved it. */
export type ApproverInput =
  /** After every record of the money and signed journals went through `recover`. */
  | {
      readonly kind: 'boot';
      /** 8 and 32 fresh random bytes. */
      readonly epoch: Uint8Array;
      readonly epochSecret: Uint8Array;
      readonly nextIndex: Readonly<Record<JournalName, number>>;
    }
  /** A Payment (`pay`) or a Query (`query`): which one stands in the bytes. */
  | {
      readonly kind: 'payment';
      readonly from: string;
      readonly bytes: Uint8Array;
      /** 16 fresh random bytes for the answer that this may journal. */
      readonly nonce: Uint8Array;
    }
  /** OfferStock bytes, over the payee's own authenticated link. */
  | { readonly kind: 'offers'; readonly from: string; readonly bytes: Uint8Array }
  /** Present bytes, from a payer or a payee. */
  | { readonly kind: 'present'; readonly from: string; readonly bytes: Uint8Array }
  /** ChallengeRequest bytes. */
  | { readonly kind: 'challenges'; readonly from: string; readonly bytes: Uint8Array }
  | { readonly kind: 'hand-in'; readonly from: string; readonly bytes: Uint8Array }
  /** Everything appended to `journal` up to index `through` is durable. */
  | { readonly kind: 'persisted'; readonly journal: JournalName; readonly through: number }
  /** Answer to a `lookup` effect: the money records found for that Payment, oldest first. */
  | { readonly kind: 'found'; readonly key: string; readonly records: readonly Uint8Array[] }
  | { readonly kind: 'acknowledgement'; readonly bytes: Uint8Array }
  | { readonly kind: 'status-list'; readonly bytes: Uint8Array }
  /** The disk is full: nothing is appended any more; only `recover` and `boot` on a new state end it. */
  | { readonly kind: 'disk-full' }
  /** About once a second: forgets what has expired. */
  | { readonly kind: 'tick' };

/** What an approver wants done, in this order. Replies are safe to send as soon as they appear. */
export type ApproverEffect =
  | {
      readonly kind: 'append';
      readonly journal: JournalName;
      readonly record: Uint8Array;
      /**
       * Not to be committed before the offers journal is durable through this index: no acceptance
       * is durable without its Offer. Most are long durable by then.
       */
      readonly afterOffer?: number;
    }
  | {
      readonly kind: 'reply';
      readonly to: string;
      readonly verb: DownVerb;
      readonly bytes: Uint8Array;
    }
  /**
   * Search the durable money journal for ACCEPTED and VOID records whose Payment payload has this
   * SHA-256, and answer with `found` and the same key. Rare: only for Payments that memory forgot.
   */
  | { readonly kind: 'lookup'; readonly key: string; readonly paymentHash: Uint8Array }
  /**
   * A signed word from the centre was refused or taken; for the shell's log and HTTP answer. `isForNow`: not taken, and
   * may be later as it is.
   */
  | {
      readonly kind: 'centre';
      readonly taken: boolean;
      readonly reason: string;
      readonly isForNow?: true;
    };
