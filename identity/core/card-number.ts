/** Luhn sum (ISO/IEC 7812-1 annex B). */
function luhnHolds(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i += 1) {
    const digit = Number(digits[digits.length - 1 - i]);
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/**
 * Whether a reference could be a card number: 12 to 19 digits with a Luhn check digit and nothing
 * else but spaces and hyphens. Such a reference is refused, whatever it was meant to be.
 */
export function looksLikeCardNumber(reference: string): boolean {
  const digits = reference.replaceAll(/[ -]/g, '');
  return /^\d{12,19}$/.test(digits) && luhnHolds(digits);
}
