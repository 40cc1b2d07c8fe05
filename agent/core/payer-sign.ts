import {
  MAX_AMOUNT_MICRO,
  ZERO_MICRO,
  addMicro,
  amountMicro,
  type AmountMicro,
} from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../protocol/ids.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import type { Now } from '../../platform/ports.ts';
import { deviceTime } from './device-time.ts';
import { append } from './effects.ts';
import { RESERVE_COUNTERS, RESERVE_PAYMENTS } from './limits.ts';
import type { PayerEffect, PayerState, Want } from './payer-types.ts';
import { RESERVE, SPENT } from './records.ts';
import type { SignedMessage } from './signed.ts';

const MAX_COUNTER = 0xffff_ffff;

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/**
 * What a Payment says was given back. Approvers believe it only up to the allowance's cap, so an
 * honest device claims no more: the rest comes back with the next Statement and allowance.
 */
export function statedReleased(state: PayerState): AmountMicro {
  const cap = state.trust.own?.allowance.releaseCapMicro ?? ZERO_MICRO;
  return state.releasedMicro < cap ? state.releasedMicro : cap;
}

/**
 * Moves the mark ahead before it is reached. The record stands before the Payment that needs it,
 * so a journal that holds the Payment holds the mark; and because the mark runs half a block ahead,
 * a journal that has lost its newest records still says how far the line may have been used.
 */
function reserveAhead(state: PayerState, amount: AmountMicro, out: PayerEffect[]): void {
  const counter = state.counter + 1;
  const total = state.totalMicro + amount;
  const enough =
    counter + RESERVE_COUNTERS / 2 <= state.mark.counter &&
    total + (amount * RESERVE_PAYMENTS) / 2n <= state.mark.totalMicro;
  if (enough) return;
  // Never past the allowance: an unclean start must not look like more than was ever allowed.
  const ceiling = (state.trust.own?.allowance.ceilingMicro ?? 0n) + statedReleased(state);
  const room = smaller(total + amount * RESERVE_PAYMENTS, smaller(ceiling, MAX_AMOUNT_MICRO));
  const mark = {
    counter: Math.max(state.mark.counter, Math.min(counter + RESERVE_COUNTERS, MAX_COUNTER)),
    totalMicro: amountMicro(
      room > state.mark.totalMicro ? room : smaller(state.mark.totalMicro, MAX_AMOUNT_MICRO),
    ),
  };
  if (mark.counter === state.mark.counter && mark.totalMicro === state.mark.totalMicro) return;
  state.mark = mark;
  append(state, RESERVE.encode(mark), out, 'lazy');
}

/**
 * Signs one Payment for `offer`, in the same call in which its counter and total are used up. All
 * checks are done. Nothing is sent before the record is durable.
 */
export function signPayment(
  state: PayerState,
  want: Want,
  offer: SignedMessage<Offer>,
  offerCose: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  const { own } = state.trust;
  invariant(own !== undefined, 'a device signs without its own credentials');
  const isClosed = own.allowance.generation <= state.closedGeneration;
  invariant(!isClosed, 'nothing is signed under an allowance that was closed');
  const { amountMicro: amount, approver, payee, currency } = offer.value;
  reserveAhead(state, amount, out);
  const counter = state.counter + 1;
  const totalMicro = addMicro(state.totalMicro, amount);
  invariant(counter <= state.mark.counter, 'a counter is used that was not reserved');
  invariant(totalMicro <= state.mark.totalMicro, 'a total is reached that was not reserved');
  invariant(!state.refs.has(want.ref), 'one want would be signed for twice');
  const releasedMicro = statedReleased(state);
  const time = deviceTime(state.floorS, now);
  const payment: Payment = {
    line: own.line,
    approver,
    payee,
    counter,
    amountMicro: amount,
    totalMicro,
    ...(releasedMicro === 0n ? {} : { releasedMicro }),
    currency,
    offerHash: offerHash(offer.sign1.payload),
    timeS: time.timeS,
    timeQuality: time.quality,
  };
  state.counter = counter;
  state.totalMicro = totalMicro;
  const payload = PAYMENT.encode(payment);
  const paymentCose = signSign1(state.setup.signer, payload);
  const hash = payloadHash(payload);
  const hex = toHex(hash);
  const number = append(
    state,
    SPENT.encode({ ref: want.ref, payment: paymentCose, offer: offerCose }),
    out,
    'urgent',
  );
  state.refs.set(want.ref, hex);
  state.usedOffers.add(toHex(payment.offerHash));
  state.open.set(hex, {
    ref: want.ref,
    payment,
    hash,
    paymentCose,
    offerCose,
    stage: { kind: 'journalling', number },
    answerByMs: undefined,
    lastCode: undefined,
  });
}
