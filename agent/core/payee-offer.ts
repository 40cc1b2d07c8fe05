import { toHex } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { offerHash } from '../../protocol/ids.ts';
import {
  ASK,
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  OFFER_STOCK,
} from '../../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import type { Now } from '../../platform/ports.ts';
import { priceOf, type Tariff } from '../../protocol/tariff.ts';
import { deviceTime } from './device-time.ts';
import {
  CHALLENGE_AGAIN_MS,
  CHALLENGE_LOW_MARK,
  CHALLENGE_STOCK,
  MAX_OPEN_OFFERS,
  MAX_OPEN_PER_PAYER,
  MAX_SALES_KEPT,
  MAX_WAITING_ASKS,
  OFFER_MEMORY_MS,
} from './limits.ts';
import type { LinkUp } from './link.ts';
import type { PayeeEffect, PayeeState, WaitingAsk } from './payee-types.ts';
import { isSameMerchant } from './trust.ts';

/** A stock of challenges. Another epoch: the approver was restarted and knows the old ones no more. */
export function onGrant(state: PayeeState, payload: Uint8Array, now: Now): void {
  const grant = CHALLENGE_GRANT.decode(payload);
  if (!grant.ok || state.link.kind !== 'up') return;
  const { epoch, nowMs, expiresMs, challenges } = grant.value;
  const epochHex = toHex(epoch);
  const offsetMs = nowMs - now.monotonicMs;
  if (state.stock?.epochHex !== epochHex) state.stock = { epochHex, offsetMs, batches: [] };
  const { stock } = state;
  // The grant that travelled the least says most about the approver's clock.
  stock.offsetMs = Math.max(stock.offsetMs, offsetMs);
  const kept = stock.batches.reduce((sum, batch) => sum + batch.challenges.length, 0);
  if (kept < CHALLENGE_STOCK) stock.batches.push({ expiresMs, challenges: [...challenges] });
  state.requestAtMs = 0;
}

/** Asks for more challenges before the stock runs out. */
export function requestChallenges(
  state: PayeeState,
  link: LinkUp,
  nowMs: number,
  out: PayeeEffect[],
): void {
  if (stockSize(state, nowMs) >= CHALLENGE_LOW_MARK || state.requestAtMs > nowMs) return;
  state.requestAtMs = nowMs + CHALLENGE_AGAIN_MS;
  out.push({
    kind: 'publish',
    approver: link.approver,
    verb: 'challenges',
    payload: CHALLENGE_REQUEST.encode({ count: CHALLENGE_STOCK }),
  });
}

/** When `requestChallenges` has something to do next. */
export function wakeForChallenges(state: PayeeState, nowMs: number): number {
  const { link, stock } = state;
  if (link.kind !== 'up' || link.refusal || link.presentUntilMs !== undefined) return Infinity;
  if (stockSize(state, nowMs) < CHALLENGE_LOW_MARK) return state.requestAtMs;
  const first = stock?.batches[0];
  return first ? first.expiresMs - state.setup.offerLifetimeMs - (stock?.offsetMs ?? 0) : Infinity;
}

function stockSize(state: PayeeState, nowMs: number): number {
  const { stock } = state;
  if (!stock) return 0;
  dropExpired(state, nowMs);
  return stock.batches.reduce((sum, batch) => sum + batch.challenges.length, 0);
}

function dropExpired(state: PayeeState, nowMs: number): void {
  const { stock } = state;
  if (!stock) return;
  const approverMs = nowMs + stock.offsetMs;
  // The last stretch of a challenge's life is too short for a payer to answer in.
  const soonMs = approverMs + state.setup.offerLifetimeMs;
  while (stock.batches[0]) {
    const [first] = stock.batches;
    if (first.challenges.length > 0 && first.expiresMs > soonMs) return;
    stock.batches.shift();
  }
}

export function onAsk(state: PayeeState, payload: Uint8Array): void {
  const ask = ASK.decode(payload);
  if (!ask.ok || state.asks.length >= MAX_WAITING_ASKS) return;
  state.asks.push(ask.value);
}

/** Answers what waits, as far as challenges reach. An ask that cannot be answered is dropped. */
export function answerAsks(state: PayeeState, link: LinkUp, now: Now, out: PayeeEffect[]): void {
  forgetOldOffers(state, now.monotonicMs);
  while (state.asks.length > 0) {
    if (stockSize(state, now.monotonicMs) === 0) return;
    const ask = state.asks.shift();
    if (ask) makeOffer(state, link, ask, now, out);
  }
}

function forgetOldOffers(state: PayeeState, nowMs: number): void {
  for (const [hex, open] of state.open) {
    if (open.acceptByMs + OFFER_MEMORY_MS > nowMs) return;
    forgetOffer(state, hex);
  }
}

export function forgetOffer(state: PayeeState, hex: string): void {
  const open = state.open.get(hex);
  if (!open) return;
  state.open.delete(hex);
  const payerHex = toHex(open.payer);
  const left = (state.openOf.get(payerHex) ?? 1) - 1;
  if (left > 0) state.openOf.set(payerHex, left);
  else state.openOf.delete(payerHex);
}

function hasRoom(state: PayeeState, payerHex: string): string | undefined {
  if (state.disk !== 'ok') return 'the journal takes no more records';
  if (state.salesKept >= MAX_SALES_KEPT) return `${MAX_SALES_KEPT} sales wait to be handed in`;
  if (state.open.size >= MAX_OPEN_OFFERS) return `${MAX_OPEN_OFFERS} Offers are open`;
  if ((state.openOf.get(payerHex) ?? 0) >= MAX_OPEN_PER_PAYER) {
    return `${MAX_OPEN_PER_PAYER} Offers to ${payerHex} are open`;
  }
  return undefined;
}

function makeOffer(
  state: PayeeState,
  link: LinkUp,
  ask: WaitingAsk,
  now: Now,
  out: PayeeEffect[],
): void {
  const payerHex = toHex(ask.payer);
  const full = hasRoom(state, payerHex);
  if (full !== undefined) {
    out.push({ kind: 'notice', code: 'BUSY', reason: full });
    return;
  }
  const priced = priceAsk(state, ask, now);
  if (!priced.ok) {
    out.push({ kind: 'notice', code: priced.code, reason: priced.reason });
    return;
  }
  const { setup, stock: challenges } = state;
  const batch = challenges?.batches[0];
  const challenge = batch?.challenges.shift();
  if (!challenges || !batch || !challenge) return;
  const approverMs = now.monotonicMs + challenges.offsetMs;
  const acceptByMs = Math.floor(Math.min(approverMs + setup.acceptWindowMs, batch.expiresMs));
  const offer: Offer = {
    payee: setup.signer.key.id,
    approver: link.approver,
    challenge,
    acceptByMs,
    lifetimeMs: setup.offerLifetimeMs,
    item: ask.item,
    ...priced.offer,
  };
  const payload = OFFER.encode(offer);
  const offerCose = signSign1(setup.signer, payload);
  state.open.set(toHex(offerHash(payload)), {
    ...ask,
    quantity: priced.quantity,
    amountMicro: offer.amountMicro,
    currency: offer.currency,
    offerCose,
    approver: link.approver,
    acceptByMs: acceptByMs - challenges.offsetMs,
    usedBy: undefined,
  });
  state.openOf.set(payerHex, (state.openOf.get(payerHex) ?? 0) + 1);
  // Over one connection in this order: the approver knows the Offer before the payer has it.
  const stock = OFFER_STOCK.encode({ offers: [offerCose] });
  out.push({ kind: 'publish', approver: link.approver, verb: 'offers', payload: stock });
  out.push({
    kind: 'publish',
    approver: link.approver,
    verb: 'offer',
    peer: ask.payer,
    payload: offerCose,
  });
}

type Priced =
  | {
      readonly ok: true;
      readonly quantity: number;
      readonly offer: Pick<
        Offer,
        'currency' | 'amountMicro' | 'tariffHash' | 'tariffVersion' | 'readingHash'
      >;
    }
  | { readonly ok: false; readonly code: string; readonly reason: string };

/** What the payee has measured itself beats what the payer's ask says. */
function priceAsk(state: PayeeState, ask: WaitingAsk, now: Now): Priced {
  const usage = state.usages.get(ask.item);
  const { timeS, quality } = deviceTime(state.floorS, now);
  const found = tariffFor(state, usage?.tariff, quality > 0 ? timeS : undefined);
  if (!found) {
    return { ok: false, code: 'TARIFF_UNTRUSTED', reason: `no tariff in force for ${ask.item}` };
  }
  const quantity = usage?.metered?.quantity ?? ask.quantity;
  const price = priceOf(found.tariff, {
    quantity: BigInt(quantity),
    localMinuteOfDay:
      usage?.localMinuteOfDay ?? state.setup.localMinuteOfDay(timeS, found.tariff.zone),
  });
  if (!price.ok) return price;
  if (price.value === 0n) {
    return { ok: false, code: 'MALFORMED', reason: `${ask.item} costs nothing: no Payment` };
  }
  return {
    ok: true,
    quantity,
    offer: {
      currency: found.tariff.currency,
      amountMicro: price.value,
      tariffHash: found.hash,
      tariffVersion: found.tariff.version,
      ...(usage?.metered ? { readingHash: usage.metered.readingHash } : {}),
    },
  };
}

/** The newest of the merchant's own tariffs that is in force; an unknown clock takes the newest. */
function tariffFor(
  state: PayeeState,
  name: string | undefined,
  timeS: number | undefined,
): { readonly tariff: Tariff; readonly hash: Uint8Array } | undefined {
  const self = state.trust.payees.get(state.setup.signer.key.hex);
  let best: { tariff: Tariff; hash: Uint8Array } | undefined;
  if (!self) return undefined;
  for (const { tariff, hash, chain } of state.trust.tariffs.values()) {
    if (!isSameMerchant(chain, self.chain)) continue;
    if (name !== undefined && tariff.name !== name) continue;
    if (timeS !== undefined && tariff.effectiveFromS > timeS) continue;
    if (!best || tariff.version > best.tariff.version) best = { tariff, hash };
  }
  return best;
}
