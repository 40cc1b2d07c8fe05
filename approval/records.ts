import { HASH_BYTES, ID_BYTES } from '../protocol/ids.ts';
import { EPOCH_BYTES } from '../protocol/messages/offer.ts';
import {
  bytes,
  bytesBetween,
  listOf,
  MAX_MESSAGE_BYTES,
  message,
  U32,
  U53,
  type Codec,
  type Field,
} from '../protocol/schema.ts';

/*
 * What an approver writes down, canonical CBOR like every message, key 0 = kind of record. Four
 * journals: MONEY is the one truth; OFFERS keeps the Offers that payees registered and what others
 * handed in; SIGNED keeps the signatures of what was answered; DOCUMENTS keeps the credentials that
 * were shown.
 *
 * MONEY holds for each accepted Payment its signed bytes and the Receipt payload, without the
 * Receipt's signature, which a restart makes again: with the journal's own framing that is less
 * than Payment + Receipt on the wire.
 */

const SIGNATURE_BYTES = 64;
const SIGNED: Field<Uint8Array> = bytesBetween(70, 1024);
const PAYLOAD: Field<Uint8Array> = bytesBetween(1, 512);

/** Key 0 of a record: 0x00 0x18 type, behind the map's head. */
export function recordType(record: Uint8Array): number {
  return record[1] === 0x00 && record[2] === 0x18 ? record[3]! : -1;
}

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

/** OFFERS: an Offer as its payee registered it; durable before anything that was paid on it. */
export interface OfferRecord {
  readonly offer: Uint8Array;
}
export const OFFER_RECORD: Codec<OfferRecord> = message<OfferRecord>(111, {
  offer: [1, SIGNED],
});

/** A Receipt or Void that was signed: the journalled payload of this sequence, and its signature. */
export interface SignedRow {
  readonly sequence: number;
  readonly signature: Uint8Array;
}

const ROW_BYTES = 4 + SIGNATURE_BYTES;
/** Type, key and length around the rows. */
const ROWS_HEAD_BYTES = 16;
/** Rows of one SIGNED record: what is written must be short enough to be read back. */
export const MAX_SIGNED_ROWS: number = Math.floor(
  (MAX_MESSAGE_BYTES - ROWS_HEAD_BYTES) / ROW_BYTES,
);

const ROWS: Field<readonly SignedRow[]> = {
  name: `1 … ${MAX_SIGNED_ROWS} rows of sequence and signature`,
  write: (rows) => {
    const out = new Uint8Array(rows.length * ROW_BYTES);
    const view = new DataView(out.buffer);
    for (const [i, row] of rows.entries()) {
      view.setUint32(i * ROW_BYTES, row.sequence);
      out.set(row.signature, i * ROW_BYTES + 4);
    }
    return out;
  },
  read: (value) => {
    if (!(value instanceof Uint8Array) || value.length % ROW_BYTES !== 0) return undefined;
    const count = value.length / ROW_BYTES;
    if (count === 0 || count > MAX_SIGNED_ROWS) return undefined;
    const view = new DataView(value.buffer, value.byteOffset, value.length);
    return Array.from({ length: count }, (_, i) => ({
      sequence: view.getUint32(i * ROW_BYTES),
      signature: value.slice(i * ROW_BYTES + 4, (i + 1) * ROW_BYTES),
    }));
  },
};

/**
 * SIGNED: what was signed after a sync, in sequence order. With MONEY and OFFERS it is everything
 * that the ledger needs, so the ledger never needs the approver's key; an acceptance that was taken
 * back before its Receipt left never stands here.
 */
export interface SignedRecord {
  readonly rows: readonly SignedRow[];
}
export const SIGNED_RECORD: Codec<SignedRecord> = message<SignedRecord>(113, { rows: [1, ROWS] });

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
