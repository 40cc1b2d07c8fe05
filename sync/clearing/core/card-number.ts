import { isLuhnValid } from './arn.ts';
import { charsetOf } from './charset.ts';
import type { CharsetName } from './charset.ts';

// DE2 is the first element behind the bitmap, so it is put in and taken out without touching another byte: that is
// how "differs only in DE2" can be held byte for byte, whatever else a record says.
const BITMAP_AT = 4;
const ELEMENTS_AT = 20;
const DE2_BIT = 0x40;
const LENGTH_DIGITS = 2;
const CARD_NUMBER = /^\d{13,19}$/;

/** ISO/IEC 7812-1: 13 to 19 digits, the last one the Luhn digit of the others. */
export const isCardNumber = (text: string): boolean => CARD_NUMBER.test(text) && isLuhnValid(text);

/** A record with DE2 put in. The record must not have one; `cardNumber` is one by {@link isCardNumber}. */
export const putCardNumber = (
  record: Uint8Array,
  cardNumber: string,
  charset: CharsetName,
): Uint8Array => {
  const codes = charsetOf(charset);
  const element = `${cardNumber.length}${cardNumber}`;
  const filled = new Uint8Array(record.length + element.length);
  filled.set(record.subarray(0, ELEMENTS_AT));
  filled[BITMAP_AT] = (filled[BITMAP_AT] ?? 0) | DE2_BIT;
  for (let at = 0; at < element.length; at++) {
    filled[ELEMENTS_AT + at] = codes.toByte(element.charCodeAt(at));
  }
  filled.set(record.subarray(ELEMENTS_AT), ELEMENTS_AT + element.length);
  return filled;
};

/** What a record is without its DE2; `cardNumber` is undefined where it had none. */
export type Stripped = { readonly record: Uint8Array; readonly cardNumber: string | undefined };

/** Takes DE2 out of a record that the codec has read. */
export const takeCardNumber = (record: Uint8Array, charset: CharsetName): Stripped => {
  if (((record[BITMAP_AT] ?? 0) & DE2_BIT) === 0) return { record, cardNumber: undefined };
  const codes = charsetOf(charset);
  const digitsAt = ELEMENTS_AT + LENGTH_DIGITS;
  const end = digitsAt + Number(codes.toText(record, ELEMENTS_AT, digitsAt));
  const stripped = new Uint8Array(record.length - (end - ELEMENTS_AT));
  stripped.set(record.subarray(0, ELEMENTS_AT));
  stripped[BITMAP_AT] = (stripped[BITMAP_AT] ?? 0) & ~DE2_BIT;
  stripped.set(record.subarray(end), ELEMENTS_AT);
  return { record: stripped, cardNumber: codes.toText(record, digitsAt, end) };
};
