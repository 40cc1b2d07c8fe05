import { KiriError } from '../kiri-error.ts';
import { MAX_DEPTH } from './check.ts';
import { compareKeys } from './order.ts';
import { ARRAY, ByteSink, FALSE, MAP, NULL, TAG, TRUE } from './sink.ts';
import { RawCbor, Tagged, type CborKey, type CborMap, type CborValue } from './value.ts';

const sink = new ByteSink();

/**
 * Core deterministic encoding (RFC 8949 §4.2.1): shortest heads, definite lengths, map keys sorted
 * by their encoded bytes. Returns fresh bytes. Throws KiriError `CBOR_ENCODE` for a value outside
 * the profile: a float, an integer beyond 64 bits, a lone surrogate, more than MAX_DEPTH levels.
 */
export function encodeCanonical(value: CborValue): Uint8Array {
  sink.reset();
  write(value, 0);
  return sink.copy();
}

/** Entries of a map with integer keys, in the order of their encoded keys, which the filler keeps. */
export class Entries {
  readonly keys: number[] = [];
  readonly values: CborValue[] = [];

  set(key: number, value: CborValue): void {
    this.keys.push(key);
    this.values.push(value);
  }
}

/** The same bytes as of a Map with these entries, without the Map. */
export function encodeEntries({ keys, values }: Entries): Uint8Array {
  sink.reset();
  sink.head(MAP, keys.length);
  for (let i = 0; i < keys.length; i += 1) {
    sink.integer(keys[i]!);
    write(values[i]!, 1);
  }
  return sink.copy();
}

function write(value: CborValue, depth: number): void {
  if (typeof value === 'bigint' || typeof value === 'number') sink.integer(value);
  else if (typeof value === 'string') sink.text(value);
  else if (typeof value === 'boolean') sink.byte(value ? TRUE : FALSE);
  else if (value === null) sink.byte(NULL);
  else if (value instanceof Uint8Array) sink.byteString(value);
  else if (value instanceof RawCbor) sink.raw(value.bytes);
  else writeNested(value, depth + 1);
}

function writeNested(value: CborValue[] | CborMap | Tagged, depth: number): void {
  if (depth > MAX_DEPTH) throw new KiriError('CBOR_ENCODE', `deeper than ${MAX_DEPTH}`);
  if (value instanceof Map) {
    writeMap(value, depth);
  } else if (Array.isArray(value)) {
    sink.head(ARRAY, value.length);
    for (const item of value) write(item, depth);
  } else if (value instanceof Tagged) {
    sink.count(TAG, value.tag);
    write(value.value, depth);
  } else {
    throw new KiriError('CBOR_ENCODE', 'a value that CBOR has no form for');
  }
}

function writeMap(map: CborMap, depth: number): void {
  sink.head(MAP, map.size);
  if (isOrdered(map)) {
    for (const [key, value] of map) {
      writeKey(key);
      write(value, depth);
    }
    return;
  }
  for (const key of [...map.keys()].toSorted(compareKeys)) {
    writeKey(key);
    write(map.get(key)!, depth);
  }
}

function writeKey(key: CborKey): void {
  if (typeof key === 'number') sink.integer(key);
  else sink.text(key);
}

/** Message encoders fill their maps in key order, which saves the sort. */
function isOrdered(map: CborMap): boolean {
  let previous: CborKey | undefined;
  for (const key of map.keys()) {
    if (previous !== undefined && compareKeys(previous, key) >= 0) return false;
    previous = key;
  }
  return true;
}
