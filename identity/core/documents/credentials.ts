import type { AmountMicro } from '../../../protocol/amount.ts';
import { claims, COSE_KEY, type ClaimsCodec } from '../../../protocol/claims.ts';
import { ALG_ES256, type PublicKey } from '../../../protocol/public-key.ts';
import { AMOUNT, text, U32, U8 } from '../../../protocol/schema.ts';
import { looksLikeCardNumber } from '../card-number.ts';
import { keyFault } from '../key-check.ts';
import {
  CLAIM_ACQUIRER,
  CLAIM_CLEARING,
  CLAIM_PARTY,
  CLAIM_REGISTRAR,
  CREDENTIAL,
  credentialFault,
  CURRENCY,
  type Credential,
} from './standard.ts';

/** The liable party (帰責者): who answers for its devices. Signed by the issuer. */
export interface PartyCredential extends Credential {
  /** Opaque reference of the person or company at the issuer; no name. */
  readonly reference: string;
  /** Funding account reference at the issuer, never a card number. */
  readonly fundingAccount: string;
  /** ISO 4217 numeric. */
  readonly currency: number;
  /** Exposure of all the party's devices together. */
  readonly capMicro: AmountMicro;
  /** Ceilings of its devices may add up to cap × this ÷ 1,000; at least 1,000. */
  readonly overCommitPermille: number;
  /**
   * P-256 key for ECDH: content keys of the ledger are wrapped to it too, so that the party reads
   * its own receipts there. Never the signing key (NIST SP 800-57 part 1, 5.2: one key, one use).
   */
  readonly agreementKey?: PublicKey;
}

function agreementFault({ agreementKey, key }: PartyCredential): string | undefined {
  if (agreementKey === undefined) return undefined;
  if (agreementKey.alg !== ALG_ES256) return 'the key for key agreement is not on P-256';
  if (agreementKey.hex === key.hex) return 'the key for key agreement is the signing key';
  return keyFault(agreementKey);
}

export const PARTY_CREDENTIAL: ClaimsCodec<PartyCredential> = claims<Credential, PartyCredential>(
  'kiri/party',
  CLAIM_PARTY,
  CREDENTIAL,
  {
    reference: [1, text(64)],
    fundingAccount: [2, text(64)],
    currency: [3, CURRENCY],
    capMicro: [4, AMOUNT],
    overCommitPermille: [5, U32],
    agreementKey: [6, COSE_KEY, 'optional'],
  },
  (value) => {
    if (looksLikeCardNumber(value.fundingAccount) || looksLikeCardNumber(value.reference)) {
      return 'a reference looks like a card number';
    }
    if (value.overCommitPermille < 1000) return 'over-commit factor is below 1';
    return credentialFault(value) ?? agreementFault(value);
  },
);

/** Who checks devices and parties and countersigns bindings. Signed by the issuer. */
export interface RegistrarCredential extends Credential {
  readonly reference: string;
  /** Highest check level that it may write into a binding. */
  readonly maxCheckLevel: number;
}

export const REGISTRAR_CREDENTIAL: ClaimsCodec<RegistrarCredential> = claims<
  Credential,
  RegistrarCredential
>(
  'kiri/registrar',
  CLAIM_REGISTRAR,
  CREDENTIAL,
  { reference: [1, text(64)], maxCheckLevel: [2, U8] },
  credentialFault,
);

/** Who signs merchant credentials. Signed by the issuer. */
export interface AcquirerCredential extends Credential {
  readonly reference: string;
  /** Institution id in settlement files (DE32/DE33: at most 11 digits). */
  readonly institution: string;
}

export const ACQUIRER_CREDENTIAL: ClaimsCodec<AcquirerCredential> = claims<
  Credential,
  AcquirerCredential
>(
  'kiri/acquirer',
  CLAIM_ACQUIRER,
  CREDENTIAL,
  { reference: [1, text(64)], institution: [2, text(11)] },
  (value) =>
    /^\d{1,11}$/.test(value.institution)
      ? credentialFault(value)
      : 'institution is not 1 to 11 digits',
);

/** Who clears for the issuer and may acknowledge receipts in its name. Signed by the issuer. */
export interface ClearingCredential extends Credential {
  readonly reference: string;
}

export const CLEARING_CREDENTIAL: ClaimsCodec<ClearingCredential> = claims<
  Credential,
  ClearingCredential
>('kiri/clearing', CLAIM_CLEARING, CREDENTIAL, { reference: [1, text(64)] }, credentialFault);
