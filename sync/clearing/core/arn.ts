import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';

/** How a profile forms DE31: the first digit and what the last one is. */
export type ArnRule = {
  readonly firstDigit: string;
  /** `luhn` over the 22 digits before it, or the constant `0`. */
  readonly check: 'luhn' | 'zero';
};

const ARN_LENGTH = 23;
/** Eleven digits: the running number that is never used twice. */
const ARN_SEQUENCE_MAX = 99_999_999_999;

/** The Luhn digit that completes `digits` (ISO/IEC 7812-1 annex B). */
export const luhnDigit = (digits: string): string => {
  let sum = 0;
  for (let at = digits.length - 1, double = true; at >= 0; at--, double = !double) {
    const value = digits.charCodeAt(at) - 48;
    const weighed = double ? value * 2 : value;
    sum += weighed > 9 ? weighed - 9 : weighed;
  }
  return String((10 - (sum % 10)) % 10);
};

/** True for a run of digits whose last one is its Luhn digit. */
export const isLuhnValid = (digits: string): boolean =>
  /^\d{2,}$/.test(digits) && luhnDigit(digits.slice(0, -1)) === digits.slice(-1);

const checkDigit = (body: string, rule: ArnRule): string =>
  rule.check === 'luhn' ? luhnDigit(body) : '0';

/**
 * The acquirer reference of a presentment: first digit, BIN 6n, YDDD, running number 11n, check digit. YDDD comes
 * back after ten years, so the store holds the full date beside it.
 */
export const buildArn = (
  rule: ArnRule,
  parts: { readonly bin: string; readonly yddd: string; readonly sequence: number },
): Coded<string> => {
  if (!/^\d{6}$/.test(parts.bin)) return refused('WRONG_LENGTH', 1, 'DE31', 'BIN is six digits');
  if (!/^\d{4}$/.test(parts.yddd)) return refused('WRONG_LENGTH', 7, 'DE31', 'YDDD is four digits');
  const inRange = Number.isSafeInteger(parts.sequence) && parts.sequence >= 1;
  if (!inRange || parts.sequence > ARN_SEQUENCE_MAX) {
    return refused('OVERFLOW', 11, 'DE31', `running number ${parts.sequence}`);
  }
  const number = String(parts.sequence).padStart(11, '0');
  const body = rule.firstDigit + parts.bin + parts.yddd + number;
  return coded(body + checkDigit(body, rule));
};

/** What is wrong with an ARN under the rule; undefined if nothing. */
export const arnFault = (arn: string, rule: ArnRule): string | undefined => {
  if (!/^\d+$/.test(arn) || arn.length !== ARN_LENGTH) return `not ${ARN_LENGTH} digits`;
  if (!arn.startsWith(rule.firstDigit)) return `first digit is not ${rule.firstDigit}`;
  const day = Number(arn.slice(8, 11));
  if (day < 1 || day > 366) return `day ${day} of the year`;
  const expected = checkDigit(arn.slice(0, -1), rule);
  return arn.endsWith(expected) ? undefined : `check digit is not ${expected}`;
};
