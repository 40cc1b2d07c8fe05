import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { offerHash } from '../../protocol/ids.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { refused, type Refused } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import {
  checkApprover,
  checkBeforeSigning,
  checkPayee,
  checkRoom,
  closedRefusal,
} from './before-signing.ts';
import { ASK_AGAIN_MS, MAX_HELD_OFFERS, MAX_WANTS, OFFER_WAIT_MS } from './limits.ts';
import { outcomeOfKept, outcomeOfOpen, refusedOutcome } from './payer-outcome.ts';
import { signPayment } from './payer-sign.ts';
import type { PayerEffect, PayerState, WaitingWant, Want } from './payer-types.ts';
import { checkSignature, readSigned, type SignedMessage } from './signed.ts';

/** The application wants to pay. A ref that has been signed for is answered, never signed again. */
export function onWant(state: PayerState, want: Want, now: Now, out: PayerEffect[]): void {
  if (answerKnownRef(state, want.ref, out) || state.wants.has(want.ref)) return;
  const refusal = checkAtOnce(state, want, now);
  if (refusal) {
    out.push(refusedOutcome(want.ref, refusal));
    return;
  }
  const waiting: WaitingWant = {
    want,
    deadlineMs: now.monotonicMs + OFFER_WAIT_MS,
    askAtMs: now.monotonicMs,
    askPauseMs: ASK_AGAIN_MS,
    lastRefusal: undefined,
  };
  state.wants.set(want.ref, waiting);
  useHeldOffer(state, waiting, now, out);
}

function answerKnownRef(state: PayerState, ref: string, out: PayerEffect[]): boolean {
  const hex = state.refs.get(ref);
  if (hex === undefined) return false;
  const open = state.open.get(hex);
  if (open) {
    out.push(outcomeOfOpen(open, 'signed before; no answer yet'));
    return true;
  }
  const kept = state.kept.get(hex);
  if (kept) out.push(outcomeOfKept(kept, hex));
  return true;
}

/** What can be said before any Offer is there. */
function checkAtOnce(state: PayerState, want: Want, now: Now): Refused | undefined {
  const room = checkRoom(state);
  if (room) return room;
  if (state.wants.size >= MAX_WANTS) {
    return refused('BUSY', `${MAX_WANTS} purchases wait for an Offer`);
  }
  const closed = closedRefusal(state);
  if (closed) return closed;
  const payee = checkPayee(state.trust, state.floorS, want.payee, now);
  if (!payee.ok) return payee;
  return state.link.kind === 'up' ? checkLink(state, now) : undefined;
}

/** Does the gateway at hand serve, by the issuer's word and by its own? */
function checkLink(state: PayerState, now: Now): Refused | undefined {
  if (state.link.kind !== 'up') return undefined;
  const approver = checkApprover(state.trust, state.floorS, state.link.approver, now);
  return approver.ok ? state.link.refusal : approver;
}

/** Wants that waited are held against the gateway that came, or end with the allowance. */
export function recheckWants(state: PayerState, now: Now, out: PayerEffect[]): void {
  const refusal = closedRefusal(state) ?? checkLink(state, now);
  if (!refusal) return;
  for (const ref of state.wants.keys()) {
    state.wants.delete(ref);
    out.push(refusedOutcome(ref, refusal));
  }
}

/** An Offer in the inbox: for a want that waits, or held for one that may come in its lifetime. */
export function onOffer(state: PayerState, cose: Uint8Array, now: Now, out: PayerEffect[]): void {
  const offer = readSigned(OFFER, cose);
  if (!offer.ok || isUsed(state, offer.value)) return;
  const waiting = wantFor(state, offer.value.value);
  if (waiting) tryOffer(state, waiting, offer.value, cose, now, out);
  else hold(state, offer.value, cose, now);
}

function isUsed(state: PayerState, offer: SignedMessage<Offer>): boolean {
  return state.usedOffers.has(toHex(offerHash(offer.sign1.payload)));
}

/** The oldest want of this payee and article. An Offer without an item fits any. */
function wantFor(state: PayerState, offer: Offer): WaitingWant | undefined {
  for (const waiting of state.wants.values()) {
    if (fits(waiting.want, offer)) return waiting;
  }
  return undefined;
}

function fits(want: Want, offer: Offer): boolean {
  return (
    bytesEqual(want.payee, offer.payee) && (offer.item === undefined || offer.item === want.item)
  );
}

/**
 * Signs, or ends the want with the refusal. An Offer that its payee has not signed is nobody's
 * word: it is ignored and the want goes on waiting, so junk cannot deny a purchase.
 */
function tryOffer(
  state: PayerState,
  waiting: WaitingWant,
  offer: SignedMessage<Offer>,
  cose: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  const payee = checkPayee(state.trust, state.floorS, offer.value.payee, now);
  if (payee.ok) {
    const genuine = checkSignature(state.trust.trust.verifier, payee.value.key, offer, 'Offer');
    if (!genuine.ok) {
      waiting.lastRefusal = genuine;
      return;
    }
  }
  const { want } = waiting;
  const refusal = payee.ok ? checkBeforeSigning(state, want, offer.value, now) : payee;
  state.wants.delete(want.ref);
  out.push({ kind: 'progress', ref: want.ref, stage: 'offered' });
  if (refusal) out.push(refusedOutcome(want.ref, refusal));
  else signPayment(state, want, offer, cose, now, out);
}

function hold(
  state: PayerState,
  offer: SignedMessage<Offer>,
  offerCose: Uint8Array,
  now: Now,
): void {
  dropStaleOffers(state, now);
  // Only for payees that this device could pay, so that a stranger cannot push out a real Offer.
  const payee = checkPayee(state.trust, state.floorS, offer.value.payee, now);
  if (!payee.ok || state.held.size >= MAX_HELD_OFFERS) return;
  if (!checkSignature(state.trust.trust.verifier, payee.value.key, offer, 'Offer').ok) return;
  const hex = toHex(offerHash(offer.sign1.payload));
  if (state.held.has(hex)) return;
  const untilMs = now.monotonicMs + offer.value.lifetimeMs;
  state.held.set(hex, { offerCose, untilMs });
}

function dropStaleOffers(state: PayerState, now: Now): void {
  for (const [hex, held] of state.held) {
    if (held.untilMs < now.monotonicMs) state.held.delete(hex);
  }
}

function useHeldOffer(state: PayerState, waiting: WaitingWant, now: Now, out: PayerEffect[]): void {
  dropStaleOffers(state, now);
  for (const [hex, { offerCose }] of state.held) {
    const offer = readSigned(OFFER, offerCose);
    if (!offer.ok || !fits(waiting.want, offer.value.value)) continue;
    // Left over from another purchase of the same article, in another quantity.
    const refusal = checkBeforeSigning(state, waiting.want, offer.value.value, now);
    if (refusal?.code === 'TARIFF_UNTRUSTED') continue;
    state.held.delete(hex);
    tryOffer(state, waiting, offer.value, offerCose, now, out);
    return;
  }
}
