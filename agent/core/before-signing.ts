import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import type { Offer } from '../../protocol/messages/offer.ts';
import { accepted, refused, type Checked, type Refused } from '../../protocol/refusal.ts';
import { priceOf } from '../../protocol/tariff.ts';
import type { VerifiedMandate } from '../../identity/core/chain.ts';
import type { Allowance } from '../../identity/core/documents/allowance.ts';
import { checkPolicy } from '../../identity/core/documents/policy.ts';
import { checkPeriod, type NamedPeriod } from '../../identity/core/period.ts';
import type { Now } from '../../platform/ports.ts';
import { deviceTime } from './device-time.ts';
import { statedReleased } from './payer-sign.ts';
import { MAX_OUTSTANDING, MAX_RECEIPTS_KEPT } from './limits.ts';
import type { PayerState, Want } from './payer-types.ts';
import { isSameMerchant, type TrustBook, type TrustedPayee, type TrustedTariff } from './trust.ts';

/** May this device take on another Payment at all? (nothing is known of the price yet) */
export function checkRoom(state: PayerState): Refused | undefined {
  if (state.disk === 'failed') return refused('DISK_FULL', 'the journal takes no more records');
  if (state.disk !== 'ok') return refused('BUSY', 'the device is shutting down');
  if (state.open.size >= MAX_OUTSTANDING) {
    return refused('BUSY', `${MAX_OUTSTANDING} Payments have no answer yet`);
  }
  // An old receipt is never dropped for a new purchase (DESIGN §4, device rules).
  if (state.open.size + state.kept.size >= MAX_RECEIPTS_KEPT) {
    return refused('DISK_FULL', `${MAX_RECEIPTS_KEPT} receipts wait for a Statement`);
  }
  return undefined;
}

/** Undefined: the allowance in force is not one that this device has closed. */
export function closedRefusal(state: PayerState): Refused | undefined {
  const generation = state.trust.own?.allowance.generation;
  if (generation === undefined || generation > state.closedGeneration) return undefined;
  const why = `this device has closed allowance ${generation}; a later one from the issuer goes on`;
  return refused('CREDENTIAL_EXPIRED', why);
}

/**
 * Whether `period` holds. A clock of unknown quality cannot expire a document, but the issuer's
 * signed times can: the floor is the earliest that it may be.
 */
function checkNow(floorS: number, period: NamedPeriod, now: Now): Checked<true> {
  const time = deviceTime(floorS, now);
  if (time.quality > 0) return checkPeriod(period, time.timeS);
  return checkPeriod(period, Math.max(floorS, period.notBeforeS));
}

/** Is `approver` one that the issuer has given a mandate? */
export function checkApprover(
  trust: TrustBook,
  floorS: number,
  approver: Uint8Array,
  now: Now,
): Checked<VerifiedMandate> {
  const known = trust.approvers.get(toHex(approver));
  if (!known) {
    return refused('GATEWAY_UNTRUSTED', `no issuer's mandate for approver ${toHex(approver)}`);
  }
  const closing = trust.closings.get(toHex(approver));
  if (closing) {
    const why = `the issuer has closed it at sequence ${closing.throughSequence}: ${closing.reason}`;
    return refused('GATEWAY_UNTRUSTED', why);
  }
  const inTime = checkNow(floorS, known.period, now);
  return inTime.ok ? accepted(known) : refused('GATEWAY_UNTRUSTED', inTime.reason);
}

/** Is `payee` a key of a merchant that an acquirer of the issuer stands for? */
export function checkPayee(
  trust: TrustBook,
  floorS: number,
  payee: Uint8Array,
  now: Now,
): Checked<TrustedPayee> {
  const known = trust.payees.get(toHex(payee));
  if (!known) {
    return refused('CREDENTIAL_INVALID', `no merchant credential for payee ${toHex(payee)}`);
  }
  const inTime = checkNow(floorS, known.chain.period, now);
  return inTime.ok ? accepted(known) : inTime;
}

/**
 * Everything that must hold before this device signs for `offer` (DESIGN §4, device rules). The
 * Offer's own signature has been checked. Undefined: sign.
 */
export function checkBeforeSigning(
  state: PayerState,
  want: Want,
  offer: Offer,
  now: Now,
): Refused | undefined {
  const { trust, floorS } = state;
  const room = checkRoom(state);
  if (room) return room;
  const approver = checkApprover(trust, floorS, offer.approver, now);
  if (!approver.ok) return approver;
  if (state.link.kind === 'up' && !bytesEqual(state.link.approver, offer.approver)) {
    return refused('WRONG_GATEWAY', 'the Offer names another approver than the one at hand');
  }
  const payee = checkPayee(trust, floorS, offer.payee, now);
  if (!payee.ok) return payee;
  const { own } = trust;
  if (!own) return refused('UNKNOWN_LINE', 'this device has no binding and allowance');
  const closed = closedRefusal(state);
  if (closed) return closed;
  const inTime = checkNow(floorS, own.period, now);
  if (!inTime.ok) return inTime;
  return (
    checkTariff(state, want, offer, payee.value) ??
    checkCurrency(offer, [
      own.allowance.currency,
      payee.value.chain.merchant.currency,
      approver.value.mandate.currency,
    ]) ??
    checkRules(state, want, offer, payee.value, now) ??
    checkAllowance(state, offer, own.allowance)
  );
}

function checkTariff(
  state: PayerState,
  want: Want,
  offer: Offer,
  payee: TrustedPayee,
): Refused | undefined {
  const known = state.trust.tariffs.get(toHex(offer.tariffHash));
  if (!known || !isSameMerchant(known.chain, payee.chain)) {
    return refused('TARIFF_UNTRUSTED', 'the Offer names no tariff that this merchant has signed');
  }
  const { version, currency } = known.tariff;
  if (version !== offer.tariffVersion || currency !== offer.currency) {
    return refused('TARIFF_UNTRUSTED', 'version or currency of Offer and tariff differ');
  }
  if (!isPriceOf(known, want, offer)) {
    return refused(
      'TARIFF_UNTRUSTED',
      `${offer.amountMicro} micro-units for ${want.quantity} is no price of the tariff`,
    );
  }
  return undefined;
}

/**
 * Is the amount a price of this tariff for the quantity wanted, at some time of day? The payee's
 * clock decides which one. A metered Offer has the meter's quantity, so `maxAmountMicro` bounds it.
 */
function isPriceOf({ tariff }: TrustedTariff, want: Want, offer: Offer): boolean {
  if (offer.readingHash) return true;
  const minutes = new Set([0]);
  for (const { steps } of tariff.components) {
    for (const { fromMinute } of steps) minutes.add(fromMinute);
  }
  for (const localMinuteOfDay of minutes) {
    const price = priceOf(tariff, { quantity: BigInt(want.quantity), localMinuteOfDay });
    if (price.ok && price.value === offer.amountMicro) return true;
  }
  return false;
}

function checkCurrency(offer: Offer, others: readonly number[]): Refused | undefined {
  return others.every((currency) => currency === offer.currency)
    ? undefined
    : refused('CURRENCY_MISMATCH', `the Offer is in currency ${offer.currency}`);
}

/** The application's price limit and the party's policy. */
function checkRules(
  state: PayerState,
  want: Want,
  offer: Offer,
  payee: TrustedPayee,
  now: Now,
): Refused | undefined {
  if (offer.amountMicro === 0n) return refused('POLICY_REFUSED', 'the Offer is over nothing');
  if (offer.amountMicro > want.maxAmountMicro) {
    return refused('POLICY_REFUSED', 'the Offer is dearer than the application allows');
  }
  const { policy } = state.trust;
  if (!policy) return refused('POLICY_REFUSED', "the party's policy is not on this device");
  const { merchantId, mcc, place } = payee.chain.merchant;
  const time = deviceTime(state.floorS, now);
  const checked = checkPolicy(policy, {
    merchantId,
    mcc,
    place,
    amountMicro: offer.amountMicro,
    ...(time.quality > 0 ? { localMinuteOfDay: state.setup.localMinuteOfDay(time.timeS) } : {}),
  });
  return checked.ok ? undefined : checked;
}

/** Limits are counted on total − released (DESIGN §4): the ceiling absolute, the upper from base. */
function checkAllowance(
  state: PayerState,
  offer: Offer,
  allowance: Allowance,
): Refused | undefined {
  if (state.counter >= allowance.counterCeiling) {
    return refused('COUNTER_LIMIT', `counter ${allowance.counterCeiling} is the allowance's last`);
  }
  if (offer.amountMicro > allowance.paymentLimitMicro) {
    return refused('PAYMENT_LIMIT', "the amount is above the allowance's limit for one Payment");
  }
  const net = state.totalMicro + offer.amountMicro - statedReleased(state);
  if (net > allowance.ceilingMicro) {
    return refused('CEILING_EXCEEDED', "the total would pass the allowance's ceiling");
  }
  if (net - allowance.baseMicro > allowance.upperMicro) {
    return refused('UPPER_LIMIT', "the total would pass the allowance's upper limit");
  }
  return undefined;
}
