/**
 * The values of the Kiri CBOR profile: RFC 8949 without floats, bignums, `undefined` and
 * indefinite lengths. Map keys are integers or text, as in COSE and CWT.
 *
 * Normal form after decoding: an integer VALUE is always a bigint (a u64 amount is exact, and one
 * number never has two JavaScript forms); an integer map KEY is always a number, because
 * `map.get(1)` must find it. Keys outside ±(2⁵³ − 1) are therefore not in the profile. The encoder
 * takes safe-integer numbers and bigints alike.
 */
export type CborValue =
  bigint | number | string | boolean | null | Uint8Array | CborValue[] | CborMap | Tagged | RawCbor;

export type CborKey = number | string;

export type CborMap = Map<CborKey, CborValue>;

/** A tagged item (RFC 8949 §3.4); the profile admits only the tags a decoder's limits list. */
export class Tagged {
  readonly tag: number;
  readonly value: CborValue;

  constructor(tag: number, value: CborValue) {
    this.tag = tag;
    this.value = value;
  }
}

/**
 * One item that is already canonical CBOR, embedded as it is when encoding. The caller vouches for
 * the bytes; decoding never yields one.
 */
export class RawCbor {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}
