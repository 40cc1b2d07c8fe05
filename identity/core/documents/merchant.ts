import { CLAIM_SUBJECT, claims, COSE_KEY, type ClaimsCodec } from '../../../protocol/claims.ts';
import type { PublicKey } from '../../../protocol/public-key.ts';
import { listOf, text, uint } from '../../../protocol/schema.ts';
import { looksLikeCardNumber } from '../card-number.ts';
import { keyFault } from '../key-check.ts';
import {
  CLAIM_MERCHANT,
  CURRENCY,
  periodFault,
  STATUS_ROW,
  VALID,
  type StatusReference,
  type Valid,
} from './standard.ts';

/** Keys of one merchant's gates, pads and chargers in one credential. */
export const MAX_PAYEE_KEYS = 32;

interface OfMerchant extends Valid {
  /** `sub` is the merchant id of the settlement file (DE42). */
  readonly merchantId: string;
  readonly status: StatusReference;
}

/** Who is paid. Signed by the acquirer. */
export interface MerchantCredential extends OfMerchant {
  /** Devices that may sign Offers and Tariffs and be named as payee. */
  readonly payeeKeys: readonly PublicKey[];
  /** ISO 18245 merchant category code. */
  readonly mcc: number;
  readonly name: string;
  readonly place: string;
  readonly currency: number;
  /** Under which scheme rules the payments settle. */
  readonly programme: string;
  /** Settlement reference of who receives the money; never a card number. */
  readonly beneficiary: string;
}

function contradiction(value: MerchantCredential): string | undefined {
  if (!/^[A-Z0-9]{1,15}$/.test(value.merchantId)) {
    return 'merchant id is not 1 to 15 upper-case letters and digits';
  }
  if (looksLikeCardNumber(value.beneficiary)) return 'beneficiary looks like a card number';
  if (value.payeeKeys.length === 0) return 'no payee key';
  if (new Set(value.payeeKeys.map((key) => key.hex)).size !== value.payeeKeys.length) {
    return 'a payee key stands twice';
  }
  for (const key of value.payeeKeys) {
    const fault = keyFault(key);
    if (fault !== undefined) return fault;
  }
  return periodFault(value);
}

export const MERCHANT_CREDENTIAL: ClaimsCodec<MerchantCredential> = claims<
  OfMerchant,
  MerchantCredential
>(
  'kiri/merchant',
  CLAIM_MERCHANT,
  { ...VALID, merchantId: [CLAIM_SUBJECT, text(15)], status: STATUS_ROW },
  {
    payeeKeys: [1, listOf(COSE_KEY, MAX_PAYEE_KEYS)],
    mcc: [2, uint(9999)],
    name: [3, text(64)],
    place: [4, text(64)],
    currency: [5, CURRENCY],
    programme: [6, text(32)],
    beneficiary: [7, text(64)],
  },
  contradiction,
);
