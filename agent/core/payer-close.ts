/**
 * The device's end of an allowance (DESIGN §2): journalled, then signed, then handed in until a gateway has it. From the
 * journal's record on nothing is signed under that allowance or an older one; a later generation goes on.
 */
import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { CLOSE, type Close } from '../../protocol/messages/after-payment.ts';
import { HAND_IN, HANDED_IN } from '../../protocol/messages/envelopes.ts';
import { refused, type Refused } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { checkApprover, closedRefusal } from './before-signing.ts';
import { deviceTime } from './device-time.ts';
import { append } from './effects.ts';
import {
  ANSWER_WAIT_MS,
  CLOSE_USELESS_AFTER_EXPIRY_S,
  MAX_CLOSE_SENDS,
  MAX_CLOSES_KEPT,
} from './limits.ts';
import type { LinkUp } from './link.ts';
import { refusedClose } from './payer-outcome.ts';
import { resendPauseMs } from './resend-pause.ts';
import type { ClosedAllowance, OpenPayment, PayerEffect, PayerState } from './payer-types.ts';
import { CLOSED, HANDED_IN_CLOSE } from './records.ts';

const HOLD_ENDED: Refused = refused(
  'CREDENTIAL_EXPIRED',
  'the issuer has released its hold by itself, 30 days after expiry',
);
const NOT_SIGNED: Refused = refused('DISK_FULL', 'the journal failed: the Close is not signed');

/** The application ends the allowance in force. Asked again, it is told what became of the Close. */
export function onCloseAllowance(state: PayerState, now: Now, out: PayerEffect[]): void {
  dropUseless(state, now, out);
  if (closedRefusal(state)) {
    tellAgain(state, now, out);
    return;
  }
  const refusal = checkClosing(state, now);
  if (refusal) {
    out.push(refusedClose(refusal));
    return;
  }
  const { own } = state.trust;
  invariant(own !== undefined, 'an allowance is closed that is not there');
  const { generation, expiresS } = own.allowance;
  const payload = CLOSE.encode(closeOf(state, own.line, own.documents.allowance, now));
  const number = append(state, CLOSED.encode({ generation, expiresS, payload }), out, 'urgent');
  state.closedGeneration = generation;
  state.closes.push({
    ...readPayload(generation, expiresS, payload),
    stage: { kind: 'journalling', number },
    answerByMs: undefined,
  });
  dropHandedIn(state);
}

function checkClosing(state: PayerState, now: Now): Refused | undefined {
  if (state.disk === 'failed') return refused('DISK_FULL', 'the journal takes no more records');
  if (state.disk !== 'ok') return refused('BUSY', 'the device is shutting down');
  const { own } = state.trust;
  if (!own) return refused('UNKNOWN_LINE', 'this device has no binding and allowance');
  if (isUseless(state, own.allowance.expiresS, now)) return HOLD_ENDED;
  const unanswered = state.closes.filter(({ stage }) => stage.kind !== 'handed-in');
  if (unanswered.length >= MAX_CLOSES_KEPT) {
    return refused('BUSY', `${MAX_CLOSES_KEPT} Closes wait for a gateway`);
  }
  return undefined;
}

/**
 * Counter and gross total as they stand: every Payment ever signed is in them, those without an answer in full, and what an
 * unclean start jumped over. Only what signed Voids and Statements gave back is taken off, so the net sum is never less
 * than what payees can present.
 */
function closeOf(state: PayerState, line: Uint8Array, allowance: Uint8Array, now: Now): Close {
  const { counter, totalMicro } = state;
  const releasedMicro = state.releasedMicro < totalMicro ? state.releasedMicro : totalMicro;
  const signed = decodeSign1(allowance);
  invariant(signed.ok, 'the allowance in force was verified');
  return {
    line,
    allowanceHash: payloadHash(signed.value.payload),
    lastCounter: counter,
    totalMicro,
    ...(releasedMicro === 0n ? {} : { releasedMicro }),
    timeS: deviceTime(state.floorS, now).timeS,
  };
}

type CloseFacts = Omit<ClosedAllowance, 'stage' | 'answerByMs'>;

function readPayload(generation: number, expiresS: number, payload: Uint8Array): CloseFacts {
  const close = CLOSE.decode(payload);
  invariant(close.ok, 'a Close that was journalled can be read');
  return { generation, expiresS, payload, close: close.value, hash: payloadHash(payload) };
}

/** Signed only now that no start can forget it. The payload is the journal's, so every start signs the same words. */
export function signDurableCloses(
  state: PayerState,
  through: number,
  now: Now,
  out: PayerEffect[],
): void {
  for (const closed of state.closes) {
    const { stage } = closed;
    if (stage.kind !== 'journalling' || stage.number > through) continue;
    closed.stage = waiting(state, closed.payload, now);
    closed.answerByMs = now.monotonicMs + ANSWER_WAIT_MS;
    if (state.disk !== 'ok') tellWaiting(closed, 'the device is shutting down', out);
  }
}

function waiting(
  { setup }: PayerState,
  payload: Uint8Array,
  now: Now,
): Extract<ClosedAllowance['stage'], { kind: 'waiting' }> {
  const closeCose = signSign1(setup.signer, payload);
  return { kind: 'waiting', closeCose, handIn: undefined, sends: 0, sendAtMs: now.monotonicMs };
}

export function replayClosed(
  state: PayerState,
  record: { readonly generation: number; readonly expiresS: number; readonly payload: Uint8Array },
  now: Now,
): void {
  const { generation, expiresS, payload } = record;
  state.closedGeneration = Math.max(state.closedGeneration, generation);
  const stage = waiting(state, payload, now);
  state.closes.push({
    ...readPayload(generation, expiresS, payload),
    stage,
    answerByMs: undefined,
  });
  dropHandedIn(state);
}

/** A gateway has it; the last one is remembered for who asks. */
export function replayHandedIn(state: PayerState, hash: Uint8Array, approver: Uint8Array): void {
  const closed = state.closes.find((one) => bytesEqual(one.hash, hash));
  if (closed) settleClose(closed, approver);
}

function settleClose(closed: ClosedAllowance, approver: Uint8Array): void {
  if (closed.stage.kind !== 'waiting') return;
  const { closeCose } = closed.stage;
  closed.stage = { kind: 'handed-in', closeCose, approver };
  closed.answerByMs = undefined;
}

/** The last answered Payment of the line: a Close travels beside one. A Receipt goes before a Void. */
export function noteAnswered(
  state: PayerState,
  { paymentCose: payment, offerCose: offer }: OpenPayment,
  outcome: Uint8Array,
  isReceipt: boolean,
): void {
  if (!isReceipt && state.beside?.isReceipt) return;
  state.beside = { payment, offer, outcome, isReceipt };
}

/** A gateway is at hand: what no gateway has yet goes there first. */
export function resendCloses(state: PayerState, nowMs: number): void {
  for (const closed of state.closes) {
    if (closed.stage.kind === 'waiting') {
      closed.stage = { ...closed.stage, sends: 0, sendAtMs: nowMs };
    }
  }
}

/** A stranger's word must not end the sending: Closes go where the issuer has given a mandate, as Payments do. */
function isTrusted({ trust, floorS, link }: PayerState, now: Now): boolean {
  return link.kind === 'up' && checkApprover(trust, floorS, link.approver, now).ok;
}

export function sendCloses(state: PayerState, link: LinkUp, now: Now, out: PayerEffect[]): void {
  dropUseless(state, now, out);
  if (!state.beside || state.closes.length === 0 || !isTrusted(state, now)) return;
  for (const closed of state.closes) {
    const { stage } = closed;
    if (stage.kind !== 'waiting' || stage.sends >= MAX_CLOSE_SENDS) continue;
    if (stage.sendAtMs > now.monotonicMs) continue;
    const { payment, offer, outcome } = state.beside;
    const payload =
      stage.handIn ?? HAND_IN.encode({ payment, offer, outcome, close: stage.closeCose });
    out.push({ kind: 'publish', approver: link.approver, verb: 'hand-in', payload });
    const sends = stage.sends + 1;
    const sendAtMs = now.monotonicMs + resendPauseMs(closed.hash, sends);
    closed.stage = { ...stage, handIn: payload, sends, sendAtMs };
  }
}

/** Unsigned: it ends the resending and decides no money. The hold ends by the issuer's own book. */
export function onHandedIn(
  state: PayerState,
  bytes: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  const answer = HANDED_IN.decode(bytes);
  if (!answer.ok || state.link.kind !== 'up' || !isTrusted(state, now)) return;
  const { approver } = state.link;
  for (const closed of state.closes) {
    const { stage } = closed;
    if (stage.kind !== 'waiting' || !stage.handIn) continue;
    if (!bytesEqual(payloadHash(stage.handIn), answer.value.handInHash)) continue;
    append(state, HANDED_IN_CLOSE.encode({ closeHash: closed.hash, approver }), out, 'lazy');
    settleClose(closed, approver);
    tellHandedIn(closed, out);
  }
  dropHandedIn(state);
}

/** When something is due for Closes; sending only where the link is ready. */
export function closesDueMs(state: PayerState, isReady: boolean, now: Now): number {
  let next = Infinity;
  const canSend = isReady && state.closes.length > 0 && isTrusted(state, now);
  for (const { stage, answerByMs } of state.closes) {
    next = Math.min(next, answerByMs ?? Infinity);
    if (!canSend || !state.beside || stage.kind !== 'waiting') continue;
    if (stage.sends < MAX_CLOSE_SENDS) next = Math.min(next, stage.sendAtMs);
  }
  return next;
}

export function tellWaitingCloses(state: PayerState, nowMs: number, out: PayerEffect[]): void {
  for (const closed of state.closes) {
    if (closed.answerByMs === undefined || closed.answerByMs > nowMs) continue;
    const why = state.beside
      ? 'no gateway has said that it has the Close; the same bytes are sent again'
      : 'no Payment of this line has an answer, and a Close travels beside one';
    tellWaiting(closed, why, out);
  }
}

/** The disk has failed, or the device ends: whoever waits is told how far it came. */
export function tellEnding(state: PayerState, out: PayerEffect[]): void {
  for (const closed of state.closes) {
    if (closed.stage.kind === 'journalling' && state.disk === 'failed') {
      out.push(refusedClose(NOT_SIGNED));
    } else if (closed.answerByMs !== undefined) {
      tellWaiting(closed, 'the device is shutting down', out);
    }
  }
}

function tellAgain(state: PayerState, now: Now, out: PayerEffect[]): void {
  const last = state.closes.at(-1);
  if (!last || last.generation !== state.closedGeneration) {
    out.push(refusedClose(HOLD_ENDED));
  } else if (last.stage.kind === 'handed-in') {
    tellHandedIn(last, out);
  } else if (state.disk === 'failed' && last.stage.kind === 'journalling') {
    out.push(refusedClose(NOT_SIGNED));
  } else if (state.disk !== 'ok') {
    tellWaiting(last, 'this device takes no answers any more; its next start goes on', out);
  } else if (last.stage.kind === 'waiting' && last.answerByMs === undefined) {
    last.answerByMs = now.monotonicMs + ANSWER_WAIT_MS;
    last.stage = { ...last.stage, sends: 0, sendAtMs: now.monotonicMs };
  }
}

function tellWaiting(closed: ClosedAllowance, reason: string, out: PayerEffect[]): void {
  closed.answerByMs = undefined;
  if (closed.stage.kind !== 'waiting') return;
  const { generation, close } = closed;
  const { closeCose } = closed.stage;
  out.push({ kind: 'closed', outcome: { kind: 'waiting', generation, close, closeCose, reason } });
}

function tellHandedIn({ generation, close, stage }: ClosedAllowance, out: PayerEffect[]): void {
  if (stage.kind !== 'handed-in') return;
  const { closeCose, approver } = stage;
  const outcome = { kind: 'handed-in', generation, close, closeCose, approver } as const;
  out.push({ kind: 'closed', outcome });
}

/** Of those that a gateway has, only the last is kept. */
function dropHandedIn(state: PayerState): void {
  const last = state.closes.at(-1);
  state.closes = state.closes.filter((one) => one === last || one.stage.kind !== 'handed-in');
}

/** By then the issuer has released the hold without a Close. A clock of unknown quality ends nothing. */
function isUseless(state: PayerState, expiresS: number, now: Now): boolean {
  const time = deviceTime(state.floorS, now);
  const nowS = time.quality > 0 ? time.timeS : state.floorS;
  return nowS >= expiresS + CLOSE_USELESS_AFTER_EXPIRY_S;
}

function dropUseless(state: PayerState, now: Now, out: PayerEffect[]): void {
  const useless = state.closes.filter(
    ({ expiresS, stage }) => stage.kind === 'waiting' && isUseless(state, expiresS, now),
  );
  if (useless.length === 0) return;
  state.closes = state.closes.filter((one) => !useless.includes(one));
  for (const { answerByMs } of useless) {
    if (answerByMs !== undefined) out.push(refusedClose(HOLD_ENDED));
  }
}
