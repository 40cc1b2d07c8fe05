// The half-width kana of JIS X 0201, bytes 0xA6 to 0xDF, as full-width letters. A table of our own: no runtime has
// an encoder for this set.
const KANA = [
  ...Array.from(
    'ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン',
  ),
  '\u3099',
  '\u309A',
];
const FIRST_KANA = 0xa6;
/** Half-width kana stand in Unicode as in JIS X 0201, so far away from it. */
const HALF_WIDTH_OFFSET = 0xfec0;
const LAST_KANA = 0xdf;

// Banks take capital kana only, and names are registered so: ツ for ッ, - for ー.
const CAPITAL: Readonly<Record<string, string>> = {
  ァ: 'ア',
  ィ: 'イ',
  ゥ: 'ウ',
  ェ: 'エ',
  ォ: 'オ',
  ャ: 'ヤ',
  ュ: 'ユ',
  ョ: 'ヨ',
  ッ: 'ツ',
  ー: '-',
};

// Letters, digits and signs every bank takes in a name; kana from ア (0xB1) on, which leaves out ヲ and small ones.
const ASCII = new Set(' ()-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ');

const isByte = (byte: number): boolean =>
  (byte >= 0xb1 && byte <= LAST_KANA) || ASCII.has(String.fromCharCode(byte));

/** The byte of a character that a bank takes; −1 for any other. */
export const zenginByte = (character: string): number => {
  const code = character.charCodeAt(0);
  const byte = code < 0x80 ? code : code - HALF_WIDTH_OFFSET;
  return character.length === 1 && byte > 0 && byte < 256 && isByte(byte) ? byte : -1;
};

/** The character of a byte (half-width for kana); undefined for a byte no bank takes. */
export const zenginCharacter = (byte: number): string | undefined => {
  if (!isByte(byte)) return undefined;
  return String.fromCharCode(byte < 0x80 ? byte : byte + HALF_WIDTH_OFFSET);
};

/**
 * A name brought into what a bank takes: half width, capital letters, small kana mapped up, voice marks as characters
 * of their own. Undefined where a character has no such form (a kanji, ヲ): a name is never guessed.
 */
export const zenginText = (text: string): string | undefined => {
  let out = '';
  // The marks that stand alone would decompose into a blank and a mark.
  const joined = text.replaceAll('\u309B', '\u3099').replaceAll('\u309C', '\u309A');
  // Compatibility decomposition makes of ｶﾞ, ガ and が one base letter and one mark, and of Ａ an A.
  for (const part of joined.normalize('NFKD').toUpperCase()) {
    const code = part.charCodeAt(0);
    const isHiragana = code >= 0x3041 && code <= 0x3094;
    const kana = isHiragana ? String.fromCharCode(code + 0x60) : part;
    const letter = CAPITAL[kana] ?? kana;
    const at = KANA.indexOf(letter);
    const character = at < 0 ? letter : String.fromCharCode(FIRST_KANA + at + HALF_WIDTH_OFFSET);
    if (zenginByte(character) < 0) return undefined;
    out += character;
  }
  return out.trim();
};
