import { amountMicro, MAX_AMOUNT_MICRO, type AmountMicro } from './amount.ts';
import { checkCanonical, type CborRefusal } from './cbor/check.ts';
import { decodeCanonical } from './cbor/decode.ts';
import { encodeEntries, Entries } from './cbor/encode.ts';
import { compareKeys } from './cbor/order.ts';
import { CborReader } from './cbor/reader.ts';
import type { CborValue } from './cbor/value.ts';
import { KiriError } from './kiri-error.ts';
import { accepted, refused, type Checked, type Refused } from './refusal.ts';

/** How one field goes to CBOR and back; `read` gives undefined for a value out of its range. */
export interface Field<T> {
  readonly name: string;
  write(value: T): CborValue;
  read(value: CborValue): T | undefined;
  /**
   * The same as `read`, straight from checked bytes: a value out of range fails the reader. Fields
   * that have it make the decoder of a message fast; the others go by way of a Map.
   */
  readonly take?: (reader: CborReader) => T;
}

/** Encoder and strict decoder of one CBOR map. */
export interface Codec<T> {
  readonly type: number;
  encode(value: T): Uint8Array;
  /** Refuses: wrong type number, missing, unknown or out-of-range fields, non-canonical bytes. */
  decode(bytes: Uint8Array): Checked<T>;
}

/** Bytes of the largest single message or document; checked before anything is parsed. */
export const MAX_MESSAGE_BYTES = 16_384;

const LIMITS = { maxBytes: MAX_MESSAGE_BYTES };
/** Message types are small numbers. */
const U8_MAX = 0xff;

/** Unsigned integer 0 … max as a number. */
export function uint(max: number): Field<number> {
  return {
    name: `uint ≤ ${max}`,
    write: (value) => value,
    // A number only comes from `write`, which gives it back to have its range checked.
    read: (value) => {
      if (typeof value === 'number') return value >= 0 && value <= max ? value : undefined;
      return typeof value === 'bigint' && value >= 0n && value <= BigInt(max)
        ? Number(value)
        : undefined;
    },
    take: (reader) => reader.uint(max),
  };
}

export const U8: Field<number> = uint(0xff);
export const U16: Field<number> = uint(0xffff);
export const U32: Field<number> = uint(0xffff_ffff);
/** Milliseconds and other counts that stay exact in a number. */
export const U53: Field<number> = uint(Number.MAX_SAFE_INTEGER);

/** u64 micro-units. */
export const AMOUNT: Field<AmountMicro> = {
  name: 'amount',
  write: (value) => value,
  read: (value) =>
    typeof value === 'bigint' && value >= 0n && value <= MAX_AMOUNT_MICRO
      ? amountMicro(value)
      : undefined,
  take: (reader) => amountMicro(reader.u64()),
};

/** Byte string of exactly `length` bytes. The decoded bytes are a copy, not a view of the input. */
export function bytes(length: number): Field<Uint8Array> {
  return bytesBetween(length, length);
}

export function bytesBetween(min: number, max: number): Field<Uint8Array> {
  return {
    name: `bytes ${min}…${max}`,
    write: (value) => value,
    read: (value) =>
      value instanceof Uint8Array && value.length >= min && value.length <= max ? value : undefined,
    take: (reader) => new Uint8Array(reader.bytes(min, max)),
  };
}

/** UTF-8 text of at most `maxLength` UTF-16 units. */
export function text(maxLength: number): Field<string> {
  return {
    name: `text ≤ ${maxLength}`,
    write: (value) => value,
    read: (value) => (typeof value === 'string' && value.length <= maxLength ? value : undefined),
    take: (reader) => {
      // A UTF-16 unit has at most three bytes of UTF-8.
      const value = reader.text(maxLength * 3);
      if (value.length > maxLength) reader.fail();
      return value;
    },
  };
}

export const BOOL: Field<boolean> = {
  name: 'bool',
  write: (value) => value,
  read: (value) => (typeof value === 'boolean' ? value : undefined),
  take: (reader) => reader.bool(),
};

export function listOf<T>(item: Field<T>, max: number): Field<readonly T[]> {
  const { take } = item;
  return {
    name: `list ≤ ${max} of ${item.name}`,
    write: (value) => value.map((entry) => item.write(entry)),
    read: (value) => {
      if (!Array.isArray(value) || value.length > max) return undefined;
      const out: T[] = [];
      for (const entry of value) {
        const read = item.read(entry);
        if (read === undefined) return undefined;
        out.push(read);
      }
      return out;
    },
    ...(take && {
      take: (reader) => Array.from({ length: reader.array(max) }, () => take(reader)),
    }),
  };
}

/** The keys and fields of a record; every property of T names its key. */
export type Shape<T> = {
  readonly [P in keyof T]-?: readonly [
    key: number,
    field: Field<Exclude<T[P], undefined>>,
    optional?: 'optional',
  ];
};

/** One field of a shape; rows stand in the order of their encoded keys. */
export interface Row {
  readonly property: string;
  readonly key: number;
  readonly field: Field<unknown>;
  readonly optional: boolean;
}

export function rowsOf<T>(shape: Shape<T>): readonly Row[] {
  return Object.entries(shape)
    .map(([property, entry]) => {
      const [key, field, optional] = entry as readonly [number, Field<unknown>, string?];
      return { property, key, field, optional: optional === 'optional' };
    })
    .toSorted((a, b) => compareKeys(a.key, b.key));
}

/** Reads every row from `map`, of which `used` entries are already accounted for. */
export function readRows(
  rows: readonly Row[],
  map: ReadonlyMap<CborValue, CborValue>,
  used: number,
): Checked<Record<string, unknown>> {
  const out: Record<string, unknown> = {};
  let known = used;
  for (const { property, key, field, optional } of rows) {
    const raw = map.get(key);
    if (raw === undefined) {
      if (optional) continue;
      return refused('MALFORMED', `field ${key} (${property}) is missing`);
    }
    const value = field.read(raw);
    if (value === undefined) {
      return refused('MALFORMED', `field ${key} (${property}) is not ${field.name}`);
    }
    out[property] = value;
    known += 1;
  }
  if (known !== map.size) return refused('MALFORMED', 'a field with an unknown key');
  return accepted(out);
}

/** Lists and records check their own parts while they are written. */
function isInRange(field: Field<unknown>, raw: CborValue): boolean {
  if (typeof raw === 'number') {
    return Number.isSafeInteger(raw) && (field.read(raw) ?? field.read(BigInt(raw))) !== undefined;
  }
  if (typeof raw === 'object' && !(raw instanceof Uint8Array)) return true;
  return field.read(raw) !== undefined;
}

/** @throws KiriError FIELD_MISSING, FIELD_OUT_OF_RANGE on a caller's bad value */
export function writeRows(
  rows: readonly Row[],
  value: unknown,
  map: { set(key: number, value: CborValue): unknown },
): void {
  for (const { property, key, field, optional } of rows) {
    const entry = (value as Record<string, unknown>)[property];
    if (entry === undefined) {
      if (optional) continue;
      throw new KiriError('FIELD_MISSING', `cannot encode: ${property} is missing`);
    }
    const raw = field.write(entry);
    if (!isInRange(field, raw)) {
      throw new KiriError('FIELD_OUT_OF_RANGE', `cannot encode: ${property} is not ${field.name}`);
    }
    map.set(key, raw);
  }
}

/** A nested map with integer keys, as a field of another record. */
export function record<T>(name: string, shape: Shape<T>): Field<T> {
  const rows = rowsOf(shape);
  return {
    name,
    write: (value) => {
      const map = new Map<number, CborValue>();
      writeRows(rows, value, map);
      return map;
    },
    read: (value) => {
      if (!(value instanceof Map)) return undefined;
      const result = readRows(rows, value, 0);
      return result.ok ? (result.value as T) : undefined;
    },
  };
}

const reader = new CborReader();

/** What `readRows` gives, without a Map; undefined where that would refuse, and only there. */
function takeRows(rows: readonly Row[], type: number, input: Uint8Array): unknown {
  let left = reader.start(input).map() - 1;
  reader.key(0);
  if (reader.uint(U8_MAX) !== type) return undefined;
  const out: Record<string, unknown> = {};
  for (const { property, key, field, optional } of rows) {
    if (!reader.hasKey(key)) {
      if (optional) continue;
      return undefined;
    }
    out[property] = field.take!(reader);
    left -= 1;
  }
  return left === 0 && reader.complete ? out : undefined;
}

/**
 * A message or document: a canonical map whose key 0 holds `type` (one number for type and
 * version; a new version is a new number). Throws KiriError on encoding a caller's bad value.
 */
export function message<T>(type: number, shape: Shape<T>): Codec<T> {
  const rows = rowsOf(shape);
  const isTakable = rows.every(({ field }) => field.take !== undefined);
  return {
    type,
    encode(value: T): Uint8Array {
      const entries = new Entries();
      entries.set(0, type);
      writeRows(rows, value, entries);
      return encodeEntries(entries);
    },
    decode(input: Uint8Array): Checked<T> {
      if (isTakable) {
        const checked = checkCanonical(input, LIMITS);
        if (!checked.ok) return refusedCbor(checked);
        const value = takeRows(rows, type, input);
        if (value !== undefined) return accepted(value as T);
      }
      // Says which field is wrong; and decodes what has fields that need a Map.
      const decoded = decodeCanonical(input, LIMITS);
      if (!decoded.ok) return refusedCbor(decoded);
      if (!(decoded.value instanceof Map)) return refused('MALFORMED', 'not a map');
      const map = decoded.value as ReadonlyMap<CborValue, CborValue>;
      if (map.get(0) !== BigInt(type)) return refused('UNKNOWN_MESSAGE', `type is not ${type}`);
      const result = readRows(rows, map, 1);
      return result.ok ? accepted(result.value as T) : result;
    },
  };
}

function refusedCbor({ code, reason, offset }: CborRefusal): Refused {
  return refused(code, `${reason} at byte ${offset}`);
}
