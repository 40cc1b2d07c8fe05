export type RefusalCode =
  | 'TOO_LARGE'
  | 'TOO_DEEP'
  | 'NON_CANONICAL'
  | 'MALFORMED'
  | 'UNKNOWN_MESSAGE'
  | 'WRONG_GATEWAY'
  | 'BAD_SIGNATURE'
  | 'UNKNOWN_LINE'
  | 'CREDENTIAL_INVALID'
  | 'CREDENTIAL_EXPIRED'
  | 'REVOKED'
  | 'LIST_STALE'
  | 'BINDING_CLOSED'
  | 'OFFER_UNKNOWN'
  | 'OFFER_USED'
  | 'OFFER_EXPIRED'
  | 'OFFER_MISMATCH'
  | 'CURRENCY_MISMATCH'
  | 'EQUIVOCATION'
  | 'LINE_BLOCKED'
  | 'PAYMENT_LIMIT'
  | 'UPPER_LIMIT'
  | 'CEILING_EXCEEDED'
  | 'COUNTER_LIMIT'
  | 'RELEASE_LIMIT'
  | 'DEVICE_EXPOSURE'
  | 'PARTY_EXPOSURE'
  | 'GATEWAY_EXPOSURE'
  | 'MANDATE_SILENT'
  | 'ASK_CENTRE'
  | 'BUSY'
  | 'DISK_FULL'
  | 'RATE_LIMITED'
  | 'FORBIDDEN_TOPIC'
  | 'GATEWAY_UNTRUSTED'
  | 'TARIFF_UNTRUSTED'
  | 'POLICY_REFUSED'
  | 'CLOCK_REGRESSION';

export interface RefusalRule {
  readonly number: number;
  readonly kind: 'stateless' | 'final' | 'open';
}

/**
 * The closed list of refusal codes (DESIGN §4). The number goes over the wire, so a number is
 * never reused. `final`: a Void, journalled before it is sent, after which the Payment can never
 * be accepted. `stateless`: deterministic from the bytes alone, needs no journal. `open`: leaves
 * the outcome unknown; the payer sends the same bytes again or asks.
 */
export const REFUSALS: Readonly<Record<RefusalCode, RefusalRule>> = {
  TOO_LARGE: { number: 1, kind: 'stateless' },
  TOO_DEEP: { number: 2, kind: 'stateless' },
  NON_CANONICAL: { number: 3, kind: 'stateless' },
  MALFORMED: { number: 4, kind: 'stateless' },
  UNKNOWN_MESSAGE: { number: 5, kind: 'stateless' },
  WRONG_GATEWAY: { number: 6, kind: 'stateless' },
  BAD_SIGNATURE: { number: 7, kind: 'stateless' },
  UNKNOWN_LINE: { number: 8, kind: 'open' },
  CREDENTIAL_INVALID: { number: 9, kind: 'open' },
  CREDENTIAL_EXPIRED: { number: 10, kind: 'final' },
  REVOKED: { number: 11, kind: 'final' },
  LIST_STALE: { number: 12, kind: 'open' },
  BINDING_CLOSED: { number: 13, kind: 'final' },
  OFFER_UNKNOWN: { number: 14, kind: 'open' },
  OFFER_USED: { number: 15, kind: 'final' },
  OFFER_EXPIRED: { number: 16, kind: 'final' },
  OFFER_MISMATCH: { number: 17, kind: 'final' },
  CURRENCY_MISMATCH: { number: 18, kind: 'final' },
  EQUIVOCATION: { number: 19, kind: 'final' },
  LINE_BLOCKED: { number: 20, kind: 'final' },
  PAYMENT_LIMIT: { number: 21, kind: 'final' },
  UPPER_LIMIT: { number: 22, kind: 'final' },
  CEILING_EXCEEDED: { number: 23, kind: 'final' },
  COUNTER_LIMIT: { number: 24, kind: 'final' },
  RELEASE_LIMIT: { number: 25, kind: 'final' },
  DEVICE_EXPOSURE: { number: 26, kind: 'final' },
  PARTY_EXPOSURE: { number: 27, kind: 'final' },
  GATEWAY_EXPOSURE: { number: 28, kind: 'final' },
  MANDATE_SILENT: { number: 29, kind: 'open' },
  ASK_CENTRE: { number: 30, kind: 'open' },
  BUSY: { number: 31, kind: 'open' },
  DISK_FULL: { number: 32, kind: 'open' },
  RATE_LIMITED: { number: 33, kind: 'open' },
  FORBIDDEN_TOPIC: { number: 34, kind: 'stateless' },
  GATEWAY_UNTRUSTED: { number: 35, kind: 'stateless' },
  TARIFF_UNTRUSTED: { number: 36, kind: 'stateless' },
  POLICY_REFUSED: { number: 37, kind: 'stateless' },
  CLOCK_REGRESSION: { number: 38, kind: 'open' },
};

const byNumber = new Map<number, RefusalCode>();
for (const code of Object.keys(REFUSALS) as RefusalCode[])
  byNumber.set(REFUSALS[code].number, code);

export function refusalCodeOf(number: number): RefusalCode | undefined {
  return byNumber.get(number);
}

/** A refusal as a value: the code, and in words what was wrong, where, and what to do. */
export interface Refused {
  readonly ok: false;
  readonly code: RefusalCode;
  readonly reason: string;
}

export function refused(code: RefusalCode, reason: string): Refused {
  return { ok: false, code, reason };
}

/** Either a value or the refusal that stands for it. */
export type Checked<T> = { readonly ok: true; readonly value: T } | Refused;

export function accepted<T>(value: T): Checked<T> {
  return { ok: true, value };
}
