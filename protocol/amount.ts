import { KiriError } from './kiri-error.ts';

declare const micro: unique symbol;

/** Money in micro-units: 10⁻⁶ of the currency's major unit, 0 … 2⁶⁴−1 (DESIGN §3). */
export type AmountMicro = bigint & { readonly [micro]: true };

/** The largest amount the wire carries (u64). */
export const MAX_AMOUNT_MICRO: bigint = (1n << 64n) - 1n;

/** Micro-units in one major unit. */
export const MICRO_PER_MAJOR = 1_000_000n;

/** The one constructor. @throws KiriError AMOUNT_OUT_OF_RANGE */
export function amountMicro(value: bigint): AmountMicro {
  if (value < 0n || value > MAX_AMOUNT_MICRO) {
    throw new KiriError('AMOUNT_OUT_OF_RANGE', `amount ${value} is outside 0 … 2^64-1 micro-units`);
  }
  return value as AmountMicro;
}

export const ZERO_MICRO: AmountMicro = amountMicro(0n);

/** @throws KiriError AMOUNT_OUT_OF_RANGE where the sum leaves u64 */
export function addMicro(a: AmountMicro, b: AmountMicro): AmountMicro {
  return amountMicro(a + b);
}

/** @throws KiriError AMOUNT_OUT_OF_RANGE where b is larger than a */
export function subMicro(a: AmountMicro, b: AmountMicro): AmountMicro {
  return amountMicro(a - b);
}

const DECIMAL = /^(\d{1,14})(?:\.(\d{1,6}))?$/;

/** Reads a plain decimal such as "3.85"; undefined where it is not one or has over 6 decimals. */
export function parseMajor(text: string): AmountMicro | undefined {
  const match = DECIMAL.exec(text);
  if (!match) return undefined;
  const value = BigInt(match[1]!) * MICRO_PER_MAJOR + BigInt((match[2] ?? '').padEnd(6, '0'));
  return value > MAX_AMOUNT_MICRO ? undefined : amountMicro(value);
}

/** Exact decimal of the major unit, at least `minDecimals` places; accepts negative sums. */
export function formatMajor(value: bigint, minDecimals = 0): string {
  const sign = value < 0n ? '-' : '';
  const size = value < 0n ? -value : value;
  const digits = (size % MICRO_PER_MAJOR).toString().padStart(6, '0');
  let end = 6;
  while (end > minDecimals && digits[end - 1] === '0') end -= 1;
  const fraction = digits.slice(0, end);
  return `${sign}${size / MICRO_PER_MAJOR}${fraction === '' ? '' : `.${fraction}`}`;
}
