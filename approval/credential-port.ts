import { verifyAcknowledgement, verifyClosing, verifyStatusList } from '../identity/core/centre.ts';
import {
  verifyPayee,
  verifyPayer,
  type Trust,
  type VerifiedPayee,
  type VerifiedPayer,
} from '../identity/core/chain.ts';
import type { ClearingCredential } from '../identity/core/documents/credentials.ts';
import type { GatewayMandate } from '../identity/core/documents/mandate.ts';
import type { StatusListToken } from '../identity/core/documents/status-list.ts';
import { sortDocuments } from '../identity/core/sort-documents.ts';
import { statusAt, STATUS_VALID, type StatusList } from '../identity/core/status-list.ts';
import { accepted, refused, type Checked } from '../protocol/refusal.ts';
import type { CredentialPort, MandateTerms, PayeeFacts, PayerFacts } from './ports.ts';

/** Inflates a status list within a stated bound; an edge's work (zlib). */
export type InflateList = (token: StatusListToken) => Checked<StatusList>;

/** The terms of a verified mandate. */
export function mandateTerms(mandate: GatewayMandate): MandateTerms {
  return {
    currency: mandate.currency,
    validFromS: mandate.notBeforeS,
    validUntilS: mandate.expiresS,
    deviceLimitMicro: mandate.deviceLimitMicro,
    partyLimitMicro: mandate.partyLimitMicro,
    unacknowledgedLimitMicro: mandate.maxUnacknowledgedMicro,
    maxSilenceS: mandate.maxSilenceS,
  };
}

/** Document checks of `identity/`, in the words of the approver. */
export function createCredentials(
  trust: Trust,
  approver: Uint8Array,
  inflate: InflateList,
  clearing?: ClearingCredential,
): CredentialPort {
  return {
    documents: (set, unixS, from) => readDocuments(trust, set, unixS, from),
    statusList(bytes) {
      const token = verifyStatusList(trust, bytes);
      if (!token.ok) return token;
      const list = inflate(token.value.value);
      if (!list.ok) return list;
      const { uri, version, issuedS } = list.value;
      const { ttlS } = token.value.value;
      const isRevoked = (index: number): boolean | undefined => {
        const status = statusAt(list.value, index);
        return status === undefined ? undefined : status !== STATUS_VALID;
      };
      return accepted({ uri, version, issuedAtS: issuedS, ttlS, isRevoked });
    },
    acknowledgement(bytes) {
      const byIssuer = verifyAcknowledgement(trust, bytes, approver);
      const opened =
        byIssuer.ok || !clearing
          ? byIssuer
          : verifyAcknowledgement(trust, bytes, approver, clearing);
      if (!opened.ok) return opened;
      const { throughSequence, issuedS } = opened.value.value;
      return accepted({ throughSequence, timeS: issuedS });
    },
  };
}

function readDocuments(
  trust: Trust,
  set: readonly Uint8Array[],
  unixS: number | undefined,
  from: string,
): Checked<PayerFacts | PayeeFacts> {
  const sorted = sortDocuments(set);
  if (!sorted.ok) return sorted;
  const { party, registrar, binding, allowance, acquirer, merchant, closing } = sorted.value;
  if (party && registrar && binding && allowance) {
    const payer = verifyPayer(trust, { party, registrar, binding, allowance }, unixS);
    return payer.ok ? payerFacts(trust, payer.value, closing) : payer;
  }
  if (acquirer && merchant) {
    const payee = verifyPayee(trust, { acquirer, merchant }, unixS);
    return payee.ok ? payeeFacts(payee.value, from) : payee;
  }
  return refused('CREDENTIAL_INVALID', 'neither the documents of a payer nor those of a payee');
}

function payerFacts(
  trust: Trust,
  payer: VerifiedPayer,
  closingBytes: Uint8Array | undefined,
): Checked<PayerFacts> {
  const { allowance } = payer;
  let closing: PayerFacts['closing'];
  if (closingBytes) {
    const checked = verifyClosing(trust, closingBytes, payer);
    if (!checked.ok) return checked;
    const { lastCounter, totalMicro } = checked.value.value;
    closing = { lastCounter, totalMicro };
  }
  return accepted({
    kind: 'payer',
    line: payer.line,
    party: payer.partyId,
    device: payer.deviceKey,
    currency: allowance.currency,
    validFromS: payer.period.notBeforeS,
    validUntilS: payer.period.expiresS,
    status: payer.statuses,
    allowance: {
      generation: allowance.generation,
      ceilingMicro: allowance.ceilingMicro,
      baseTotalMicro: allowance.baseMicro,
      lowerLimitMicro: allowance.lowerMicro,
      upperLimitMicro: allowance.upperMicro,
      paymentLimitMicro: allowance.paymentLimitMicro,
      directLimitMicro: allowance.directLimitMicro,
      releaseCapMicro: allowance.releaseCapMicro,
      counterCeiling: allowance.counterCeiling,
      maxListAgeS: allowance.maxListAgeS,
    },
    ...(closing ? { closing } : {}),
  });
}

function payeeFacts(payee: VerifiedPayee, from: string): Checked<PayeeFacts> {
  const key = payee.payeeKeys.get(from);
  if (!key) return refused('CREDENTIAL_INVALID', 'the sender is no payee key of this merchant');
  return accepted({
    kind: 'payee',
    key,
    currency: payee.merchant.currency,
    validFromS: payee.period.notBeforeS,
    validUntilS: payee.period.expiresS,
    status: payee.statuses,
  });
}
