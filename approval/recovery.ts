import { bytesEqual, toHex } from '../protocol/bytes.ts';
import { decodeSign1 } from '../protocol/cose.ts';
import { invariant, KiriError } from '../protocol/kiri-error.ts';
import { PAYMENT, type Payment } from '../protocol/messages/payment.ts';
import { RECEIPT } from '../protocol/messages/receipt.ts';
import { REFUSAL } from '../protocol/messages/refusal.ts';
import type { Checked } from '../protocol/refusal.ts';
import { bytesKey } from './keys.ts';
import { MAX_EPOCHS } from './limits.ts';
import { contradictionOf, findSeen, joinParty, makeRoom, openLine, remember } from './lines.ts';
import type { ApproverPorts } from './ports.ts';
import {
  ACCEPTED_RECORD,
  ACKNOWLEDGED_RECORD,
  EPOCH_RECORD,
  EQUIVOCATION_RECORD,
  PRESENTED_RECORD,
  recordType,
  SIGNED_RECORD,
  VOID_RECORD,
} from './records.ts';
import type { Answer, ApproverState, LineState } from './state.ts';

/*
 * Everything is rebuilt from the money journal, record by record, as it was when they were
 * written: sums, counters, windows, blocks, epochs. What the journal holds was durable, so what it
 * says was accepted is accepted. Payer credentials are not rebuilt: a device hears UNKNOWN_LINE,
 * shows them again and sends the same bytes; its old answers are found before that check.
 */

function must<T>(checked: Checked<T>, what: string): T {
  if (checked.ok) return checked.value;
  throw new KiriError('JOURNAL_CORRUPT', `money journal: ${what}: ${checked.reason}`);
}

interface Old {
  readonly bytes: Uint8Array;
  readonly payment: Payment;
  readonly hash: Uint8Array;
}

function readOld(ports: ApproverPorts, bytes: Uint8Array): Old {
  const sign1 = must(decodeSign1(bytes), 'payment');
  const payment = must(PAYMENT.decode(sign1.payload), 'payment');
  return { bytes, payment, hash: ports.sha256(sign1.payload) };
}

/** Feeds one record of the money journal, oldest first, before `boot`. */
export function recoverRecord(
  state: ApproverState,
  ports: ApproverPorts,
  record: Uint8Array,
): void {
  invariant(state.phase === 'recovering', 'records are read before boot');
  switch (recordType(record)) {
    case EPOCH_RECORD.type:
      noteEpoch(state, must(EPOCH_RECORD.decode(record), 'epoch').epoch);
      return;
    case ACCEPTED_RECORD.type:
      recoverAccepted(state, ports, record);
      return;
    case VOID_RECORD.type:
      recoverVoid(state, ports, record);
      return;
    case EQUIVOCATION_RECORD.type: {
      const proof = must(EQUIVOCATION_RECORD.decode(record), 'proof');
      oldLine(state, readOld(ports, proof.later).payment).blocked = true;
      return;
    }
    case PRESENTED_RECORD.type: {
      const presented = must(PRESENTED_RECORD.decode(record), 'presented');
      const line = lineOf(state, presented.line);
      line.party ??= joinParty(state, bytesKey(presented.party));
      return;
    }
    case ACKNOWLEDGED_RECORD.type: {
      const { throughSequence } = must(ACKNOWLEDGED_RECORD.decode(record), 'acknowledged');
      state.acknowledgedThrough = throughSequence;
      state.exposure.acknowledge(throughSequence);
      return;
    }
    default:
      // A newer version wrote it; going on without its meaning could forget money.
      throw new KiriError('JOURNAL_CORRUPT', 'money journal: a record of an unknown kind');
  }
}

/**
 * Answers are signed in sequence order, so the highest sequence with a signature on disk is a
 * watermark: what lies above it was durable and is signed once more when the approver opens.
 */
export function noteSigned(state: ApproverState, record: Uint8Array): void {
  invariant(state.phase === 'recovering' && state.nextSequence === 1, 'signatures are read first');
  for (const { sequence } of must(SIGNED_RECORD.decode(record), 'signed').rows) {
    invariant(sequence > state.signedThrough, 'signatures stand in sequence order');
    state.signedThrough = sequence;
  }
}

function noteUnsigned(state: ApproverState, answer: Answer): void {
  if (answer.sequence > state.signedThrough) state.unsigned.set(answer.sequence, answer);
}

export function noteEpoch(state: ApproverState, epoch: Uint8Array): void {
  for (const oldest of state.epochs) {
    if (state.epochs.size < MAX_EPOCHS) break;
    state.epochs.delete(oldest);
  }
  state.epochs.add(toHex(epoch));
}

function lineOf(state: ApproverState, id: Uint8Array): LineState {
  const line = openLine(state, bytesKey(id));
  invariant(line !== undefined, 'the journal holds no more lines than were in use');
  return line;
}

function oldLine(state: ApproverState, payment: Payment): LineState {
  return lineOf(state, payment.line);
}

function takeSequence(state: ApproverState, sequence: number): void {
  invariant(sequence === state.nextSequence, 'sequences run on without a gap');
  state.nextSequence = sequence + 1;
}

function recoverAccepted(state: ApproverState, ports: ApproverPorts, record: Uint8Array): void {
  const { payment: bytes, receiptPayload } = must(ACCEPTED_RECORD.decode(record), 'accepted');
  const receipt = must(RECEIPT.decode(receiptPayload), 'receipt');
  const old = readOld(ports, bytes);
  invariant(bytesEqual(receipt.paymentHash, old.hash), 'a receipt belongs to its payment');
  takeSequence(state, receipt.sequence);
  const line = oldLine(state, old.payment);
  invariant(line.party !== undefined, 'a line is presented before it pays');
  state.exposure.push(receipt.sequence, line, old.payment.amountMicro);
  state.counts.accepted += 1;
  const answer = durable('accepted', receipt.sequence, receiptPayload);
  noteUnsigned(state, answer);
  rememberOld(state, old, answer);
}

function recoverVoid(state: ApproverState, ports: ApproverPorts, record: Uint8Array): void {
  const voided = must(VOID_RECORD.decode(record), 'void');
  const refusal = must(REFUSAL.decode(voided.refusalPayload), 'refusal');
  const old = readOld(ports, voided.payment);
  invariant(bytesEqual(refusal.paymentHash, old.hash), 'a void belongs to its payment');
  invariant(refusal.sequence !== undefined, 'a void has a sequence');
  takeSequence(state, refusal.sequence);
  state.exposure.push(refusal.sequence, undefined, 0n);
  state.counts.voided += 1;
  const answer = durable('void', refusal.sequence, voided.refusalPayload);
  noteUnsigned(state, answer);
  if (voided.reverses !== undefined) {
    state.unsigned.delete(voided.reverses);
    state.exposure.reverse(voided.reverses);
    state.counts.reversed += 1;
    const seen = findSeen(state, bytesKey(old.hash), old.hash);
    if (seen) seen.answer = answer;
    if (seen) return;
  }
  rememberOld(state, old, answer);
}

function durable(kind: Answer['kind'], sequence: number, payload: Uint8Array): Answer {
  return { kind, sequence, payload, signed: undefined, durable: true };
}

function rememberOld(state: ApproverState, old: Old, answer: Answer): void {
  const line = oldLine(state, old.payment);
  const { counter, amountMicro, totalMicro, payee } = old.payment;
  invariant(makeRoom(state, line, Number.MAX_SAFE_INTEGER), 'durable answers can be forgotten');
  const agrees = contradictionOf(line, old.payment) === undefined;
  const key = bytesKey(old.hash);
  const seen = { key, hash: old.hash, line, counter, amountMicro, totalMicro, payee };
  remember(state, { ...seen, payment: old.bytes, answer, keepUntilMs: -1 }, agrees);
}

/** The answer to one Payment in money records that a search found; the last one stands. */
export function foundAnswer(
  records: readonly Uint8Array[],
  paymentHash: Uint8Array,
): Answer | undefined {
  let answer: Answer | undefined;
  for (const record of records) {
    const found = answerIn(record);
    if (found && bytesEqual(found.paymentHash, paymentHash)) answer = found.answer;
  }
  return answer;
}

function answerIn(record: Uint8Array): { answer: Answer; paymentHash: Uint8Array } | undefined {
  if (recordType(record) === ACCEPTED_RECORD.type) {
    const { receiptPayload } = must(ACCEPTED_RECORD.decode(record), 'accepted');
    const { sequence, paymentHash } = must(RECEIPT.decode(receiptPayload), 'receipt');
    return { answer: durable('accepted', sequence, receiptPayload), paymentHash };
  }
  if (recordType(record) !== VOID_RECORD.type) return undefined;
  const { refusalPayload } = must(VOID_RECORD.decode(record), 'void');
  const { sequence, paymentHash } = must(REFUSAL.decode(refusalPayload), 'refusal');
  invariant(sequence !== undefined, 'a void has a sequence');
  return { answer: durable('void', sequence, refusalPayload), paymentHash };
}
