/**
 * DER (X.690) as far as time stamps and certificates need it. Strict: definite, minimal lengths, low tag numbers, whole
 * bytes used; a value that is read back is the bytes that were signed.
 */
import { concatBytes } from '../../../protocol/bytes.ts';
import { type Outcome, bad, ok } from './text.ts';

/** Tag octets. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  nil: 0x05,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Constructed context-specific tag `[n]`. */
export const explicit = (n: number): number => 0xa0 + n;

const CONSTRUCTED = 0x20;
const HIGH_TAG = 0x1f;
/** Deeper than any certificate. */
const MAX_DEPTH = 24;

/** One element; `children` where it is constructed. */
export interface DerNode {
  readonly tag: number;
  /** The element with its tag and length, as received. */
  readonly whole: Uint8Array;
  readonly content: Uint8Array;
  readonly children: readonly DerNode[];
}

const readNode = (bytes: Uint8Array, at: number, depth: number): DerNode | undefined => {
  const [tag, first] = [bytes[at], bytes[at + 1]];
  if (tag === undefined || first === undefined || (tag & HIGH_TAG) === HIGH_TAG) return undefined;
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    const lengthBytes = bytes.subarray(start, start + first - 0x80);
    start += first - 0x80;
    // 0x80 alone is the indefinite form of BER; four bytes are more than any input here.
    if (lengthBytes.length === 0 || lengthBytes.length > 4 || lengthBytes[0] === 0)
      return undefined;
    length = lengthBytes.reduce((sum, byte) => sum * 256 + byte, 0);
    if (length < 0x80) return undefined;
  }
  const end = start + length;
  if (start > bytes.length || end > bytes.length) return undefined;
  const content = bytes.subarray(start, end);
  const children: DerNode[] = [];
  if ((tag & CONSTRUCTED) !== 0) {
    if (depth >= MAX_DEPTH) return undefined;
    for (let inner = 0; inner < content.length;) {
      const child = readNode(content, inner, depth + 1);
      if (child === undefined) return undefined;
      children.push(child);
      inner += child.whole.length;
    }
  }
  return { tag, whole: bytes.subarray(at, end), content, children };
};

/** Reads one element that fills the bytes. */
export const decodeDer = (bytes: Uint8Array): Outcome<DerNode> => {
  const node = readNode(bytes, 0, 0);
  return node?.whole.length === bytes.length ? ok(node) : bad('malformed DER');
};

/** The element itself, where it has the tag. */
export const withTag = (node: DerNode | undefined, tag: number): DerNode | undefined =>
  node?.tag === tag ? node : undefined;

/** Elements of a sequence or set; none for another element. */
export const partsOf = (
  node: DerNode | undefined,
  tag: number = TAG.sequence,
): readonly DerNode[] => (node?.tag === tag ? node.children : []);

/** An object identifier in dotted form. */
export const readOid = (node: DerNode | undefined): string | undefined => {
  if (node?.tag !== TAG.oid || node.content.length === 0) return undefined;
  const arcs: number[] = [];
  let arc = 0;
  let isOpen = false;
  for (const byte of node.content) {
    if (!isOpen && byte === 0x80) return undefined;
    arc = arc * 128 + (byte & 0x7f);
    if (!Number.isSafeInteger(arc)) return undefined;
    isOpen = byte >= 0x80;
    if (isOpen) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(arc / 40));
      arcs.push(first, arc - first * 40);
    } else {
      arcs.push(arc);
    }
    arc = 0;
  }
  return isOpen ? undefined : arcs.join('.');
};

/** Two's complement content of an INTEGER in its shortest form. */
export const readInteger = (node: DerNode | undefined): Uint8Array | undefined => {
  const content = withTag(node, TAG.integer)?.content;
  const [first, second] = content ?? [];
  if (content === undefined || first === undefined) return undefined;
  if (second !== undefined && first === 0 && second < 0x80) return undefined;
  if (second !== undefined && first === 0xff && second >= 0x80) return undefined;
  return content;
};

/** A small non-negative INTEGER. */
export const readSmall = (node: DerNode | undefined): number | undefined => {
  const content = readInteger(node);
  if (content === undefined || content.length > 4 || (content[0] ?? 0) >= 0x80) return undefined;
  return content.reduce((sum, byte) => sum * 256 + byte, 0);
};

const SECONDS_PER_DAY = 86_400;
const DAYS_BEFORE_MONTH = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334] as const;

const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;

const leapYearsBefore = (year: number): number => {
  const last = year - 1;
  return Math.floor(last / 4) - Math.floor(last / 100) + Math.floor(last / 400);
};

/** Days from 1970-01-01; undefined for a date that is in no calendar. */
const daysOf = (year: number, month: number, day: number): number | undefined => {
  const before = DAYS_BEFORE_MONTH[month - 1];
  if (before === undefined) return undefined;
  const leapDay = isLeap(year) ? 1 : 0;
  const next = DAYS_BEFORE_MONTH[month] ?? 365;
  const length = next - before + (month === 2 ? leapDay : 0);
  if (day < 1 || day > length) return undefined;
  const years = (year - 1970) * 365 + leapYearsBefore(year) - leapYearsBefore(1970);
  return years + before + (month > 2 ? leapDay : 0) + day - 1;
};

/** POSIX seconds of a UTCTime or GeneralizedTime in UTC with seconds (RFC 5280 4.1.2.5); a fraction is cut off. */
export const readTime = (node: DerNode | undefined): number | undefined => {
  if (node === undefined) return undefined;
  const text = String.fromCharCode(...node.content.subarray(0, 40));
  const short = node.tag === TAG.utcTime ? /^(\d{2})(\d{10})Z$/.exec(text) : undefined;
  const long =
    node.tag === TAG.generalizedTime ? /^(\d{4})(\d{10})(?:\.\d*[1-9])?Z$/.exec(text) : undefined;
  const [, yearText, rest] = short ?? long ?? [];
  if (yearText === undefined || rest === undefined) return undefined;
  const century = Number(yearText) >= 50 ? 1900 : 2000;
  const year = Number(yearText) + (short ? century : 0);
  const [month, day, hour, minute, second] = (rest.match(/\d{2}/g) ?? []).map(Number);
  const days = daysOf(year, month ?? 0, day ?? 0);
  if (days === undefined || hour === undefined || minute === undefined || second === undefined) {
    return undefined;
  }
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  return days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
};

/** One element from its tag and its parts. */
export const encodeDer = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const content = concatBytes(...parts);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256))
    length.unshift(rest % 256);
  const head = content.length < 0x80 ? [content.length] : [0x80 + length.length, ...length];
  return concatBytes(Uint8Array.of(tag, ...head), content);
};

/** A non-negative INTEGER from its big-endian bytes. */
export const encodeUnsigned = (bytes: Uint8Array): Uint8Array => {
  const first = bytes.findIndex((byte) => byte !== 0);
  const significant = first < 0 ? Uint8Array.of(0) : bytes.subarray(first);
  const sign = (significant[0] ?? 0) >= 0x80 ? Uint8Array.of(0) : new Uint8Array(0);
  return encodeDer(TAG.integer, sign, significant);
};

/** An object identifier from its dotted form. */
export const encodeOid = (dotted: string): Uint8Array => {
  const [one = 0, two = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [one * 40 + two, ...rest].flatMap((arc) => {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      digits.unshift(128 + (left % 128));
    }
    return digits;
  });
  return encodeDer(TAG.oid, Uint8Array.from(bytes));
};
