import { fromHex, toHex } from './bytes.ts';
import { decodeCanonical } from './cbor/decode.ts';
import { encodeCanonical } from './cbor/encode.ts';
import type { CborValue } from './cbor/value.ts';
import { ID_BYTES } from './ids.ts';
import { coseKeyOf, publicKeyFromCose, type PublicKey } from './public-key.ts';
import { accepted, refused, type Checked } from './refusal.ts';
import {
  MAX_MESSAGE_BYTES,
  readRows,
  rowsOf,
  U32,
  writeRows,
  type Field,
  type Shape,
} from './schema.ts';

/**
 * Kiri's CWT profile (RFC 8392). The registered claims keep their registered meaning and type:
 * `iss` and `sub` are text, here the hexadecimal id of a key, line or approver. What is Kiri's own
 * stands in ONE map under one private-use claim number per document, so that the number says what
 * the document is and no payload can be read as another document's.
 */
const CLAIM_ISSUER = 1;
export const CLAIM_SUBJECT = 2;
export const CLAIM_EXPIRES = 4;
export const CLAIM_NOT_BEFORE = 5;
const CLAIM_ISSUED = 6;
/** RFC 8747 §3.1 */
export const CLAIM_CONFIRMATION = 8;

/** Codec of a document's payload. `typ` goes into the protected header (RFC 9596). */
export interface ClaimsCodec<T> {
  readonly typ: string;
  /** The private claim whose map holds the document's own fields. */
  readonly claim: number;
  /** @throws KiriError on a caller's bad value */
  encode(value: T): Uint8Array;
  /** Refuses missing, unknown, out-of-range and contradictory fields and non-canonical bytes. */
  decode(payload: Uint8Array): Checked<T>;
}

/** Who issued a document, and when. */
export interface Issued {
  /** Id of the issuer's key; claim 1, as hexadecimal text. */
  readonly issuer: Uint8Array;
  /** Seconds since 1970; claim 6. */
  readonly issuedS: number;
}

/** An id as StringOrURI text (RFC 8392 §1.1). */
export const HEX_ID: Field<Uint8Array> = {
  name: `${ID_BYTES * 2} hexadecimal digits`,
  write: toHex,
  read: (value) =>
    typeof value === 'string' && /^[0-9a-f]{32}$/.test(value) ? fromHex(value) : undefined,
};

export const ISSUED: Shape<Issued> = {
  issuer: [CLAIM_ISSUER, HEX_ID],
  issuedS: [CLAIM_ISSUED, U32],
};

export const COSE_KEY: Field<PublicKey> = {
  name: 'COSE_Key (Ed25519 or P-256)',
  write: coseKeyOf,
  read: publicKeyFromCose,
};

/** `cnf` with a whole key in it (RFC 8747 §3.2). */
export const CONFIRMATION: Field<PublicKey> = {
  name: 'cnf with a COSE_Key',
  write: (key) => new Map<number, CborValue>([[1, coseKeyOf(key)]]),
  read: (value) =>
    value instanceof Map && value.size === 1 ? publicKeyFromCose(value.get(1) ?? null) : undefined,
};

/**
 * A document whose registered claims are `standard` and whose other fields lie in the map at
 * `claim`. `contradiction` says what cannot be true of a whole, well-typed document.
 */
export function claims<S extends object, T extends S>(
  typ: string,
  claim: number,
  standard: Shape<S>,
  own: Shape<Omit<T, keyof S>>,
  contradiction: (value: T) => string | undefined = () => undefined,
): ClaimsCodec<T> {
  const standardRows = rowsOf(standard);
  const ownRows = rowsOf(own);
  return {
    typ,
    claim,
    encode(value: T): Uint8Array {
      const inner = new Map<number, CborValue>();
      writeRows(ownRows, value, inner);
      const map = new Map<number, CborValue>([[claim, inner]]);
      writeRows(standardRows, value, map);
      return encodeCanonical(map);
    },
    decode(payload: Uint8Array): Checked<T> {
      const decoded = decodeCanonical(payload, { maxBytes: MAX_MESSAGE_BYTES });
      if (!decoded.ok) return refused(decoded.code, `${decoded.reason} at byte ${decoded.offset}`);
      if (!(decoded.value instanceof Map)) return refused('MALFORMED', 'claims are not a map');
      const map = decoded.value;
      const inner = map.get(claim);
      if (!(inner instanceof Map)) {
        return refused('UNKNOWN_MESSAGE', `no claim ${claim}: this is not a ${typ}`);
      }
      const outer = readRows(standardRows, map, 1);
      if (!outer.ok) return outer;
      const fields = readRows(ownRows, inner, 0);
      if (!fields.ok) return fields;
      const value = { ...outer.value, ...fields.value } as T;
      const wrong = contradiction(value);
      return wrong === undefined ? accepted(value) : refused('MALFORMED', wrong);
    },
  };
}
