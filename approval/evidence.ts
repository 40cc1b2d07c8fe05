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
  /** Absent for a Void on an Offer that was never registered here. */
  readonly offer?: Uint8Array;
  /** Receipt or Void, COSE bytes as sent. */
  readonly outcome: Uint8Array;
  readonly outcomePayload: Uint8Array;
  readonly answeredAtMs: number;
  readonly party: Uint8Array;
}

/** Offers that were registered and not used are forgotten after as many others. */
const MAX_OFFERS: number = MAX_LIVE_OFFERS * 2;
/** Answers that wait for their signature; the approver itself lets no more be pending. */
const MAX_ANSWERS: number = MAX_PENDING * 4;

interface Answered {
  readonly kind: Evidence['kind'];
  readonly payment: Uint8Array;
  readonly payload: Uint8Array;
  readonly atMs: number;
}

function must<T>(checked: Checked<T>, what: string): T {
  if (checked.ok) return checked.value;
  throw new KiriError('JOURNAL_CORRUPT', `approver's journal: ${what}: ${checked.reason}`);
}

/**
 * Puts together what an approver's journals say of each answer: feed OFFERS and MONEY as far as
 * they are durable, then the SIGNED records; each signed row then has its other halves.
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
        payment,
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
        payment,
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

  /** Whether every half of these rows has been fed. */
  isComplete(record: Uint8Array): boolean {
    const { rows } = must(SIGNED_RECORD.decode(record), 'signed');
    return rows.every(({ sequence }) => this.#answers.has(sequence));
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
    const sign1 = must(decodeSign1(answered.payment), 'payment');
    const payment = must(PAYMENT.decode(sign1.payload), 'payment');
    const offer = this.#offers.get(bytesToHex(payment.offerHash));
    const party = this.#parties.get(bytesToHex(payment.line));
    if (!party || (answered.kind === 'accepted' && !offer)) {
      const missing = party ? 'its Offer' : 'the party of its line';
      throw new KiriError(
        'JOURNAL_CORRUPT',
        `approver's journal: sequence ${sequence}: no ${missing}`,
      );
    }
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
