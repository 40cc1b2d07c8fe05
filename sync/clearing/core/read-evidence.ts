import { bytesEqual, toHex } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../../../protocol/cose.ts';
import { OFFER_HASH_BYTES, payloadHash } from '../../../protocol/ids.ts';
import { EVIDENCE, type Evidence } from '../../../protocol/messages/evidence.ts';
import { OFFER } from '../../../protocol/messages/offer.ts';
import { PAYMENT, TIME_UNKNOWN, type Payment } from '../../../protocol/messages/payment.ts';
import { FLAG_TIME_QUALITY, RECEIPT, type Receipt } from '../../../protocol/messages/receipt.ts';
import { REFUSAL, type Refusal } from '../../../protocol/messages/refusal.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { accepted, refused, type Checked, type Refused } from '../../../protocol/refusal.ts';
import type { Codec } from '../../../protocol/schema.ts';
import type { VerifiedPayee } from '../../../identity/core/chain.ts';
import { LOSS_BY_ISSUER } from '../../../identity/core/documents/allowance.ts';
import { coversOrigin } from '../../../identity/core/documents/mandate.ts';
import { checkPeriod, type NamedPeriod } from '../../../identity/core/period.ts';
import type { CheckRegistry, PayerFacts } from './check-registry.ts';
import type { VerifiedCredit } from './credit.ts';
import type {
  LogPlace,
  RejectedItem,
  VerifiedItem,
  VerifiedReceipt,
  VerifiedVoid,
} from './ingest.ts';
import { readClose, type VerifiedClose } from './read-close.ts';
import { readCredit } from './read-credit.ts';

/** Where an entry stood and what bounds its time. */
export interface EntryContext extends LogPlace {
  /** Earliest cosignature over the entry, seconds since 1970. */
  readonly cosignedAtS: number;
  /** SHA-256 of the outcome's payload, as the log's leaf commits to it. */
  readonly outcomeHash: Uint8Array;
  /** Id of this clearing's key: each allowance names the one clearing that settles it. */
  readonly clearing: Uint8Array;
}

/** A verified entry, and what only a hand-in needs of it besides. */
export interface ReadEntry {
  readonly item: VerifiedReceipt | VerifiedVoid;
  /** What became of the payee's refund that came with it; a bad one takes nothing from the rest. */
  readonly credit?: Checked<VerifiedCredit>;
  /** The same of the device's end of an allowance. */
  readonly close?: Checked<VerifiedClose>;
  readonly payee: Uint8Array;
  /** Id of the liable party. */
  readonly party: Uint8Array;
  /** When it was answered, as far as that can be believed. */
  readonly answeredAtS: number;
}

interface Opened<T> {
  readonly value: T;
  readonly sign1: Sign1;
  readonly hash: Uint8Array;
}

function open<T>(codec: Codec<T>, cose: Uint8Array, what: string): Checked<Opened<T>> {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return refused(sign1.code, `${what}: ${sign1.reason}`);
  const decoded = codec.decode(sign1.value.payload);
  if (!decoded.ok) return refused(decoded.code, `${what}: ${decoded.reason}`);
  return accepted({
    value: decoded.value,
    sign1: sign1.value,
    hash: payloadHash(sign1.value.payload),
  });
}

function checkSignature(
  verifier: Verifier,
  key: PublicKey,
  sign1: Sign1,
  what: string,
): Checked<true> {
  return verifySign1(verifier, key, sign1)
    ? accepted(true)
    : refused('BAD_SIGNATURE', `${what} is not signed by the key that its documents name`);
}

interface Parties {
  readonly payer: PayerFacts;
  readonly payee: VerifiedPayee;
  /** Id of the very key that is paid. */
  readonly payeeId: Uint8Array;
  readonly approver: Approver;
}

interface Approver {
  readonly key: PublicKey;
  /** Absent in direct mode. */
  readonly operator?: string;
}

/** The newest chain that held at the time; where none did, the reason of the newest. */
function inForce<T extends { readonly period: NamedPeriod }>(
  chains: readonly T[] | undefined,
  timeS: number,
  unknown: Refused,
): Checked<T> {
  let reason: Refused | undefined;
  for (const chain of chains ?? []) {
    const held = checkPeriod(chain.period, timeS);
    if (held.ok) return accepted(chain);
    reason ??= held;
  }
  return reason ?? unknown;
}

const NO_PAYER = refused('UNKNOWN_LINE', 'no binding and allowance for the line');
const NO_PAYEE = refused('CREDENTIAL_INVALID', 'no merchant credential names the payee');
const OTHER_CURRENCY = refused('CURRENCY_MISMATCH', 'Payment and documents differ in currency');
const NO_APPROVER = refused('GATEWAY_UNTRUSTED', 'no mandate names the approver');
const OVER_DIRECT = refused('PAYMENT_LIMIT', 'above what a payee may approve itself');

/**
 * Who answers for the Payment: a gateway under its mandate, or in direct mode a device of the very merchant that is
 * paid (DESIGN §4).
 */
function approverOf(
  registry: CheckRegistry,
  payment: Payment,
  payee: VerifiedPayee,
  timeS: number,
): Checked<Approver> {
  const hex = toHex(payment.approver);
  const device = payee.payeeKeys.get(hex);
  if (device) return accepted({ key: device });
  const mandate = inForce(registry.approvers.get(hex), timeS, NO_APPROVER);
  if (!mandate.ok) return mandate;
  if (mandate.value.mandate.currency !== payment.currency) return OTHER_CURRENCY;
  const { gatewayKey, mandate: terms } = mandate.value;
  return accepted({ key: gatewayKey, operator: terms.operator });
}

/** The documents in force when the Payment was answered. */
function partiesOf(registry: CheckRegistry, payment: Payment, timeS: number): Checked<Parties> {
  const payer = inForce(registry.payers.get(toHex(payment.line)), timeS, NO_PAYER);
  if (!payer.ok) return payer;
  const payeeHex = toHex(payment.payee);
  const payee = inForce(registry.payees.get(payeeHex), timeS, NO_PAYEE);
  if (!payee.ok) return payee;
  const approver = approverOf(registry, payment, payee.value, timeS);
  if (!approver.ok) return approver;
  const currencies = [payer.value.binding.currency, payee.value.merchant.currency];
  if (currencies.some((currency) => currency !== payment.currency)) return OTHER_CURRENCY;
  const payeeId = payee.value.payeeKeys.get(payeeHex)?.id ?? payment.payee;
  return accepted({
    payer: payer.value,
    payee: payee.value,
    payeeId,
    approver: approver.value,
  });
}

/** The Offer is what the device agreed to; its payee's signature was not checked on the hot path. */
function checkOffer(
  verifier: Verifier,
  payment: Payment,
  payee: VerifiedPayee,
  evidence: Evidence,
): Checked<true> {
  if (!evidence.offer) return refused('OFFER_UNKNOWN', 'the Offer is missing');
  const offer = open(OFFER, evidence.offer, 'Offer');
  if (!offer.ok) return offer;
  const { value, hash, sign1 } = offer.value;
  if (!bytesEqual(hash.subarray(0, OFFER_HASH_BYTES), payment.offerHash)) {
    return refused('OFFER_MISMATCH', 'the Payment names another Offer');
  }
  const isSame =
    bytesEqual(value.payee, payment.payee) &&
    bytesEqual(value.approver, payment.approver) &&
    value.currency === payment.currency &&
    value.amountMicro === payment.amountMicro;
  if (!isSame) return refused('OFFER_MISMATCH', 'Offer and Payment differ');
  return checkSignature(verifier, payee.payeeKeys.get(toHex(value.payee))!, sign1, 'the Offer');
}

/** Approver time where its quality suffices, bounded by the first cosignature (DESIGN §6). */
function businessTime(
  receipt: Receipt,
  cosignedAtS: number,
): { readonly businessTimeS: number; readonly isTimeFlagged: boolean } {
  const quality = receipt.flags & FLAG_TIME_QUALITY;
  const isUsable = quality !== TIME_UNKNOWN && receipt.timeS <= cosignedAtS;
  return { businessTimeS: isUsable ? receipt.timeS : cosignedAtS, isTimeFlagged: !isUsable };
}

type Key = VerifiedReceipt['key'];

/** One key for each pair of chains: thousands of receipts share it, whoever keeps them. */
const KEYS = new WeakMap<PayerFacts, WeakMap<VerifiedPayee, Key>>();

function keyOf({ payer, payee }: Parties): Key {
  const ofPayer = KEYS.get(payer) ?? new WeakMap<VerifiedPayee, Key>();
  KEYS.set(payer, ofPayer);
  const key = ofPayer.get(payee) ?? makeKey(payer, payee);
  ofPayer.set(payee, key);
  return key;
}

/** The Payment's currency is that of both chains. */
function makeKey(payer: PayerFacts, { merchant, acquirer }: VerifiedPayee): Key {
  return {
    issuer: toHex(payer.allowance.issuer),
    acquirer: toHex(acquirer.subject),
    merchant: merchant.merchantId,
    programme: merchant.programme,
    account: payer.party.fundingAccount,
    party: payer.partyHex,
    mcc: String(merchant.mcc).padStart(4, '0'),
    currency: merchant.currency,
  };
}

interface Answer {
  readonly outcome: Opened<Receipt | Refusal>;
  /** Absent for a Void. */
  readonly receipt?: Receipt;
  readonly sequence: number;
  readonly businessTimeS: number;
  readonly isTimeFlagged: boolean;
}

/** Receipt or Void, held against the leaf and the Payment; its signature is checked later. */
function openAnswer(
  evidence: Evidence,
  paymentHash: Uint8Array,
  context: EntryContext,
): Checked<Answer> {
  const receipt = open(RECEIPT, evidence.outcome, 'Receipt');
  const outcome = receipt.ok ? receipt : open(REFUSAL, evidence.outcome, 'Void');
  if (!outcome.ok) return outcome;
  if (!bytesEqual(outcome.value.hash, context.outcomeHash)) {
    return refused('MALFORMED', 'the leaf commits to another answer');
  }
  if (!bytesEqual(outcome.value.value.paymentHash, paymentHash)) {
    return refused('MALFORMED', 'the answer is for another Payment');
  }
  const { sequence, timeS } = outcome.value.value;
  if (sequence === undefined) return refused('MALFORMED', 'a refusal that is not final');
  if (receipt.ok) {
    const time = businessTime(receipt.value.value, context.cosignedAtS);
    return accepted({ outcome: receipt.value, receipt: receipt.value.value, sequence, ...time });
  }
  const businessTimeS = Math.min(timeS, context.cosignedAtS);
  return accepted({ outcome: outcome.value, sequence, businessTimeS, isTimeFlagged: false });
}

type About = Pick<
  VerifiedReceipt,
  | 'origin'
  | 'leafIndex'
  | 'paymentHash'
  | 'receiptHash'
  | 'line'
  | 'counter'
  | 'amountMicro'
  | 'row'
  | 'operator'
>;

function receiptItem(
  about: About,
  payment: Payment,
  answer: Answer,
  parties: Parties,
  cosignedAtS: number,
): VerifiedReceipt {
  const { receipt, sequence, businessTimeS, isTimeFlagged } = answer;
  const chargedMicro = receipt?.chargedMicro;
  // Where the approver had no time, the first cosignature stands for it: then nothing is known to be late.
  const { allowance, revokedS = Number.POSITIVE_INFINITY } = parties.payer;
  const isLate = cosignedAtS > businessTimeS + allowance.handInDelayS;
  return {
    kind: 'receipt',
    level: 'L2',
    ...about,
    businessTimeS,
    isTimeFlagged,
    ...(chargedMicro === undefined ? {} : { chargedMicro }),
    totalMicro: payment.totalMicro,
    releasedMicro: payment.releasedMicro ?? 0n,
    approver: parties.approver.key.id,
    sequence,
    payee: parties.payeeId,
    key: keyOf(parties),
    lossBearer: allowance.lossRule === LOSS_BY_ISSUER ? 'issuer' : 'party',
    ...(isLate ? { isHandedInLate: true } : {}),
    ...(businessTimeS >= revokedS ? { isAfterRevocation: true } : {}),
  };
}

/** A log below the prefix that a mandate gives the approver for its own. */
function isOwnLog(
  { approvers }: CheckRegistry,
  { approver }: Payment,
  { origin }: LogPlace,
): boolean {
  const mandates = approvers.get(toHex(approver)) ?? [];
  return mandates.some(({ mandate }) => coversOrigin(mandate, origin));
}

/**
 * One ledger entry, every signature and chain checked once: device under its binding, payee under
 * its merchant credential, approver under its mandate, all valid when it was accepted.
 */
export function readEvidence(
  registry: CheckRegistry,
  verifier: Verifier,
  plain: Uint8Array,
  context: EntryContext,
): Checked<ReadEntry> {
  const evidence = EVIDENCE.decode(plain);
  if (!evidence.ok) return evidence;
  const payment = open(PAYMENT, evidence.value.payment, 'Payment');
  if (!payment.ok) return payment;
  const { value, sign1, hash } = payment.value;
  const answer = openAnswer(evidence.value, hash, context);
  if (!answer.ok) return answer;
  const { outcome, receipt, sequence, businessTimeS } = answer.value;
  const parties = partiesOf(registry, value, businessTimeS);
  if (!parties.ok) return parties;
  const { payer, payee } = parties.value;
  const { key: approverKey, operator } = parties.value.approver;
  if (!bytesEqual(payer.allowance.clearing, context.clearing)) {
    return refused('CREDENTIAL_INVALID', 'the allowance names another clearing');
  }
  const signed = checkSignature(verifier, payer.deviceKey, sign1, 'the Payment');
  if (!signed.ok) return signed;
  const answered = checkSignature(verifier, approverKey, outcome.sign1, 'the answer');
  if (!answered.ok) return answered;
  // Ids as the chains hold them: equal bytes, once in memory, and no view that would keep the whole record.
  const { id: approver } = approverKey;
  const { line, partyId } = payer;
  const entry = {
    origin: context.origin,
    leafIndex: context.leafIndex,
    paymentHash: hash,
    receiptHash: outcome.hash,
    line,
    counter: value.counter,
    amountMicro: value.amountMicro,
  };
  const approverHex = toHex(value.approver);
  const closing = registry.closings.get(approverHex);
  const isAfterClosing = closing !== undefined && sequence > closing.throughSequence;
  if (!receipt && isAfterClosing) {
    // A Void takes money from an honest merchant: a stolen key must not be able to.
    return refused('GATEWAY_UNTRUSTED', 'a Void above the sequence at which its approver closed');
  }
  const row = { approver, sequence, isOwnLog: isOwnLog(registry, value, context) };
  const about = { ...entry, row, ...(operator === undefined ? {} : { operator }) };
  const payeeKey = payee.payeeKeys.get(toHex(value.payee))!;
  const { credit, close } = evidence.value;
  const refund = { paymentHash: hash, payeeKey };
  const more = {
    ...(credit && { credit: readCredit(verifier, credit, refund, context) }),
    ...(close && { close: readClose(verifier, close, ownerOf(registry, payer), context) }),
    payee: parties.value.payeeId,
    party: partyId,
    answeredAtS: businessTimeS,
  };
  if (!receipt) return accepted({ item: { kind: 'void', ...about }, ...more });
  const offer = checkOffer(verifier, value, payee, evidence.value);
  if (!offer.ok) return offer;
  const isDirect = payee.payeeKeys.has(approverHex);
  if (isDirect && value.amountMicro > payer.allowance.directLimitMicro) return OVER_DIRECT;
  const { cosignedAtS } = context;
  const item = receiptItem(about, payment.value.value, answer.value, parties.value, cosignedAtS);
  return accepted({ item: isAfterClosing ? { ...item, isAfterClosing } : item, ...more });
}

/** Who may end an allowance of the line. */
const ownerOf = (
  { payers }: CheckRegistry,
  { line, lineHex }: PayerFacts,
): Parameters<typeof readClose>[2] => ({
  line,
  deviceKeys: (payers.get(lineHex) ?? []).map(({ deviceKey }) => deviceKey),
});

/** What an entry books, in this order: what came with a Payment comes after it. */
export function itemsOf(
  { item, credit, close }: ReadEntry,
  { origin, leafIndex }: LogPlace,
): (VerifiedItem | RejectedItem)[] {
  const items: (VerifiedItem | RejectedItem)[] = [item];
  for (const one of [credit, close]) {
    if (!one) continue;
    items.push(
      one.ok
        ? one.value
        : { kind: 'rejected', origin, leafIndex, code: one.code, detail: one.reason },
    );
  }
  return items;
}
