/** Checking the records of a log: pure work of one processor, done in line or on the threads of check-threads.ts. */
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import { openPayload, parsePayloadRecord } from '../ledger/payload-record.ts';
import type { ElsewhereItem, LogPlace, RejectedItem, VerifiedItem } from './core/ingest.ts';
import { partOfParty } from './core/part.ts';
import type { Part } from './core/part.ts';
import type { CheckRegistry } from './core/check-registry.ts';
import { itemsOf, readEvidence, type ReadEntry } from './core/read-evidence.ts';
import type { Registry } from './core/registry.ts';
import type { RegistryChange } from './core/registry-change.ts';

/** What every record of a clearing is held against. */
export interface CheckBasis {
  readonly registry: CheckRegistry;
  /** Id of this clearing's key. */
  readonly clearing: Uint8Array;
  /** Which part of the clearing books here; absent: all of it. */
  readonly part?: Part;
}

/** The same where the registry is held as a whole. */
export interface CheckRules extends CheckBasis {
  readonly registry: Registry;
}

/** A record that its leaf commits to, still sealed, with the content key that opens it. */
export interface SealedRecord {
  readonly leafIndex: number;
  readonly record: Uint8Array;
  readonly key: Uint8Array;
}

/** Records of one bundle of one log. */
export interface RecordBatch {
  readonly origin: string;
  /** Earliest cosignature over them, seconds since 1970. */
  readonly cosignedAtS: number;
  readonly records: readonly SealedRecord[];
}

export type CheckedItem = VerifiedItem | RejectedItem | ElsewhereItem;

/** Checks batches; the items of one come in the order of its records, a refund behind its Payment. */
export interface RecordChecker {
  /** @throws KiriError CHECK_THREAD_FAILED: the batch was not judged and may be handed in again */
  check(batch: RecordBatch): Promise<readonly CheckedItem[]>;
}

/** A checker whose registry may be followed by a later one; never while a batch is under check. */
export interface RegistryChecker extends RecordChecker {
  follow(registry: Registry, change: RegistryChange): void;
}

/** For a record that is noted and booked nowhere. */
export const rejected = (place: LogPlace, code: string, detail: string): RejectedItem => ({
  kind: 'rejected',
  ...place,
  code,
  detail,
});

/** What cannot be read has no party to go by: the first part of the clearing notes it for all. */
export const notedBy = (
  part: Part | undefined,
  item: RejectedItem,
): RejectedItem | ElsewhereItem =>
  part === undefined || part.index === 0
    ? item
    : { kind: 'elsewhere', origin: item.origin, leafIndex: item.leafIndex };

/** The line of a record that was refused; undefined where not even that can be read. */
const lineOf = (plain: Uint8Array): string | undefined => {
  const evidence = EVIDENCE.decode(plain);
  const signed = evidence.ok && decodeSign1(evidence.value.payment);
  const payment = signed && signed.ok && PAYMENT.decode(signed.value.payload);
  return payment && payment.ok ? toHex(payment.value.line) : undefined;
};

/**
 * Notes what was read and refused. Parts take documents in at different times: another part may have those that are missing
 * here and leave the record to this one, so the part of its party notes it, and whoever does not know its line.
 */
const refusedBy = (
  { part, registry }: CheckBasis,
  plain: Uint8Array,
  item: RejectedItem,
): RejectedItem | ElsewhereItem => {
  const line = part && lineOf(plain);
  if (!part || line === undefined) return notedBy(part, item);
  const [payer] = registry.payers.get(line) ?? [];
  const isHere = !payer || partOfParty(payer.partyId, part.of) === part.index;
  const { origin, leafIndex } = item;
  return isHere ? item : { kind: 'elsewhere', origin, leafIndex };
};

/**
 * What this part books of an entry. Another part's is verified all the same: the row that it is of counts into the
 * acknowledgement here too, and only a record whose signatures hold may move that on.
 */
const ownItems = (
  entry: ReadEntry,
  place: LogPlace,
  part: Part | undefined,
): CheckedItem | CheckedItem[] => {
  if (part && partOfParty(entry.party, part.of) !== part.index) {
    const { row } = entry.item;
    return { kind: 'elsewhere', ...place, ...(row && { row }) };
  }
  return itemsOf(entry, place);
};

/** Opens and checks every record, each by itself: whatever is wrong with one holds up no other. */
export const checkRecords = (
  rules: CheckBasis,
  verifier: Verifier,
  { origin, cosignedAtS, records }: RecordBatch,
): CheckedItem[] =>
  records.flatMap(({ leafIndex, record, key }): CheckedItem | CheckedItem[] => {
    const place = { origin, leafIndex };
    const { registry, clearing, part } = rules;
    try {
      const parsed = parsePayloadRecord(record);
      const plain = parsed && openPayload(parsed, key);
      if (!parsed || !plain) {
        const why = 'the payload cannot be opened';
        return notedBy(part, rejected(place, 'PAYLOAD_SEALED', why));
      }
      const outcomeHash = parsed.receiptPayloadHash;
      const context = { ...place, cosignedAtS, outcomeHash, clearing };
      const entry = readEvidence(registry, verifier, plain, context);
      return entry.ok
        ? ownItems(entry.value, place, part)
        : refusedBy(rules, plain, rejected(place, entry.code, entry.reason));
    } catch (error) {
      // A record that our own reader stumbles over is noted like a wrong one; else it would stop its log for good.
      return notedBy(part, rejected(place, 'RECORD_UNREADABLE', String(error)));
    }
  });

/** Checks on the thread that asks. */
export const checkInLine = (rules: CheckRules, verifier: Verifier): RegistryChecker => {
  let held = rules;
  return {
    check: async (batch) => checkRecords(held, verifier, batch),
    follow: (registry) => (held = { ...held, registry }),
  };
};
