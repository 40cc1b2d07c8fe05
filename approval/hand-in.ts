import { fromHex } from '../protocol/bytes.ts';
import { HAND_IN } from '../protocol/messages/envelopes.ts';
import { refused } from '../protocol/refusal.ts';
import { refuseUnjournalled, type Work } from './answers.ts';
import { epochMs } from './clock.ts';
import { append } from './appending.ts';
import { readPayment } from './payment.ts';
import { HANDED_IN_RECORD } from './records.ts';

/**
 * Keeps evidence that either side hands in, late, twice or for another approver, as it
 * came: it moves no sum here, clearing judges it. Also the way back for an Offer whose journal
 * lagged behind a crash.
 */
export function takeHandIn(work: Work, from: string, bytes: Uint8Array): void {
  const { state, ports, now } = work;
  const handIn = HAND_IN.decode(bytes);
  const payment = handIn.ok ? readPayment(handIn.value.payment) : handIn;
  if (!payment.ok) {
    refuseUnjournalled(work, from, ports.sha256(bytes), payment);
    return;
  }
  const hash = ports.sha256(payment.value.sign1.payload);
  if (state.phase !== 'open' || !state.handInBuckets.take(from, epochMs(state, now))) {
    refuseUnjournalled(work, from, hash, refused('BUSY', 'hand it in again in a moment'));
    return;
  }
  append(work, 'offers', HANDED_IN_RECORD.encode({ from: fromHex(from), handIn: bytes }));
}
