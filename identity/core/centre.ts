import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeSign } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import { accepted, type Checked } from '../../protocol/refusal.ts';
import { TARIFF, type Tariff } from '../../protocol/tariff.ts';
import type { Trust, VerifiedBinding } from './chain.ts';
import { invalid, openDocument, type Opened } from './document.ts';
import { ACKNOWLEDGEMENT, type Acknowledgement } from './documents/acknowledgement.ts';
import { APPROVER_CLOSING, type ApproverClosing } from './documents/approver-closing.ts';
import {
  CLOSING,
  ROLE_DEVICE,
  ROLE_PARTY,
  ROLE_REGISTRAR,
  type Closing,
} from './documents/binding.ts';
import { CLEARING_CREDENTIAL, type ClearingCredential } from './documents/credentials.ts';
import { POLICY, type Policy } from './documents/policy.ts';
import { STATEMENT, type Statement } from './documents/statement.ts';
import { STATUS_LIST, type StatusListToken } from './documents/status-list.ts';
import { checkPeriods } from './period.ts';
import { checkShares } from './shares.ts';

/** Who clears for the issuer. `nowS` as in `verifyPayer`. */
export function verifyClearing(
  trust: Trust,
  cose: Uint8Array,
  nowS: number | undefined,
): Checked<Opened<ClearingCredential>> {
  const opened = openDocument(trust.verifier, trust.issuerKey, CLEARING_CREDENTIAL, cose);
  if (!opened.ok) return opened;
  const { notBeforeS, expiresS } = opened.value.value;
  const { typ } = CLEARING_CREDENTIAL;
  const inTime = checkPeriods([{ typ, notBeforeS, expiresS }], nowS);
  return inTime.ok ? opened : inTime;
}

/** For one approver, by the issuer itself or by the clearing whose credential stands behind it. */
export function verifyAcknowledgement(
  trust: Trust,
  cose: Uint8Array,
  approver: Uint8Array,
  clearing?: ClearingCredential,
): Checked<Opened<Acknowledgement>> {
  const key = clearing?.key ?? trust.issuerKey;
  const opened = openDocument(trust.verifier, key, ACKNOWLEDGEMENT, cose);
  if (!opened.ok) return opened;
  return bytesEqual(opened.value.value.approver, approver)
    ? opened
    : invalid(ACKNOWLEDGEMENT.typ, 'is for another approver');
}

/** By the issuer alone: who may acknowledge may not end an approver. */
export function verifyApproverClosing(
  trust: Trust,
  cose: Uint8Array,
): Checked<Opened<ApproverClosing>> {
  return openDocument(trust.verifier, trust.issuerKey, APPROVER_CLOSING, cose);
}

export function verifyStatement(
  trust: Trust,
  cose: Uint8Array,
  line: Uint8Array,
): Checked<Opened<Statement>> {
  const opened = openDocument(trust.verifier, trust.issuerKey, STATEMENT, cose);
  if (!opened.ok) return opened;
  return bytesEqual(opened.value.value.line, line)
    ? opened
    : invalid(STATEMENT.typ, 'is for another line');
}

/** Still compressed: inflating is an edge's work and bounded there. Its age is the asker's to judge. */
export function verifyStatusList(trust: Trust, cose: Uint8Array): Checked<Opened<StatusListToken>> {
  return openDocument(trust.verifier, trust.issuerKey, STATUS_LIST, cose);
}

/** The party's policy; `hash` must be the one that the allowance names. */
export function verifyPolicy(
  verifier: Verifier,
  partyKey: PublicKey,
  cose: Uint8Array,
  hash: Uint8Array,
): Checked<Opened<Policy>> {
  const opened = openDocument(verifier, partyKey, POLICY, cose);
  if (!opened.ok) return opened;
  return bytesEqual(opened.value.hash, hash)
    ? opened
    : invalid(POLICY.typ, 'is not the policy that the allowance names');
}

/** A tariff signed by a payee key of the merchant. */
export function verifyTariff(
  verifier: Verifier,
  payeeKey: PublicKey,
  cose: Uint8Array,
): Checked<Opened<Tariff>> {
  return openDocument(verifier, payeeKey, TARIFF, cose);
}

/** Ends `bound`: by party and registrar, the device's signature is welcome and not needed. */
export function verifyClosing(
  trust: Trust,
  cose: Uint8Array,
  bound: VerifiedBinding,
): Checked<Opened<Closing>> {
  const { typ } = CLOSING;
  const message = decodeSign(cose);
  if (!message.ok) return invalid(typ, message.reason);
  const decoded = CLOSING.decode(message.value.payload);
  if (!decoded.ok) return invalid(typ, decoded.reason);
  const closing = decoded.value;
  const same =
    bytesEqual(closing.bindingHash, bound.bindingHash) &&
    bytesEqual(closing.line, bound.line) &&
    bytesEqual(closing.party, bound.partyId) &&
    bytesEqual(closing.subject, bound.deviceKey.id) &&
    bytesEqual(closing.issuer, bound.registrar.subject);
  if (!same) return invalid(typ, 'is for another binding');
  const shares = checkShares(trust.verifier, typ, message.value, [
    { role: ROLE_DEVICE, key: bound.deviceKey, optional: true },
    { role: ROLE_PARTY, key: bound.party.key },
    { role: ROLE_REGISTRAR, key: bound.registrar.key },
  ]);
  if (!shares.ok) return shares;
  return accepted({ value: closing, hash: payloadHash(message.value.payload), cose });
}
