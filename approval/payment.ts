import { bytesEqual } from '../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../protocol/cose.ts';
import { QUERY } from '../protocol/messages/envelopes.ts';
import { PAYMENT, type Payment } from '../protocol/messages/payment.ts';
import { accepted, refused, type Checked, type Refused } from '../protocol/refusal.ts';
import { refuseUnjournalled, replyAnswer, type Work } from './answers.ts';
import { epochMs } from './clock.ts';
import { standingOf, type Standing } from './credentials.ts';
import { accept, blockFor, voidPayment, type Decided } from './journalling.ts';
import { bytesKey } from './keys.ts';
import { MAX_LOOKUPS, MAX_PENDING, MAX_WAITERS } from './limits.ts';
import { contradictionOf, findSeen, mayContradictForgotten } from './lines.ts';
import { offerStanding, type OfferStanding } from './offers.ts';
import type { ApproverConfig, PayerFacts } from './ports.ts';
import { limitsOf, offerMismatch } from './rules.ts';
import type { Answer, ApproverState, LineState, PaymentInput, SeenPayment } from './state.ts';

/** A Payment taken out of `pay` or `query` bytes. */
export interface ReadPayment {
  readonly bytes: Uint8Array;
  readonly sign1: Sign1;
  readonly payment: Payment;
  readonly offer: Uint8Array | undefined;
}

const TAG_SIGN1 = 0xd2;

/** Step 1: size, canonical form, known message. */
export function readPayment(bytes: Uint8Array): Checked<ReadPayment> {
  let signed = bytes;
  let offer: Uint8Array | undefined;
  if (bytes[0] !== TAG_SIGN1) {
    const query = QUERY.decode(bytes);
    if (!query.ok) return query;
    signed = query.value.payment;
    offer = query.value.offer;
  }
  const sign1 = decodeSign1(signed);
  if (!sign1.ok) return sign1;
  const payment = PAYMENT.decode(sign1.value.payload);
  if (!payment.ok) return payment;
  return accepted({ bytes: signed, sign1: sign1.value, payment: payment.value, offer });
}

/**
 * Decides one Payment in the order of DESIGN §4. `searched`: the disk holds no answer to it.
 * One asymmetric check at most, and none before everything cheaper has passed.
 */
export function decidePayment(
  work: Work,
  config: ApproverConfig,
  input: PaymentInput,
  searched = false,
): void {
  const { state, ports } = work;
  const read = readPayment(input.bytes);
  if (!read.ok) {
    refuseUnjournalled(work, input.from, ports.sha256(input.bytes), read);
    return;
  }
  const { payment, sign1 } = read.value;
  const hash = ports.sha256(sign1.payload);
  const refuse = (refusal: Refused): void => refuseUnjournalled(work, input.from, hash, refusal);
  if (!bytesEqual(payment.approver, ports.signer.key.id)) {
    refuse(refused('WRONG_GATEWAY', 'the Payment names another approver'));
    return;
  }
  const key = bytesKey(hash);
  const seen = findSeen(state, key, hash);
  if (seen) {
    answerAgain(work, input.from, seen);
    return;
  }
  const line = state.lines.get(bytesKey(payment.line));
  if (!line || !hasPayer(line)) {
    refuse(refused('UNKNOWN_LINE', 'present the documents of this line, then send the same bytes'));
    return;
  }
  const standing = standingOf(state, config.mandate, line, work.now);
  const busy = busyFault(work, key);
  if ('open' in standing || busy) {
    refuse('open' in standing ? standing.open : busy!);
    return;
  }
  const nowMs = epochMs(state, work.now);
  if (!state.badSignatureBuckets.has(input.from, nowMs)) {
    refuse(refused('RATE_LIMITED', 'too many bad signatures from this sender'));
    return;
  }
  if (!verifySign1(ports.verifier, line.payer.device, sign1)) {
    state.badSignatureBuckets.take(input.from, nowMs);
    refuse(refused('BAD_SIGNATURE', 'not signed by the device of this line'));
    return;
  }
  const decided: Decided = { ...read.value, from: input.from, nonce: input.nonce, hash, key, line };
  const verdict = judge(work, config, decided, line, standing);
  if (!searched && mustSearch(work, decided, verdict.offer)) {
    const full = search(work, decided, input);
    if (full) refuse(full);
    return;
  }
  carryOut(work, decided, standing, verdict);
}

type PaidLine = LineState & { readonly payer: PayerFacts };

function hasPayer(line: LineState): line is PaidLine {
  return line.payer !== undefined;
}

/** The same Payment again: its stored answer, once that is durable. */
function answerAgain(work: Work, from: string, seen: SeenPayment): void {
  work.state.counts.duplicates += 1;
  if (seen.answer.durable) {
    replyAnswer(work, from, seen.answer);
    return;
  }
  const shut = phaseFault(work.state.phase);
  if (shut) refuseUnjournalled(work, from, seen.hash, shut);
  const waiting = work.state.pending.find((row) => row.answer === seen.answer);
  if (waiting && !waiting.to.includes(from) && waiting.to.length <= MAX_WAITERS) {
    waiting.to.push(from);
  }
}

/** Why nothing new is decided in this phase. */
function phaseFault(phase: ApproverState['phase']): Refused | undefined {
  if (phase === 'open') return undefined;
  if (phase === 'full') return refused('DISK_FULL', 'the disk of this approver is full');
  return refused('BUSY', 'the approver is starting');
}

function busyFault(work: Work, key: string): Refused | undefined {
  const { state } = work;
  const shut = phaseFault(state.phase);
  if (shut) return shut;
  if (state.lookups.has(key)) return refused('BUSY', 'this Payment is being looked up');
  if (state.pending.length >= MAX_PENDING) {
    return refused('BUSY', 'too many Payments wait for the disk');
  }
  return state.exposure.isFull ? refused('BUSY', 'too many unacknowledged Payments') : undefined;
}

interface Verdict {
  readonly offer: OfferStanding;
  /** Undefined: accept. */
  readonly refusal: Refused | undefined;
  readonly standIn: boolean;
  readonly contradicts: SeenPayment | undefined;
}

/**
 * Steps 7 to 9. A proof of misbehaviour outranks every other refusal: whoever reuses a counter
 * together with a used Offer is answered with the graver one.
 */
function judge(
  work: Work,
  config: ApproverConfig,
  decided: Decided,
  line: PaidLine,
  standing: Standing,
): Verdict {
  const offer = offerStanding(work, decided.payment, decided.offer);
  const contradicts = contradictionOf(line, decided.payment);
  const verdict = (refusal: Refused | undefined, standIn = false): Verdict => ({
    offer,
    refusal,
    standIn,
    contradicts,
  });
  if (contradicts) {
    return verdict(refused('EQUIVOCATION', `contradicts counter ${contradicts.counter}`));
  }
  if (standing.final) return verdict(standing.final);
  if (offer.kind !== 'live') return verdict(offer.refusal);
  const mismatch = offerMismatch(config, line.payer, decided.payment, offer.offer);
  if (mismatch) return verdict(mismatch);
  const limits = limitsOf(work.state, config, line, decided.payment, standing.tier);
  return limits.kind === 'beyond' ? verdict(limits.refusal) : verdict(undefined, limits.standIn);
}

/**
 * A miss in memory proves that the Payment is new while nothing was ever forgotten, or while its
 * Offer is live and unused: only a Payment on that Offer can have been accepted, and a Void is
 * kept as long as the Offer lives. Anything else is searched on the disk before it is answered;
 * without its Offer, which a restart forgets, only what is as old as forgotten Payments of its line.
 */
function mustSearch(work: Work, decided: Decided, offer: OfferStanding): boolean {
  if (!work.state.forgot) return false;
  return offer.kind === 'dead' || decided.payment.counter <= decided.line.forgottenThrough;
}

/** One search per line at a time: a device cannot keep the disk from the others. */
function search(work: Work, decided: Decided, input: PaymentInput): Refused | undefined {
  const { lookups } = work.state;
  if (lookups.size >= MAX_LOOKUPS) return refused('BUSY', 'too many searches');
  for (const row of lookups.values()) {
    if (row.line === decided.line) return refused('BUSY', 'another Payment is being looked up');
  }
  const kept = { ...input, bytes: new Uint8Array(input.bytes) };
  lookups.set(decided.key, { input: kept, hash: decided.hash, line: decided.line });
  work.effects.push({ kind: 'lookup', key: decided.key, paymentHash: decided.hash });
  return undefined;
}

function carryOut(work: Work, decided: Decided, standing: Standing, verdict: Verdict): void {
  const refuse = (refusal: Refused): void =>
    refuseUnjournalled(work, decided.from, decided.hash, refusal);
  const { offer, refusal, contradicts } = verdict;
  if (contradicts) blockFor(work, contradicts, decided);
  // A Void needs the challenge's epoch in this unbroken journal; without it the outcome stays open.
  if (offer.kind === 'open') {
    refuse(offer.refusal);
    return;
  }
  const keepUntilMs = offer.kind === 'live' ? offer.offer.acceptByMs : -1;
  if (refusal) {
    const open = voidPayment(work, decided, refusal, { keepUntilMs, agrees: !contradicts });
    if (open) refuse(open);
    return;
  }
  if (offer.kind !== 'live') return;
  if (mayContradictForgotten(decided.line, decided.payment)) {
    refuse(refused('ASK_CENTRE', 'it may contradict what this approver has forgotten of the line'));
    return;
  }
  const open = accept(work, decided, offer.offer, { standing, standIn: verdict.standIn });
  if (open) refuse(open);
}

/** Goes on with a Payment that waited for a search; `find` picks its answer from what was found. */
export function resumeLookup(
  work: Work,
  config: ApproverConfig,
  key: string,
  find: (paymentHash: Uint8Array) => Answer | undefined,
): void {
  const row = work.state.lookups.get(key);
  if (!row) return;
  work.state.lookups.delete(key);
  const answer = find(row.hash);
  if (answer) replyAnswer(work, row.input.from, answer);
  else decidePayment(work, config, row.input, true);
}
