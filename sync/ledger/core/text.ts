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
/** Value by character code; above 63 where the character is none of the alphabet. */
const NO_DIGIT = 64;
const VALUE_OF: Uint8Array = new Uint8Array(128).fill(NO_DIGIT);
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

/** Inverse of {@link encodeBase64}; refuses missing padding, other alphabets and non-zero trailing bits. */
export const decodeBase64 = (text: string): Uint8Array | undefined => {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  const digits = text.length - padding;
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let index = 0; index < digits; index += 1) {
    const value = VALUE_OF[text.charCodeAt(index)] ?? NO_DIGIT;
    if (value === NO_DIGIT) return undefined;
    bits = (bits << 6) | value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes[at] = (bits >>> held) & 0xff;
      at += 1;
      bits &= (1 << held) - 1;
    }
  }
  return bits === 0 ? bytes : undefined;
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
