import { ZERO_MICRO } from '../protocol/amount.ts';
import { bytesEqual } from '../protocol/bytes.ts';
import { invariant } from '../protocol/kiri-error.ts';
import type { Payment } from '../protocol/messages/payment.ts';
import { MAX_LINES, MAX_SEEN, MAX_SEEN_PER_LINE } from './limits.ts';
import type { ApproverState, LineState, PartyState, SeenPayment } from './state.ts';

/** Rows looked at before giving up on making room: keeps every step short. */
const EVICTION_TRIES = 64;

/** The line's row, made where there is none; undefined when the table is full of lines in use. */
export function openLine(state: ApproverState, key: string): LineState | undefined {
  const known = state.lines.get(key);
  if (known) return known;
  if (state.lines.size >= MAX_LINES && !dropIdleLine(state)) return undefined;
  const line: LineState = {
    key,
    payer: undefined,
    documentsKey: undefined,
    party: undefined,
    blocked: false,
    window: [],
    forgottenThrough: 0,
    lastCounter: 0,
    lastTotalMicro: ZERO_MICRO,
    unacknowledged: { micro: 0n },
  };
  state.lines.set(key, line);
  return line;
}

function dropIdleLine(state: ApproverState): boolean {
  // Recovery takes its time: what fitted before the restart fits again.
  let tries = state.phase === 'recovering' ? state.lines.size : EVICTION_TRIES;
  for (const [key, line] of state.lines) {
    // Blocks, unacknowledged sums and windows are what a line is remembered for.
    const idle = !line.blocked && line.unacknowledged.micro === 0n && line.window.length === 0;
    state.lines.delete(key);
    if (idle) {
      if (line.documentsKey !== undefined) state.documents.delete(line.documentsKey);
      if (line.party) leaveParty(state, line.party);
      return true;
    }
    state.lines.set(key, line);
    tries -= 1;
    if (tries === 0) return false;
  }
  return false;
}

/** The party's row, counting one more line of it. */
export function joinParty(state: ApproverState, key: string): PartyState {
  let party = state.parties.get(key);
  if (!party) {
    party = { key, lines: 0, unacknowledged: { micro: 0n } };
    state.parties.set(key, party);
  }
  party.lines += 1;
  return party;
}

function leaveParty(state: ApproverState, party: PartyState): void {
  party.lines -= 1;
  if (party.lines > 0) return;
  invariant(party.unacknowledged.micro === 0n, 'a party without lines owes nothing here');
  state.parties.delete(party.key);
}

/** The seen Payment with exactly this payload. */
export function findSeen(
  state: ApproverState,
  key: string,
  hash: Uint8Array,
): SeenPayment | undefined {
  const seen = state.seen.get(key);
  return seen && bytesEqual(seen.hash, hash) ? seen : undefined;
}

/** Where a counter stands or would stand in the window. */
function position(window: readonly SeenPayment[], counter: number): number {
  let low = 0;
  let high = window.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (window[middle]!.counter < counter) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * A seen Payment that no honest device can have signed beside this one (DESIGN §4, proof of
 * misbehaviour): the same counter with another payload, or i < j with total_j − amount_j < total_i.
 * The window agrees with itself, so its two neighbours in counter order decide.
 */
export function contradictionOf(line: LineState, payment: Payment): SeenPayment | undefined {
  const at = position(line.window, payment.counter);
  const above = line.window[at];
  if (above?.counter === payment.counter) return above;
  const below = line.window[at - 1];
  if (below && payment.totalMicro - payment.amountMicro < below.totalMicro) return below;
  if (above && above.totalMicro - above.amountMicro < payment.totalMicro) return above;
  return undefined;
}

/**
 * Whether a seen Payment that memory has let go may contradict this one: below what was forgotten
 * nothing is known any more, above the last counter its total is (a device that starts its total
 * anew would pass every limit that is counted on it).
 */
export function mayContradictForgotten(line: LineState, payment: Payment): boolean {
  const { counter, totalMicro, amountMicro } = payment;
  if (counter <= line.forgottenThrough) return true;
  return counter > line.lastCounter && totalMicro - amountMicro < line.lastTotalMicro;
}

/**
 * Makes room for one more answered Payment by forgetting old ones, whose answer stands in the
 * journal. False when everything left is waiting or still needed: the caller says BUSY.
 */
export function makeRoom(state: ApproverState, line: LineState, nowMs: number): boolean {
  if (line.window.length >= MAX_SEEN_PER_LINE) {
    const oldest = line.window.find((seen) => isForgettable(seen, nowMs));
    if (!oldest) return false;
    forget(state, oldest);
  }
  if (state.seen.size < MAX_SEEN) return true;
  let tries = EVICTION_TRIES;
  for (const [key, seen] of state.seen) {
    if (isForgettable(seen, nowMs)) {
      forget(state, seen);
      return true;
    }
    state.seen.delete(key);
    state.seen.set(key, seen);
    tries -= 1;
    if (tries === 0) return false;
  }
  return false;
}

function isForgettable(seen: SeenPayment, nowMs: number): boolean {
  return seen.answer.durable && (seen.answer.kind === 'accepted' || seen.keepUntilMs < nowMs);
}

function forget(state: ApproverState, seen: SeenPayment): void {
  state.seen.delete(seen.key);
  state.forgot = true;
  const { line } = seen;
  const at = line.window.indexOf(seen);
  if (at < 0) return;
  line.window.splice(at, 1);
  line.forgottenThrough = Math.max(line.forgottenThrough, seen.counter);
}

/** Remembers an answered Payment; `agrees` = it contradicts nothing in the window. */
export function remember(state: ApproverState, seen: SeenPayment, agrees: boolean): void {
  state.seen.set(seen.key, seen);
  const { line } = seen;
  if (!agrees) return;
  line.window.splice(position(line.window, seen.counter), 0, seen);
  if (seen.counter > line.lastCounter) {
    line.lastCounter = seen.counter;
    line.lastTotalMicro = seen.totalMicro;
  }
}
