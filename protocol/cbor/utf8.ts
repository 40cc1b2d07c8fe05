/**
 * UTF-8 without the platform: strict both ways, so one text has one encoding (RFC 3629).
 * Text that starts with U+FEFF is outside the profile: many decoders (TextDecoder, and with it
 * cbor-x above 64 bytes) drop that mark silently, which would make two encodings one text.
 */
const BOM = 0xfeff;

/** Bytes that `text` takes in UTF-8, or −1 for a lone surrogate or a leading byte order mark. */
export function utf8Length(text: string): number {
  let length = text.length;
  if (length > 0 && text.charCodeAt(0) === BOM) return -1;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) length += 1;
    else if (unit < 0xd800 || unit > 0xdfff) length += 2;
    else {
      const low = text.charCodeAt(i + 1);
      if (unit > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) return -1;
      length += 2; // two units, four bytes
      i += 1;
    }
  }
  return length;
}

/** Writes `text`, of which `utf8Length` is not −1, at `at`; the caller has made room for it. */
export function writeUtf8(text: string, out: Uint8Array, at: number): void {
  let pos = at;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) {
      out[pos++] = unit;
    } else if (unit < 0x800) {
      out[pos++] = 0xc0 | (unit >> 6);
      out[pos++] = 0x80 | (unit & 0x3f);
    } else if (unit < 0xd800 || unit > 0xdfff) {
      out[pos++] = 0xe0 | (unit >> 12);
      out[pos++] = 0x80 | ((unit >> 6) & 0x3f);
      out[pos++] = 0x80 | (unit & 0x3f);
    } else {
      const point = 0x10000 + ((unit - 0xd800) << 10) + (text.charCodeAt(i + 1) - 0xdc00);
      i += 1;
      out[pos++] = 0xf0 | (point >> 18);
      out[pos++] = 0x80 | ((point >> 12) & 0x3f);
      out[pos++] = 0x80 | ((point >> 6) & 0x3f);
      out[pos++] = 0x80 | (point & 0x3f);
    }
  }
}

/** Offset of the first byte in [start, end) that is not profile UTF-8, or −1. */
export function invalidUtf8At(bytes: Uint8Array, start: number, end: number): number {
  let pos = start;
  while (pos < end) {
    const lead = bytes[pos]!;
    if (lead < 0x80) {
      pos += 1;
      continue;
    }
    const size = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (size === 0 || pos + size > end) return pos;
    const second = bytes[pos + 1]!;
    // RFC 3629 §4: the second byte excludes overlong forms, surrogates and above U+10FFFF.
    const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high) return pos;
    for (let i = 2; i < size; i += 1) if ((bytes[pos + i]! & 0xc0) !== 0x80) return pos;
    if (pos === start && lead === 0xef && second === 0xbb && bytes[pos + 2] === 0xbf) return pos;
    pos += size;
  }
  return -1;
}

/** Eight bytes of ASCII as text: one string for eight, where text mostly is ASCII. */
function eightAscii(bytes: Uint8Array, at: number): string | undefined {
  const [a, b, c, d] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
  const [e, f, g, h] = [bytes[at + 4]!, bytes[at + 5]!, bytes[at + 6]!, bytes[at + 7]!];
  if ((a | b | c | d | e | f | g | h) >= 0x80) return undefined;
  return String.fromCharCode(a, b, c, d, e, f, g, h);
}

/** Text of valid UTF-8 in [start, end). */
export function readUtf8(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  let pos = start;
  while (pos < end) {
    const lead = bytes[pos]!;
    if (lead < 0x80) {
      const eight = pos + 8 <= end ? eightAscii(bytes, pos) : undefined;
      text += eight ?? String.fromCharCode(lead);
      pos += eight ? 8 : 1;
    } else if (lead < 0xe0) {
      text += String.fromCharCode(((lead & 0x1f) << 6) | (bytes[pos + 1]! & 0x3f));
      pos += 2;
    } else if (lead < 0xf0) {
      const tail = ((bytes[pos + 1]! & 0x3f) << 6) | (bytes[pos + 2]! & 0x3f);
      text += String.fromCharCode(((lead & 0xf) << 12) | tail);
      pos += 3;
    } else {
      const upper = ((lead & 7) << 18) | ((bytes[pos + 1]! & 0x3f) << 12);
      const lower = ((bytes[pos + 2]! & 0x3f) << 6) | (bytes[pos + 3]! & 0x3f);
      text += String.fromCodePoint(upper | lower);
      pos += 4;
    }
  }
  return text;
}
