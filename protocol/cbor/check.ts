import { invalidUtf8At } from './utf8.ts';

/** Levels of arrays, maps and tags, the outermost counted as one. */
export const MAX_DEPTH = 8;
/** Items of one input, keys and containers counted, unless the limits say otherwise. */
const MAX_ITEMS = 16_384;
/** COSE_Encrypt0, COSE_Sign1, COSE_Encrypt, COSE_Sign (RFC 9052 §2). */
const COSE_TAGS: readonly number[] = [16, 18, 96, 98];

/** What one input may be. `tags` must be tags that cbor-x has no own reading of. */
export interface CborLimits {
  readonly maxBytes: number;
  /** At most MAX_DEPTH, which is the default. */
  readonly maxDepth?: number;
  /** Default MAX_ITEMS. */
  readonly maxItems?: number;
  /** Default COSE_TAGS. */
  readonly tags?: readonly number[];
}

/** Codes as in the closed refusal list; `offset` is the byte where the rule was broken. */
export interface CborRefusal {
  readonly ok: false;
  readonly code: 'NON_CANONICAL' | 'TOO_LARGE' | 'TOO_DEEP';
  readonly offset: number;
  readonly reason: string;
}

export type CborCheck = { readonly ok: true } | CborRefusal;

const PASSED: CborCheck = { ok: true };

const TWO_32 = 0x1_0000_0000;

// Scratch of the one check that can be under way: the open containers, outermost first, and the
// head read last. Frame 0 stands for the input itself.
const left = new Float64Array(MAX_DEPTH + 1);
const isMap = new Uint8Array(MAX_DEPTH + 1);
const keyStart = new Float64Array(MAX_DEPTH + 1);
const keyEnd = new Float64Array(MAX_DEPTH + 1);
let headEnd = 0;

/**
 * Whether `bytes` are exactly one item of the Kiri profile in its only encoding: shortest heads,
 * sorted unique keys, valid UTF-8; no floats, indefinite lengths, bignums, unlisted tags, simple
 * values but false, true and null, and nothing behind the item. One pass without recursion; time
 * is linear in the input, memory constant; it never throws.
 */
export function checkCanonical(bytes: Uint8Array, limits: CborLimits): CborCheck {
  const end = bytes.length;
  if (end > limits.maxBytes) return refuse('TOO_LARGE', 0, `more than ${limits.maxBytes} bytes`);
  const maxDepth = Math.min(limits.maxDepth ?? MAX_DEPTH, MAX_DEPTH);
  const maxItems = limits.maxItems ?? MAX_ITEMS;
  let depth = 0;
  let items = 0;
  let pos = 0;
  left[0] = 1;
  isMap[0] = 0;
  for (;;) {
    while (left[depth] === 0) {
      if (depth === 0) return pos === end ? PASSED : nonCanonical(pos, 'bytes after the item');
      depth -= 1;
    }
    items += 1;
    if (items > maxItems) return refuse('TOO_LARGE', pos, `more than ${maxItems} items`);
    const start = pos;
    const argument = readHead(bytes, pos, end);
    if (argument < 0) return badHead(bytes, pos, end);
    pos = headEnd;
    const remaining = (left[depth]! -= 1);
    const major = bytes[start]! >> 5;
    // A map of n pairs starts with 2n items left, so after taking a key an odd number remains.
    const key = isMap[depth] === 1 && remaining % 2 === 1;
    if (key && !isKeyType(major, argument)) return nonCanonical(start, 'key type');
    if (major === 2 || major === 3) {
      if (argument > end - pos) return nonCanonical(start, 'length beyond the input');
      const stringStart = pos;
      pos += argument;
      if (major === 3) {
        const bad = invalidUtf8At(bytes, stringStart, pos);
        if (bad >= 0) return nonCanonical(bad, 'invalid UTF-8');
      }
    } else if (major > 3) {
      if (major === 7) {
        if (argument < 20 || argument > 22) return nonCanonical(start, 'float or simple value');
      } else {
        if (major === 6 && !(limits.tags ?? COSE_TAGS).includes(argument)) {
          return nonCanonical(start, 'tag not allowed');
        }
        const inside = major === 4 ? argument : major === 5 ? argument * 2 : 1;
        if (inside > end - pos) return nonCanonical(start, 'length beyond the input');
        depth += 1;
        if (depth > maxDepth) return refuse('TOO_DEEP', start, `deeper than ${maxDepth}`);
        left[depth] = inside;
        isMap[depth] = major === 5 ? 1 : 0;
        keyEnd[depth] = 0;
      }
    }
    if (key) {
      const order = compareToLastKey(bytes, depth, start, pos);
      if (order >= 0) return nonCanonical(start, order === 0 ? 'duplicate key' : 'unsorted keys');
      keyStart[depth] = start;
      keyEnd[depth] = pos;
    }
  }
}

/** The argument of the head at `pos`, leaving `headEnd` behind it; −1 where `badHead` has to say why. */
function readHead(bytes: Uint8Array, pos: number, end: number): number {
  if (pos >= end) return -1;
  const info = bytes[pos]! & 0x1f;
  if (info < 24) {
    headEnd = pos + 1;
    return info;
  }
  if (info > 27) return -1;
  const size = 1 << (info - 24);
  headEnd = pos + 1 + size;
  if (headEnd > end) return -1;
  let argument = 0;
  // Above 2⁵³ the sum is rounded, which the comparisons made with it do not feel.
  for (let i = pos + 1; i < headEnd; i += 1) argument = argument * 0x100 + bytes[i]!;
  const least = size === 1 ? 24 : size === 2 ? 0x100 : size === 4 ? 0x1_0000 : TWO_32;
  return argument < least ? -1 : argument;
}

function badHead(bytes: Uint8Array, pos: number, end: number): CborRefusal {
  if (pos >= end) return nonCanonical(pos, 'truncated');
  const info = bytes[pos]! & 0x1f;
  if (info === 31) return nonCanonical(pos, 'indefinite length or break');
  if (info > 27) return nonCanonical(pos, 'reserved head');
  return nonCanonical(pos, headEnd > end ? 'truncated' : 'head not shortest');
}

/** Text, or an integer that is exact as a number (`value.ts`: normal form of keys). */
function isKeyType(major: number, argument: number): boolean {
  if (major === 3) return true;
  if (major > 1) return false;
  return argument + major <= Number.MAX_SAFE_INTEGER;
}

/** Bytewise order (RFC 8949 §4.2.1); below zero: the last key comes before, as it must. */
function compareToLastKey(bytes: Uint8Array, depth: number, start: number, end: number): number {
  const lastStart = keyStart[depth]!;
  const lastEnd = keyEnd[depth]!;
  if (lastEnd === 0) return -1; // the first key
  const shorter = Math.min(lastEnd - lastStart, end - start);
  for (let i = 0; i < shorter; i += 1) {
    const difference = bytes[lastStart + i]! - bytes[start + i]!;
    if (difference !== 0) return difference;
  }
  return 0; // one encoded item is never the beginning of another
}

function nonCanonical(offset: number, reason: string): CborRefusal {
  return refuse('NON_CANONICAL', offset, reason);
}

function refuse(code: CborRefusal['code'], offset: number, reason: string): CborRefusal {
  return { ok: false, code, offset, reason };
}
