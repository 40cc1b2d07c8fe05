import { addMicro, amountMicro, subMicro, ZERO_MICRO } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import type { Checked } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { STATEMENT } from '../../identity/core/documents/statement.ts';
import { isVoid, release, settle } from './payer-answer.ts';
import { append } from './effects.ts';
import { replayFinal } from './final-through.ts';
import { noteAnswered, replayClosed, replayHandedIn } from './payer-close.ts';
import { applyStatement } from './payer-statement.ts';
import type { PayerEffect, PayerSetup, PayerState, PayerStep } from './payer-types.ts';
import {
  ANSWER,
  CLEAN,
  CLOSED,
  FINAL,
  FLOOR,
  HANDED_IN_CLOSE,
  recordType,
  RESERVE,
  SPENT,
  START,
  STATED,
} from './records.ts';
import { readSigned } from './signed.ts';
import type { TrustBook } from './trust.ts';

function emptyState(setup: PayerSetup, trust: TrustBook): PayerState {
  return {
    setup,
    trust,
    boot: 0,
    counter: 0,
    totalMicro: ZERO_MICRO,
    releasedMicro: ZERO_MICRO,
    mark: { counter: 0, totalMicro: ZERO_MICRO },
    skippedMicro: ZERO_MICRO,
    skippedCounter: 0,
    floorS: trust.floorS,
    statementNumber: 0,
    recordedThrough: 0,
    except: new Set(),
    link: { kind: 'down' },
    disk: 'ok',
    appends: 0,
    wakeAtMs: undefined,
    wants: new Map(),
    held: new Map(),
    open: new Map(),
    kept: new Map(),
    refs: new Map(),
    usedOffers: new Set(),
    closedGeneration: -1,
    closes: [],
    beside: undefined,
    finals: new Map(),
  };
}

/** Own journal, hash-chained: what cannot be read back means another program or a broken build. */
function must<T>(checked: Checked<T>, what: string): T {
  if (checked.ok) return checked.value;
  throw new KiriError('JOURNAL_UNREADABLE', `${what}: ${checked.reason}`);
}

/**
 * The device's state after `records`, all that its journal holds, in order. After an unclean end
 * counter and total stand at the reserved mark. Nothing is sent before `linkUp`.
 * @throws KiriError JOURNAL_UNREADABLE
 */
export function bootPayer(
  setup: PayerSetup,
  trust: TrustBook,
  records: Iterable<Uint8Array>,
  now: Now,
): PayerStep {
  const state = emptyState(setup, trust);
  const out: PayerEffect[] = [];
  let isClean = true;
  for (const record of records) {
    replay(state, record, now);
    isClean = recordType(record) === CLEAN.type;
  }
  if (!isClean) jump(state);
  state.boot += 1;
  const { boot, counter, totalMicro, skippedMicro, skippedCounter } = state;
  append(
    state,
    START.encode({ boot, counter, totalMicro, skippedMicro, skippedCounter }),
    out,
    'lazy',
  );
  return { state, effects: out };
}

/** Nobody knows how far a line went whose last records may be lost; the mark bounds it. */
function jump(state: PayerState): void {
  const { mark } = state;
  if (mark.totalMicro > state.totalMicro) {
    const skipped = subMicro(mark.totalMicro, state.totalMicro);
    state.skippedMicro = addMicro(state.skippedMicro, skipped);
    state.totalMicro = mark.totalMicro;
  }
  state.counter = Math.max(state.counter, mark.counter);
  state.skippedCounter = state.counter;
}

function replay(state: PayerState, record: Uint8Array, now: Now): void {
  switch (recordType(record)) {
    case START.type: {
      const start = must(START.decode(record), 'start');
      state.boot = start.boot;
      state.counter = start.counter;
      state.totalMicro = start.totalMicro;
      state.skippedMicro = start.skippedMicro;
      state.skippedCounter = start.skippedCounter;
      return;
    }
    case RESERVE.type:
      state.mark = must(RESERVE.decode(record), 'reservation');
      return;
    case SPENT.type:
      replaySpent(state, record, now);
      return;
    case ANSWER.type:
      replayAnswer(state, must(ANSWER.decode(record), 'answer').answer);
      return;
    case STATED.type: {
      const { statement } = must(STATED.decode(record), 'statement');
      applyStatement(state, must(readClaims(statement), 'statement'), []);
      return;
    }
    case FLOOR.type:
      state.floorS = Math.max(state.floorS, must(FLOOR.decode(record), 'time floor').timeS);
      return;
    case FINAL.type:
      replayFinal(state.finals, must(FINAL.decode(record), 'level').final);
      return;
    case CLOSED.type:
      replayClosed(state, must(CLOSED.decode(record), 'close'), now);
      return;
    case HANDED_IN_CLOSE.type: {
      const { closeHash, approver } = must(HANDED_IN_CLOSE.decode(record), 'close handed in');
      replayHandedIn(state, closeHash, approver);
      return;
    }
    case CLEAN.type:
      return;
    default:
      throw new KiriError('JOURNAL_UNREADABLE', `a record of unknown kind ${recordType(record)}`);
  }
}

function readClaims(cose: Uint8Array): ReturnType<typeof STATEMENT.decode> {
  const opened = readSigned(STATEMENT, cose);
  return opened.ok ? { ok: true, value: opened.value.value } : opened;
}

function replaySpent(state: PayerState, record: Uint8Array, now: Now): void {
  const { ref, payment: paymentCose, offer: offerCose } = must(SPENT.decode(record), 'payment');
  const { value: payment, sign1 } = must(readSigned(PAYMENT, paymentCose), 'payment');
  const hash = payloadHash(sign1.payload);
  const hex = toHex(hash);
  state.counter = Math.max(state.counter, payment.counter);
  if (payment.totalMicro > state.totalMicro) state.totalMicro = payment.totalMicro;
  if ((payment.releasedMicro ?? 0n) > state.releasedMicro) {
    state.releasedMicro = amountMicro(payment.releasedMicro ?? 0n);
  }
  state.refs.set(ref, hex);
  state.usedOffers.add(toHex(payment.offerHash));
  state.open.set(hex, {
    ref,
    payment,
    hash,
    paymentCose,
    offerCose,
    // Perhaps sent, perhaps not: the way out is the same bytes again.
    stage: { kind: 'waiting', sends: 1, sendAtMs: now.monotonicMs },
    answerByMs: undefined,
    lastCode: undefined,
  });
}

function replayAnswer(state: PayerState, cose: Uint8Array): void {
  const receipt = readSigned(RECEIPT, cose);
  const refusal = receipt.ok ? undefined : must(readSigned(REFUSAL, cose), 'answer');
  const value = receipt.ok ? receipt.value.value : refusal?.value;
  const hex = toHex(value?.paymentHash ?? new Uint8Array(0));
  const open = state.open.get(hex);
  const kept = state.kept.get(hex);
  if (refusal && isVoid(refusal.value)) {
    if (open) release(state, open.payment.amountMicro);
    else if (kept) release(state, kept.amountMicro);
  }
  if (open) noteAnswered(state, open, cose, receipt.ok);
  if (open) settle(state, hex, open, receipt.ok ? 'accepted' : 'void', refusal?.value.code);
  else if (kept) kept.state = 'both';
}
