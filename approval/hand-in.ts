import { bytesEqual, fromHex, toHex } from '../protocol/bytes.ts';
import { HAND_IN, HANDED_IN } from '../protocol/messages/envelopes.ts';
import type { Payment } from '../protocol/messages/payment.ts';
import { refused } from '../protocol/refusal.ts';
import { refuseUnjournalled, type Work } from './answers.ts';
import { epochMs } from './clock.ts';
import { append } from './appending.ts';
import { bytesKey } from './keys.ts';
import { MAX_PENDING_HAND_INS } from './limits.ts';
import { readPayment } from './payment.ts';
import type { ApproverConfig } from './ports.ts';
import { HANDED_IN_RECORD } from './records.ts';

/**
 * Keeps evidence that either side hands in, late, twice or for another approver, as it
 * came: it moves no sum here, clearing judges it. Nothing in it is verified here, so it is taken
 * only from one of its two sides that has shown credentials: a stranger could fill the disk.
 */
export function takeHandIn(
  work: Work,
  { forwardsHandIns = false }: ApproverConfig,
  from: string,
  bytes: Uint8Array,
): void {
  const { state, ports, now } = work;
  const handIn = HAND_IN.decode(bytes);
  const payment = handIn.ok ? readPayment(handIn.value.payment) : handIn;
  if (!payment.ok) {
    refuseUnjournalled(work, from, ports.sha256(bytes), payment);
    return;
  }
  const hash = ports.sha256(payment.value.sign1.payload);
  if (!isSide(work, from, payment.value.payment)) {
    const reason = 'show your documents here first; only the payer or the payee hands in';
    refuseUnjournalled(work, from, hash, refused('UNKNOWN_LINE', reason));
    return;
  }
  if (state.phase !== 'open' || !state.handInBuckets.take(from, epochMs(state, now))) {
    refuseUnjournalled(work, from, hash, refused('BUSY', 'hand it in again in a moment'));
    return;
  }
  const record = HANDED_IN_RECORD.encode({ from: fromHex(from), handIn: bytes });
  const index = append(work, 'offers', record);
  // An own answer is in this approver's log. Nobody may believe to be rid of what would end in this journal.
  const isOwn = bytesEqual(payment.value.payment.approver, ports.signer.key.id);
  const endsHere = isOwn && handIn.ok && handIn.value.close === undefined;
  if (!endsHere && !forwardsHandIns) return;
  if (state.pendingHandIns.length >= MAX_PENDING_HAND_INS) return;
  state.pendingHandIns.push({ index, from, handInHash: ports.sha256(bytes) });
}

/** Hand-ins that are durable now are answered: their senders need not send them again. */
export function answerHandIns({ state, effects }: Work, through: number): void {
  const waiting = state.pendingHandIns.findIndex(({ index }) => index > through);
  const done = state.pendingHandIns.splice(0, waiting < 0 ? Infinity : waiting);
  for (const { from, handInHash } of done) {
    effects.push({
      kind: 'reply',
      to: from,
      verb: 'handed-in',
      bytes: HANDED_IN.encode({ handInHash }),
    });
  }
}

function isSide({ state }: Work, from: string, { line, payee }: Payment): boolean {
  if (toHex(payee) === from) return state.payees.has(from);
  return state.lines.get(bytesKey(line))?.payer?.device.hex === from;
}
