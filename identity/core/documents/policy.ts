import type { AmountMicro } from '../../../protocol/amount.ts';
import { claims, type ClaimsCodec } from '../../../protocol/claims.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import { AMOUNT, listOf, record, text, U32, uint } from '../../../protocol/schema.ts';
import { CLAIM_POLICY, periodFault, VALID, type Valid } from './standard.ts';

/** A span of the local day in minutes, end excluded; it may run over midnight. */
interface DaySpan {
  readonly fromMinute: number;
  readonly toMinute: number;
}

const MINUTE = uint(1440);
const DAY_SPAN = record<DaySpan>('span of a day', {
  fromMinute: [1, MINUTE],
  toMinute: [2, MINUTE],
});

/** Entries of one list in a policy. */
const MAX_ENTRIES = 64;

/**
 * What the party's devices may pay without asking. Signed by the party. An absent field
 * leaves that side open; an empty list allows nothing.
 */
export interface Policy extends Valid {
  readonly version: number;
  /** Merchant ids. */
  readonly merchants?: readonly string[];
  readonly mccs?: readonly number[];
  readonly maxAmountMicro?: AmountMicro;
  readonly times?: readonly DaySpan[];
  readonly places?: readonly string[];
}

export const POLICY: ClaimsCodec<Policy> = claims<Valid, Policy>(
  'kiri/policy',
  CLAIM_POLICY,
  VALID,
  {
    version: [1, U32],
    merchants: [2, listOf(text(15), MAX_ENTRIES), 'optional'],
    mccs: [3, listOf(uint(9999), MAX_ENTRIES), 'optional'],
    maxAmountMicro: [4, AMOUNT, 'optional'],
    times: [5, listOf(DAY_SPAN, MAX_ENTRIES), 'optional'],
    places: [6, listOf(text(64), MAX_ENTRIES), 'optional'],
  },
  periodFault,
);

/** What a device knows of the Payment that it is about to sign. */
export interface PolicyFacts {
  readonly merchantId: string;
  readonly mcc: number;
  readonly place: string;
  readonly amountMicro: AmountMicro;
  /** Minutes since local midnight; absent where the device has no trusted clock. */
  readonly localMinuteOfDay?: number;
}

function inSpan(minute: number, { fromMinute, toMinute }: DaySpan): boolean {
  return fromMinute <= toMinute
    ? minute >= fromMinute && minute < toMinute
    : minute >= fromMinute || minute < toMinute;
}

function policyFault(policy: Policy, facts: PolicyFacts): string | undefined {
  if (policy.merchants && !policy.merchants.includes(facts.merchantId)) {
    return `merchant ${facts.merchantId} is not on the policy's list`;
  }
  if (policy.mccs && !policy.mccs.includes(facts.mcc)) {
    return `merchant category ${facts.mcc} is not on the policy's list`;
  }
  if (policy.maxAmountMicro !== undefined && facts.amountMicro > policy.maxAmountMicro) {
    return `amount ${facts.amountMicro} is above the policy's ${policy.maxAmountMicro} micro-units`;
  }
  if (policy.places && !policy.places.includes(facts.place)) {
    return `place ${facts.place} is not on the policy's list`;
  }
  if (policy.times) {
    const minute = facts.localMinuteOfDay;
    if (minute === undefined) return 'the policy asks for a time of day and the clock is unknown';
    if (!policy.times.some((span) => inSpan(minute, span))) {
      return `minute ${minute} of the day is outside the policy's times`;
    }
  }
  return undefined;
}

/** Asked by the device before it signs. Refuses with POLICY_REFUSED and the rule in words. */
export function checkPolicy(policy: Policy, facts: PolicyFacts): Checked<true> {
  const fault = policyFault(policy, facts);
  return fault === undefined ? accepted(true) : refused('POLICY_REFUSED', fault);
}
