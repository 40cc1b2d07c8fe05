import { utf8Length } from './utf8.ts';
import type { CborKey } from './value.ts';

/**
 * Order of two map keys by their encoded bytes (RFC 8949 §4.2.1): integers ≥ 0, then integers
 * < 0, then text. Negative, zero (the same key) or positive.
 */
export function compareKeys(a: CborKey, b: CborKey): number {
  if (typeof a === 'number') {
    if (typeof b !== 'number') return -1;
    // Negative integers are major type 1, encoded as −1 − n: they come later and run downwards.
    if (a >= 0) return b >= 0 ? a - b : -1;
    return b >= 0 ? 1 : b - a;
  }
  return typeof b === 'number' ? 1 : compareText(a, b);
}

/** Encoded text starts with its byte length, so the shorter one comes first. */
function compareText(a: string, b: string): number {
  const byLength = utf8Length(a) - utf8Length(b);
  if (byLength !== 0) return byLength;
  const units = Math.min(a.length, b.length);
  for (let i = 0; i < units; i += 1) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

/** UTF-8 sorts by code point: a surrogate stands for one above every other UTF-16 unit. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
