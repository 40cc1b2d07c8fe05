import type { RefusalCode } from '../../protocol/refusal.ts';
import { EvidenceJoiner } from '../../approval/evidence.ts';
import type { CoseAlg } from '../../protocol/public-key.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { PAID, QUERY } from '../../protocol/messages/envelopes.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import type { ApproverBook } from './approver-book.ts';
import { contradict, readPayment, violated, type SentPayment } from './violation.ts';

export interface HonestLine {
  readonly payer: string;
  readonly lineHex: string;
  readonly ceilingMicro: bigint;
}

/** What a payer's application was told about one want. */
interface Told {
  kind: 'accepted' | 'refused' | 'unknown';
  readonly hashHex: string | undefined;
  readonly code: RefusalCode | undefined;
}

export interface OutcomeSeen {
  readonly kind: 'accepted' | 'refused' | 'unknown';
  readonly ref: string;
  readonly hashHex: string | undefined;
  readonly code: RefusalCode | undefined;
}

/**
 * Watches a world from outside: what stands on the disks, what leaves the nodes and what applications are told. It knows
 * nothing of the inside of any core. Throws at the first broken invariant.
 */
export class Checker {
  readonly #books = new Map<string, ApproverBook>();
  readonly #honest = new Map<string, HonestLine>();
  /** Per honest line: Payment hash by counter, of everything that ever left the device. */
  readonly #sent = new Map<string, Map<number, SentPayment>>();
  readonly #released = new Map<string, 'receipt' | 'void'>();
  readonly #sold = new Set<string>();
  readonly #told = new Map<string, Map<string, Told>>();

  addHonest(line: HonestLine): void {
    this.#honest.set(line.lineHex, line);
    this.#sent.set(line.lineHex, new Map());
    this.#told.set(line.payer, new Map());
  }

  addApprover(name: string, book: ApproverBook): void {
    this.#books.set(name, book);
  }

  /** The money journal of an approver has grown: look at what is durable now. */
  durable(approver: string, records: readonly Uint8Array[]): void {
    const book = this.#books.get(approver)!;
    book.absorb(records);
    for (const lineHex of book.accused) {
      if (this.#honest.has(lineHex)) {
        violated('an honest device is never accused', `${approver} has a proof against ${lineHex}`);
      }
    }
    for (const [lineHex, { ceilingMicro }] of this.#honest) {
      if (book.netOf(lineHex) > ceilingMicro) {
        violated('exposure stays within its caps', `${lineHex} is above its ceiling`);
      }
    }
  }

  /** A signed answer leaves an approver for a device. */
  replied(approver: string, verb: string, bytes: Uint8Array): void {
    if (verb === 'receipt') this.#receiptLeaves(approver, bytes);
    if (verb === 'refusal') this.#refusalLeaves(approver, bytes);
    if (verb !== 'paid') return;
    const paid = PAID.decode(bytes);
    if (paid.ok) this.#receiptLeaves(approver, paid.value.receipt);
  }

  #receiptLeaves(approver: string, cose: Uint8Array): void {
    const sign1 = decodeSign1(cose);
    const receipt = sign1.ok ? RECEIPT.decode(sign1.value.payload) : sign1;
    if (!sign1.ok || !receipt.ok) return;
    const hashHex = toHex(receipt.value.paymentHash);
    const entry = this.#books.get(approver)!.acceptance(hashHex);
    if (!entry) violated('accepted is durable before it leaves', `${approver} Receipt ${hashHex}`);
    if (entry.payloadHex !== toHex(sign1.value.payload)) {
      violated('a stored answer is never rebuilt', `${approver} Receipt ${hashHex}`);
    }
    this.#releases(approver, hashHex, 'receipt');
  }

  #refusalLeaves(approver: string, cose: Uint8Array): void {
    const sign1 = decodeSign1(cose);
    const refusal = sign1.ok ? REFUSAL.decode(sign1.value.payload) : sign1;
    if (!sign1.ok || !refusal.ok || !refusal.value.final) return;
    const hashHex = toHex(refusal.value.paymentHash);
    if (!this.#books.get(approver)!.isVoid(hashHex)) {
      violated('accepted is durable before it leaves', `${approver} Void ${hashHex}`);
    }
    this.#releases(approver, hashHex, 'void');
  }

  #releases(approver: string, hashHex: string, answer: 'receipt' | 'void'): void {
    const key = `${approver} ${hashHex}`;
    const before = this.#released.get(key);
    if (before !== undefined && before !== answer) {
      violated('Receipt and Void exclude each other', key);
    }
    this.#released.set(key, answer);
  }

  /** A Payment or Query leaves an honest device. `durableHashes`: Payments in its journal. */
  paymentLeaves(payer: string, bytes: Uint8Array, durableHashes: ReadonlySet<string>): void {
    const query = QUERY.decode(bytes);
    const read = readPayment(query.ok ? query.value.payment : bytes);
    if (!read) return;
    const { hashHex, payment } = read;
    const sent = this.#sent.get(toHex(payment.line));
    if (!sent) return;
    if (!durableHashes.has(hashHex)) {
      violated('a Payment is durable before it leaves', `${payer} counter ${payment.counter}`);
    }
    const before = sent.get(payment.counter);
    if (before !== undefined && before.hashHex !== hashHex) {
      violated('one counter, one Payment', `${payer} counter ${payment.counter}`);
    }
    sent.set(payment.counter, read);
  }

  outcome(payer: string, seen: OutcomeSeen): void {
    const told = this.#told.get(payer);
    if (!told) return;
    const { ref, kind, hashHex } = seen;
    const before = told.get(ref);
    const isContrary =
      before !== undefined &&
      before.kind !== 'unknown' &&
      kind !== 'unknown' &&
      before.kind !== kind;
    // Before anything was signed "refused" ends one attempt; the application may want again under the same ref.
    if (isContrary && before.hashHex !== undefined) {
      violated('outcomes are final and true', `${payer} ${ref}: ${before.kind}, then ${kind}`);
    }
    if (hashHex !== undefined && kind !== 'unknown') {
      const isAccepted = this.#acceptedSomewhere(hashHex);
      if (isAccepted !== (kind === 'accepted')) {
        violated(
          'outcomes are final and true',
          `${payer} ${ref}: ${kind}, approver says otherwise`,
        );
      }
    }
    const isOver =
      before !== undefined && before.kind !== 'unknown' && before.hashHex !== undefined;
    if (!isOver) {
      told.set(ref, { kind, hashHex, code: seen.code });
    }
  }

  #acceptedSomewhere(hashHex: string): boolean {
    return [...this.#books.values()].some((book) => book.acceptance(hashHex) !== undefined);
  }

  /** A payee opened its gate. */
  sold(payee: string, hashHex: string): void {
    if (this.#sold.has(hashHex)) violated('a gate opens once for a Payment', `${payee} ${hashHex}`);
    this.#sold.add(hashHex);
    if (!this.#acceptedSomewhere(hashHex)) {
      violated('a gate opens only for an accepted Payment', `${payee} ${hashHex}`);
    }
  }

  watches(payer: string): boolean {
    return this.#told.has(payer);
  }

  /** Has the application been told how this purchase ended? */
  hasEnded(payer: string, ref: string): boolean {
    const told = this.#told.get(payer)?.get(ref);
    return told !== undefined && told.kind !== 'unknown';
  }

  /**
   * What the ledger reads of an approver's durable journals: every answer that stands, with its Offer, each once, and no
   * acceptance that was taken back.
   */
  recorded(
    approver: string,
    alg: CoseAlg,
    journals: Readonly<Record<'offers' | 'money' | 'signed', readonly Uint8Array[]>>,
  ): void {
    const joiner = new EvidenceJoiner(alg);
    const book = this.#books.get(approver)!;
    const money = journals.money[Symbol.iterator]();
    const offers = journals.offers[Symbol.iterator]();
    const next = (of: Iterator<Uint8Array>, what: string): Uint8Array => {
      const { value, done } = of.next();
      if (done) violated('the ledger hears of every answer', `${approver}: no ${what} for a row`);
      return value;
    };
    const seen = new Set<number>();
    for (const record of journals.signed) {
      while (joiner.lacksAnswer(record)) joiner.moneyRecord(next(money, 'answer'));
      while (joiner.lacksOffer(record)) joiner.offerRecord(next(offers, 'Offer'));
      for (const { sequence } of joiner.signedRecord(record)) seen.add(sequence);
    }
    for (const sequence of book.standing()) {
      if (seen.has(sequence)) continue;
      violated('the ledger hears of every answer', `${approver}: sequence ${sequence} is unsigned`);
    }
    for (const sequence of seen) {
      if (book.takenBack.has(sequence)) {
        violated('the ledger hears of every answer', `${approver}: ${sequence} was taken back`);
      }
    }
  }

  /** After the faults have stopped: no outcome is open, and both sides have the same sum. */
  finish(openPayments: ReadonlyMap<string, number>): void {
    for (const [payer, open] of openPayments) {
      if (open > 0) {
        violated(
          'everything ends when the faults stop',
          `${payer} has ${open} Payments without end`,
        );
      }
    }
    for (const { payer, lineHex } of this.#honest.values()) this.#conserve(payer, lineHex);
    for (const [approver, book] of this.#books) this.#proveClones(approver, book);
  }

  /** What an approver answered and what contradicts: it must hold a proof, and no honest line can be among them. */
  #proveClones(approver: string, book: ApproverBook): void {
    for (const lineHex of book.lines) {
      const payments = book.answeredOf(lineHex);
      const isProvable = payments.some((a, i) =>
        payments.some((b, j) => j > i && contradict(a, b)),
      );
      if (!isProvable) continue;
      if (this.#honest.has(lineHex)) {
        violated('an honest device is never accused', `${lineHex} contradicts itself`);
      }
      if (!book.accused.has(lineHex)) {
        violated('a clone is proven', `${approver} saw ${lineHex} contradict itself, no proof`);
      }
    }
  }

  #conserve(payer: string, lineHex: string): void {
    let device = 0n;
    const held = new Set<string>();
    for (const [ref, told] of this.#told.get(payer)!) {
      if (told.kind === 'unknown') {
        violated('everything ends when the faults stop', `${payer} ${ref} is still unknown`);
      }
      if (told.kind !== 'accepted') continue;
      device += this.#amountOf(lineHex, told.hashHex!);
      held.add(told.hashHex!);
    }
    let approvers = 0n;
    for (const [approver, book] of this.#books) {
      approvers += book.netOf(lineHex);
      const missing = book.acceptedOf(lineHex).find((hashHex) => !held.has(hashHex));
      if (missing === undefined) continue;
      violated('value is conserved', `${approver} accepted ${missing}, ${payer} does not know`);
    }
    if (device !== approvers) {
      violated('value is conserved', `${payer} holds ${device}, the approvers have ${approvers}`);
    }
  }

  #amountOf(lineHex: string, hashHex: string): bigint {
    for (const { hashHex: sent, payment } of this.#sent.get(lineHex)!.values()) {
      if (sent === hashHex) return payment.amountMicro;
    }
    return violated('outcomes are final and true', `${hashHex} was never sent`);
  }
}
