import { HASH_BYTES, ID_BYTES } from '../protocol/ids.ts';
import { EPOCH_BYTES } from '../protocol/messages/offer.ts';
import {
  bytes,
  bytesBetween,
  listOf,
  message,
  U32,
  U53,
  type Codec,
  type Field,
} from '../protocol/schema.ts';

/*
 * What an approver writes down, canonical CBOR like every message, key 0 = kind of record. Three
 * journals: MONEY is the one truth and the source of the ledger; OFFERS keeps the Offers of
 * accepted Payments and what others handed in; DOCUMENTS keeps the credentials that were shown.
 *
 * MONEY holds for each accepted Payment its signed bytes and the Receipt payload, without the
 * Receipt's signature, which a restart makes again: with the journal's own framing that is less
 * than Payment + Receipt on the wire.
 */

const SIGNED: Field<Uint8Array> = bytesBetween(70, 1024);
const PAYLOAD: Field<Uint8Array> = bytesBetween(1, 512);

/** A start: nothing else is done before this is durable. */
export interface EpochRecord {
  readonly epoch: Uint8Array;
  readonly startedAtMs: number;
}
export const EPOCH_RECORD: Codec<EpochRecord> = message<EpochRecord>(101, {
  epoch: [1, bytes(EPOCH_BYTES)],
  startedAtMs: [2, U53],
});

/** An acceptance. Journalled means accepted, unless a later VOID_RECORD names the same Payment. */
export interface AcceptedRecord {
  /** COSE_Sign1 as received. */
  readonly payment: Uint8Array;
  /** Signed again as it is, never rebuilt. */
  readonly receiptPayload: Uint8Array;
  /** Unix time of the decision by the approver's clock. */
  readonly acceptedAtMs: number;
}
export const ACCEPTED_RECORD: Codec<AcceptedRecord> = message<AcceptedRecord>(102, {
  payment: [1, SIGNED],
  receiptPayload: [2, PAYLOAD],
  acceptedAtMs: [3, U53],
});

/**
 * A final refusal. `reverses` is the sequence of an acceptance of the same Payment whose Receipt
 * was never released because accept-by passed during the sync: that acceptance then counts nothing.
 */
export interface VoidRecord {
  readonly payment: Uint8Array;
  readonly refusalPayload: Uint8Array;
  readonly voidedAtMs: number;
  readonly reverses?: number;
}
export const VOID_RECORD: Codec<VoidRecord> = message<VoidRecord>(103, {
  payment: [1, SIGNED],
  refusalPayload: [2, PAYLOAD],
  voidedAtMs: [3, U53],
  reverses: [4, U32, 'optional'],
});

/** Two signed Payments of one line that no honest device signs; blocks the line here. */
export interface EquivocationRecord {
  readonly earlier: Uint8Array;
  readonly later: Uint8Array;
  readonly seenAtMs: number;
}
export const EQUIVOCATION_RECORD: Codec<EquivocationRecord> = message<EquivocationRecord>(104, {
  earlier: [1, SIGNED],
  later: [2, SIGNED],
  seenAtMs: [3, U53],
});

/** Credentials of a line came into force; the documents stand in DOCUMENTS under the hash. */
export interface PresentedRecord {
  readonly line: Uint8Array;
  readonly party: Uint8Array;
  readonly documentsHash: Uint8Array;
}
export const PRESENTED_RECORD: Codec<PresentedRecord> = message<PresentedRecord>(105, {
  line: [1, bytes(ID_BYTES)],
  party: [2, bytes(ID_BYTES)],
  documentsHash: [3, bytes(HASH_BYTES)],
});

/** A verified acknowledgement, as signed by the issuer or the clearing. */
export interface AcknowledgedRecord {
  readonly acknowledgement: Uint8Array;
  readonly throughSequence: number;
}
export const ACKNOWLEDGED_RECORD: Codec<AcknowledgedRecord> = message<AcknowledgedRecord>(106, {
  acknowledgement: [1, SIGNED],
  throughSequence: [2, U32],
});

/** OFFERS: the Offer of the acceptance with this sequence. */
export interface UsedOfferRecord {
  readonly sequence: number;
  readonly offer: Uint8Array;
}
export const USED_OFFER_RECORD: Codec<UsedOfferRecord> = message<UsedOfferRecord>(111, {
  sequence: [1, U32],
  offer: [2, SIGNED],
});

/** OFFERS: a Hand-in as it came, for clearing to judge; `from` is the sender's key id. */
export interface HandedInRecord {
  readonly from: Uint8Array;
  readonly handIn: Uint8Array;
}
export const HANDED_IN_RECORD: Codec<HandedInRecord> = message<HandedInRecord>(112, {
  from: [1, bytes(ID_BYTES)],
  handIn: [2, bytesBetween(1, 8_192)],
});

/** DOCUMENTS: one set of credentials. The hash is SHA-256 over the set's Present message. */
export interface DocumentsRecord {
  readonly documentsHash: Uint8Array;
  readonly documents: readonly Uint8Array[];
}
export const DOCUMENTS_RECORD: Codec<DocumentsRecord> = message<DocumentsRecord>(121, {
  documentsHash: [1, bytes(HASH_BYTES)],
  documents: [2, listOf(bytesBetween(70, 4_096), 16)],
});
