import { encodeSign, signShare, type CoseSignature } from '../../protocol/cose.ts';
import { lineId } from '../../protocol/ids.ts';
import type { PublicKey, Signer } from '../../protocol/public-key.ts';
import { TARIFF, type Tariff } from '../../protocol/tariff.ts';
import { documentPayload, signDocument } from './document.ts';
import { ACKNOWLEDGEMENT, type Acknowledgement } from './documents/acknowledgement.ts';
import { ALLOWANCE, ALLOWANCE_VALIDITY_S, type Allowance } from './documents/allowance.ts';
import { APPROVER_CLOSING, type ApproverClosing } from './documents/approver-closing.ts';
import {
  BINDING,
  CLOSING,
  ROLE_DEVICE,
  ROLE_PARTY,
  ROLE_REGISTRAR,
  type Binding,
  type Closing,
} from './documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  CLEARING_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
  type AcquirerCredential,
  type ClearingCredential,
  type PartyCredential,
  type RegistrarCredential,
} from './documents/credentials.ts';
import { LOG_ENROLMENT, type LogEnrolment } from './documents/log-enrolment.ts';
import { LOG_POLICY, type LogPolicy } from './documents/log-policy.ts';
import {
  ERASURE_CONFIRMATION,
  ERASURE_REQUEST,
  type ErasureConfirmation,
  type ErasureRequest,
} from './documents/erasure.ts';
import { GATEWAY_MANDATE, type GatewayMandate } from './documents/mandate.ts';
import { MERCHANT_CREDENTIAL, type MerchantCredential } from './documents/merchant.ts';
import { POLICY, type Policy } from './documents/policy.ts';
import { STATEMENT, type Statement } from './documents/statement.ts';
import { STATUS_LIST, type StatusListToken } from './documents/status-list.ts';

/**
 * One maker per document. Each returns the signed COSE bytes, fills in what follows from the signer
 * and the key, and throws KiriError DOCUMENT_INVALID for facts that a reader would refuse.
 */
type Facts<T, Derived extends keyof T = never> = Omit<T, 'issuer' | Derived>;

export function issueParty(issuer: Signer, facts: Facts<PartyCredential, 'subject'>): Uint8Array {
  return signDocument(PARTY_CREDENTIAL, issuer, { ...facts, subject: facts.key.id });
}

export function issueRegistrar(
  issuer: Signer,
  facts: Facts<RegistrarCredential, 'subject'>,
): Uint8Array {
  return signDocument(REGISTRAR_CREDENTIAL, issuer, { ...facts, subject: facts.key.id });
}

export function issueAcquirer(
  issuer: Signer,
  facts: Facts<AcquirerCredential, 'subject'>,
): Uint8Array {
  return signDocument(ACQUIRER_CREDENTIAL, issuer, { ...facts, subject: facts.key.id });
}

export function issueClearing(
  issuer: Signer,
  facts: Facts<ClearingCredential, 'subject'>,
): Uint8Array {
  return signDocument(CLEARING_CREDENTIAL, issuer, { ...facts, subject: facts.key.id });
}

export function issueMandate(issuer: Signer, facts: Facts<GatewayMandate, 'subject'>): Uint8Array {
  return signDocument(GATEWAY_MANDATE, issuer, { ...facts, subject: facts.key.id });
}

export function issueApproverClosing(issuer: Signer, facts: Facts<ApproverClosing>): Uint8Array {
  return signDocument(APPROVER_CLOSING, issuer, facts);
}

/** `expiresS` is `notBeforeS` + 96 h where the facts name none (DESIGN §2). */
export function issueAllowance(
  issuer: Signer,
  facts: Facts<Allowance, 'expiresS'> & { readonly expiresS?: number },
): Uint8Array {
  const expiresS = facts.expiresS ?? facts.notBeforeS + ALLOWANCE_VALIDITY_S;
  return signDocument(ALLOWANCE, issuer, { ...facts, expiresS });
}

export function issueMerchant(acquirer: Signer, facts: Facts<MerchantCredential>): Uint8Array {
  return signDocument(MERCHANT_CREDENTIAL, acquirer, facts);
}

export function issuePolicy(party: Signer, facts: Facts<Policy>): Uint8Array {
  return signDocument(POLICY, party, facts);
}

/** One version of a policy book; `previous` is the hash of the version before. */
export function issueLogPolicy(issuer: Signer, facts: Facts<LogPolicy>): Uint8Array {
  return signDocument(LOG_POLICY, issuer, facts);
}

/** @param gateway the key that the mandate is for */
export function issueLogEnrolment(gateway: Signer, facts: Facts<LogEnrolment>): Uint8Array {
  return signDocument(LOG_ENROLMENT, gateway, facts);
}

export function issueTariff(payee: Signer, facts: Facts<Tariff>): Uint8Array {
  return signDocument(TARIFF, payee, facts);
}

/** @param signer the issuer, or a clearing with the issuer's credential */
export function issueAcknowledgement(signer: Signer, facts: Facts<Acknowledgement>): Uint8Array {
  return signDocument(ACKNOWLEDGEMENT, signer, facts);
}

export function issueStatement(issuer: Signer, facts: Facts<Statement>): Uint8Array {
  return signDocument(STATEMENT, issuer, facts);
}

export function issueErasureRequest(issuer: Signer, facts: Facts<ErasureRequest>): Uint8Array {
  return signDocument(ERASURE_REQUEST, issuer, facts);
}

export function issueErasureConfirmation(
  holder: Signer,
  facts: Facts<ErasureConfirmation>,
): Uint8Array {
  return signDocument(ERASURE_CONFIRMATION, holder, facts);
}

/** The entries come compressed: see identity/edge/status-zlib.ts. */
export function issueStatusList(issuer: Signer, facts: Facts<StatusListToken>): Uint8Array {
  return signDocument(STATUS_LIST, issuer, facts);
}

/** A binding's facts; without `line` it is a first binding and makes its own. */
export interface BindingFacts extends Omit<
  Binding,
  'issuer' | 'subject' | 'key' | 'party' | 'line'
> {
  readonly line?: Uint8Array;
}

/** What device, party and registrar each sign, on their own machines, with `signShare`. */
export function bindingPayload(
  device: PublicKey,
  party: PublicKey,
  registrar: PublicKey,
  facts: BindingFacts,
): Uint8Array {
  return documentPayload(BINDING, {
    ...facts,
    issuer: registrar.id,
    subject: device.id,
    key: device,
    party: party.id,
    line: facts.line ?? lineId(device.id, party.id, facts.currency),
  });
}

/** The three who sign a binding; a Closing's device may be out of reach. */
export interface Signers {
  readonly device: Signer;
  readonly party: Signer;
  readonly registrar: Signer;
}

/** A binding where all three keys are at hand. */
export function issueBinding(signers: Signers, facts: BindingFacts): Uint8Array {
  const { device, party, registrar } = signers;
  const payload = bindingPayload(device.key, party.key, registrar.key, facts);
  return encodeSign(payload, [
    signShare(device, payload, ROLE_DEVICE),
    signShare(party, payload, ROLE_PARTY),
    signShare(registrar, payload, ROLE_REGISTRAR),
  ]);
}

export function issueClosing(
  signers: Omit<Signers, 'device'> & { readonly device?: Signer },
  facts: Facts<Closing, 'party'>,
): Uint8Array {
  const { device, party, registrar } = signers;
  const payload = documentPayload(CLOSING, {
    ...facts,
    issuer: registrar.key.id,
    party: party.key.id,
  });
  const shares: CoseSignature[] = [
    signShare(party, payload, ROLE_PARTY),
    signShare(registrar, payload, ROLE_REGISTRAR),
  ];
  if (device) shares.push(signShare(device, payload, ROLE_DEVICE));
  return encodeSign(payload, shares);
}
