import type { Now } from '../../platform/ports.ts';
import { refused } from '../../protocol/refusal.ts';
import { onReceipt, onRefusal } from './payer-answer.ts';
import {
  onCloseAllowance,
  onHandedIn,
  resendCloses,
  signDurableCloses,
  tellEnding,
} from './payer-close.ts';
import { newLink, present, readPresented } from './link.ts';
import { outcomeOfOpen, refusedOutcome } from './payer-outcome.ts';
import { runDue } from './payer-send.ts';
import { append } from './effects.ts';
import { takeFinal } from './final-through.ts';
import { onStatement } from './payer-statement.ts';
import type { PayerEffect, PayerInput, PayerState, PayerStep } from './payer-types.ts';
import { onOffer, onWant, recheckWants } from './payer-want.ts';
import { CLEAN, FINAL, FLOOR } from './records.ts';
import { learnDocuments, payerDocuments } from './trust.ts';

export { bootPayer } from './payer-boot.ts';
export type * from './payer-types.ts';

/**
 * One input of a payer. Owns and returns `state`; the effects are to be carried out in order. Acts
 * only when called: `wakeAt` says when `tick` is due. Never throws on anything that came from
 * outside.
 */
export function payerStep(state: PayerState, input: PayerInput, now: Now): PayerStep {
  const out: PayerEffect[] = [];
  if (state.disk !== 'closed') {
    handle(state, input, now, out);
    finish(state, out);
    runDue(state, now, out);
  }
  return { state, effects: out };
}

function handle(state: PayerState, input: PayerInput, now: Now, out: PayerEffect[]): void {
  switch (input.kind) {
    case 'want':
      onWant(state, input.want, now, out);
      return;
    case 'closeAllowance':
      onCloseAllowance(state, now, out);
      recheckWants(state, now, out);
      return;
    case 'inbox':
      onInbox(state, input.verb, input.payload, now, out);
      return;
    case 'linkUp':
      onLinkUp(state, input.approver, now, out);
      return;
    case 'linkDown':
      state.link = { kind: 'down' };
      return;
    case 'persisted':
      onPersisted(state, input.through, now, out);
      return;
    case 'diskFailed':
      onDiskFailed(state, input.reason, out);
      return;
    case 'documents':
      onDocuments(state, input.documents, now, out);
      return;
    case 'statement':
      takeStatement(state, input.statement, now, out);
      return;
    case 'tick':
      // A timer may come early: say again when it is due.
      state.wakeAtMs = undefined;
      return;
    case 'close':
      onClose(state, out);
      return;
  }
}

/** Everything in the inbox is hostile until it has been checked. */
function onInbox(
  state: PayerState,
  verb: string,
  payload: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  // With no working journal an answer cannot be kept; it comes again after the next start.
  if (state.disk === 'failed') return;
  if (verb === 'offer') onOffer(state, payload, now, out);
  else if (verb === 'receipt') onReceipt(state, payload, out);
  else if (verb === 'refusal') onRefusal(state, payload, now, out);
  else if (verb === 'presented') onPresented(state, payload, now, out);
  else if (verb === 'handed-in' && state.disk === 'ok') onHandedIn(state, payload, now, out);
  else if (verb === 'final' && state.disk === 'ok') onFinal(state, payload, out);
  else if (verb === 'statement' && state.disk === 'ok') takeStatement(state, payload, now, out);
}

/** A fresh allowance is shown to the gateway at hand at once. */
function takeStatement(state: PayerState, cose: Uint8Array, now: Now, out: PayerEffect[]): void {
  if (!onStatement(state, cose, out) || state.disk !== 'ok') return;
  present(state.link, payerDocuments(state.trust), now.monotonicMs, out);
}

function onFinal(state: PayerState, payload: Uint8Array, out: PayerEffect[]): void {
  if (!takeFinal(state.finals, state.trust, payload)) return;
  append(state, FINAL.encode({ final: payload }), out, 'lazy');
}

/** A gateway is at hand: who we are first, then all that is open with it. */
function onLinkUp(state: PayerState, approver: Uint8Array, now: Now, out: PayerEffect[]): void {
  state.link = newLink(approver);
  for (const open of state.open.values()) {
    if (open.stage.kind === 'waiting') open.stage = { ...open.stage, sendAtMs: now.monotonicMs };
  }
  for (const waiting of state.wants.values()) waiting.askAtMs = now.monotonicMs;
  resendCloses(state, now.monotonicMs);
  recheckWants(state, now, out);
  present(state.link, payerDocuments(state.trust), now.monotonicMs, out);
}

function onPresented(state: PayerState, payload: Uint8Array, now: Now, out: PayerEffect[]): void {
  if (state.link.kind !== 'up') return;
  readPresented(state.link, payload, now.monotonicMs);
  if (state.link.isOutdated) present(state.link, payerDocuments(state.trust), now.monotonicMs, out);
  recheckWants(state, now, out);
}

function onPersisted(state: PayerState, through: number, now: Now, out: PayerEffect[]): void {
  signDurableCloses(state, through, now, out);
  for (const open of state.open.values()) {
    if (open.stage.kind !== 'journalling' || open.stage.number > through) continue;
    open.stage = { kind: 'waiting', sends: 0, sendAtMs: now.monotonicMs };
  }
}

function onDiskFailed(state: PayerState, reason: string, out: PayerEffect[]): void {
  if (state.disk === 'failed') return;
  state.disk = 'failed';
  out.push({ kind: 'notice', code: 'DISK_FULL', reason });
  for (const open of state.open.values()) {
    // Perhaps on the disk, certainly not sent: the next start finds out.
    if (open.stage.kind === 'journalling') {
      out.push(outcomeOfOpen(open, 'signed and not sent: the journal failed'));
    }
  }
  tellEnding(state, out);
}

function onDocuments(
  state: PayerState,
  documents: readonly Uint8Array[],
  now: Now,
  out: PayerEffect[],
): void {
  for (const { code, reason } of learnDocuments(state.trust, documents)) {
    out.push({ kind: 'notice', code, reason });
  }
  if (state.trust.floorS > state.floorS && state.disk === 'ok') {
    state.floorS = state.trust.floorS;
    append(state, FLOOR.encode({ timeS: state.floorS }), out, 'lazy');
  }
  present(state.link, payerDocuments(state.trust), now.monotonicMs, out);
}

function onClose(state: PayerState, out: PayerEffect[]): void {
  if (state.disk !== 'ok') return;
  state.disk = 'closing';
  for (const ref of state.wants.keys()) {
    out.push(refusedOutcome(ref, refused('BUSY', 'the device is shutting down')));
  }
  state.wants.clear();
  tellEnding(state, out);
}

/** The clean mark is the journal's last record, and only where nothing is half done. */
function finish(state: PayerState, out: PayerEffect[]): void {
  if (state.disk !== 'closing') return;
  for (const { stage } of [...state.open.values(), ...state.closes]) {
    if (stage.kind === 'journalling') return;
  }
  state.disk = 'closed';
  const { counter, totalMicro } = state;
  append(state, CLEAN.encode({ counter, totalMicro }), out, 'urgent');
}
