import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import type { CborValue } from '../../../protocol/cbor/value.ts';
import {
  CLAIM_EXPIRES,
  CLAIM_SUBJECT,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import {
  bytesBetween,
  MAX_MESSAGE_BYTES,
  readRows,
  rowsOf,
  text,
  U32,
  writeRows,
  type Field,
  type Shape,
} from '../../../protocol/schema.ts';
import { CLAIM_STATUS_VERSION, MAX_URI_LENGTH } from './standard.ts';

const CLAIM_STATUS_LIST = 65_533;
const CLAIM_TTL = 65_534;

/** Bits per entry and the zlib-compressed entries (draft-ietf-oauth-status-list, section 4.3). */
interface PackedStatuses {
  readonly bits: 1 | 2 | 4 | 8;
  readonly compressed: Uint8Array;
}

const COMPRESSED = bytesBetween(1, MAX_MESSAGE_BYTES);

const PACKED: Field<PackedStatuses> = {
  name: 'status list',
  write: ({ bits, compressed }) =>
    new Map<string, CborValue>([
      ['bits', bits],
      ['lst', compressed],
    ]),
  read: (value) => {
    if (!(value instanceof Map) || value.size !== 2) return undefined;
    const bits = value.get('bits');
    const compressed = COMPRESSED.read(value.get('lst') ?? null);
    if (bits !== 1n && bits !== 2n && bits !== 4n && bits !== 8n) return undefined;
    return compressed && { bits: Number(bits) as PackedStatuses['bits'], compressed };
  },
};

/**
 * Token Status List in its CWT form, every claim as registered; `version` is Kiri's own, a number
 * that counts up and stands in Receipts. Signed by the issuer.
 */
export interface StatusListToken extends Issued {
  /** `sub`: the URI that documents refer to. */
  readonly uri: string;
  readonly expiresS: number;
  /** How long a copy should be used before asking for a newer one. */
  readonly ttlS: number;
  readonly version: number;
  readonly packed: PackedStatuses;
}

const SHAPE: Shape<StatusListToken> = {
  ...ISSUED,
  uri: [CLAIM_SUBJECT, text(MAX_URI_LENGTH)],
  expiresS: [CLAIM_EXPIRES, U32],
  ttlS: [CLAIM_TTL, U32],
  packed: [CLAIM_STATUS_LIST, PACKED],
  version: [CLAIM_STATUS_VERSION, U32],
};
const ROWS = rowsOf(SHAPE);

export const STATUS_LIST: ClaimsCodec<StatusListToken> = {
  typ: 'application/statuslist+cwt',
  claim: CLAIM_STATUS_LIST,
  encode(value: StatusListToken): Uint8Array {
    const map = new Map<number, CborValue>();
    writeRows(ROWS, value, map);
    return encodeCanonical(map);
  },
  decode(payload: Uint8Array): Checked<StatusListToken> {
    const decoded = decodeCanonical(payload, { maxBytes: MAX_MESSAGE_BYTES });
    if (!decoded.ok) return refused(decoded.code, `${decoded.reason} at byte ${decoded.offset}`);
    if (!(decoded.value instanceof Map)) return refused('MALFORMED', 'claims are not a map');
    const read = readRows(ROWS, decoded.value, 0);
    return read.ok ? accepted(read.value as unknown as StatusListToken) : read;
  },
};
