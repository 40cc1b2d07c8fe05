import { invariant } from '../protocol/kiri-error.ts';
import {
  FLAG_STAND_IN,
  FLAG_TIME_QUALITY,
  RECEIPT,
  RECEIPT_NONCE_BYTES,
} from '../protocol/messages/receipt.ts';
import { REFUSAL } from '../protocol/messages/refusal.ts';
import { refused, REFUSALS, type Refused } from '../protocol/refusal.ts';
import { count, replyAnswer, signedAnswer, type Work } from './answers.ts';
import { append } from './appending.ts';
import { epochMs, judgedTime } from './clock.ts';
import type { Standing } from './credentials.ts';
import type { ReadPayment } from './payment.ts';
import { makeRoom, remember } from './lines.ts';
import { useOffer } from './offers.ts';
import {
  ACCEPTED_RECORD,
  EQUIVOCATION_RECORD,
  MAX_SIGNED_ROWS,
  SIGNED_RECORD,
  VOID_RECORD,
  type SignedRow,
} from './records.ts';
import type { Answer, LineState, LiveOffer, SeenPayment } from './state.ts';
import { tellSale } from './tell-payee.ts';

/** A Payment whose signature is verified. */
export interface Decided extends ReadPayment {
  readonly from: string;
  readonly nonce: Uint8Array;
  readonly hash: Uint8Array;
  readonly key: string;
  readonly line: LineState;
}

function nextSequence(work: Work): number {
  const sequence = work.state.nextSequence;
  invariant(sequence < 0xffff_ffff, 'the sequence of this approver is used up');
  work.state.nextSequence = sequence + 1;
  return sequence;
}

function wallMs(work: Work): number {
  return Math.max(0, Math.floor(work.now.unixMs));
}

/**
 * Step 10: reserves everything in this call and writes the whole Receipt payload down. Nothing is
 * signed here; a refusal means that nothing was reserved either.
 */
export function accept(
  work: Work,
  decided: Decided,
  offer: LiveOffer,
  how: { readonly standing: Standing; readonly standIn: boolean },
): Refused | undefined {
  const { state } = work;
  const { line, payment } = decided;
  if (!makeRoom(state, line, epochMs(state, work.now))) return refused('BUSY', 'memory is in use');
  invariant(state.keys !== undefined, 'an epoch is open');
  invariant(!state.challenges.isUsed(offer.challengeNumber), 'the Offer is unused');
  const sequence = nextSequence(work);
  const { judged } = how.standing;
  const payload = RECEIPT.encode({
    paymentHash: decided.hash,
    epoch: state.keys.epoch,
    sequence,
    timeS: judged.unixS,
    flags: (judged.quality & FLAG_TIME_QUALITY) | (how.standIn ? FLAG_STAND_IN : 0),
    statusListVersion: how.standing.listVersion,
    nonce: decided.nonce,
  });
  const record = ACCEPTED_RECORD.encode({
    payment: decided.bytes,
    receiptPayload: payload,
    acceptedAtMs: wallMs(work),
  });
  useOffer(state, offer);
  state.exposure.push(sequence, line, payment.amountMicro);
  state.counts.accepted += 1;
  const answer: Answer = { kind: 'accepted', sequence, payload, signed: undefined, durable: false };
  const seen = rememberAnswer(work, decided, answer, { keepUntilMs: -1, agrees: true });
  const index = append(work, 'money', record, offer.index);
  state.pending.push({ index, seen, answer, to: [decided.from], offer });
  return undefined;
}

/** A final refusal: written down now, sent when durable; the Payment is consumed for ever. */
export function voidPayment(
  work: Work,
  decided: Decided,
  refusal: Refused,
  keep: { readonly keepUntilMs: number; readonly agrees: boolean },
): Refused | undefined {
  const { state } = work;
  const nowMs = epochMs(state, work.now);
  invariant(REFUSALS[refusal.code].kind === 'final', `${refusal.code} is a final refusal`);
  if (!state.finalBuckets.take(decided.line.key, nowMs)) {
    return refused('RATE_LIMITED', 'too many final refusals for this line');
  }
  if (!makeRoom(state, decided.line, nowMs)) return refused('BUSY', 'memory is in use');
  count(state, refusal.code);
  const answer = voidAnswer(work, decided, refusal, decided.nonce);
  const seen = rememberAnswer(work, decided, answer, keep);
  const record = VOID_RECORD.encode({
    payment: decided.bytes,
    refusalPayload: answer.payload,
    voidedAtMs: wallMs(work),
  });
  const index = append(work, 'money', record);
  state.pending.push({ index, seen, answer, to: [decided.from], offer: undefined });
  return undefined;
}

function voidAnswer(
  work: Work,
  paid: { readonly hash: Uint8Array; readonly line: LineState },
  refusal: Refused,
  nonce: Uint8Array,
): Answer {
  const { state } = work;
  invariant(state.keys !== undefined, 'an epoch is open');
  const sequence = nextSequence(work);
  state.exposure.push(sequence, undefined, 0n);
  state.counts.voided += 1;
  const payload = REFUSAL.encode({
    paymentHash: paid.hash,
    code: refusal.code,
    final: true,
    timeS: judgedTime(state, work.now).unixS,
    epoch: state.keys.epoch,
    sequence,
    nonce,
    lastCounter: paid.line.lastCounter,
    lastTotalMicro: paid.line.lastTotalMicro,
  });
  return { kind: 'void', sequence, payload, signed: undefined, durable: false };
}

function rememberAnswer(
  work: Work,
  decided: Decided,
  answer: Answer,
  keep: { readonly keepUntilMs: number; readonly agrees: boolean },
): SeenPayment {
  const { payment } = decided;
  const seen: SeenPayment = {
    key: decided.key,
    hash: decided.hash,
    line: decided.line,
    counter: payment.counter,
    amountMicro: payment.amountMicro,
    totalMicro: payment.totalMicro,
    payee: payment.payee,
    payment: new Uint8Array(decided.bytes),
    answer,
    keepUntilMs: keep.keepUntilMs,
  };
  remember(work.state, seen, keep.agrees);
  return seen;
}

/** Keeps the two signed Payments that no honest device signs, and blocks the line here. */
export function blockFor(work: Work, earlier: SeenPayment, later: Decided): void {
  if (later.line.blocked) return;
  later.line.blocked = true;
  const record = EQUIVOCATION_RECORD.encode({
    earlier: earlier.payment,
    later: later.bytes,
    seenAtMs: wallMs(work),
  });
  append(work, 'money', record);
}

/** Step 11: what the sync has made durable is signed and sent, in journal order. */
export function releasePersisted(work: Work, through: number): void {
  const { state } = work;
  let done = 0;
  // Reversals append new rows behind; they wait for their own sync.
  const rows = state.pending.length;
  while (done < rows && state.pending[done]!.index <= through) {
    const row = state.pending[done]!;
    done += 1;
    row.answer.durable = true;
    const late = row.offer !== undefined && epochMs(state, work.now) > row.offer.acceptByMs;
    if (late) reverse(work, row.seen, row.answer, row.to);
    else {
      release(work, row.seen, row.answer, row.to, row.offer);
      state.unwritten.push(signedRow(work, row.answer));
    }
  }
  state.pending.splice(0, done);
  writeSigned(work);
}

/**
 * The highest sequence on disk says that all below it is settled (`noteSigned`). An acceptance whose
 * reversal is not durable yet may still come back as accepted and unsigned, so nothing younger is
 * written before that is.
 */
function writeSigned(work: Work): void {
  const { pending, unwritten } = work.state;
  const open = pending.find((row) => row.reverses !== undefined)?.reverses ?? Infinity;
  const younger = unwritten.findIndex((row) => row.sequence > open);
  appendSigned(work, unwritten.splice(0, younger < 0 ? unwritten.length : younger));
}

/** The last 64 bytes of a COSE_Sign1 are its signature. */
function signedRow(work: Work, answer: Answer): SignedRow {
  const cose = signedAnswer(work.ports, answer);
  return { sequence: answer.sequence, signature: cose.subarray(cose.length - 64) };
}

function appendSigned(work: Work, rows: readonly SignedRow[]): void {
  for (let at = 0; at < rows.length; at += MAX_SIGNED_ROWS) {
    append(work, 'signed', SIGNED_RECORD.encode({ rows: rows.slice(at, at + MAX_SIGNED_ROWS) }));
  }
}

/** After a start: what was durable and had no signature on disk is signed now, for the ledger. */
export function signRecovered(work: Work): void {
  const { unsigned } = work.state;
  const rows = [...unsigned.values()]
    .toSorted((a, b) => a.sequence - b.sequence)
    .map((answer) => signedRow(work, answer));
  unsigned.clear();
  appendSigned(work, rows);
}

function release(
  work: Work,
  seen: SeenPayment,
  answer: Answer,
  to: readonly string[],
  offer: LiveOffer | undefined,
): void {
  for (const device of to) replyAnswer(work, device, answer);
  if (!offer) return;
  tellSale(work, offer.payeeHex, seen);
}

/**
 * Accept-by passed while the disk was busy and nothing was released: the acceptance is taken back
 * by a Void, and that is sent after its own sync. A crash in between leaves it accepted.
 */
function reverse(work: Work, seen: SeenPayment, taken: Answer, to: string[]): void {
  const { state, ports } = work;
  invariant(taken.signed === undefined, 'a released acceptance is never reversed');
  state.exposure.reverse(taken.sequence);
  state.counts.reversed += 1;
  const refusal = refused('OFFER_EXPIRED', 'accept-by passed before it was durable');
  count(state, refusal.code);
  invariant(state.keys !== undefined, 'an epoch is open');
  // The acceptance has used up the step's nonce; this one is as unpredictable to anybody else.
  const nonce = ports.hmacSha256(state.keys.secret, seen.hash).slice(0, RECEIPT_NONCE_BYTES);
  const answer = voidAnswer(work, seen, refusal, nonce);
  seen.answer = answer;
  const record = VOID_RECORD.encode({
    payment: seen.payment,
    refusalPayload: answer.payload,
    voidedAtMs: wallMs(work),
    reverses: taken.sequence,
  });
  const index = append(work, 'money', record);
  state.pending.push({ index, seen, answer, to, offer: undefined, reverses: taken.sequence });
}
