/**
 * The door of the intake log (DESIGN section 5): receipts that no gateway's log brings, handed in by either side, late,
 * twice, out of order. The step holds the rules; a shell owns journal and sockets. An answer that says "taken" leaves
 * only after `persisted`. Whoever delivers a Hand-in proves nothing by it: what counts are the signatures inside.
 */
import type { Now } from '../../../platform/ports.ts';
import { Buckets } from '../../../approval/bucket.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { HAND_IN, type HandIn } from '../../../protocol/messages/envelopes.ts';
import {
  refused,
  type Checked,
  type RefusalCode,
  type Refused,
} from '../../../protocol/refusal.ts';
import { INTAKE_RECORD, MAX_HAND_IN_BYTES } from './intake-record.ts';

/** Hand-ins that wait for the disk; above it a sender comes again. */
const MAX_WAITING = 1_024;
/** Remembered as taken. What was forgotten and comes again is logged again, and clearing counts it once. */
const MAX_KNOWN = 262_144;
/** Hand-ins of one deliverer that were refused: each may have cost four signature checks. */
const REFUSED_BURST = 64;
const REFUSED_INTERVAL_MS = 50;
/** New records of one line: bounds what a device that went wrong, with its own good signatures, can fill a disk with. */
const LINE_BURST = 10_000;
const LINE_INTERVAL_MS = 200;
const MAX_BUCKETS = 65_536;

/** A Hand-in after every signature in it was checked. */
export interface JudgedHandIn {
  /** Payment hash and kind of the answer; then one key for each credit and close that came with it. 32 bytes or more. */
  readonly parts: readonly Uint8Array[];
  readonly line: Uint8Array;
  readonly party: Uint8Array;
  readonly answeredAtMs: number;
}

export interface IntakePorts {
  /** Checks every signature and chain, as of `nowS` for what has no believable time of its own. */
  readonly judge: (handIn: HandIn, nowS: number) => Checked<JudgedHandIn>;
}

/** `known`: it had been taken before. */
export type IntakeAnswer = { readonly ok: true; readonly known: boolean } | Refused;

export type IntakeInput =
  | {
      readonly kind: 'handIn';
      readonly requestId: number;
      /** Who delivers it, as the transport says: for the limit on refusals only. */
      readonly deliverer: string;
      readonly bytes: Uint8Array;
    }
  /** Every record through this index is durable. */
  | { readonly kind: 'persisted'; readonly through: number }
  /** Nothing more will become durable in this state; only recovery on a new one goes on. */
  | {
      readonly kind: 'storageFailed';
      readonly code: 'DISK_FULL' | 'BUSY';
      readonly reason: string;
    };

export type IntakeEffect =
  | { readonly kind: 'append'; readonly record: Uint8Array }
  | { readonly kind: 'respond'; readonly requestId: number; readonly answer: IntakeAnswer };

interface Waiting {
  readonly requestId: number;
  /** Index of the record that must be durable first. */
  readonly index: number;
  readonly known: boolean;
}

export interface IntakeState {
  nextIndex: number;
  durableThrough: number;
  /** Index of the record that holds each part. */
  readonly known: Map<string, number>;
  waiting: Waiting[];
  failure: Refused | undefined;
  readonly refusals: Buckets;
  readonly lines: Buckets;
}

export interface IntakeCounts {
  readonly records: number;
  readonly waiting: number;
}

export const initialIntake = (): IntakeState => ({
  nextIndex: 0,
  durableThrough: -1,
  known: new Map(),
  waiting: [],
  failure: undefined,
  refusals: new Buckets(REFUSED_BURST, REFUSED_INTERVAL_MS, MAX_BUCKETS),
  lines: new Buckets(LINE_BURST, LINE_INTERVAL_MS, MAX_BUCKETS),
});

export const countsOf = (state: IntakeState): IntakeCounts => ({
  records: state.durableThrough + 1,
  waiting: state.waiting.length,
});

const remember = (state: IntakeState, parts: readonly Uint8Array[], index: number): void => {
  for (const part of parts) state.known.set(toHex(part), index);
  for (const oldest of state.known.keys()) {
    if (state.known.size <= MAX_KNOWN) return;
    state.known.delete(oldest);
  }
};

/** One durable record, oldest first, before any input. `parts` are those that `partsOf` finds in its Hand-in. */
export const recoverIntake = (state: IntakeState, parts: readonly Uint8Array[]): void => {
  remember(state, parts, state.nextIndex);
  state.durableThrough = state.nextIndex;
  state.nextIndex += 1;
};

const open = (bytes: Uint8Array): Checked<HandIn> =>
  bytes.length > MAX_HAND_IN_BYTES
    ? refused('TOO_LARGE', `a Hand-in has at most ${MAX_HAND_IN_BYTES} bytes`)
    : HAND_IN.decode(bytes);

type Given = Extract<IntakeInput, { kind: 'handIn' }>;

const take = (
  state: IntakeState,
  given: Given,
  judged: JudgedHandIn,
  now: Now,
): readonly IntakeEffect[] => {
  const { requestId, bytes } = given;
  const { parts, line, party, answeredAtMs } = judged;
  invariant(parts.length > 0, 'a Hand-in has an answer');
  const indexes = parts.map((part) => state.known.get(toHex(part)));
  if (indexes.every((index) => index !== undefined)) {
    const index = Math.max(...indexes);
    if (index > state.durableThrough) {
      state.waiting.push({ requestId, index, known: true });
      return [];
    }
    return [{ kind: 'respond', requestId, answer: { ok: true, known: true } }];
  }
  if (!state.lines.take(toHex(line), now.monotonicMs)) {
    const answer = refused('RATE_LIMITED', 'too many new receipts of this line; come again later');
    return [{ kind: 'respond', requestId, answer }];
  }
  const index = state.nextIndex;
  state.nextIndex += 1;
  remember(state, parts, index);
  state.waiting.push({ requestId, index, known: false });
  const takenAtMs = Math.max(0, Math.floor(now.unixMs));
  return [
    {
      kind: 'append',
      record: INTAKE_RECORD.encode({ handIn: bytes, party, answeredAtMs, takenAtMs }),
    },
  ];
};

const handIn = (
  state: IntakeState,
  given: Given,
  now: Now,
  ports: IntakePorts,
): readonly IntakeEffect[] => {
  const { requestId, deliverer } = given;
  const answer = (refusal: Refused): readonly IntakeEffect[] => [
    { kind: 'respond', requestId, answer: refusal },
  ];
  const later = (code: RefusalCode, reason: string): readonly IntakeEffect[] =>
    answer(refused(code, reason));
  if (state.failure !== undefined) return answer(state.failure);
  if (state.waiting.length >= MAX_WAITING) return later('BUSY', 'come again in a moment');
  if (!state.refusals.has(deliverer, now.monotonicMs)) {
    return later('RATE_LIMITED', 'too many refused hand-ins came this way; come again later');
  }
  const opened = open(given.bytes);
  const judged = opened.ok ? ports.judge(opened.value, Math.floor(now.unixMs / 1_000)) : opened;
  if (judged.ok) return take(state, given, judged.value, now);
  state.refusals.take(deliverer, now.monotonicMs);
  return answer(judged);
};

const release = (
  state: IntakeState,
  isDone: (waiting: Waiting) => boolean,
  answerOf: (waiting: Waiting) => IntakeAnswer,
): readonly IntakeEffect[] => {
  const done = state.waiting.filter(isDone);
  state.waiting = state.waiting.filter((waiting) => !isDone(waiting));
  return done.map((waiting) => ({
    kind: 'respond',
    requestId: waiting.requestId,
    answer: answerOf(waiting),
  }));
};

/**
 * One step; owns the state. Every `handIn` gets exactly one `respond`, at once or after `persisted` or `storageFailed`.
 */
export const stepIntake = (
  state: IntakeState,
  input: IntakeInput,
  now: Now,
  ports: IntakePorts,
): readonly IntakeEffect[] => {
  switch (input.kind) {
    case 'handIn':
      return handIn(state, input, now, ports);
    case 'persisted':
      invariant(input.through < state.nextIndex, 'only what was appended can be durable');
      state.durableThrough = Math.max(state.durableThrough, input.through);
      return release(
        state,
        ({ index }) => index <= state.durableThrough,
        ({ known }) => ({ ok: true, known }),
      );
    case 'storageFailed': {
      const failure = refused(input.code, input.reason);
      state.failure = failure;
      return release(
        state,
        () => true,
        () => failure,
      );
    }
  }
};
