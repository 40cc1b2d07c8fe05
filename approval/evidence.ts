import { bytesToHex } from '@noble/hashes/utils.js';
import { decodeSign1, joinSign1 } from '../protocol/cose.ts';
import { offerHash } from '../protocol/ids.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import { PAYMENT } from '../protocol/messages/payment.ts';
import { RECEIPT } from '../protocol/messages/receipt.ts';
import { REFUSAL } from '../protocol/messages/refusal.ts';
import type { CoseAlg } from '../protocol/public-key.ts';
import type { Checked } from '../protocol/refusal.ts';
import { MAX_LIVE_OFFERS, MAX_PENDING } from './limits.ts';
import {
  ACCEPTED_RECORD,
  OFFER_RECORD,
  PRESENTED_RECORD,
  recordType,
  SIGNED_RECORD,
  VOID_RECORD,
  type SignedRow,
} from './records.ts';

/** One answered Payment with everything that proves it, as the ledger takes it. */
export interface Evidence {
  readonly kind: 'accepted' | 'void';
  readonly sequence: number;
  /** COSE bytes as sent. */
  readonly payment: Uint8Array;
  /** Absent where OFFERS does not hold it: a Void on an Offer of no use, or one that its payee must hand in again. */
  readonly offer?: Uint8Array;
  /** Receipt or Void, COSE bytes as sent. */
  readonly outcome: Uint8Array;
  readonly outcomePayload: Uint8Array;
  readonly answeredAtMs: number;
  readonly party: Uint8Array;
}

/** Offers that were registered and paid for by nobody yet: forgotten after as many others. */
const MAX_OFFERS: number = MAX_LIVE_OFFERS * 2;
/** Answers that wait for their signature; the approver itself lets no more be pending. */
const MAX_ANSWERS: number = MAX_PENDING * 4;

interface Answered {
  readonly kind: Evidence['kind'];
  readonly lineHex: string;
  readonly offerHex: string;
  readonly payment: Uint8Array;
  readonly payload: Uint8Array;
  readonly atMs: number;
}

function must<T>(checked: Checked<T>, what: string): T {
  if (checked.ok) return checked.value;
  throw new KiriError('JOURNAL_CORRUPT', `approver's journal: ${what}: ${checked.reason}`);
}

const namedBy = (bytes: Uint8Array): Pick<Answered, 'payment' | 'lineHex' | 'offerHex'> => {
  const sign1 = must(decodeSign1(bytes), 'payment');
  const payment = must(PAYMENT.decode(sign1.payload), 'payment');
  const { line, offerHash: hash } = payment;
  return { payment: bytes, lineHex: bytesToHex(line), offerHex: bytesToHex(hash) };
};

/**
 * Puts together what an approver's journals say of each answer. Feed it MONEY only until no row of
 * the next SIGNED record lacks its answer, then OFFERS only until none lacks its Offer: what it
 * holds is then what was read ahead, however long the journals are.
 */
export class EvidenceJoiner {
  readonly #alg: CoseAlg;
  readonly #offers = new Map<string, Uint8Array>();
  readonly #answers = new Map<number, Answered>();
  readonly #parties = new Map<string, Uint8Array>();

  /** @param alg of the approver's key */
  constructor(alg: CoseAlg) {
    this.#alg = alg;
  }

  offerRecord(record: Uint8Array): void {
    if (recordType(record) !== OFFER_RECORD.type) return;
    const { offer } = must(OFFER_RECORD.decode(record), 'offer');
    const { payload } = must(decodeSign1(offer), 'offer');
    this.#offers.set(bytesToHex(offerHash(payload)), offer);
    if (this.#offers.size <= MAX_OFFERS) return;
    for (const oldest of this.#offers.keys()) {
      this.#offers.delete(oldest);
      break;
    }
  }

  moneyRecord(record: Uint8Array): void {
    const type = recordType(record);
    if (type === PRESENTED_RECORD.type) {
      const { line, party } = must(PRESENTED_RECORD.decode(record), 'presented');
      this.#parties.set(bytesToHex(line), party);
    } else if (type === ACCEPTED_RECORD.type) {
      const { payment, receiptPayload, acceptedAtMs } = must(
        ACCEPTED_RECORD.decode(record),
        'accepted',
      );
      const { sequence } = must(RECEIPT.decode(receiptPayload), 'receipt');
      this.#wait(sequence, {
        kind: 'accepted',
        ...namedBy(payment),
        payload: receiptPayload,
        atMs: acceptedAtMs,
      });
    } else if (type === VOID_RECORD.type) {
      const { payment, refusalPayload, voidedAtMs, reverses } = must(
        VOID_RECORD.decode(record),
        'void',
      );
      const { sequence } = must(REFUSAL.decode(refusalPayload), 'refusal');
      if (reverses !== undefined) this.#answers.delete(reverses);
      this.#wait(sequence ?? 0, {
        kind: 'void',
        ...namedBy(payment),
        payload: refusalPayload,
        atMs: voidedAtMs,
      });
    }
  }

  #wait(sequence: number, answered: Answered): void {
    if (this.#answers.size >= MAX_ANSWERS) {
      throw new KiriError('JOURNAL_CORRUPT', `approver's journal: ${MAX_ANSWERS} answers unsigned`);
    }
    this.#answers.set(sequence, answered);
  }

  /** Whether MONEY has to be read on for these rows. */
  lacksAnswer(record: Uint8Array): boolean {
    const { rows } = must(SIGNED_RECORD.decode(record), 'signed');
    return rows.some(({ sequence }) => !this.#answers.has(sequence));
  }

  /** Whether OFFERS has to be read on for what these rows accepted. */
  lacksOffer(record: Uint8Array): boolean {
    const { rows } = must(SIGNED_RECORD.decode(record), 'signed');
    return rows.some(({ sequence }) => {
      const answered = this.#answers.get(sequence);
      return answered?.kind === 'accepted' && !this.#offers.has(answered.offerHex);
    });
  }

  /** In sequence order; each row is given out once. */
  signedRecord(record: Uint8Array): Evidence[] {
    return must(SIGNED_RECORD.decode(record), 'signed').rows.map((row) => this.#join(row));
  }

  #join({ sequence, signature }: SignedRow): Evidence {
    const answered = this.#answers.get(sequence);
    if (!answered) {
      throw new KiriError(
        'JOURNAL_CORRUPT',
        `approver's journal: sequence ${sequence} has no answer`,
      );
    }
    this.#answers.delete(sequence);
    const { lineHex, offerHex } = answered;
    const party = this.#parties.get(lineHex);
    if (!party) {
      throw new KiriError(
        'JOURNAL_CORRUPT',
        `approver's journal: sequence ${sequence}: no party of its line`,
      );
    }
    const offer = this.#offers.get(offerHex);
    // One acceptance uses an Offer up (DESIGN §3); those that wait for theirs stay.
    if (answered.kind === 'accepted') this.#offers.delete(offerHex);
    return {
      kind: answered.kind,
      sequence,
      payment: answered.payment,
      ...(offer ? { offer } : {}),
      outcome: joinSign1(this.#alg, answered.payload, signature),
      outcomePayload: answered.payload,
      answeredAtMs: answered.atMs,
      party,
    };
  }
}
