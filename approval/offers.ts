import { bytesEqual, toHex } from '../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../protocol/cose.ts';
import { OFFER_HASH_BYTES } from '../protocol/ids.ts';
import {
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  MAX_STOCK,
  OFFER_STOCK,
} from '../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../protocol/messages/offer.ts';
import type { Payment } from '../protocol/messages/payment.ts';
import { accepted, refused, type Checked, type Refused } from '../protocol/refusal.ts';
import { refuseUnjournalled, type Work } from './answers.ts';
import { isGenuineChallenge, makeChallenge, readChallenge } from './challenge.ts';
import { epochMs } from './clock.ts';
import { payeeFault } from './credentials.ts';
import { bytesKey } from './keys.ts';
import {
  CHALLENGE_LIFETIME_MS,
  MAX_LIVE_OFFERS,
  MAX_PAYEE_CHALLENGES,
  MAX_PAYEE_OFFERS,
} from './limits.ts';
import { append } from './appending.ts';
import { OFFER_RECORD } from './records.ts';
import type { ApproverState, LiveOffer, PayeeState } from './state.ts';

const EVICTION_TRIES = 64;

/** What is known of the Offer that a Payment names. */
export type OfferStanding =
  | { readonly kind: 'live'; readonly offer: LiveOffer }
  /** Its challenge's epoch stands in the journal: a Void may be signed. */
  | { readonly kind: 'dead'; readonly refusal: Refused }
  /** Nothing final can be said. */
  | { readonly kind: 'open'; readonly refusal: Refused };

function dead(
  code: 'OFFER_USED' | 'OFFER_EXPIRED' | 'OFFER_MISMATCH',
  reason: string,
): OfferStanding {
  return { kind: 'dead', refusal: refused(code, reason) };
}

function open(code: 'OFFER_UNKNOWN' | 'ASK_CENTRE', reason: string): OfferStanding {
  return { kind: 'open', refusal: refused(code, reason) };
}

/** Step 7 of DESIGN §4, without the comparison with the Payment. `offerBytes` come from a Query. */
export function offerStanding(
  work: Work,
  payment: Payment,
  offerBytes: Uint8Array | undefined,
): OfferStanding {
  const { state, now } = work;
  const held = heldOffer(state, payment.offerHash);
  if (held) return judge(state, held, epochMs(state, now));
  if (!offerBytes) return open('OFFER_UNKNOWN', 'no such Offer here: send a Query with its bytes');
  const decoded = decodeOffer(work, offerBytes);
  if (!decoded.ok) return open('OFFER_UNKNOWN', decoded.reason);
  const { offer, sign1, hash } = decoded.value;
  if (!bytesEqual(hash.subarray(0, OFFER_HASH_BYTES), payment.offerHash)) {
    return open('OFFER_UNKNOWN', 'the Offer in the Query is not the one that the Payment names');
  }
  return strangeOffer(work, offer, sign1, hash, offerBytes);
}

function heldOffer(state: ApproverState, hash: Uint8Array): LiveOffer | undefined {
  const held = state.offers.get(bytesKey(hash));
  return held && bytesEqual(held.hash.subarray(0, OFFER_HASH_BYTES), hash) ? held : undefined;
}

function judge(state: ApproverState, offer: LiveOffer, nowMs: number): OfferStanding {
  if (state.challenges.isUsed(offer.challengeNumber)) {
    return dead('OFFER_USED', 'another Payment has used this Offer');
  }
  if (nowMs > offer.acceptByMs) return dead('OFFER_EXPIRED', 'accept-by has passed');
  return { kind: 'live', offer };
}

/**
 * An Offer that came with a Query. All that decides here is in the payload, to whose hash the
 * device has signed; only a live one needs its payee's signature, because it was not handed in
 * over the payee's own link.
 */
function strangeOffer(
  work: Work,
  offer: Offer,
  sign1: Sign1,
  hash: Uint8Array,
  bytes: Uint8Array,
): OfferStanding {
  const { state, ports, now } = work;
  const challenge = readChallenge(offer.challenge);
  if (!state.keys || !bytesEqual(offer.approver, ports.signer.key.id)) {
    return dead('OFFER_MISMATCH', 'the Offer names another approver');
  }
  if (!bytesEqual(challenge.epoch, state.keys.epoch)) {
    if (state.epochs.has(toHex(challenge.epoch))) {
      return dead('OFFER_EXPIRED', 'its challenge is from before a restart');
    }
    return open('ASK_CENTRE', 'its challenge is from an epoch that is not in this journal');
  }
  if (!isGenuineChallenge(ports.hmacSha256, state.keys, offer.challenge, offer.payee)) {
    return dead('OFFER_MISMATCH', 'its challenge was not given to this payee');
  }
  const payee = state.payees.get(toHex(offer.payee));
  const live = liveOffer(offer, hash, challenge.number);
  const standing = judge(state, live, epochMs(state, now));
  if (standing.kind !== 'live') return standing;
  if (offer.acceptByMs > challenge.expiresMs) {
    return dead('OFFER_MISMATCH', 'accept-by is after the challenge expires');
  }
  if (!payee) return open('OFFER_UNKNOWN', 'its payee has shown no credential');
  if (!verifySign1(ports.verifier, payee.facts.key, sign1)) {
    return open('OFFER_UNKNOWN', 'the Offer is not signed by its payee');
  }
  const full = hold(work, payee, live, bytes, epochMs(state, now));
  return full ? { kind: 'open', refusal: full } : standing;
}

interface DecodedOffer {
  readonly offer: Offer;
  readonly sign1: Sign1;
  readonly hash: Uint8Array;
}

function decodeOffer(work: Work, bytes: Uint8Array): Checked<DecodedOffer> {
  const sign1 = decodeSign1(bytes);
  if (!sign1.ok) return sign1;
  const offer = OFFER.decode(sign1.value.payload);
  if (!offer.ok) return offer;
  const hash = work.ports.sha256(sign1.value.payload);
  return accepted({ offer: offer.value, sign1: sign1.value, hash });
}

function liveOffer(offer: Offer, hash: Uint8Array, number: number): LiveOffer {
  return {
    key: bytesKey(hash),
    hash,
    payeeHex: toHex(offer.payee),
    payee: offer.payee,
    currency: offer.currency,
    amountMicro: offer.amountMicro,
    acceptByMs: offer.acceptByMs,
    challengeNumber: number,
    index: -1,
  };
}

/** Keeps a live Offer and writes it down; the refusal where there is no room. */
function hold(
  work: Work,
  payee: PayeeState,
  offer: LiveOffer,
  bytes: Uint8Array,
  nowMs: number,
): Refused | undefined {
  const { state } = work;
  if (state.offers.has(offer.key)) return undefined;
  if (payee.liveOffers >= MAX_PAYEE_OFFERS || !roomForOffer(state, nowMs)) {
    return refused('BUSY', 'too many live Offers');
  }
  offer.index = append(work, 'offers', OFFER_RECORD.encode({ offer: bytes }));
  state.offers.set(offer.key, offer);
  payee.liveOffers += 1;
  return undefined;
}

function roomForOffer(state: ApproverState, nowMs: number): boolean {
  if (state.offers.size < MAX_LIVE_OFFERS) return true;
  let tries = EVICTION_TRIES;
  for (const [key, offer] of state.offers) {
    if (judge(state, offer, nowMs).kind !== 'live') {
      dropOffer(state, offer);
      return true;
    }
    state.offers.delete(key);
    state.offers.set(key, offer);
    tries -= 1;
    if (tries === 0) return false;
  }
  return false;
}

function dropOffer(state: ApproverState, offer: LiveOffer): void {
  state.offers.delete(offer.key);
  const payee = state.payees.get(offer.payeeHex);
  const unused = !state.challenges.isUsed(offer.challengeNumber);
  if (payee && unused && payee.liveOffers > 0) payee.liveOffers -= 1;
}

/** Marks the Offer used; its row may stay for a while so that a second Payment hears OFFER_USED. */
export function useOffer(state: ApproverState, offer: LiveOffer): void {
  state.challenges.use(offer.challengeNumber);
  const payee = state.payees.get(offer.payeeHex);
  if (payee && payee.liveOffers > 0) payee.liveOffers -= 1;
}

/** Forgets Offers past their accept-by. */
export function dropOffers(state: ApproverState, nowMs: number): void {
  for (const offer of state.offers.values()) {
    if (offer.acceptByMs < nowMs) dropOffer(state, offer);
  }
  state.challenges.drop(nowMs);
}

/** Offers from their payee over its own authenticated link: no signature check (DESIGN §4 step 7). */
export function registerOffers(work: Work, from: string, bytes: Uint8Array): void {
  const stock = OFFER_STOCK.decode(bytes);
  if (!stock.ok) {
    refuseUnjournalled(work, from, work.ports.sha256(bytes), stock);
    return;
  }
  const { state, ports, now } = work;
  const facts = state.payees.get(from)?.facts;
  const invalid = facts && payeeFault(state, facts, now);
  if (invalid) {
    const refusal = refused('CREDENTIAL_INVALID', invalid.reason);
    refuseUnjournalled(work, from, ports.sha256(bytes), refusal);
    return;
  }
  for (const offerBytes of stock.value.offers) {
    const fault = registerOffer(work, from, offerBytes);
    if (fault) refuseUnjournalled(work, from, fault.hash, fault.refusal);
  }
}

function registerOffer(
  work: Work,
  from: string,
  bytes: Uint8Array,
): { hash: Uint8Array; refusal: Refused } | undefined {
  const { state, ports, now } = work;
  const decoded = decodeOffer(work, bytes);
  if (!decoded.ok) return { hash: ports.sha256(bytes), refusal: decoded };
  const { offer, hash } = decoded.value;
  const bad = (reason: string): { hash: Uint8Array; refusal: Refused } => ({
    hash,
    refusal: refused('OFFER_UNKNOWN', reason),
  });
  const payee = state.payees.get(from);
  if (!payee) return bad('show a merchant credential first');
  if (!bytesEqual(offer.payee, payee.facts.key.id)) return bad('an Offer of another payee');
  if (!bytesEqual(offer.approver, ports.signer.key.id)) return bad('an Offer for another approver');
  if (offer.currency !== payee.facts.currency) return bad('not the currency of the credential');
  const { keys } = state;
  const challenge = readChallenge(offer.challenge);
  if (!keys || !isGenuineChallenge(ports.hmacSha256, keys, offer.challenge, offer.payee)) {
    return bad('its challenge was not given to this payee in this epoch');
  }
  const nowMs = epochMs(state, now);
  if (offer.acceptByMs > challenge.expiresMs || offer.acceptByMs < nowMs) {
    return bad('accept-by has passed or is after the challenge expires');
  }
  const live = liveOffer(offer, hash, challenge.number);
  if (state.challenges.isUsed(challenge.number)) return bad('its challenge is used up');
  const full = hold(work, payee, live, bytes, nowMs);
  return full && { hash, refusal: full };
}

/** Hands a payee a stock of challenges ahead. */
export function grantChallenges(work: Work, from: string, bytes: Uint8Array): void {
  const { state, ports, now, effects } = work;
  const fault = (refusal: Refused): void =>
    refuseUnjournalled(work, from, ports.sha256(bytes), refusal);
  const request = CHALLENGE_REQUEST.decode(bytes);
  if (!request.ok) {
    fault(request);
    return;
  }
  const payee = state.payees.get(from);
  const { keys } = state;
  if (!payee || !keys || state.phase !== 'open') {
    fault(payee ? refused('BUSY', 'starting') : refused('UNKNOWN_LINE', 'show a credential first'));
    return;
  }
  const invalid = payeeFault(state, payee.facts, now);
  if (invalid) {
    fault(refused('CREDENTIAL_INVALID', invalid.reason));
    return;
  }
  const nowMs = epochMs(state, now);
  const count = Math.min(Math.max(1, request.value.count), MAX_STOCK);
  const first = takeGrant(payee, count, nowMs) ? state.challenges.grant(count, nowMs) : undefined;
  if (first === undefined) {
    fault(refused('BUSY', 'too many live challenges'));
    return;
  }
  const second = Math.floor(nowMs / 1_000);
  const challenges = Array.from({ length: count }, (_, i) =>
    makeChallenge(ports.hmacSha256, keys, {
      second,
      number: first + i,
      payeeId: payee.facts.key.id,
    }),
  );
  const expiresMs = second * 1_000 + CHALLENGE_LIFETIME_MS;
  const grant = CHALLENGE_GRANT.encode({ epoch: keys.epoch, nowMs, expiresMs, challenges });
  effects.push({ kind: 'reply', to: from, verb: 'challenges', bytes: grant });
}

/** Counts grants per lifetime window: at most twice the limit can be alive for a moment. */
function takeGrant(payee: PayeeState, count: number, nowMs: number): boolean {
  if (nowMs - payee.windowStartMs >= CHALLENGE_LIFETIME_MS) {
    payee.windowStartMs = nowMs;
    payee.granted = 0;
  }
  if (payee.granted + count > MAX_PAYEE_CHALLENGES) return false;
  payee.granted += count;
  return true;
}
