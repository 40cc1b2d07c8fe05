import type { CborValue } from '../../../protocol/cbor/value.ts';
import {
  CLAIM_CONFIRMATION,
  CLAIM_EXPIRES,
  CLAIM_NOT_BEFORE,
  CLAIM_SUBJECT,
  CONFIRMATION,
  HEX_ID,
  ISSUED,
  type Issued,
} from '../../../protocol/claims.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { currencyOf } from '../../../protocol/currency.ts';
import type { PublicKey } from '../../../protocol/public-key.ts';
import { U16, U32, type Field, type Shape } from '../../../protocol/schema.ts';
import { keyFault } from '../key-check.ts';

/** Private-use claim numbers (below −65,536, RFC 8392 §9.1), one per document; never reused. */
export const CLAIM_PARTY = -70_001;
export const CLAIM_REGISTRAR = -70_002;
export const CLAIM_ACQUIRER = -70_003;
export const CLAIM_CLEARING = -70_004;
export const CLAIM_BINDING = -70_005;
export const CLAIM_CLOSING = -70_006;
export const CLAIM_ALLOWANCE = -70_007;
export const CLAIM_POLICY = -70_008;
export const CLAIM_MERCHANT = -70_009;
export const CLAIM_MANDATE = -70_010;
export const CLAIM_ACKNOWLEDGEMENT = -70_011;
export const CLAIM_STATEMENT = -70_012;
export const CLAIM_STATUS_VERSION = -70_013;
// −70,014 is the tariff's (protocol/tariff.ts).
export const CLAIM_LOG_POLICY = -70_015;
export const CLAIM_ERASURE_REQUEST = -70_016;
export const CLAIM_ERASURE_CONFIRMATION = -70_017;
export const CLAIM_APPROVER_CLOSING = -70_018;
export const CLAIM_LOG_ENROLMENT = -70_019;

/** Where a document's revocation bit stands (Token Status List, claim 65535 `status`). */
export interface StatusReference {
  readonly uri: string;
  readonly index: number;
}

/** Entries of one list at most: 128 KiB at one bit each. */
export const MAX_STATUS_INDEX = 1_048_575;

/** Letters of a status list's URI at most. */
export const MAX_URI_LENGTH = 128;

const CLAIM_STATUS = 65_535;

const STATUS: Field<StatusReference> = {
  name: 'status with a status_list reference',
  write: ({ index, uri }) =>
    new Map<string, CborValue>([
      [
        'status_list',
        new Map<string, CborValue>([
          ['idx', index],
          ['uri', uri],
        ]),
      ],
    ]),
  read: (value) => {
    const list = value instanceof Map && value.size === 1 ? value.get('status_list') : undefined;
    if (!(list instanceof Map) || list.size !== 2) return undefined;
    const index = list.get('idx');
    const uri = list.get('uri');
    if (typeof index !== 'bigint' || index < 0n || index > BigInt(MAX_STATUS_INDEX)) {
      return undefined;
    }
    if (typeof uri !== 'string' || uri.length > MAX_URI_LENGTH) return undefined;
    return { uri, index: Number(index) };
  },
};

/** Seconds since 1970; the document holds from `notBeforeS` to before `expiresS`. */
export interface Period {
  readonly notBeforeS: number;
  readonly expiresS: number;
}

export interface Valid extends Issued, Period {}

export const VALID: Shape<Valid> = {
  ...ISSUED,
  notBeforeS: [CLAIM_NOT_BEFORE, U32],
  expiresS: [CLAIM_EXPIRES, U32],
};

/** A document about one key: who holds it is `subject`, the id of that key. */
export interface Credential extends Valid {
  readonly subject: Uint8Array;
  readonly key: PublicKey;
  readonly status: StatusReference;
}

export const CREDENTIAL: Shape<Credential> = {
  ...VALID,
  subject: [CLAIM_SUBJECT, HEX_ID],
  key: [CLAIM_CONFIRMATION, CONFIRMATION],
  status: [CLAIM_STATUS, STATUS],
};

/** `status` alone, for documents that carry no `cnf`. */
export const STATUS_ROW: readonly [number, Field<StatusReference>] = [CLAIM_STATUS, STATUS];

export function periodFault(value: Period): string | undefined {
  return value.notBeforeS < value.expiresS ? undefined : 'expires before it begins';
}

/** Keys are enrolled by the documents that name them, so this is where bad points are refused. */
export function credentialFault(value: Credential): string | undefined {
  if (!bytesEqual(value.subject, value.key.id)) return 'sub is not the id of the key in cnf';
  return periodFault(value) ?? keyFault(value.key);
}

/** ISO 4217 numeric code that is on the list. */
export const CURRENCY: Field<number> = {
  name: 'ISO 4217 currency',
  write: (value) => value,
  read: (value) => {
    const numeric = U16.read(value);
    return numeric !== undefined && currencyOf(numeric) ? numeric : undefined;
  },
};
