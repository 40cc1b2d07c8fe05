/** RLP (Ethereum yellow paper, appendix B): the encoding of block headers and of state-trie nodes. Strict and bounded. */
import { concatBytes } from '../../../protocol/bytes.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A byte string or a list of items. */
export type RlpItem = Uint8Array | readonly RlpItem[];

/** Headers are one list; a branch node may hold a short node in itself. */
const MAX_DEPTH = 4;
const SHORT_BYTES = 55;
const STRING_BASE = 0x80;
const LIST_BASE = 0xc0;

const bigEndian = (value: number): Uint8Array => {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.from(bytes);
};

const withLength = (base: number, body: Uint8Array): Uint8Array => {
  if (body.length <= SHORT_BYTES) return concatBytes(Uint8Array.of(base + body.length), body);
  const length = bigEndian(body.length);
  return concatBytes(Uint8Array.of(base + SHORT_BYTES + length.length), length, body);
};

export const encodeRlp = (item: RlpItem): Uint8Array => {
  if (!(item instanceof Uint8Array))
    return withLength(LIST_BASE, concatBytes(...item.map(encodeRlp)));
  const [only] = item;
  return item.length === 1 && only !== undefined && only < STRING_BASE
    ? item
    : withLength(STRING_BASE, item);
};

/** Where an item's content begins and ends. */
interface Span {
  readonly isList: boolean;
  readonly start: number;
  readonly end: number;
}

/** Reads the head of the item at `at`; undefined for a form that {@link encodeRlp} would not write. */
const spanAt = (bytes: Uint8Array, at: number, limit: number): Span | undefined => {
  const first = bytes[at];
  if (first === undefined || at >= limit) return undefined;
  if (first < STRING_BASE) return { isList: false, start: at, end: at + 1 };
  const isList = first >= LIST_BASE;
  const code = first - (isList ? LIST_BASE : STRING_BASE);
  let start = at + 1;
  let length = code;
  if (code > SHORT_BYTES) {
    const lengthBytes = bytes.subarray(start, start + code - SHORT_BYTES);
    start += code - SHORT_BYTES;
    if (start > limit || lengthBytes.length > 4 || lengthBytes[0] === 0) return undefined;
    length = lengthBytes.reduce((sum, byte) => sum * 256 + byte, 0);
    if (length <= SHORT_BYTES) return undefined;
  }
  const end = start + length;
  if (end > limit) return undefined;
  // A single byte below 0x80 stands for itself.
  if (!isList && length === 1 && (bytes[start] ?? 0) < STRING_BASE) return undefined;
  return { isList, start, end };
};

const readItem = (bytes: Uint8Array, span: Span, depth: number): RlpItem | undefined => {
  if (!span.isList) return bytes.slice(span.start, span.end);
  if (depth >= MAX_DEPTH) return undefined;
  const items: RlpItem[] = [];
  for (let at = span.start; at < span.end;) {
    const inner = spanAt(bytes, at, span.end);
    const item = inner && readItem(bytes, inner, depth + 1);
    if (inner === undefined || item === undefined) return undefined;
    items.push(item);
    at = inner.end;
  }
  return items;
};

/** Reads one item that fills the bytes, in its one form. */
export const decodeRlp = (bytes: Uint8Array): Outcome<RlpItem> => {
  const span = spanAt(bytes, 0, bytes.length);
  const item = span?.end === bytes.length ? readItem(bytes, span, 0) : undefined;
  return item === undefined ? bad('malformed RLP') : ok(item);
};
