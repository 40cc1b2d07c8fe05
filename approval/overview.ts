import type { Now } from '../platform/ports.ts';
import { amountMicro } from '../protocol/amount.ts';
import { signSign1 } from '../protocol/cose.ts';
import {
  MAX_SPENT_ROWS,
  packSpentRows,
  SPENT_TOTALS,
  type SpentRow,
} from '../protocol/messages/spent-totals.ts';
import type { Signer } from '../protocol/public-key.ts';
import type { RefusalCode } from '../protocol/refusal.ts';
import { ageS, judgedTime } from './clock.ts';
import { bytesKey, keyBytes } from './keys.ts';
import { findSeen } from './lines.ts';
import type { ApproverConfig } from './ports.ts';
import type { Answer, ApproverState } from './state.ts';

/** What an operator is shown; sums in micro-units. */
export interface ApproverOverview {
  readonly phase: string;
  readonly lastSequence: number;
  readonly acknowledgedThrough: number;
  readonly accepted: number;
  readonly voided: number;
  readonly reversed: number;
  readonly duplicates: number;
  /** Refusals sent since the start, by code; `silent`: withheld by the rate limit. */
  readonly refusals: Readonly<Record<string, number>>;
  readonly unacknowledgedMicro: bigint;
  readonly unacknowledgedCount: number;
  /** The most that this approver can still lose before it hears from the centre (DESIGN §4). */
  readonly worstCaseMicro: bigint;
  readonly timeQuality: number;
  readonly lists: readonly {
    readonly uri: string;
    readonly version: number;
    readonly ageS: number;
  }[];
  readonly lines: number;
  readonly blockedLines: number;
  readonly payees: number;
  readonly liveOffers: number;
  readonly seen: number;
  readonly pending: number;
}

export function overview(state: ApproverState, config: ApproverConfig, now: Now): ApproverOverview {
  const judged = judgedTime(state, now);
  let blockedLines = 0;
  for (const line of state.lines.values()) if (line.blocked) blockedLines += 1;
  const refusals: Partial<Record<RefusalCode | 'silent', number>> = {};
  for (const [code, n] of state.refusals) refusals[code] = n;
  return {
    phase: state.phase,
    lastSequence: state.nextSequence - 1,
    acknowledgedThrough: state.acknowledgedThrough,
    ...state.counts,
    refusals,
    unacknowledgedMicro: state.exposure.total.micro,
    unacknowledgedCount: state.exposure.unacknowledgedCount,
    worstCaseMicro: config.mandate.unacknowledgedLimitMicro,
    timeQuality: judged.quality,
    lists: [...state.status.values()].map(({ facts, receivedMs }) => ({
      uri: facts.uri,
      version: facts.version,
      ageS: ageS(judged, facts.issuedAtS, receivedMs, now),
    })),
    lines: state.lines.size,
    blockedLines,
    payees: state.payees.size,
    liveOffers: state.offers.size,
    seen: state.seen.size,
    pending: state.pending.length,
  };
}

/** The durable answer in memory to the Payment with this hash; `unknown`: only the disk can tell. */
export function remembered(
  state: ApproverState,
  paymentHash: Uint8Array,
): Answer | undefined | 'unknown' {
  const seen = findSeen(state, bytesKey(paymentHash), paymentHash);
  if (seen?.answer.durable) return seen.answer;
  return state.forgot ? 'unknown' : undefined;
}

/** The newest totals of all lines that owe something here, signed: one message for every MAX_SPENT_ROWS lines. */
export function spentTotals(state: ApproverState, signer: Signer, now: Now): Uint8Array[] {
  const rows: SpentRow[] = [];
  for (const { key, lastCounter, lastTotalMicro, unacknowledged } of state.lines.values()) {
    if (unacknowledged.micro === 0n) continue;
    rows.push({
      line: keyBytes(key),
      counter: lastCounter,
      totalMicro: lastTotalMicro,
      unacknowledgedMicro: amountMicro(unacknowledged.micro),
    });
  }
  const messages: Uint8Array[] = [];
  const throughSequence = state.nextSequence - 1;
  const timeS = judgedTime(state, now).unixS;
  for (let at = 0; at === 0 || at < rows.length; at += MAX_SPENT_ROWS) {
    const packed = packSpentRows(rows.slice(at, at + MAX_SPENT_ROWS));
    const totals = { approver: signer.key.id, throughSequence, timeS, rows: packed };
    messages.push(signSign1(signer, SPENT_TOTALS.encode(totals)));
  }
  return messages;
}
