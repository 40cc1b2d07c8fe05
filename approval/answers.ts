import { signSign1 } from '../protocol/cose.ts';
import { invariant } from '../protocol/kiri-error.ts';
import { REFUSAL } from '../protocol/messages/refusal.ts';
import { REFUSALS, type RefusalCode, type Refused } from '../protocol/refusal.ts';
import { epochMs, judgedTime } from './clock.ts';
import { RETRY_AFTER_MS } from './limits.ts';
import type { ApproverEffect } from './messages.ts';
import type { Now } from '../platform/ports.ts';
import type { ApproverPorts } from './ports.ts';
import type { Answer, ApproverState } from './state.ts';

/** What one `step` works with; `effects` is filled in order. */
export interface Work {
  readonly state: ApproverState;
  readonly ports: ApproverPorts;
  readonly now: Now;
  readonly effects: ApproverEffect[];
}

const RETRY: ReadonlySet<RefusalCode> = new Set([
  'BUSY',
  'RATE_LIMITED',
  'DISK_FULL',
  'LIST_STALE',
]);

/**
 * A refusal that journals nothing: deterministic from the bytes, or leaving the outcome unknown.
 * Signing costs a third of a check, so one sender gets so many and then silence.
 */
export function refuseUnjournalled(
  work: Work,
  to: string,
  paymentHash: Uint8Array,
  refusal: Refused,
): void {
  const { state, ports, now, effects } = work;
  const { code } = refusal;
  invariant(REFUSALS[code].kind !== 'final', `${code} must be journalled before it is sent`);
  if (!state.refusalBuckets.take(to, epochMs(state, now))) {
    count(state, 'silent');
    return;
  }
  count(state, code);
  const payload = REFUSAL.encode({
    paymentHash,
    code,
    final: false,
    timeS: judgedTime(state, now).unixS,
    ...(RETRY.has(code) ? { retryAfterMs: RETRY_AFTER_MS } : {}),
  });
  effects.push({ kind: 'reply', to, verb: 'refusal', bytes: signSign1(ports.signer, payload) });
}

/** The signed bytes of a durable answer: the journalled payload, signed again if need be. */
export function signedAnswer(ports: ApproverPorts, answer: Answer): Uint8Array {
  invariant(answer.durable, 'nothing is signed before it is durable');
  answer.signed ??= signSign1(ports.signer, answer.payload);
  return answer.signed;
}

export function replyAnswer(work: Work, to: string, answer: Answer): void {
  const bytes = signedAnswer(work.ports, answer);
  const verb = answer.kind === 'accepted' ? 'receipt' : 'refusal';
  work.effects.push({ kind: 'reply', to, verb, bytes });
}

export function count(state: ApproverState, code: RefusalCode | 'silent'): void {
  state.refusals.set(code, (state.refusals.get(code) ?? 0) + 1);
}
