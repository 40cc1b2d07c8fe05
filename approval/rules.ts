import type { Payment } from '../protocol/messages/payment.ts';
import { refused, type Refused } from '../protocol/refusal.ts';
import type { Tier } from './credentials.ts';
import { TIGHTENED_DIVISOR } from './limits.ts';
import type { ApproverConfig, PayerFacts } from './ports.ts';
import type { ApproverState, LineState, LiveOffer } from './state.ts';

/** Does the Payment say what its Offer says (DESIGN §4 step 7)? */
export function offerMismatch(
  config: ApproverConfig,
  payer: PayerFacts,
  payment: Payment,
  offer: LiveOffer,
): Refused | undefined {
  if (payment.currency !== offer.currency) {
    return refused('CURRENCY_MISMATCH', 'Payment and Offer differ in currency');
  }
  if (payment.currency !== payer.currency || payment.currency !== config.mandate.currency) {
    return refused('CURRENCY_MISMATCH', 'not the currency of the allowance and the mandate');
  }
  if (payment.amountMicro !== offer.amountMicro) {
    return refused('OFFER_MISMATCH', 'not the amount of the Offer');
  }
  for (let i = 0; i < offer.payee.length; i += 1) {
    if (payment.payee[i] !== offer.payee[i]) {
      return refused('OFFER_MISMATCH', 'not the payee of the Offer');
    }
  }
  return undefined;
}

export type Limits =
  | { readonly kind: 'within'; readonly standIn: boolean }
  | { readonly kind: 'beyond'; readonly refusal: Refused };

function beyond(code: Refused['code'], reason: string): Limits {
  return { kind: 'beyond', refusal: refused(code, reason) };
}

/** Step 9 of DESIGN §4: the allowance first, then what this approver may carry. */
export function limitsOf(
  state: ApproverState,
  config: ApproverConfig,
  line: LineState & { readonly payer: PayerFacts },
  payment: Payment,
  tier: Tier,
): Limits {
  const { allowance, closing } = line.payer;
  const amount = payment.amountMicro;
  const released = payment.releasedMicro ?? 0n;
  const net = payment.totalMicro - released;
  const sinceBase = net - allowance.baseTotalMicro;
  if (closing && payment.counter > closing.lastCounter) {
    return beyond('BINDING_CLOSED', 'the counter is above the closing');
  }
  if (closing && payment.totalMicro > closing.totalMicro) {
    return beyond('BINDING_CLOSED', 'the total is above the closing');
  }
  const most = config.mode === 'direct' ? allowance.directLimitMicro : allowance.paymentLimitMicro;
  if (amount > most) return beyond('PAYMENT_LIMIT', 'above the limit of one payment');
  if (payment.counter > allowance.counterCeiling) {
    return beyond('COUNTER_LIMIT', 'the counter is above its ceiling');
  }
  if (released > allowance.releaseCapMicro) {
    return beyond('RELEASE_LIMIT', 'released is above its cap');
  }
  if (sinceBase > allowance.upperLimitMicro) {
    return beyond('UPPER_LIMIT', 'above the upper limit since the base total');
  }
  if (net > allowance.ceilingMicro) return beyond('CEILING_EXCEEDED', 'above the allowance');
  return exposureOf(state, config, line, amount, tier, sinceBase > allowance.lowerLimitMicro);
}

/** Unacknowledged sums under the mandate; what the device says of its own total changes nothing. */
function exposureOf(
  state: ApproverState,
  config: ApproverConfig,
  line: LineState,
  amount: bigint,
  tier: Tier,
  standIn: boolean,
): Limits {
  const { mandate } = config;
  const divisor = tier === 'tightened' ? TIGHTENED_DIVISOR : 1n;
  if (line.unacknowledged.micro + amount > mandate.deviceLimitMicro / divisor) {
    return beyond('DEVICE_EXPOSURE', 'the device has too much unacknowledged here');
  }
  const party = line.party?.unacknowledged.micro ?? 0n;
  if (party + amount > mandate.partyLimitMicro / divisor) {
    return beyond('PARTY_EXPOSURE', 'the party has too much unacknowledged here');
  }
  if (state.exposure.total.micro + amount > mandate.unacknowledgedLimitMicro) {
    return beyond('GATEWAY_EXPOSURE', 'this approver has too much unacknowledged');
  }
  return { kind: 'within', standIn };
}
