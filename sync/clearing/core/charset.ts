import { hexToBytes } from '@noble/hashes/utils.js';

/** The character sets a profile may name. */
export type CharsetName = 'latin1' | 'cp500';

/** One single-byte character set: `toByte` gives −1 for a character it has no byte for. */
export type Charset = {
  readonly name: CharsetName;
  toByte(codeUnit: number): number;
  toText(bytes: Uint8Array, from: number, to: number): string;
};

// IBM code page 500 as Unicode code points, byte 0x00 to 0xFF. A table of our own, because TextDecoder has no
// EBCDIC and cp500 differs from cp037 in seven characters that a guess would silently swap.
const CP500_CODE_POINTS: Uint8Array = hexToBytes(
  '000102039c09867f978d8e0b0c0d0e0f101112139d8508871819928f1c1d1e1f' +
    '80818283840a171b88898a8b8c050607909116939495960498999a9b14159e1a' +
    '20a0e2e4e0e1e3e5e7f15b2e3c282b2126e9eaebe8edeeefecdf5d242a293b5e' +
    '2d2fc2c4c0c1c3c5c7d1a62c255f3e3ff8c9cacbc8cdcecfcc603a2340273d22' +
    'd8616263646566676869abbbf0fdfeb1b06a6b6c6d6e6f707172aabae6b8c6a4' +
    'b57e737475767778797aa1bfd0dddeaea2a3a5b7a9a7b6bcbdbeac7cafa8b4d7' +
    '7b414243444546474849adf4f6f2f3f57d4a4b4c4d4e4f505152b9fbfcf9faff' +
    '5cf7535455565758595ab2d4d6d2d3d530313233343536373839b3dbdcd9da9f',
);

const charsetFrom = (name: CharsetName, codePoints: Uint8Array): Charset => {
  const bytes = new Int16Array(256).fill(-1);
  codePoints.forEach((codePoint, byte) => {
    bytes[codePoint] = byte;
  });
  return {
    name,
    toByte: (codeUnit) => bytes[codeUnit] ?? -1,
    toText: (source, from, to) => {
      let text = '';
      for (let at = from; at < to; at++) {
        text += String.fromCharCode(codePoints[source[at] ?? 0] ?? 0);
      }
      return text;
    },
  };
};

const CHARSETS: Readonly<Record<CharsetName, Charset>> = {
  latin1: charsetFrom(
    'latin1',
    Uint8Array.from({ length: 256 }, (_, byte) => byte),
  ),
  cp500: charsetFrom('cp500', CP500_CODE_POINTS),
};

export const charsetOf = (name: CharsetName): Charset => CHARSETS[name];

// The characters that cp500, 037, 290, 930, 939 and 1399 all write with the same byte: no lower case, no `$`,
// no backslash, no brackets. Whoever reads our file in a neighbouring EBCDIC page reads the same text.
const SAFE_TEXT = /^[ "#%&'()*+,\-./0-9:;<=>?@A-Z_`]*$/;

/** True if every EBCDIC page of the field reads this text alike. */
export const isSafeText = (text: string): boolean => SAFE_TEXT.test(text);

/**
 * Descriptive text (a merchant's name, a street) brought into the safe set: upper case, anything else `?`. Only
 * for text that means nothing to the totals, so that one odd name never holds up a file. Never for identifiers.
 */
export const toSafeText = (text: string, maxLength: number): string => {
  let safe = '';
  for (const character of text.toUpperCase()) {
    safe += isSafeText(character) && character.length === 1 ? character : '?';
    if (safe.length === maxLength) break;
  }
  return safe.trim();
};
