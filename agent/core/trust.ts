import { toHex } from '../../protocol/bytes.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import { refused, type Checked, type Refused } from '../../protocol/refusal.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { TARIFF, type Tariff } from '../../protocol/tariff.ts';
import { verifyApproverClosing, verifyPolicy, verifyTariff } from '../../identity/core/centre.ts';
import {
  verifyMandate,
  verifyPayee,
  verifyPayer,
  type Trust,
  type VerifiedMandate,
  type VerifiedPayee,
  type VerifiedPayer,
} from '../../identity/core/chain.ts';
import { ALLOWANCE } from '../../identity/core/documents/allowance.ts';
import {
  APPROVER_CLOSING,
  type ApproverClosing,
} from '../../identity/core/documents/approver-closing.ts';
import { BINDING } from '../../identity/core/documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
} from '../../identity/core/documents/credentials.ts';
import { GATEWAY_MANDATE } from '../../identity/core/documents/mandate.ts';
import { MERCHANT_CREDENTIAL } from '../../identity/core/documents/merchant.ts';
import { POLICY, type Policy } from '../../identity/core/documents/policy.ts';
import { MAX_TRUSTED } from './limits.ts';

export interface TrustedPayee {
  readonly key: PublicKey;
  readonly chain: VerifiedPayee;
}

export interface TrustedTariff {
  readonly tariff: Tariff;
  readonly hash: Uint8Array;
  readonly chain: VerifiedPayee;
}

/**
 * Everything a device believes, each entry put in after its chain to the issuer's key was checked
 * by signature. Periods are judged at every use, because the clock may be known only later.
 */
export interface TrustBook {
  readonly trust: Trust;
  /** Own key id in hex: bindings of others are none of our business. */
  readonly ownHex: string;
  /** By key id in hex. */
  readonly payees: Map<string, TrustedPayee>;
  readonly approvers: Map<string, VerifiedMandate>;
  /** Approvers that the issuer has closed, by key id in hex; the closing issued last. */
  readonly closings: Map<string, ApproverClosing>;
  /** By the hash, in hex, that Offers carry. */
  readonly tariffs: Map<string, TrustedTariff>;
  /** This device as a payer: party, line, allowance. */
  own: VerifiedPayer | undefined;
  policy: Policy | undefined;
  /** Latest time that the issuer has signed, seconds since 1970 (time floor). */
  floorS: number;
  /** Bytes of what a later document may need: one of each `typ`, acquirers by their id too. */
  readonly parts: Map<string, Uint8Array>;
}

export function newTrustBook(trust: Trust, ownHex: string): TrustBook {
  return {
    trust,
    ownHex,
    payees: new Map(),
    approvers: new Map(),
    closings: new Map(),
    tariffs: new Map(),
    own: undefined,
    policy: undefined,
    floorS: 0,
    parts: new Map(),
  };
}

/** What every document of a kind needs before it, so that a set may come in any order. */
const ORDER: readonly string[] = [
  ACQUIRER_CREDENTIAL.typ,
  MERCHANT_CREDENTIAL.typ,
  GATEWAY_MANDATE.typ,
  APPROVER_CLOSING.typ,
  PARTY_CREDENTIAL.typ,
  REGISTRAR_CREDENTIAL.typ,
  BINDING.typ,
  ALLOWANCE.typ,
  POLICY.typ,
  TARIFF.typ,
];

interface Sorted {
  readonly typ: string;
  readonly kid: string;
  readonly cose: Uint8Array;
}

function sort(cose: Uint8Array): Sorted | undefined {
  const single = decodeSign1(cose);
  if (single.ok) {
    const { typ, kid } = single.value.header;
    return typ !== undefined && kid ? { typ, kid: toHex(kid), cose } : undefined;
  }
  return decodeSign(cose).ok ? { typ: BINDING.typ, kid: '', cose } : undefined;
}

/**
 * Takes in credentials, mandates, tariffs, allowance and policy, in any order. Returns a refusal
 * for each document that cannot be believed; the others count.
 */
export function learnDocuments(
  book: TrustBook,
  documents: readonly Uint8Array[],
): readonly Refused[] {
  const refusals: Refused[] = [];
  const sorted: Sorted[] = [];
  for (const cose of documents) {
    const entry = sort(cose);
    if (entry && ORDER.includes(entry.typ)) sorted.push(entry);
    else refusals.push(refused('UNKNOWN_MESSAGE', 'not a document that a device can use'));
  }
  sorted.sort((a, b) => ORDER.indexOf(a.typ) - ORDER.indexOf(b.typ));
  for (const entry of sorted) {
    const learned = learnOne(book, entry);
    if (!learned.ok) refusals.push(learned);
  }
  const own = learnOwn(book, sorted);
  if (own && !own.ok) refusals.push(own);
  return refusals;
}

const DONE: Checked<true> = { ok: true, value: true };

function learnOne(book: TrustBook, { typ, kid, cose }: Sorted): Checked<true> {
  switch (typ) {
    case ACQUIRER_CREDENTIAL.typ:
      return keepAcquirer(book, cose);
    case MERCHANT_CREDENTIAL.typ:
      return learnPayees(book, kid, cose);
    case GATEWAY_MANDATE.typ:
      return learnApprover(book, cose);
    case APPROVER_CLOSING.typ:
      return learnClosing(book, cose);
    case TARIFF.typ:
      return learnTariff(book, kid, cose);
    default:
      return DONE;
  }
}

function isFull(map: ReadonlyMap<string, unknown>, key: string): boolean {
  return map.size >= MAX_TRUSTED && !map.has(key);
}

const FULL: Refused = refused('BUSY', `${MAX_TRUSTED} entries of this kind are known already`);

function keepAcquirer(book: TrustBook, cose: Uint8Array): Checked<true> {
  const decoded = decodeSign1(cose);
  if (!decoded.ok) return decoded;
  const read = ACQUIRER_CREDENTIAL.decode(decoded.value.payload);
  if (!read.ok) return read;
  const key = `${ACQUIRER_CREDENTIAL.typ} ${toHex(read.value.subject)}`;
  if (isFull(book.parts, key)) return FULL;
  book.parts.set(key, cose);
  return DONE;
}

function learnPayees(book: TrustBook, acquirerHex: string, merchant: Uint8Array): Checked<true> {
  const acquirer = book.parts.get(`${ACQUIRER_CREDENTIAL.typ} ${acquirerHex}`);
  if (!acquirer) return refused('CREDENTIAL_INVALID', 'merchant credential without its acquirer');
  const chain = verifyPayee(book.trust, { acquirer, merchant }, undefined);
  if (!chain.ok) return chain;
  for (const [hex, key] of chain.value.payeeKeys) {
    if (isFull(book.payees, hex)) return FULL;
    book.payees.set(hex, { key, chain: chain.value });
  }
  return DONE;
}

function learnApprover(book: TrustBook, cose: Uint8Array): Checked<true> {
  const mandate = verifyMandate(book.trust, cose, undefined);
  if (!mandate.ok) return mandate;
  const { hex } = mandate.value.gatewayKey;
  if (isFull(book.approvers, hex)) return FULL;
  book.approvers.set(hex, mandate.value);
  book.floorS = Math.max(book.floorS, mandate.value.mandate.issuedS);
  return DONE;
}

/** Outlives the mandate: what its key signed is judged by it for as long as receipts are. */
function learnClosing(book: TrustBook, cose: Uint8Array): Checked<true> {
  const opened = verifyApproverClosing(book.trust, cose);
  if (!opened.ok) return opened;
  const closing = opened.value.value;
  const hex = toHex(closing.approver);
  if (isFull(book.closings, hex)) return FULL;
  const held = book.closings.get(hex);
  if (!held || held.issuedS < closing.issuedS) book.closings.set(hex, closing);
  book.floorS = Math.max(book.floorS, closing.issuedS);
  return DONE;
}

function learnTariff(book: TrustBook, signerHex: string, cose: Uint8Array): Checked<true> {
  const signer = book.payees.get(signerHex);
  if (!signer) return refused('TARIFF_UNTRUSTED', `tariff of an unknown payee ${signerHex}`);
  const opened = verifyTariff(book.trust.verifier, signer.key, cose);
  if (!opened.ok) return refused('TARIFF_UNTRUSTED', opened.reason);
  const hex = toHex(opened.value.hash);
  if (isFull(book.tariffs, hex)) return FULL;
  const { value: tariff, hash } = opened.value;
  book.tariffs.set(hex, { tariff, hash, chain: signer.chain });
  return DONE;
}

const OWN_TYPS: readonly string[] = [
  PARTY_CREDENTIAL.typ,
  REGISTRAR_CREDENTIAL.typ,
  BINDING.typ,
  ALLOWANCE.typ,
  POLICY.typ,
];

/** The payer's own chain, once all of it is there. An older allowance never replaces a newer one. */
function learnOwn(book: TrustBook, sorted: readonly Sorted[]): Checked<true> | undefined {
  const before = new Map(book.parts);
  let isTouched = false;
  for (const { typ, cose } of sorted) {
    if (!OWN_TYPS.includes(typ)) continue;
    book.parts.set(typ, cose);
    isTouched = true;
  }
  if (!isTouched) return undefined;
  const result = buildOwn(book);
  if (!result.ok) {
    for (const typ of OWN_TYPS) {
      const old = before.get(typ);
      if (old) book.parts.set(typ, old);
      else if (book.own) book.parts.delete(typ);
    }
  }
  return result;
}

function buildOwn(book: TrustBook): Checked<true> {
  const party = book.parts.get(PARTY_CREDENTIAL.typ);
  const registrar = book.parts.get(REGISTRAR_CREDENTIAL.typ);
  const binding = book.parts.get(BINDING.typ);
  const allowance = book.parts.get(ALLOWANCE.typ);
  if (!party || !registrar || !binding || !allowance) return DONE;
  const chain = verifyPayer(book.trust, { party, registrar, binding, allowance }, undefined);
  if (!chain.ok) return chain;
  const own = chain.value;
  if (own.deviceKey.hex !== book.ownHex) {
    return refused('CREDENTIAL_INVALID', 'the binding is for another device');
  }
  if (book.own && book.own.allowance.generation > own.allowance.generation) {
    return refused('CREDENTIAL_INVALID', 'an older allowance than the one in force');
  }
  const policyCose = book.parts.get(POLICY.typ);
  let policy: Policy | undefined;
  if (policyCose) {
    const { verifier } = book.trust;
    const opened = verifyPolicy(verifier, own.party.key, policyCose, own.allowance.policyHash);
    if (!opened.ok) return opened;
    policy = opened.value.value;
  }
  book.own = own;
  book.policy = policy;
  book.floorS = Math.max(
    book.floorS,
    own.party.issuedS,
    own.registrar.issuedS,
    own.allowance.issuedS,
  );
  return DONE;
}

/** The documents that a payer shows an approver. */
export function payerDocuments(book: TrustBook): readonly Uint8Array[] {
  const documents = book.own?.documents;
  if (!documents) return [];
  return [documents.party, documents.registrar, documents.binding, documents.allowance];
}

/** The documents that a payee shows an approver. */
export function payeeDocuments(book: TrustBook): readonly Uint8Array[] {
  const documents = book.payees.get(book.ownHex)?.chain.documents;
  return documents ? [documents.acquirer, documents.merchant] : [];
}

/** Two payees of one merchant are the same seller. */
export function isSameMerchant(a: VerifiedPayee, b: VerifiedPayee): boolean {
  return (
    a.merchant.merchantId === b.merchant.merchantId &&
    toHex(a.acquirer.subject) === toHex(b.acquirer.subject)
  );
}
