import { amountMicro } from '../../protocol/amount.ts';
import { verifyStatement } from '../../identity/core/centre.ts';
import type { Statement } from '../../identity/core/documents/statement.ts';
import { settle } from './payer-answer.ts';
import { acceptedOutcome, voidOutcome } from './payer-outcome.ts';
import { append } from './effects.ts';
import type { OpenPayment, PayerEffect, PayerState } from './payer-types.ts';
import { STATED } from './records.ts';
import { learnDocuments } from './trust.ts';

/**
 * The centre's word on this line: ends what is unknown and lets recorded receipts go. True where it brought an allowance,
 * which gateways have yet to be shown.
 */
export function onStatement(state: PayerState, cose: Uint8Array, out: PayerEffect[]): boolean {
  const { own, trust } = state.trust;
  if (!own) return false;
  const opened = verifyStatement(trust, cose, own.line);
  if (!opened.ok) {
    out.push({ kind: 'notice', code: opened.code, reason: opened.reason });
    return false;
  }
  if (opened.value.value.number <= state.statementNumber) return false;
  append(state, STATED.encode({ statement: cose }), out, 'lazy');
  applyStatement(state, opened.value.value, out);
  return opened.value.value.allowance !== undefined;
}

/** Also for the Statements of the journal, whose signatures were checked before they were kept. */
export function applyStatement(state: PayerState, statement: Statement, out: PayerEffect[]): void {
  state.statementNumber = statement.number;
  state.recordedThrough = statement.recordedThrough;
  state.except = new Set(statement.except);
  state.floorS = Math.max(state.floorS, statement.issuedS);
  for (const [hex, open] of state.open) {
    const fate = fateOf(statement, open);
    if (fate === 'unknown') continue;
    settle(state, hex, open, fate, fate === 'void' ? (open.lastCode ?? 'ASK_CENTRE') : undefined);
    out.push(
      fate === 'accepted'
        ? acceptedOutcome(open)
        : voidOutcome(open, open.lastCode ?? 'ASK_CENTRE'),
    );
  }
  giveBack(state, statement);
  forgetRecorded(state);
  if (statement.allowance) {
    for (const { code, reason } of learnDocuments(state.trust, [statement.allowance])) {
      out.push({ kind: 'notice', code, reason });
    }
    state.floorS = Math.max(state.floorS, state.trust.floorS);
  }
}

function isRecorded(
  state: Pick<PayerState, 'recordedThrough' | 'except'>,
  counter: number,
): boolean {
  return counter <= state.recordedThrough && !state.except.has(counter);
}

/** Recorded and neither settled nor open there: it was never accepted and is in `released`. */
function fateOf(statement: Statement, open: OpenPayment): 'accepted' | 'void' | 'unknown' {
  const { counter } = open.payment;
  const isAccepted =
    statement.open.includes(counter) ||
    statement.settled.some(({ from, to }) => counter >= from && counter <= to);
  if (isAccepted) return 'accepted';
  const { recordedThrough } = statement;
  return isRecorded({ recordedThrough, except: new Set(statement.except) }, counter)
    ? 'void'
    : 'unknown';
}

/**
 * The Statement's released sum counts every recorded counter; Voids of later ones, which only this
 * device holds, come on top. Never less than before: a smaller sum would charge the payer twice.
 */
function giveBack(state: PayerState, statement: Statement): void {
  let released: bigint = statement.releasedMicro;
  for (const kept of state.kept.values()) {
    if (kept.state !== 'accepted' && !isRecorded(state, kept.counter)) released += kept.amountMicro;
  }
  const most = released < state.totalMicro ? released : state.totalMicro;
  if (most > state.releasedMicro) state.releasedMicro = amountMicro(most);
  if (state.recordedThrough >= state.skippedCounter) state.skippedMicro = amountMicro(0n);
}

function forgetRecorded(state: PayerState): void {
  for (const [hex, kept] of state.kept) {
    if (!isRecorded(state, kept.counter)) continue;
    state.kept.delete(hex);
    state.refs.delete(kept.ref);
    state.usedOffers.delete(kept.offerHex);
  }
}
