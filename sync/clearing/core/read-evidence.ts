import { bytesEqual, toHex } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../../../protocol/cose.ts';
import { OFFER_HASH_BYTES, payloadHash } from '../../../protocol/ids.ts';
import { EVIDENCE, type Evidence } from '../../../protocol/messages/evidence.ts';
import { OFFER } from '../../../protocol/messages/offer.ts';
import { PAYMENT, TIME_UNKNOWN, type Payment } from '../../../protocol/messages/payment.ts';
import { FLAG_TIME_QUALITY, RECEIPT, type Receipt } from '../../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../../protocol/messages/refusal.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import type { Codec } from '../../../protocol/schema.ts';
import type {
  VerifiedMandate,
  VerifiedPayee,
  VerifiedPayer,
} from '../../../identity/core/chain.ts';
import { checkPeriod } from '../../../identity/core/period.ts';
import type { LogPlace, VerifiedItem, VerifiedReceipt } from './ingest.ts';
import type { Registry } from './registry.ts';

/** Where an entry stood and what bounds its time. */
export interface EntryContext extends LogPlace {
  /** Earliest cosignature over the entry, seconds since 1970. */
  readonly cosignedAtS: number;
}

/** A verified entry, and which row of which approver it is. */
export interface ReadEntry {
  readonly item: VerifiedItem;
  readonly approverHex: string;
  readonly sequence: number;
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
  readonly payer: VerifiedPayer;
  readonly payee: VerifiedPayee;
  readonly mandate: VerifiedMandate;
}

function partiesOf(registry: Registry, payment: Payment): Checked<Parties> {
  const payer = registry.payers.get(toHex(payment.line));
  if (!payer) return refused('UNKNOWN_LINE', 'no binding and allowance for the line');
  const payee = registry.payees.get(toHex(payment.payee));
  if (!payee) return refused('CREDENTIAL_INVALID', 'no merchant credential names the payee');
  const mandate = registry.approvers.get(toHex(payment.approver));
  if (!mandate) return refused('GATEWAY_UNTRUSTED', 'no mandate names the approver');
  const currencies = [payer.binding.currency, payee.merchant.currency, mandate.mandate.currency];
  if (currencies.some((currency) => currency !== payment.currency)) {
    return refused('CURRENCY_MISMATCH', 'Payment and documents differ in currency');
  }
  return accepted({ payer, payee, mandate });
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

function checkTimes(parties: Parties, timeS: number): Checked<true> {
  for (const { period } of [parties.payer, parties.payee, parties.mandate]) {
    const held = checkPeriod(period, timeS);
    if (!held.ok) return held;
  }
  return accepted(true);
}

function keyOf({ payer, payee }: Parties, payment: Payment): VerifiedReceipt['key'] {
  const { merchant, acquirer } = payee;
  return {
    issuer: toHex(payer.allowance.issuer),
    acquirer: toHex(acquirer.subject),
    merchant: merchant.merchantId,
    programme: merchant.programme,
    account: payer.party.fundingAccount,
    party: payer.partyHex,
    mcc: String(merchant.mcc).padStart(4, '0'),
    currency: payment.currency,
  };
}

/**
 * One ledger entry, every signature and chain checked once: device under its binding, payee under
 * its merchant credential, approver under its mandate, all valid when it was accepted.
 */
export function readEvidence(
  registry: Registry,
  verifier: Verifier,
  plain: Uint8Array,
  context: EntryContext,
): Checked<ReadEntry> {
  const evidence = EVIDENCE.decode(plain);
  if (!evidence.ok) return evidence;
  const payment = open(PAYMENT, evidence.value.payment, 'Payment');
  if (!payment.ok) return payment;
  const { value, sign1, hash } = payment.value;
  const parties = partiesOf(registry, value);
  if (!parties.ok) return parties;
  const { payer, payee, mandate } = parties.value;
  const signed = checkSignature(verifier, payer.deviceKey, sign1, 'the Payment');
  if (!signed.ok) return signed;
  const place = { origin: context.origin, leafIndex: context.leafIndex };
  const about = {
    paymentHash: hash,
    line: value.line,
    counter: value.counter,
    amountMicro: value.amountMicro,
  };
  const receipt = open(RECEIPT, evidence.value.outcome, 'Receipt');
  const outcome = receipt.ok ? receipt : open(REFUSAL, evidence.value.outcome, 'Void');
  if (!outcome.ok) return outcome;
  if (!bytesEqual(outcome.value.value.paymentHash, hash)) {
    return refused('MALFORMED', 'the answer is for another Payment');
  }
  const answered = checkSignature(verifier, mandate.gatewayKey, outcome.value.sign1, 'the answer');
  if (!answered.ok) return answered;
  const approverHex = toHex(value.approver);
  const { sequence } = outcome.value.value;
  if (sequence === undefined) return refused('MALFORMED', 'a refusal that is not final');
  if (!receipt.ok) {
    return accepted({ item: { kind: 'void', ...place, ...about }, approverHex, sequence });
  }
  const offer = checkOffer(verifier, value, payee, evidence.value);
  if (!offer.ok) return offer;
  const time = businessTime(receipt.value.value, context.cosignedAtS);
  const inTime = checkTimes(parties.value, time.businessTimeS);
  if (!inTime.ok) return inTime;
  const { chargedMicro } = receipt.value.value;
  const item: VerifiedReceipt = {
    kind: 'receipt',
    level: 'L2',
    ...place,
    ...about,
    ...time,
    ...(chargedMicro === undefined ? {} : { chargedMicro }),
    receiptHash: receipt.value.hash,
    totalMicro: value.totalMicro,
    releasedMicro: value.releasedMicro ?? 0n,
    approver: value.approver,
    sequence,
    payee: value.payee,
    key: keyOf(parties.value, value),
  };
  return accepted({ item, approverHex, sequence });
}
