/**
 * When one anchor gets which roll-up checkpoint, as a pure state machine. One submission at a time and at most one new
 * one a period; each step of it is durable before the next one leaves, so that a crash neither loses a submission nor
 * pays for it twice.
 */
import type { Now } from '../../../platform/ports.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import type { AnchorRef, AnchorStatus } from './anchor-port.ts';

/** First pause after a failure; doubles up to the longest. */
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 15 * 60_000;
const MAX_DETAIL_CHARACTERS = 300;

/** A checkpoint on its way. */
interface Submission {
  /** Entries of the roll-up log that it covers. */
  readonly size: number;
  /** The published note, verbatim. */
  readonly note: string;
  readonly startedAtMs: number;
  /** Kept before anything left; absent until then. */
  readonly ref?: AnchorRef;
}

/** What is stored after every change. */
export interface AnchorRecord {
  /** Entries that the newest final evidence covers. */
  readonly anchoredSize: number;
  readonly anchoredAtMs: number;
  /** When the newest submission began: its period has had its anchor. */
  readonly lastStartMs: number;
  readonly current?: Submission;
}

export interface AnchorKeeperState {
  record: AnchorRecord;
  /** What the host does now; one thing at a time. */
  busy: 'idle' | 'storing' | 'submitting' | 'asking' | 'filing';
  /** Whether memory is ahead of what was stored: then storing comes before everything else. */
  isUnstored: boolean;
  failures: number;
  /** Monotonic: no jump of the wall clock makes a pause longer. */
  nextAtMs: number;
  /** For people: what is waited for, or why the last attempt failed. */
  detail: string;
}

export interface AnchorTimes {
  /** Length of a period; periods count from 1970. */
  readonly periodMs: number;
  /** Pause between two questions after a pending submission. */
  readonly pollMs: number;
}

export type AnchorInput =
  /** `newest` is the published roll-up checkpoint, absent before the first. */
  | { readonly kind: 'tick'; readonly newest?: { readonly size: number; readonly note: string } }
  | { readonly kind: 'stored' }
  | { readonly kind: 'kept'; readonly ref: AnchorRef }
  /** The kept reference is durable. */
  | { readonly kind: 'refStored' }
  | { readonly kind: 'submitted' }
  | { readonly kind: 'answered'; readonly status: AnchorStatus }
  | { readonly kind: 'filed' }
  /** The effect under way failed. */
  | { readonly kind: 'trouble'; readonly reason: string };

export type AnchorEffect =
  | { readonly kind: 'store'; readonly record: AnchorRecord }
  | { readonly kind: 'submit'; readonly note: string }
  | { readonly kind: 'ask'; readonly ref: AnchorRef; readonly note: string }
  /** Writes evidence and its note where they are served. */
  | {
      readonly kind: 'file';
      readonly size: number;
      readonly note: string;
      readonly evidence: Uint8Array;
    };

export const emptyAnchorRecord: AnchorRecord = { anchoredSize: 0, anchoredAtMs: 0, lastStartMs: 0 };

/** The state after a start with what was stored. */
export const startAnchorKeeper = (record: AnchorRecord): AnchorKeeperState => ({
  record,
  busy: 'idle',
  isUnstored: false,
  failures: 0,
  nextAtMs: 0,
  detail: '',
});

const fail = (state: AnchorKeeperState, reason: string, now: Now): void => {
  state.busy = 'idle';
  state.detail = reason.slice(0, MAX_DETAIL_CHARACTERS);
  state.nextAtMs =
    now.monotonicMs + Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** state.failures);
  state.failures += 1;
};

const store = (state: AnchorKeeperState, record: AnchorRecord): readonly AnchorEffect[] => {
  state.record = record;
  state.busy = 'storing';
  state.isUnstored = true;
  return [{ kind: 'store', record }];
};

const without = (record: AnchorRecord): AnchorRecord => ({
  anchoredSize: record.anchoredSize,
  anchoredAtMs: record.anchoredAtMs,
  lastStartMs: record.lastStartMs,
});

/** What is to be done with the stored submission. */
const goOn = (state: AnchorKeeperState): readonly AnchorEffect[] => {
  const { current } = state.record;
  if (current === undefined) {
    state.busy = 'idle';
    return [];
  }
  const { ref, note } = current;
  state.busy = ref === undefined ? 'submitting' : 'asking';
  return ref === undefined ? [{ kind: 'submit', note }] : [{ kind: 'ask', ref, note }];
};

const tick = (
  state: AnchorKeeperState,
  newest: { readonly size: number; readonly note: string } | undefined,
  times: AnchorTimes,
  now: Now,
): readonly AnchorEffect[] => {
  if (state.busy !== 'idle' || now.monotonicMs < state.nextAtMs) return [];
  const { record } = state;
  if (state.isUnstored) return store(state, record);
  if (record.current !== undefined) return goOn(state);
  const period = (atMs: number): number => Math.floor(atMs / times.periodMs);
  // A clock that went back must not stop the anchors until it catches up.
  const isDue = period(now.unixMs) !== period(record.lastStartMs);
  if (newest === undefined || newest.size <= record.anchoredSize || !isDue) return [];
  const current = { ...newest, startedAtMs: now.unixMs };
  return store(state, { ...record, lastStartMs: now.unixMs, current });
};

const answered = (
  state: AnchorKeeperState,
  status: AnchorStatus,
  times: AnchorTimes,
  now: Now,
): readonly AnchorEffect[] => {
  const { current } = state.record;
  invariant(current !== undefined, 'an answer is to the submission under way');
  if (status.kind === 'final') {
    state.busy = 'filing';
    return [{ kind: 'file', size: current.size, note: current.note, evidence: status.evidence }];
  }
  if (status.kind === 'pending') {
    state.busy = 'idle';
    state.failures = 0;
    state.detail = status.detail.slice(0, MAX_DETAIL_CHARACTERS);
    state.nextAtMs = now.monotonicMs + times.pollMs;
    return [];
  }
  fail(state, status.reason, now);
  // Another submission of the newest checkpoint, in the same period: this one had no anchor.
  return store(state, { ...without(state.record), lastStartMs: 0 });
};

/** One step; the state is owned and changed in place. At most one effect comes out, and its end goes in. */
export const stepAnchorKeeper = (
  state: AnchorKeeperState,
  input: AnchorInput,
  times: AnchorTimes,
  now: Now,
): readonly AnchorEffect[] => {
  const { record } = state;
  switch (input.kind) {
    case 'tick':
      return tick(state, input.newest, times, now);
    case 'stored':
      state.isUnstored = false;
      // After a failure the pause decides; after a begin it goes on at once.
      if (now.monotonicMs >= state.nextAtMs) return goOn(state);
      state.busy = 'idle';
      return [];
    case 'kept':
      invariant(record.current !== undefined, 'a reference is kept for a submission');
      state.record = { ...record, current: { ...record.current, ref: input.ref } };
      state.isUnstored = true;
      return [{ kind: 'store', record: state.record }];
    case 'refStored':
      state.isUnstored = false;
      return [];
    case 'submitted':
      state.failures = 0;
      return goOn(state);
    case 'answered':
      return answered(state, input.status, times, now);
    case 'filed': {
      const anchoredSize = record.current?.size ?? record.anchoredSize;
      state.failures = 0;
      state.detail = '';
      return store(state, { ...without(record), anchoredSize, anchoredAtMs: now.unixMs });
    }
    case 'trouble':
      fail(state, input.reason, now);
      return [];
  }
};
