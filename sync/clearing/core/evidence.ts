import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, concatBytes, toHex } from '../../../protocol/bytes.ts';
import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { currencyOf, microPerMinor } from '../../../protocol/currency.ts';
import {
  U32,
  U53,
  U8,
  bytes,
  bytesBetween,
  listOf,
  record,
  text,
} from '../../../protocol/schema.ts';
import type { Field } from '../../../protocol/schema.ts';
import type { AggregateKey, Lane } from './aggregate.ts';
import { AGGREGATE_LEAVES_MAX, CONFLICT_LEAVES_MAX, keyIdOf } from './aggregate.ts';
import { sumTreeRoot, type Sha256 } from './sum-tree.ts';

/** One receipt of an aggregate: its hashes, what it charged, and the log leaf it lies in. */
export type EvidenceLeaf = {
  readonly receiptHash: Uint8Array;
  readonly paymentHash: Uint8Array;
  readonly amountMicro: bigint;
  /** Index into `origins`. */
  readonly origin: number;
  readonly leafIndex: number;
};

/** A receipt of the conflict lane with the Payment it contradicts; both stand in the log. */
export type EvidenceConflict = {
  readonly paymentHash: Uint8Array;
  readonly otherHash: Uint8Array;
  readonly rule: string;
};

/** What changes a residual between two aggregates: see {@link Evidence}. */
const ENTRY_KINDS = ['moved-in', 'moved-out', 'written-off'] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** One such change. `from` names the aggregate of the replaced account whose closing residual was moved in. */
export type EvidenceEntry = {
  readonly kind: EntryKind;
  readonly amountMicro: bigint;
  readonly from?: string;
};

/** What entries add to the residual that the aggregate before closed with; below zero where they take away. */
export const netOfEntries = (entries: readonly EvidenceEntry[]): bigint =>
  entries.reduce(
    (net, { kind, amountMicro }) => (kind === 'moved-in' ? net + amountMicro : net - amountMicro),
    0n,
  );

/**
 * The machine form of the evidence of one aggregate. `opening + Σ leaves = amountMinor × minor unit + closing`;
 * `previous` names the aggregate whose closing residual, with the `entries` made since, is this one's opening.
 */
export type Evidence = {
  readonly key: AggregateKey;
  readonly lane: Lane;
  /** Running number of the aggregate within its key and lane, from 1. */
  readonly number: number;
  readonly previous: string | undefined;
  readonly openingMicro: bigint;
  readonly amountMinor: bigint;
  readonly closingMicro: bigint;
  readonly firstPaidS: number;
  readonly lastPaidS: number;
  readonly root: Uint8Array;
  readonly sumMicro: bigint;
  readonly origins: readonly string[];
  readonly leaves: readonly EvidenceLeaf[];
  readonly conflicts: readonly EvidenceConflict[];
  /** Made on the lane since the aggregate before; none for most. */
  readonly entries: readonly EvidenceEntry[];
};

/** Accounts whose remainders one aggregate takes over at most; more come with the next one. */
export const REMAINDERS_MAX = 64;
/** Those, and what was moved on or written off since the aggregate before. */
const ENTRIES_MAX: number = REMAINDERS_MAX + 2;

/** 32 + 32 + 8 + 2 + 6 bytes a leaf, packed, so that ten thousand stay one document below a megabyte. */
const LEAF_BYTES = 80;
const EVIDENCE_TYPE = 61;
const EVIDENCE_BYTES_MAX = 1_048_576;
const ORIGINS_MAX = 4096;

/** Unsigned integer of any size up to 128 bits, as minimal big-endian bytes: sums go beyond u64. */
const WIDE: Field<bigint> = {
  name: 'wide unsigned integer',
  write: (value) => {
    const hex = value.toString(16);
    const even = hex.length % 2 === 0 ? hex : `0${hex}`;
    return Uint8Array.from(even.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  },
  read: (value) => {
    if (!(value instanceof Uint8Array) || value.length === 0 || value.length > 16) return undefined;
    if (value.length > 1 && value[0] === 0) return undefined;
    return BigInt(`0x${toHex(value)}`);
  },
};

type Document = {
  readonly type: number;
  readonly key: KeyDocument;
  readonly lane: string;
  readonly number: number;
  readonly previous?: Uint8Array;
  readonly openingMicro: bigint;
  readonly amountMinor: bigint;
  readonly closingMicro: bigint;
  readonly firstPaidS: number;
  readonly lastPaidS: number;
  readonly root: Uint8Array;
  readonly sumMicro: bigint;
  readonly origins: readonly string[];
  readonly leaves: Uint8Array;
  readonly conflicts: readonly EvidenceConflict[];
  readonly entries?: readonly EntryDocument[];
};

type EntryDocument = {
  readonly kind: string;
  readonly amountMicro: bigint;
  readonly from?: Uint8Array;
};

type KeyDocument = AggregateKey;

const REFERENCE: Field<string> = text(128);

const DOCUMENT: Field<Document> = record<Document>('evidence', {
  type: [0, U8],
  key: [
    1,
    record<KeyDocument>('aggregation key', {
      issuer: [1, REFERENCE],
      acquirer: [2, REFERENCE],
      merchant: [3, REFERENCE],
      programme: [4, REFERENCE],
      account: [5, REFERENCE],
      party: [6, REFERENCE],
      mcc: [7, text(4)],
      currency: [8, U32],
      sign: [9, text(6) as Field<AggregateKey['sign']>],
    }),
  ],
  lane: [2, text(8)],
  number: [3, U53],
  previous: [4, bytes(32), 'optional'],
  openingMicro: [5, WIDE],
  amountMinor: [6, WIDE],
  closingMicro: [7, WIDE],
  firstPaidS: [8, U53],
  lastPaidS: [9, U53],
  root: [10, bytes(32)],
  sumMicro: [11, WIDE],
  origins: [12, listOf(text(256), ORIGINS_MAX)],
  leaves: [13, bytesBetween(0, AGGREGATE_LEAVES_MAX * LEAF_BYTES)],
  conflicts: [
    14,
    listOf(
      record<EvidenceConflict>('conflict', {
        paymentHash: [1, bytes(32)],
        otherHash: [2, bytes(32)],
        rule: [3, text(16)],
      }),
      CONFLICT_LEAVES_MAX,
    ),
  ],
  entries: [
    15,
    listOf(
      record<EntryDocument>('entry', {
        kind: [1, text(16)],
        amountMicro: [2, WIDE],
        from: [3, bytes(32), 'optional'],
      }),
      ENTRIES_MAX,
    ),
    'optional',
  ],
});

const packLeaves = (leaves: readonly EvidenceLeaf[]): Uint8Array => {
  const out = new Uint8Array(leaves.length * LEAF_BYTES);
  const view = new DataView(out.buffer);
  leaves.forEach((leaf, at) => {
    const start = at * LEAF_BYTES;
    out.set(leaf.receiptHash, start);
    out.set(leaf.paymentHash, start + 32);
    view.setBigUint64(start + 64, leaf.amountMicro);
    view.setUint16(start + 72, leaf.origin);
    view.setUint16(start + 74, Math.floor(leaf.leafIndex / 2 ** 32));
    view.setUint32(start + 76, leaf.leafIndex % 2 ** 32);
  });
  return out;
};

const unpackLeaves = (packed: Uint8Array): EvidenceLeaf[] => {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const leaves: EvidenceLeaf[] = [];
  for (let start = 0; start < packed.length; start += LEAF_BYTES) {
    leaves.push({
      receiptHash: packed.slice(start, start + 32),
      paymentHash: packed.slice(start + 32, start + 64),
      amountMicro: view.getBigUint64(start + 64),
      origin: view.getUint16(start + 72),
      leafIndex: view.getUint16(start + 74) * 2 ** 32 + view.getUint32(start + 76),
    });
  }
  return leaves;
};

/** The evidence document as canonical CBOR. */
export const encodeEvidence = (evidence: Evidence): Uint8Array => {
  const { previous, leaves, entries, ...rest } = evidence;
  const changes = entries.map(({ kind, amountMicro, from }) => ({
    kind,
    amountMicro,
    ...(from === undefined ? {} : { from: hexBytes(from) }),
  }));
  return encodeCanonical(
    DOCUMENT.write({
      type: EVIDENCE_TYPE,
      ...rest,
      leaves: packLeaves(leaves),
      ...(previous === undefined ? {} : { previous: hexBytes(previous) }),
      ...(changes.length === 0 ? {} : { entries: changes }),
    }),
  );
};

const hexBytes = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** An aggregate is named by the hash of its evidence, so the chain of residuals is a hash chain. */
export const aggregateIdOf = (document: Uint8Array, hash: Sha256 = sha256): string =>
  toHex(hash(concatBytes(Uint8Array.of(EVIDENCE_TYPE), document)));

/** What evidence can be wrong in. */
type EvidenceFault =
  | 'NOT_EVIDENCE'
  | 'UNKNOWN_CURRENCY'
  | 'WRONG_ROOT'
  | 'WRONG_SUM'
  | 'WRONG_BALANCE'
  | 'WRONG_ENTRY'
  | 'WRONG_ORDER';

export type EvidenceCheck =
  | { readonly ok: true; readonly value: Evidence; readonly id: string; readonly keyId: string }
  | { readonly ok: false; readonly fault: EvidenceFault };

const fault = (code: EvidenceFault): EvidenceCheck => ({ ok: false, fault: code });

/** Entries in a form that means something; undefined where they have none. */
const readEntries = (raw: readonly EntryDocument[]): EvidenceEntry[] | undefined => {
  const entries: EvidenceEntry[] = [];
  for (const { kind: name, amountMicro, from } of raw) {
    const kind = ENTRY_KINDS.find((known) => known === name);
    if (!kind || amountMicro === 0n || (kind === 'moved-in') !== (from !== undefined)) {
      return undefined;
    }
    entries.push({ kind, amountMicro, ...(from && { from: toHex(from) }) });
  }
  return entries;
};

/**
 * Checks one evidence document by itself: form, tree root, sum of leaves, and that opening residual and leaves
 * are exactly what is presented and carried on. Whether the receipts exist is shown by the log's own proofs.
 */
export const verifyEvidence = (document: Uint8Array): EvidenceCheck => {
  const decoded = decodeCanonical(document, { maxBytes: EVIDENCE_BYTES_MAX });
  const raw = decoded.ok ? DOCUMENT.read(decoded.value) : undefined;
  if (raw?.type !== EVIDENCE_TYPE || raw.leaves.length % LEAF_BYTES !== 0)
    return fault('NOT_EVIDENCE');
  const currency = currencyOf(raw.key.currency);
  if (!currency) return fault('UNKNOWN_CURRENCY');
  const leaves = unpackLeaves(raw.leaves);
  // A Payment is charged once; it may be refunded in steps, each by a Credit of its own.
  const isRefund = raw.key.sign === 'credit';
  const seen = new Set(leaves.map((leaf) => toHex(isRefund ? leaf.receiptHash : leaf.paymentHash)));
  const isListed = leaves.every((leaf) => leaf.origin < raw.origins.length);
  if (seen.size !== leaves.length || !isListed || raw.firstPaidS > raw.lastPaidS) {
    return fault('WRONG_ORDER');
  }
  const sum = leaves.reduce((total, leaf) => total + leaf.amountMicro, 0n);
  if (sum !== raw.sumMicro) return fault('WRONG_SUM');
  if (sum >= 1n << 64n || !bytesEqual(sumTreeRoot(leaves).hash, raw.root))
    return fault('WRONG_ROOT');
  const presentedMicro = raw.amountMinor * microPerMinor(currency);
  if (raw.openingMicro + sum !== presentedMicro + raw.closingMicro) return fault('WRONG_BALANCE');
  // An empty list has a shorter form: no list.
  const entries = raw.entries?.length === 0 ? undefined : readEntries(raw.entries ?? []);
  if (!entries) return fault('WRONG_ENTRY');
  const { type: _type, previous, ...rest } = raw;
  const value: Evidence = {
    ...rest,
    entries,
    lane: raw.lane as Lane,
    leaves,
    previous: previous && toHex(previous),
  };
  return { ok: true, value, id: aggregateIdOf(document), keyId: keyIdOf(raw.key) };
};
