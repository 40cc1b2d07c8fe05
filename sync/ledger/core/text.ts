/**
 * Strict text helpers of the C2SP formats: base64, UTF-8, decimals. Every parser answers `undefined` for input that has
 * another spelling of the same value, so that no two byte strings mean one thing (signatures are over received bytes).
 */
import { invalidUtf8At, readUtf8 } from '../../../protocol/cbor/utf8.ts';

/** A parser's or verifier's answer. `reason` is for people: short, without the hostile input itself. */
export type Outcome<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

export const ok = <T>(value: T): Outcome<T> => ({ ok: true, value });
export const bad = (reason: string): { readonly ok: false; readonly reason: string } => ({
  ok: false,
  reason,
});

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** Value by byte; above 63 where it is none of the alphabet. */
const NO_DIGIT = 64;
const PADDING = 0x3d;
const VALUE_OF: Uint8Array = new Uint8Array(256).fill(NO_DIGIT);
for (let value = 0; value < ALPHABET.length; value += 1) {
  VALUE_OF[ALPHABET.charCodeAt(value)] = value;
}

/** RFC 4648 section 4 base64 with padding. */
export const encodeBase64 = (bytes: Uint8Array): string => {
  let text = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const left = bytes.length - at;
    text += ALPHABET.charAt(group >>> 18) + ALPHABET.charAt((group >>> 12) & 63);
    text += left > 1 ? ALPHABET.charAt((group >>> 6) & 63) : '=';
    text += left > 2 ? ALPHABET.charAt(group & 63) : '=';
  }
  return text;
};

/**
 * Inverse of {@link encodeBase64} on the characters in [from, to); refuses missing padding, other alphabets and non-zero
 * trailing bits.
 */
export const decodeBase64In = (
  text: Uint8Array,
  from: number,
  to: number,
): Uint8Array | undefined => {
  const length = to - from;
  if (length % 4 !== 0) return undefined;
  if (length === 0) return new Uint8Array(0);
  const padding = text[to - 1] !== PADDING ? 0 : text[to - 2] !== PADDING ? 1 : 2;
  const size = (length / 4) * 3 - padding;
  const bytes = new Uint8Array(size);
  let at = 0;
  let from4 = from;
  for (; at + 3 <= size; from4 += 4) {
    const a = VALUE_OF[text[from4]!]!;
    const b = VALUE_OF[text[from4 + 1]!]!;
    const c = VALUE_OF[text[from4 + 2]!]!;
    const d = VALUE_OF[text[from4 + 3]!]!;
    if ((a | b | c | d) >= NO_DIGIT) return undefined;
    bytes[at] = (a << 2) | (b >>> 4);
    bytes[at + 1] = ((b & 15) << 4) | (c >>> 2);
    bytes[at + 2] = ((c & 3) << 6) | d;
    at += 3;
  }
  if (padding === 0) return bytes;
  const a = VALUE_OF[text[from4]!]!;
  const b = VALUE_OF[text[from4 + 1]!]!;
  const c = padding === 2 ? 0 : VALUE_OF[text[from4 + 2]!]!;
  const unused = padding === 2 ? b & 15 : c & 3;
  if ((a | b | c) >= NO_DIGIT || unused !== 0) return undefined;
  bytes[at] = (a << 2) | (b >>> 4);
  if (padding === 1) bytes[at + 1] = ((b & 15) << 4) | (c >>> 2);
  return bytes;
};

/** {@link decodeBase64In} of a whole text. */
export const decodeBase64 = (text: string): Uint8Array | undefined => {
  const characters = new Uint8Array(text.length);
  // What is no byte is no digit either, and must not become one by being cut to eight bits.
  for (let at = 0; at < text.length; at += 1) characters[at] = Math.min(text.charCodeAt(at), 0xff);
  return decodeBase64In(characters, 0, text.length);
};

/** A non-negative safe integer in ASCII decimal without leading zeroes (the form of every C2SP size and index). */
export const parseDecimal = (text: string): number | undefined => {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
};

/** Strict UTF-8 (RFC 3629: no overlong forms, no surrogates), and no leading byte order mark. */
export const decodeUtf8 = (bytes: Uint8Array): string | undefined =>
  invalidUtf8At(bytes, 0, bytes.length) < 0 ? readUtf8(bytes, 0, bytes.length) : undefined;
