import { checkPeriod, type NamedPeriod } from '../../identity/core/period.ts';
import type { VerifiedBinding, VerifiedPayee, VerifiedPayer } from '../../identity/core/chain.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../protocol/ids.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { FLAG_TIME_QUALITY, RECEIPT, type Receipt } from '../../protocol/messages/receipt.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import type { Codec } from '../../protocol/schema.ts';
import type { Artefacts } from './artefacts.ts';
import type { DocumentBook, KnownPayee } from './documents.ts';
import type { Findings } from './findings.ts';

/** A Payment with its Offer and Receipt after every check. */
export interface CheckedReceipt {
  /** Path without the ending, for faults. */
  readonly stem: string;
  readonly paymentHash: Uint8Array;
  readonly receiptHash: Uint8Array;
  readonly payment: Payment;
  readonly receipt: Receipt;
  readonly chargedMicro: bigint;
  readonly bound: VerifiedBinding;
  readonly payee: VerifiedPayee;
  /** The payer's chain in force when it was accepted; of a receipt without a time the newest, unjudged. */
  readonly payer: VerifiedPayer;
  /** Every chain of its line, in the order in which clearing asks them. */
  readonly payers: readonly VerifiedPayer[];
}

/** By SHA-256 of the Receipt's payload, in hex. */
export type ReceiptBook = ReadonlyMap<string, CheckedReceipt>;

const period = (chain: { readonly period: NamedPeriod }): NamedPeriod => chain.period;

const MEMBER = /^(.*\/)?([0-9a-f]{24})\.(payment|offer|receipt)\.cbor$/;

/** The set that a file belongs to: its path without `.payment.cbor` and the like. */
export function receiptStem(path: string): string | undefined {
  const [, folder, hash] = MEMBER.exec(path) ?? [];
  return hash === undefined ? undefined : `${folder ?? ''}${hash}`;
}

interface Signed<T> {
  readonly value: T;
  readonly sign1: Sign1;
}

/** Reads one message; what is wrong with its bytes is said at its path. */
function openMessage<T>(
  files: Artefacts,
  path: string,
  codec: Codec<T>,
  findings: Findings,
): Signed<T> | undefined {
  const bytes = files.read(path);
  if (!bytes) return undefined;
  const sign1 = decodeSign1(bytes);
  const { typ, kid, role } = sign1.ok ? sign1.value.header : {};
  if (!sign1.ok || typ !== undefined || kid !== undefined || role !== undefined) {
    findings.fault(path, sign1.ok ? 'a message header holds the algorithm alone' : sign1.reason);
    return undefined;
  }
  const value = codec.decode(sign1.value.payload);
  if (!value.ok) {
    findings.fault(path, `${value.code}: ${value.reason}`);
    return undefined;
  }
  return { value: value.value, sign1: sign1.value };
}

/** One set under check. A link is only judged between messages whose own signatures hold. */
class SetCheck {
  readonly #book: DocumentBook;
  readonly #findings: Findings;
  readonly #files: Artefacts;
  readonly #stem: string;

  constructor(files: Artefacts, stem: string, book: DocumentBook, findings: Findings) {
    this.#files = files;
    this.#stem = stem;
    this.#book = book;
    this.#findings = findings;
  }

  #path(kind: string): string {
    return `${this.#stem}.${kind}.cbor`;
  }

  #fault(kind: string, reason: string): undefined {
    this.#findings.fault(this.#path(kind), reason);
    return undefined;
  }

  #holds(kind: string, key: PublicKey | undefined, sign1: Sign1, whose: string): boolean {
    const { verifier } = this.#book.trust;
    if (key && verifySign1(verifier, key, sign1)) return true;
    this.#fault(
      kind,
      key ? `the signature is not by its ${whose}` : `its ${whose} is in no valid document`,
    );
    return false;
  }

  #payment(): (Signed<Payment> & { bound: VerifiedBinding }) | undefined {
    const opened = openMessage(this.#files, this.#path('payment'), PAYMENT, this.#findings);
    if (!opened) return undefined;
    const { value, sign1 } = opened;
    const bindings = this.#book.bindings.get(toHex(value.line)) ?? [];
    const { verifier } = this.#book.trust;
    const bound = bindings.find((one) => verifySign1(verifier, one.deviceKey, sign1));
    if (!bound) {
      const none = bindings.length === 0 ? 'its line has no valid binding' : '';
      return this.#fault('payment', none || 'the signature is not by the device of its line');
    }
    const name = this.#stem.slice(this.#stem.lastIndexOf('/') + 1);
    if (toHex(payloadHash(sign1.payload)).slice(0, 24) !== name) {
      return this.#fault('payment', 'the file is not named after this Payment');
    }
    if (value.currency !== bound.binding.currency) {
      return this.#fault('payment', 'currency is not that of its binding');
    }
    return { ...opened, bound };
  }

  #offer(): (Signed<Offer> & { payees: readonly KnownPayee[] }) | undefined {
    const opened = openMessage(this.#files, this.#path('offer'), OFFER, this.#findings);
    if (!opened) return undefined;
    const payees = this.#book.payees.get(toHex(opened.value.payee)) ?? [];
    const isSigned = this.#holds('offer', payees[0]?.key, opened.sign1, 'payee');
    return isSigned ? { ...opened, payees } : undefined;
  }

  #receipt(approver: Uint8Array | undefined): Signed<Receipt> | undefined {
    const opened = openMessage(this.#files, this.#path('receipt'), RECEIPT, this.#findings);
    if (!opened) return undefined;
    // A Receipt does not name its approver, the Payment does; without it any mandated one may have signed.
    const { approvers, trust } = this.#book;
    const keys = [...approvers.values()].map((mandates) => mandates[0]!.gatewayKey);
    const key = approver
      ? approvers.get(toHex(approver))?.[0]?.gatewayKey
      : keys.find((one) => verifySign1(trust.verifier, one, opened.sign1));
    return this.#holds('receipt', key, opened.sign1, 'approver') ? opened : undefined;
  }

  #offerFits(payment: Payment, { value: offer, sign1 }: Signed<Offer>): boolean {
    const fits =
      bytesEqual(offerHash(sign1.payload), payment.offerHash) &&
      bytesEqual(offer.payee, payment.payee) &&
      bytesEqual(offer.approver, payment.approver) &&
      offer.currency === payment.currency &&
      offer.amountMicro === payment.amountMicro;
    if (!fits) this.#fault('offer', 'is not the Offer that the Payment pays');
    return fits;
  }

  #receiptFits(payment: Signed<Payment>, { value }: Signed<Receipt>): boolean {
    if (!bytesEqual(value.paymentHash, payloadHash(payment.sign1.payload))) {
      this.#fault('receipt', 'is for another Payment');
      return false;
    }
    if ((value.chargedMicro ?? 0n) > payment.value.amountMicro) {
      this.#fault('receipt', 'charges more than was paid');
      return false;
    }
    return true;
  }

  /** The newest chain in force when the approver accepted; with an unknown clock the newest, unjudged. */
  #inForce<T>(
    chains: readonly T[] | undefined,
    periodOf: (chain: T) => NamedPeriod,
    receipt: Receipt,
    what: string,
  ): T | undefined {
    const isTimed = (receipt.flags & FLAG_TIME_QUALITY) !== 0;
    const held = (chain: T): boolean => !isTimed || checkPeriod(periodOf(chain), receipt.timeS).ok;
    return (
      chains?.find(held) ?? this.#fault('receipt', `no ${what} was in force when it was given`)
    );
  }

  #complete(
    payment: Signed<Payment> & { bound: VerifiedBinding },
    payees: readonly KnownPayee[],
    receipt: Signed<Receipt>,
  ): CheckedReceipt | undefined {
    const { bound, value } = payment;
    const { approvers, payers } = this.#book;
    const { value: said } = receipt;
    const mandate = this.#inForce(approvers.get(toHex(value.approver)), period, said, 'mandate');
    const chains = payers.get(bound.lineHex) ?? [];
    const payer = this.#inForce(chains, period, said, 'allowance');
    const payee = this.#inForce(payees, (one) => one.verified.period, said, 'merchant credential');
    if (!mandate || !payer || !payee) return undefined;
    const currencies = [mandate.mandate.currency, payee.verified.merchant.currency];
    if (currencies.some((currency) => currency !== value.currency)) {
      return this.#fault('payment', 'Payment and documents differ in currency');
    }
    return {
      stem: this.#stem,
      paymentHash: payloadHash(payment.sign1.payload),
      receiptHash: payloadHash(receipt.sign1.payload),
      payment: value,
      receipt: said,
      chargedMicro: said.chargedMicro ?? value.amountMicro,
      bound,
      payee: payee.verified,
      payer,
      payers: chains,
    };
  }

  run(): CheckedReceipt | undefined {
    const payment = this.#payment();
    const offer = this.#offer();
    const receipt = this.#receipt(payment?.value.approver);
    const offerFits = payment && offer && this.#offerFits(payment.value, offer);
    const receiptFits = payment && receipt && this.#receiptFits(payment, receipt);
    if (!payment || !offer || !receipt || !offerFits || !receiptFits) return undefined;
    return this.#complete(payment, offer.payees, receipt);
  }
}

/** Checks sets of Payment, Offer and Receipt, and resolves each to its liable party. */
export function checkReceipts(
  files: Artefacts,
  stems: Iterable<string>,
  book: DocumentBook,
  findings: Findings,
): ReceiptBook {
  const receipts = new Map<string, CheckedReceipt>();
  const sequences = new Map<string, string>();
  for (const stem of new Set(stems)) {
    findings.count('receipts');
    const path = `${stem}.receipt.cbor`;
    const checked = findings.guard(path, () => new SetCheck(files, stem, book, findings).run());
    if (!checked) continue;
    const { payment, receipt, payer, chargedMicro } = checked;
    receipts.set(toHex(checked.receiptHash), checked);
    const place = `${toHex(payment.approver)} ${receipt.sequence}`;
    const twin = sequences.get(place);
    if (twin !== undefined) findings.fault(path, `its approver used the sequence in ${twin} too`);
    sequences.set(place, stem);
    findings.liable({
      party: payer.partyHex,
      reference: payer.party.reference,
      amountMicro: chargedMicro,
      currency: payment.currency,
    });
  }
  return receipts;
}
