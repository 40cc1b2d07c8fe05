import { bytesEqual } from '../../protocol/bytes.ts';
import { ASK, QUERY } from '../../protocol/messages/envelopes.ts';
import { refused } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { wakeAt } from './effects.ts';
import { ANSWER_WAIT_MS } from './limits.ts';
import { presentDueMs, runPresent, type LinkUp } from './link.ts';
import { closesDueMs, sendCloses, tellWaitingCloses } from './payer-close.ts';
import { outcomeOfOpen, refusedOutcome } from './payer-outcome.ts';
import type { PayerEffect, PayerState } from './payer-types.ts';
import { resendPauseMs } from './resend-pause.ts';
import { payerDocuments } from './trust.ts';

/** Everything that is due, then the next time at which something will be. */
export function runDue(state: PayerState, now: Now, out: PayerEffect[]): void {
  const nowMs = now.monotonicMs;
  const { link } = state;
  if (runPresent(link, payerDocuments(state.trust), nowMs, out)) {
    sendPayments(state, link, nowMs, out);
    if (!link.refusal) {
      sendAsks(state, link, nowMs, out);
      sendCloses(state, link, now, out);
    }
  }
  endWants(state, nowMs, out);
  tellUnknown(state, nowMs, out);
  tellWaitingCloses(state, nowMs, out);
  wake(state, now, out);
}

function sendPayments(state: PayerState, link: LinkUp, nowMs: number, out: PayerEffect[]): void {
  for (const open of state.open.values()) {
    const { stage } = open;
    if (stage.kind !== 'waiting' || stage.sendAtMs > nowMs) continue;
    if (!bytesEqual(open.payment.approver, link.approver)) continue;
    const isFirst = stage.sends === 0;
    // Later sends carry the Offer too: the approver may have been restarted without it.
    out.push({
      kind: 'publish',
      approver: link.approver,
      verb: isFirst ? 'pay' : 'query',
      payload: isFirst
        ? open.paymentCose
        : QUERY.encode({ payment: open.paymentCose, offer: open.offerCose }),
    });
    if (isFirst) {
      open.answerByMs = nowMs + ANSWER_WAIT_MS;
      out.push({ kind: 'progress', ref: open.ref, stage: 'sent' });
    }
    const sends = stage.sends + 1;
    open.stage = { kind: 'waiting', sends, sendAtMs: nowMs + resendPauseMs(open.hash, sends) };
  }
}

function sendAsks(state: PayerState, link: LinkUp, nowMs: number, out: PayerEffect[]): void {
  for (const waiting of state.wants.values()) {
    if (waiting.askAtMs > nowMs) continue;
    const { payee, item, quantity } = waiting.want;
    out.push({
      kind: 'publish',
      approver: link.approver,
      verb: 'ask',
      peer: payee,
      payload: ASK.encode({ payer: state.setup.signer.key.id, item, quantity }),
    });
    waiting.askAtMs = nowMs + waiting.askPauseMs;
    waiting.askPauseMs *= 2;
  }
}

function endWants(state: PayerState, nowMs: number, out: PayerEffect[]): void {
  for (const [ref, waiting] of state.wants) {
    if (waiting.deadlineMs > nowMs) continue;
    state.wants.delete(ref);
    const reason =
      state.link.kind === 'up'
        ? 'no Offer came in time; nothing was signed'
        : 'no connection to a gateway; nothing was signed';
    out.push(refusedOutcome(ref, waiting.lastRefusal ?? refused('OFFER_UNKNOWN', reason)));
  }
}

function tellUnknown(state: PayerState, nowMs: number, out: PayerEffect[]): void {
  for (const open of state.open.values()) {
    if (open.answerByMs === undefined || open.answerByMs > nowMs) continue;
    open.answerByMs = undefined;
    out.push(outcomeOfOpen(open, 'no signed answer yet; the same bytes are sent again'));
  }
}

function wake(state: PayerState, now: Now, out: PayerEffect[]): void {
  const { link } = state;
  let next = presentDueMs(link);
  const isReady = link.kind === 'up' && link.presentUntilMs === undefined;
  for (const waiting of state.wants.values()) {
    next = Math.min(next, waiting.deadlineMs);
    if (isReady && !link.refusal) next = Math.min(next, waiting.askAtMs);
  }
  for (const { answerByMs, stage, payment } of state.open.values()) {
    if (answerByMs !== undefined) next = Math.min(next, answerByMs);
    const isHere = isReady && bytesEqual(payment.approver, link.approver);
    if (isHere && stage.kind === 'waiting') next = Math.min(next, stage.sendAtMs);
  }
  next = Math.min(next, closesDueMs(state, isReady && !link.refusal, now));
  wakeAt(state, next, out);
}
