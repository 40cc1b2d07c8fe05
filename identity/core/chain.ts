import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { decodeSign } from '../../protocol/cose.ts';
import type { ClaimsCodec, Issued } from '../../protocol/claims.ts';
import { payloadHash } from '../../protocol/ids.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import { invalid, openDocument, type Opened } from './document.ts';
import { ALLOWANCE, type Allowance } from './documents/allowance.ts';
import {
  BINDING,
  MAY_PAY,
  ROLE_DEVICE,
  ROLE_PARTY,
  ROLE_REGISTRAR,
  type Binding,
} from './documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
  type AcquirerCredential,
  type PartyCredential,
  type RegistrarCredential,
} from './documents/credentials.ts';
import { GATEWAY_MANDATE, type GatewayMandate } from './documents/mandate.ts';
import { MERCHANT_CREDENTIAL, type MerchantCredential } from './documents/merchant.ts';
import type { Period, StatusReference } from './documents/standard.ts';
import { checkPeriods, commonPeriod, type NamedPeriod } from './period.ts';
import { checkShares } from './shares.ts';

/** What every check starts from: the issuer's key, pinned, and a way to check signatures. */
export interface Trust {
  readonly issuerKey: PublicKey;
  readonly verifier: Verifier;
  /** For whoever verifies many chains of few parties; without it everything is opened each time. */
  readonly opened?: OpenedBefore;
}

/** What was opened under one trust before, by the very bytes, which nobody changes. It goes when they go. */
export class OpenedBefore {
  readonly credentials: WeakMap<Uint8Array, OpenedCredential> = new WeakMap();
  readonly bindings: WeakMap<Uint8Array, Binding> = new WeakMap();
}

type OpenedCredential = { readonly typ: string; readonly opened: Opened<unknown> };

/** A credential that the issuer signed: checked once where the trust remembers. */
export function openCredential<T extends Issued>(
  { issuerKey, verifier, opened: before }: Trust,
  codec: ClaimsCodec<T>,
  cose: Uint8Array,
): Checked<Opened<T>> {
  const known = before?.credentials.get(cose);
  if (known?.typ === codec.typ) return accepted(known.opened as Opened<T>);
  const opened = openDocument(verifier, issuerKey, codec, cose);
  if (opened.ok) before?.credentials.set(cose, { typ: codec.typ, opened: opened.value });
  return opened;
}

/** What a binding says; who signed it is not asked. */
export function readBinding(
  { opened: before }: Trust,
  cose: Uint8Array,
  payload: Uint8Array,
): Checked<Binding> {
  const known = before?.bindings.get(cose);
  if (known) return accepted(known);
  const decoded = BINDING.decode(payload);
  if (decoded.ok) before?.bindings.set(cose, decoded.value);
  return decoded;
}

/**
 * What all verified chains have. With an unknown clock (`nowS` undefined, time quality 0) the
 * signatures are checked and `timeChecked` is false: whoever asked decides what that is worth.
 */
interface Verified {
  readonly timeChecked: boolean;
  /** When the whole chain holds; ask `checkPeriod` again for every later use. */
  readonly period: NamedPeriod;
  /** All bits that revoke something in the chain. */
  readonly statuses: readonly StatusReference[];
}

function named(typ: string, { notBeforeS, expiresS }: Period): NamedPeriod {
  return { typ, notBeforeS, expiresS };
}

/** COSE bytes that tie a device to its party. */
export interface BindingDocuments {
  readonly party: Uint8Array;
  readonly registrar: Uint8Array;
  readonly binding: Uint8Array;
}

export interface VerifiedBinding extends Verified {
  readonly line: Uint8Array;
  readonly lineHex: string;
  readonly deviceKey: PublicKey;
  readonly partyId: Uint8Array;
  readonly partyHex: string;
  readonly binding: Binding;
  readonly bindingHash: Uint8Array;
  readonly party: PartyCredential;
  readonly registrar: RegistrarCredential;
}

/** The binding's three signatures and that it says what the credentials allow it to. */
function openBinding(
  trust: Trust,
  party: PartyCredential,
  registrar: RegistrarCredential,
  cose: Uint8Array,
): Checked<Opened<Binding>> {
  const { typ } = BINDING;
  const message = decodeSign(cose);
  if (!message.ok) return invalid(typ, message.reason);
  const decoded = readBinding(trust, cose, message.value.payload);
  if (!decoded.ok) return invalid(typ, decoded.reason);
  const binding = decoded.value;
  if (!bytesEqual(binding.party, party.subject)) return invalid(typ, 'names another party');
  if (!bytesEqual(binding.issuer, registrar.subject))
    return invalid(typ, 'names another registrar');
  if (binding.checkLevel > registrar.maxCheckLevel) {
    return invalid(typ, `check level ${binding.checkLevel} is above what the registrar may attest`);
  }
  const shares = checkShares(trust.verifier, typ, message.value, [
    { role: ROLE_DEVICE, key: binding.key },
    { role: ROLE_PARTY, key: party.key },
    { role: ROLE_REGISTRAR, key: registrar.key },
  ]);
  if (!shares.ok) return shares;
  return accepted({ value: binding, hash: payloadHash(message.value.payload), cose });
}

/**
 * Party and registrar under the issuer, binding under all three keys.
 * @param nowS seconds since 1970; the time of acceptance at clearing; undefined: clock unknown
 */
export function verifyBinding(
  trust: Trust,
  documents: BindingDocuments,
  nowS: number | undefined,
): Checked<VerifiedBinding> {
  const party = openCredential(trust, PARTY_CREDENTIAL, documents.party);
  if (!party.ok) return party;
  const registrar = openCredential(trust, REGISTRAR_CREDENTIAL, documents.registrar);
  if (!registrar.ok) return registrar;
  const opened = openBinding(trust, party.value.value, registrar.value.value, documents.binding);
  if (!opened.ok) return opened;
  const binding = opened.value.value;
  if (binding.currency !== party.value.value.currency) {
    return refused('CURRENCY_MISMATCH', 'binding and party credential differ in currency');
  }
  const periods = [
    named(PARTY_CREDENTIAL.typ, party.value.value),
    named(REGISTRAR_CREDENTIAL.typ, registrar.value.value),
    named(BINDING.typ, binding),
  ] as const;
  const inTime = checkPeriods(periods, nowS);
  if (!inTime.ok) return inTime;
  return accepted({
    timeChecked: nowS !== undefined,
    period: commonPeriod(...periods),
    statuses: [party.value.value.status, registrar.value.value.status, binding.status],
    line: binding.line,
    lineHex: toHex(binding.line),
    deviceKey: binding.key,
    partyId: party.value.value.subject,
    partyHex: toHex(party.value.value.subject),
    binding,
    bindingHash: opened.value.hash,
    party: party.value.value,
    registrar: registrar.value.value,
  });
}

/** COSE bytes that a payer shows before its first Payment. */
export interface PayerDocuments extends BindingDocuments {
  readonly allowance: Uint8Array;
}

export interface VerifiedPayer extends VerifiedBinding {
  readonly allowance: Allowance;
  readonly allowanceHash: Uint8Array;
  /** As they came; what an approver stores and evidence repeats. */
  readonly documents: PayerDocuments;
}

/** The whole chain of a payer, offline, from the issuer's key alone. `nowS` as `verifyBinding`. */
export function verifyPayer(
  trust: Trust,
  documents: PayerDocuments,
  nowS: number | undefined,
): Checked<VerifiedPayer> {
  const bound = verifyBinding(trust, documents, nowS);
  if (!bound.ok) return bound;
  const { binding, line } = bound.value;
  if ((binding.roles & MAY_PAY) === 0) return invalid(BINDING.typ, 'the device may not pay');
  const opened = openDocument(trust.verifier, trust.issuerKey, ALLOWANCE, documents.allowance);
  if (!opened.ok) return opened;
  const allowance = opened.value.value;
  if (!bytesEqual(allowance.line, line)) return invalid(ALLOWANCE.typ, 'is for another line');
  if (allowance.currency !== binding.currency) {
    return refused('CURRENCY_MISMATCH', 'allowance and binding differ in currency');
  }
  const period = named(ALLOWANCE.typ, allowance);
  const inTime = checkPeriods([period], nowS);
  if (!inTime.ok) return inTime;
  return accepted({
    ...bound.value,
    period: commonPeriod(bound.value.period, period),
    allowance,
    allowanceHash: opened.value.hash,
    documents,
  });
}

/** COSE bytes that a payee shows before its first Offer. */
export interface PayeeDocuments {
  readonly acquirer: Uint8Array;
  readonly merchant: Uint8Array;
}

export interface VerifiedPayee extends Verified {
  /** By the payee id (hex) that Offers and Payments name. */
  readonly payeeKeys: ReadonlyMap<string, PublicKey>;
  readonly merchant: MerchantCredential;
  readonly merchantHash: Uint8Array;
  readonly acquirer: AcquirerCredential;
  readonly documents: PayeeDocuments;
}

/** Acquirer under the issuer, merchant and its payee keys under the acquirer. */
export function verifyPayee(
  trust: Trust,
  documents: PayeeDocuments,
  nowS: number | undefined,
): Checked<VerifiedPayee> {
  const acquirer = openCredential(trust, ACQUIRER_CREDENTIAL, documents.acquirer);
  if (!acquirer.ok) return acquirer;
  const acquirerKey = acquirer.value.value.key;
  const opened = openDocument(trust.verifier, acquirerKey, MERCHANT_CREDENTIAL, documents.merchant);
  if (!opened.ok) return opened;
  const merchant = opened.value.value;
  const periods = [
    named(ACQUIRER_CREDENTIAL.typ, acquirer.value.value),
    named(MERCHANT_CREDENTIAL.typ, merchant),
  ] as const;
  const inTime = checkPeriods(periods, nowS);
  if (!inTime.ok) return inTime;
  return accepted({
    timeChecked: nowS !== undefined,
    period: commonPeriod(...periods),
    statuses: [acquirer.value.value.status, merchant.status],
    payeeKeys: new Map(merchant.payeeKeys.map((key) => [key.hex, key])),
    merchant,
    merchantHash: opened.value.hash,
    acquirer: acquirer.value.value,
    documents,
  });
}

export interface VerifiedMandate extends Verified {
  readonly gatewayKey: PublicKey;
  readonly mandate: GatewayMandate;
  readonly mandateHash: Uint8Array;
}

/** What a device asks before it signs for an approver, and a gateway of its own mandate. */
export function verifyMandate(
  trust: Trust,
  cose: Uint8Array,
  nowS: number | undefined,
): Checked<VerifiedMandate> {
  const opened = openDocument(trust.verifier, trust.issuerKey, GATEWAY_MANDATE, cose);
  if (!opened.ok) return opened;
  const mandate = opened.value.value;
  const period = named(GATEWAY_MANDATE.typ, mandate);
  const inTime = checkPeriods([period], nowS);
  if (!inTime.ok) return inTime;
  return accepted({
    timeChecked: nowS !== undefined,
    period,
    statuses: [mandate.status],
    gatewayKey: mandate.key,
    mandate,
    mandateHash: opened.value.hash,
  });
}
