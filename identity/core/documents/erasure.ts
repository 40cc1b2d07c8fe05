import { bytesEqual } from '../../../protocol/bytes.ts';
import {
  claims,
  COSE_KEY,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { HASH_BYTES, ID_BYTES } from '../../../protocol/ids.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { refused, type Checked } from '../../../protocol/refusal.ts';
import { bytes, listOf, record, text, U8, uint, type Field } from '../../../protocol/schema.ts';
import { keyFault } from '../key-check.ts';
import { openDocument, type Opened } from '../document.ts';
import { CLAIM_ERASURE_CONFIRMATION, CLAIM_ERASURE_REQUEST } from './standard.ts';

/** The person concerned asked for it (GDPR article 17, APPI article 35). */
export const ERASE_ON_REQUEST = 1;
/** The time for which the payloads were to be kept is over. */
export const ERASE_AFTER_RETENTION = 2;
/** A court or an authority ordered it. */
export const ERASE_ON_ORDER = 3;

/** Content keys of one request: one, and one more for each time that a lost log was restored. */
const MAX_KEYS = 64;
const MAX_HOLDERS = 16;

/** Who holds a copy of a content key, and with which key it will confirm. */
export interface ErasureHolder {
  readonly name: string;
  readonly key: PublicKey;
}

/**
 * The issuer's order to erase content keys of one log and month: what each holder acts on, and what
 * stands in the key's place afterwards. It names no party: a content key's id is the pseudonym of
 * one party, log and month, and who that was is the issuer's own knowledge.
 */
export interface ErasureRequest extends Issued {
  readonly origin: string;
  /** Month in Japan time, `2026-11`. */
  readonly period: string;
  readonly kids: readonly Uint8Array[];
  /** One of the ERASE_ numbers. */
  readonly reason: number;
  readonly holders: readonly ErasureHolder[];
}

/** What one holder signs when its copies of one content key are gone. */
export interface ErasureConfirmation extends Issued {
  /** SHA-256 of the request's payload. */
  readonly requestHash: Uint8Array;
  readonly origin: string;
  readonly period: string;
  readonly kid: Uint8Array;
  readonly holder: string;
  /** Files that were there and were deleted: 0 says that there was nothing. */
  readonly wrappedCopies: number;
  readonly plainCopies: number;
  readonly reason: number;
}

/** `2026-11` */
const PERIOD: Field<string> = {
  name: 'period YYYY-MM',
  write: (value) => value,
  read: (value) =>
    typeof value === 'string' && /^[0-9]{4}-(?:0[1-9]|1[0-2])$/.test(value) ? value : undefined,
};

const HOLDER: Field<ErasureHolder> = record<ErasureHolder>('holder', {
  name: [1, text(128)],
  key: [2, COSE_KEY],
});

const REASON: Field<number> = uint(ERASE_ON_ORDER);

function requestFault({ kids, holders, reason, origin }: ErasureRequest): string | undefined {
  if (reason === 0) return 'no reason';
  if (origin === '') return 'no log';
  if (kids.length === 0 || holders.length === 0) return 'no content key or no holder';
  if (holders.some(({ name }) => name === '')) return 'a holder without a name';
  if (new Set(holders.map(({ key }) => key.hex)).size < holders.length) return 'a holder twice';
  return holders.map(({ key }) => keyFault(key)).find((fault) => fault !== undefined);
}

export const ERASURE_REQUEST: ClaimsCodec<ErasureRequest> = claims<Issued, ErasureRequest>(
  'kiri/erasure-request',
  CLAIM_ERASURE_REQUEST,
  ISSUED,
  {
    origin: [1, text(128)],
    period: [2, PERIOD],
    kids: [3, listOf(bytes(ID_BYTES), MAX_KEYS)],
    reason: [4, REASON],
    holders: [5, listOf(HOLDER, MAX_HOLDERS)],
  },
  requestFault,
);

export const ERASURE_CONFIRMATION: ClaimsCodec<ErasureConfirmation> = claims<
  Issued,
  ErasureConfirmation
>('kiri/erasure-confirmation', CLAIM_ERASURE_CONFIRMATION, ISSUED, {
  requestHash: [1, bytes(HASH_BYTES)],
  origin: [2, text(128)],
  period: [3, PERIOD],
  kid: [4, bytes(ID_BYTES)],
  holder: [5, text(128)],
  wrappedCopies: [6, U8],
  plainCopies: [7, U8],
  reason: [8, REASON],
});

/** Checks that a holder's confirmation answers this request, for this content key. */
export function openConfirmation(
  verifier: Verifier,
  request: Opened<ErasureRequest>,
  kid: Uint8Array,
  holder: ErasureHolder,
  cose: Uint8Array,
): Checked<Opened<ErasureConfirmation>> {
  const opened = openDocument(verifier, holder.key, ERASURE_CONFIRMATION, cose);
  if (!opened.ok) return opened;
  const { value } = opened.value;
  const { origin, period, reason } = request.value;
  const isAnswer =
    bytesEqual(value.requestHash, request.hash) &&
    bytesEqual(value.kid, kid) &&
    value.origin === origin &&
    value.period === period &&
    value.reason === reason &&
    value.holder === holder.name;
  return isAnswer
    ? opened
    : refused('CREDENTIAL_INVALID', `${ERASURE_CONFIRMATION.typ}: answers another request`);
}
