import { Decoder, Tag } from 'cbor-x/decode';
import { checkCanonical, type CborLimits, type CborRefusal } from './check.ts';
import { Tagged, type CborKey, type CborMap, type CborValue } from './value.ts';

export type CborDecoded = { readonly ok: true; readonly value: CborValue } | CborRefusal;

/** What cbor-x hands out for bytes that have passed the checker. */
type Loose = bigint | number | string | boolean | null | Uint8Array | Tag | Loose[] | LooseMap;
type LooseMap = Map<Loose, Loose>;

const decoder = new Decoder({
  mapsAsObjects: false,
  useRecords: false,
  tagUint8Array: false,
  // Copies: a view kept for one id would keep its whole packet alive.
  copyBuffers: true,
});

/**
 * Decodes one item of the Kiri profile: the byte checker first, cbor-x only behind it, then the
 * normal form of `value.ts` (integer values bigint, integer keys number). Byte strings are copies.
 * Never throws; refuses with the checker's code.
 */
export function decodeCanonical(bytes: Uint8Array, limits: CborLimits): CborDecoded {
  const checked = checkCanonical(bytes, limits);
  if (!checked.ok) return checked;
  // An own plain view: cbor-x leaves a `dataView` property on what it reads, and copies of a
  // subclass (Node's Buffer) would be of that subclass.
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  return { ok: true, value: normal(decoder.decode(view) as Loose) };
}

/** In place; the checker has bounded depth and size. */
function normal(value: Loose): CborValue {
  if (typeof value === 'number') return BigInt(value);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) value[i] = normal(value[i]!) as Loose;
    return value as CborValue[];
  }
  if (value instanceof Map) return normalMap(value);
  return new Tagged(value.tag, normal(value.value as Loose));
}

function normalMap(map: LooseMap): CborMap {
  let wideKey = false;
  for (const [key, entry] of map) {
    // Only cells that are there already are set, so the walk is not disturbed.
    const value = normal(entry);
    if (value !== entry) map.set(key, value as Loose);
    if (typeof key === 'bigint') wideKey = true;
  }
  if (!wideKey) return map as CborMap;
  // cbor-x reads every 8-byte head as a bigint; the checker let only safe keys pass.
  const numbered: CborMap = new Map();
  for (const [key, entry] of map as Map<CborKey | bigint, CborValue>) {
    numbered.set(typeof key === 'bigint' ? Number(key) : key, entry);
  }
  return numbered;
}
