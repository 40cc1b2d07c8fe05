import { charsetOf, isSafeText } from './charset.ts';
import type { CharsetName } from './charset.ts';
import { DE_TABLE, MESSAGE_TYPES } from './de-table.ts';
import type { FieldSpec } from './de-table.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { parsePds } from './pds.ts';

/** A data element in memory: amounts are BigInt minor units, everything else is text without padding. */
export type FieldValue = string | bigint;

/**
 * One ISO 8583:1993 clearing message. `fields` never names a PDS carrier (48, 62, 123–125); those are made from
 * `pds`, tag → value, so that the spill from one carrier to the next cannot be got wrong by a caller.
 */
export type IsoMessage = {
  readonly mti: string;
  readonly fields: ReadonlyMap<number, FieldValue>;
  readonly pds: ReadonlyMap<string, string>;
};

/** How text is written. `safe` keeps to what every EBCDIC page agrees on; DE43 may hold its delimiter besides. */
export type TextRule = {
  readonly charset: CharsetName;
  readonly text: 'safe' | 'printable';
  readonly delimiter: '\\' | '/';
};

export const MTI_LENGTH = 4;
export const BITMAP_LENGTH = 16;
export const LENGTH_DIGITS: Readonly<Record<FieldSpec['form'], number>> = {
  fixed: 0,
  ll: 2,
  lll: 3,
};
const DIGITS = /^\d*$/;
const UPPER_ALPHANUMERIC = /^[A-Z0-9 ]*$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** Whether the content class and the text rule allow every character; the delimiter of DE43 stands apart. */
export const mayHold = (text: string, content: FieldSpec['content'], rule: TextRule): boolean => {
  if (content === 'n' || content === 'amount') return DIGITS.test(text);
  if (content === 'an') return UPPER_ALPHANUMERIC.test(text);
  return rule.text === 'safe' ? isSafeText(text) : PRINTABLE.test(text);
};

/** Index of the first character that the content class or the text rule forbids, −1 if there is none. */
const wrongCharacterAt = (text: string, spec: FieldSpec, rule: TextRule): number => {
  if (mayHold(text, spec.content, rule)) return -1;
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (spec.content === 'location' && character === rule.delimiter) continue;
    if (!mayHold(character, spec.content, rule)) return at;
  }
  return -1;
};

const isText = (spec: FieldSpec): boolean => spec.content === 'an' || spec.content === 'ans';

type Cursor = { at: number; readonly text: string; readonly base: number };

/** Takes the next `length` characters, or refuses with the offset at which they should have begun. */
const take = (cursor: Cursor, length: number, field: string): Coded<string> => {
  const end = cursor.at + length;
  if (end > cursor.text.length) {
    const missing = end - cursor.text.length;
    return refused('TRUNCATED', cursor.base + cursor.at, field, `${missing} bytes missing`);
  }
  const part = cursor.text.slice(cursor.at, end);
  cursor.at = end;
  return coded(part);
};

/** Characters of the element → value: the strict inverse of what the writer does. */
const readField = (
  cursor: Cursor,
  spec: FieldSpec,
  field: string,
  rule: TextRule,
): Coded<FieldValue> => {
  let length = spec.length;
  const start = cursor.base + cursor.at;
  if (spec.form !== 'fixed') {
    const digits = take(cursor, LENGTH_DIGITS[spec.form], field);
    if (!digits.ok) return digits;
    if (!DIGITS.test(digits.value))
      return refused('BAD_FRAMING', start, field, 'length not numeric');
    length = Number(digits.value);
    if (length === 0) return refused('WRONG_LENGTH', start, field, 'empty');
    if (length > spec.length) {
      return refused('TOO_LONG', start, field, `${length} characters, at most ${spec.length}`);
    }
  }
  const bodyAt = cursor.base + cursor.at;
  const body = take(cursor, length, field);
  if (!body.ok) return body;
  const wrongAt = wrongCharacterAt(body.value, spec, rule);
  if (wrongAt >= 0) {
    return refused('WRONG_CHARACTER', bodyAt + wrongAt, field, 'character not allowed here');
  }
  if (spec.content === 'amount') return coded(BigInt(body.value));
  if (spec.form !== 'fixed' || !isText(spec)) return coded(body.value);
  const trimmed = body.value.replace(/ +$/, '');
  return trimmed === '' ? refused('WRONG_LENGTH', bodyAt, field, 'blank') : coded(trimmed);
};

/** The elements the bitmap names, in order. Bit 1 must be set (a second bitmap always follows). */
const readBitmap = (bytes: Uint8Array, base: number): Coded<number[]> => {
  const offset = base + MTI_LENGTH;
  const bitmap = bytes.subarray(MTI_LENGTH, MTI_LENGTH + BITMAP_LENGTH);
  if (bitmap.length < BITMAP_LENGTH) return refused('TRUNCATED', offset, 'bitmap', 'incomplete');
  if (((bitmap[0] as number) & 0x80) === 0) return refused('BAD_BITMAP', offset, 'bitmap', 'bit 1');
  const elements: number[] = [];
  for (let de = 2; de <= 128; de++) {
    const at = (de - 1) >> 3;
    if (((bitmap[at] as number) & (0x80 >> ((de - 1) & 7))) === 0) continue;
    if (!DE_TABLE.has(de)) {
      return refused('UNKNOWN_FIELD', offset + at, `DE${de}`, 'not in the field table');
    }
    elements.push(de);
  }
  return coded(elements);
};

/**
 * Reads one message and refuses everything that our writer could not have written, save the order of PDS.
 * `base` is the offset of the record's first byte in its stream; faults count from the start of that stream.
 */
export const decodeMessage = (
  bytes: Uint8Array,
  rule: TextRule,
  base: number,
): Coded<IsoMessage> => {
  const charset = charsetOf(rule.charset);
  const mti = charset.toText(bytes, 0, Math.min(MTI_LENGTH, bytes.length));
  if (!MESSAGE_TYPES.has(mti)) return refused('BAD_MTI', base, 'MTI', 'unknown message type');
  const elements = readBitmap(bytes, base);
  if (!elements.ok) return elements;
  const head = MTI_LENGTH + BITMAP_LENGTH;
  const cursor: Cursor = {
    at: 0,
    text: charset.toText(bytes, head, bytes.length),
    base: base + head,
  };
  const fields = new Map<number, FieldValue>();
  const pds = new Map<string, string>();
  for (const de of elements.value) {
    const spec = DE_TABLE.get(de) as FieldSpec;
    const value = readField(cursor, spec, `DE${de}`, rule);
    if (!value.ok) return value;
    if (spec.content === 'pds') {
      const carrier = value.value as string;
      const at = cursor.base + cursor.at - carrier.length;
      const parsed = parsePds(carrier, `DE${de}`, at, pds);
      if (!parsed.ok) return parsed;
    } else {
      fields.set(de, value.value);
    }
  }
  if (cursor.at < cursor.text.length) {
    const extra = cursor.text.length - cursor.at;
    return refused('TRAILING_DATA', cursor.base + cursor.at, 'record', `${extra} bytes too many`);
  }
  return coded({ mti, fields, pds });
};
