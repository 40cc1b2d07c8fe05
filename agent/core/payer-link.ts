import { PRESENTED } from '../../protocol/messages/envelopes.ts';
import { refusalCodeOf, refused } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { PRESENT_AGAIN_MS } from './limits.ts';
import { present } from './payer-send.ts';
import type { PayerEffect, PayerState } from './payer-types.ts';
import { recheckWants } from './payer-want.ts';

/** A gateway is at hand: who we are first, then all that is open with it. */
export function onLinkUp(
  state: PayerState,
  approver: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  state.link = { kind: 'up', approver, presentUntilMs: undefined, refusal: undefined };
  for (const open of state.open.values()) {
    if (open.stage.kind === 'waiting') open.stage = { ...open.stage, sendAtMs: now.monotonicMs };
  }
  for (const waiting of state.wants.values()) waiting.askAtMs = now.monotonicMs;
  recheckWants(state, now, out);
  present(state, now, out);
}

/** The approver's answer to the documents. Unsigned: it can delay, never decide money. */
export function onPresented(
  state: PayerState,
  payload: Uint8Array,
  now: Now,
  out: PayerEffect[],
): void {
  const presented = PRESENTED.decode(payload);
  if (!presented.ok || state.link.kind !== 'up') return;
  const { link } = state;
  const { code, reason } = presented.value;
  link.presentUntilMs = undefined;
  if (code === 0) {
    link.refusal = undefined;
    return;
  }
  link.refusal = {
    ...refused(refusalCodeOf(code) ?? 'CREDENTIAL_INVALID', reason),
    againAtMs: now.monotonicMs + PRESENT_AGAIN_MS,
  };
  recheckWants(state, now, out);
}
