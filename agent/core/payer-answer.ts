import { addMicro, type AmountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { RECEIPT, type Receipt } from '../../protocol/messages/receipt.ts';
import { REFUSAL, type Refusal } from '../../protocol/messages/refusal.ts';
import type { RefusalCode } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { acceptedOutcome, outcomeOfOpen, voidOutcome } from './payer-outcome.ts';
import { present } from './link.ts';
import { noteAnswered } from './payer-close.ts';
import { resendPauseMs } from './resend-pause.ts';
import { append } from './effects.ts';
import type { KeptPayment, OpenPayment, PayerEffect, PayerState } from './payer-types.ts';
import { ANSWER } from './records.ts';
import { payerDocuments } from './trust.ts';
import { checkSignature, readSigned, type SignedMessage } from './signed.ts';

/** Open refusals that a resend can be expected to cure soon; the application is not told yet. */
const CURABLE: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  'UNKNOWN_LINE',
  'CREDENTIAL_INVALID',
  'OFFER_UNKNOWN',
  'BUSY',
  'RATE_LIMITED',
]);
/** Cured by showing the documents once more. */
const PRESENT_FIRST: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  'UNKNOWN_LINE',
  'CREDENTIAL_INVALID',
]);

/** Only the approver that the Payment names can answer it, by its own signature. */
function isByApprover(
  state: PayerState,
  approver: Uint8Array,
  message: SignedMessage<Receipt | Refusal>,
): boolean {
  const known = state.trust.approvers.get(toHex(approver));
  const { verifier } = state.trust.trust;
  return known !== undefined && checkSignature(verifier, known.gatewayKey, message, 'answer').ok;
}

export function onReceipt(state: PayerState, cose: Uint8Array, out: PayerEffect[]): void {
  const receipt = readSigned(RECEIPT, cose);
  if (!receipt.ok) return;
  const hex = toHex(receipt.value.value.paymentHash);
  const open = state.open.get(hex);
  if (open) {
    if (!isByApprover(state, open.payment.approver, receipt.value)) return;
    append(state, ANSWER.encode({ answer: cose }), out, 'lazy');
    noteAnswered(state, open, cose, true);
    settle(state, hex, open, 'accepted');
    out.push(acceptedOutcome(open, cose));
    return;
  }
  const kept = state.kept.get(hex);
  if (kept?.state !== 'void' || !isByApprover(state, kept.approver, receipt.value)) return;
  keepBoth(state, kept, cose, out);
}

/** The approver said yes and no: the payer is not charged, its operator bears it (DESIGN §4). */
function keepBoth(
  state: PayerState,
  kept: KeptPayment,
  cose: Uint8Array,
  out: PayerEffect[],
): void {
  append(state, ANSWER.encode({ answer: cose }), out, 'lazy');
  kept.state = 'both';
  const reason = `Payment ${kept.counter} has a Receipt and a Void; both are kept as evidence`;
  out.push({ kind: 'notice', code: 'GATEWAY_EQUIVOCATION', reason });
}

export function onRefusal(state: PayerState, cose: Uint8Array, now: Now, out: PayerEffect[]): void {
  const refusal = readSigned(REFUSAL, cose);
  if (!refusal.ok) return;
  const { value } = refusal.value;
  const hex = toHex(value.paymentHash);
  const open = state.open.get(hex);
  if (open) {
    if (!isByApprover(state, open.payment.approver, refusal.value)) return;
    if (isVoid(value)) onVoid(state, hex, open, value.code, cose, out);
    else onOpenRefusal(state, open, value, now, out);
    return;
  }
  const kept = state.kept.get(hex);
  if (kept?.state !== 'accepted' || !isVoid(value)) return;
  if (!isByApprover(state, kept.approver, refusal.value)) return;
  release(state, kept.amountMicro);
  keepBoth(state, kept, cose, out);
}

/** A final refusal carries its place in the approver's journal (DESIGN §3). */
export function isVoid(refusal: Refusal): boolean {
  return refusal.final && refusal.epoch !== undefined && refusal.sequence !== undefined;
}

function onVoid(
  state: PayerState,
  hex: string,
  open: OpenPayment,
  code: RefusalCode,
  cose: Uint8Array,
  out: PayerEffect[],
): void {
  append(state, ANSWER.encode({ answer: cose }), out, 'lazy');
  release(state, open.payment.amountMicro);
  noteAnswered(state, open, cose, false);
  settle(state, hex, open, 'void', code);
  out.push(voidOutcome(open, code));
}

/** A Void's amount does not count against the limits. */
export function release(state: PayerState, amount: AmountMicro): void {
  state.releasedMicro = addMicro(state.releasedMicro, amount);
}

/** Moves an open Payment to the kept ones. */
export function settle(
  state: PayerState,
  hex: string,
  open: OpenPayment,
  as: 'accepted' | 'void',
  code?: RefusalCode,
): void {
  state.open.delete(hex);
  state.kept.set(hex, {
    ref: open.ref,
    counter: open.payment.counter,
    approver: open.payment.approver,
    payee: open.payment.payee,
    amountMicro: open.payment.amountMicro,
    offerHex: toHex(open.payment.offerHash),
    state: as,
    ...(code ? { code } : {}),
  });
}

/** Leaves the outcome unknown, whatever it says: the same bytes go out again. */
function onOpenRefusal(
  state: PayerState,
  open: OpenPayment,
  refusal: Refusal,
  now: Now,
  out: PayerEffect[],
): void {
  open.lastCode = refusal.code;
  if (open.stage.kind === 'waiting') {
    const pauseMs = Math.max(refusal.retryAfterMs ?? 0, resendPauseMs(open.hash, open.stage.sends));
    open.stage = { ...open.stage, sendAtMs: now.monotonicMs + pauseMs };
    if (PRESENT_FIRST.has(refusal.code)) {
      present(state.link, payerDocuments(state.trust), now.monotonicMs, out);
      open.stage = { ...open.stage, sendAtMs: now.monotonicMs };
    }
  }
  if (open.answerByMs !== undefined && !CURABLE.has(refusal.code)) {
    open.answerByMs = undefined;
    out.push(outcomeOfOpen(open, 'the approver leaves the outcome open'));
  }
}
