import { toHex } from '../../protocol/bytes.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import { ACCEPTED_RECORD, EQUIVOCATION_RECORD, VOID_RECORD } from '../../approval/records.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import { readPayment, violated } from './violation.ts';

export interface Acceptance {
  readonly lineHex: string;
  readonly counter: number;
  readonly amountMicro: bigint;
  readonly sequence: number;
  /** The Receipt payload. */
  readonly payloadHex: string;
}

/** Caps of one approver as its mandate states them. */
export interface ApproverCaps {
  readonly deviceLimitMicro: bigint;
  readonly unacknowledgedLimitMicro: bigint;
}

/**
 * One approver's money journal, read again from its durable bytes alone and held against the invariants record by record.
 * It shares no code with the approver but the record format.
 */
export class ApproverBook {
  /** Lines with a proof of misbehaviour in this journal. */
  readonly accused: Set<string> = new Set<string>();
  /** Voids by code, and acceptances taken back because their sync came too late. */
  readonly voidCounts: Map<string, number> = new Map<string, number>();
  /** Sequences of acceptances that a Void has taken back. */
  readonly takenBack: Set<number> = new Set<number>();
  readonly #name: string;
  readonly #caps: ApproverCaps;
  readonly #accepted = new Map<string, Acceptance>();
  readonly #voids = new Set<string>();
  /** Every Payment that was answered for good, by line. */
  readonly #answered = new Map<string, Payment[]>();
  readonly #counters = new Map<string, string>();
  readonly #offers = new Map<string, string>();
  readonly #net = new Map<string, bigint>();
  /** Accepted and not acknowledged. */
  readonly #exposed = new Map<string, bigint>();
  #exposedTotal = 0n;
  #total = 0n;
  #read = 0;
  #sequence = 0;
  #acknowledged = 0;

  constructor(name: string, caps: ApproverCaps) {
    this.#name = name;
    this.#caps = caps;
  }

  get acceptedCount(): number {
    return this.#accepted.size;
  }

  get totalMicro(): bigint {
    return this.#total;
  }

  /** Of the last Receipt or Void. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The centre has signed that it holds everything up to now; exposure counts from here. */
  acknowledge(): void {
    this.#exposed.clear();
    this.#exposedTotal = 0n;
    this.#acknowledged = this.#sequence;
  }

  acceptance(hashHex: string): Acceptance | undefined {
    return this.#accepted.get(hashHex);
  }

  isVoid(hashHex: string): boolean {
    return this.#voids.has(hashHex);
  }

  /** Sequences of all Receipts and Voids that stand. */
  *standing(): Generator<number> {
    for (let sequence = 1; sequence <= this.#sequence; sequence += 1) {
      if (!this.takenBack.has(sequence)) yield sequence;
    }
  }

  /** Accepted sum of a line at this approver. */
  netOf(lineHex: string): bigint {
    return this.#net.get(lineHex) ?? 0n;
  }

  /** Payments of a line with a Receipt or Void here. */
  answeredOf(lineHex: string): readonly Payment[] {
    return this.#answered.get(lineHex) ?? [];
  }

  /** Payment hashes of a line that stand accepted here. */
  acceptedOf(lineHex: string): readonly string[] {
    return [...this.#accepted].filter(([, a]) => a.lineHex === lineHex).map(([hashHex]) => hashHex);
  }

  get lines(): Iterable<string> {
    return this.#answered.keys();
  }

  #answer(payment: Payment): void {
    const lineHex = toHex(payment.line);
    const answered = this.#answered.get(lineHex);
    if (answered) answered.push(payment);
    else this.#answered.set(lineHex, [payment]);
  }

  /** @param records all durable records of the journal; they only ever grow */
  absorb(records: readonly Uint8Array[]): void {
    for (; this.#read < records.length; this.#read += 1) {
      const record = records[this.#read]!;
      const acceptedRecord = ACCEPTED_RECORD.decode(record);
      if (acceptedRecord.ok) {
        this.#accept(acceptedRecord.value.payment, acceptedRecord.value.receiptPayload);
        continue;
      }
      const voidRecord = VOID_RECORD.decode(record);
      if (voidRecord.ok) {
        const { payment, refusalPayload, reverses } = voidRecord.value;
        this.#void(payment, refusalPayload, reverses);
        continue;
      }
      const proof = EQUIVOCATION_RECORD.decode(record);
      if (proof.ok) this.accused.add(toHex(readPayment(proof.value.later)!.payment.line));
    }
  }

  #next(sequence: number | undefined): void {
    if (sequence !== this.#sequence + 1 && this.#sequence !== 0) {
      violated('sequences run on', `${this.#name}: ${sequence} follows ${this.#sequence}`);
    }
    this.#sequence = sequence ?? 0;
  }

  #accept(paymentCose: Uint8Array, receiptPayload: Uint8Array): void {
    const { hashHex, payment } = readPayment(paymentCose)!;
    const receipt = RECEIPT.decode(receiptPayload);
    const sequence = receipt.ok ? receipt.value.sequence : undefined;
    this.#next(sequence);
    const lineHex = toHex(payment.line);
    const counterKey = `${lineHex} ${payment.counter}`;
    const known = this.#counters.get(counterKey);
    if (known !== undefined || this.#accepted.has(hashHex)) {
      violated('one counter, one acceptance', `${this.#name}: line ${counterKey}`);
    }
    const offerHex = toHex(payment.offerHash);
    if (this.#offers.has(offerHex)) {
      violated('one Offer, one acceptance', `${this.#name}: Offer ${offerHex}`);
    }
    this.#answer(payment);
    this.#counters.set(counterKey, hashHex);
    this.#offers.set(offerHex, hashHex);
    this.#accepted.set(hashHex, {
      lineHex,
      counter: payment.counter,
      amountMicro: payment.amountMicro,
      sequence: sequence ?? 0,
      payloadHex: toHex(receiptPayload),
    });
    this.#move(lineHex, payment.amountMicro, this.#sequence);
  }

  #void(paymentCose: Uint8Array, refusalPayload: Uint8Array, reverses: number | undefined): void {
    const { hashHex, payment } = readPayment(paymentCose)!;
    const refusal = REFUSAL.decode(refusalPayload);
    this.#next(refusal.ok ? refusal.value.sequence : undefined);
    const code = refusal.ok ? refusal.value.code : 'unreadable';
    const what = reverses === undefined ? code : `${code} instead of a late acceptance`;
    this.voidCounts.set(what, (this.voidCounts.get(what) ?? 0) + 1);
    const known = this.#accepted.get(hashHex);
    if (known?.sequence !== reverses) {
      violated('Receipt and Void exclude each other', `${this.#name}: ${hashHex}`);
    }
    if (known) {
      this.takenBack.add(known.sequence);
      this.#accepted.delete(hashHex);
      this.#counters.delete(`${known.lineHex} ${known.counter}`);
      this.#offers.delete(toHex(payment.offerHash));
      this.#move(known.lineHex, -known.amountMicro, known.sequence);
    }
    if (!known) this.#answer(payment);
    this.#voids.add(hashHex);
  }

  #move(lineHex: string, byMicro: bigint, sequence: number): void {
    this.#net.set(lineHex, this.netOf(lineHex) + byMicro);
    this.#total += byMicro;
    if (sequence <= this.#acknowledged) return;
    const exposed = (this.#exposed.get(lineHex) ?? 0n) + byMicro;
    this.#exposed.set(lineHex, exposed);
    this.#exposedTotal += byMicro;
    if (exposed > this.#caps.deviceLimitMicro) {
      violated('exposure stays within its caps', `${this.#name}: line ${lineHex} has ${exposed}`);
    }
    if (this.#exposedTotal > this.#caps.unacknowledgedLimitMicro) {
      violated('exposure stays within its caps', `${this.#name}: ${this.#exposedTotal} in all`);
    }
  }
}
