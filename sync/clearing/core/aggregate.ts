import { sha256 } from '@noble/hashes/sha2.js';
import { MAX_AMOUNT_MICRO } from '../../../protocol/amount.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { civilTime, dayStartS } from './civil-time.ts';
import type { BusinessZone } from './civil-time.ts';
import type { Bucket, Sign } from './ledger-states.ts';
import type { FeeRule } from './merchant-account.ts';

/**
 * What may share one line of a file (DESIGN §6). Never two funding accounts, never two merchants. Texts are
 * references as their documents state them (ids in hex); `currency` is ISO 4217 numeric.
 */
export type AggregateKey = {
  readonly issuer: string;
  readonly acquirer: string;
  readonly merchant: string;
  readonly programme: string;
  readonly account: string;
  readonly party: string;
  readonly mcc: string;
  readonly currency: number;
  readonly sign: Sign;
};

/** Within a key, late receipts and receipts in conflict are presented on lines of their own. */
export type Lane = 'normal' | 'late' | 'conflict';

export const LANE_BUCKET: Readonly<Record<Lane, Bucket>> = {
  normal: 'carried',
  late: 'late',
  conflict: 'conflict',
};

/** How a merchant's programme aggregates. Amounts in micro-units, ages in seconds. */
export type Programme = {
  readonly name: string;
  readonly zone: BusinessZone;
  /** Presented at the next cut, whatever the window, from this sum on. */
  readonly thresholdMicro: bigint;
  /** Presented at the end of a window (one local day) from this sum on; below it, carried to the next window. */
  readonly windowMinimumMicro: bigint;
  /** Presented when the oldest receipt is this old, however small the sum (whole minor units only). */
  readonly maxAgeS: number;
  /** The merchant categories it is for; absent: all. */
  readonly mccs?: readonly string[];
  /** Profile of the files its lines stand in; absent: the clearing's own. */
  readonly profile?: string;
  /** What the acquirer keeps; absent: nothing. */
  readonly fee?: FeeRule;
};

/** What one lane of a key holds between two cuts. Times are those of receipts not yet in an aggregate. */
export type PendingLane = {
  readonly pendingMicro: bigint;
  readonly firstPaidS: number;
  readonly firstIngestS: number;
};

/** Why a lane is presented now. */
export type DueReason = 'threshold' | 'window' | 'age' | 'account-end' | 'close-out';

/** Receipts in one aggregate at most: a proof stays short and the evidence of one line one document. */
export const AGGREGATE_LEAVES_MAX = 10_000;
/** Aggregates of one lane in one cut; what is left is carried to the next cut. */
const LANE_PIECES_MAX = 1000;
/** Fewer in the conflict lane, whose evidence names the other Payment of each. */
export const CONFLICT_LEAVES_MAX = 2000;

/** Names an aggregation key: SHA-256 over its canonical CBOR, in hex. */
export const keyIdOf = (key: AggregateKey): string =>
  toHex(
    sha256(
      encodeCanonical([
        key.issuer,
        key.acquirer,
        key.merchant,
        key.programme,
        key.account,
        key.party,
        key.mcc,
        key.currency,
        key.sign,
      ]),
    ),
  );

/** The window a moment belongs to: the local day of the programme's zone, as UTC seconds [from, to). */
export const windowOf = (
  timeS: number,
  zone: BusinessZone,
): { readonly fromS: number; readonly toS: number } => {
  const { dayNumber } = civilTime(timeS, zone);
  return { fromS: dayStartS(dayNumber, zone), toS: dayStartS(dayNumber + 1, zone) };
};

/**
 * Whether a lane is presented at `nowS`, and why. Windows follow ingest, so a lane waits for the end of the window
 * in which its first receipt came in. `closeOut` presents all whole minor units (an operator ends the day early), and so
 * does the end of the funding account: nothing waits for more once nothing more can come.
 */
export const dueReason = (
  lane: PendingLane,
  rule: Programme,
  nowS: number,
  closeOut: boolean,
  accountEndsS: number = Number.POSITIVE_INFINITY,
): DueReason | undefined => {
  if (lane.pendingMicro >= rule.thresholdMicro) return 'threshold';
  const windowEnded = nowS >= windowOf(lane.firstIngestS, rule.zone).toS;
  if (windowEnded && lane.pendingMicro >= rule.windowMinimumMicro) return 'window';
  if (nowS - lane.firstPaidS >= rule.maxAgeS) return 'age';
  if (nowS >= accountEndsS) return 'account-end';
  return closeOut ? 'close-out' : undefined;
};

/**
 * One aggregate to be: leaves [from, to) of the lane's receipts, what was carried in, what is presented, what is
 * carried out. `opening + Σ leaves = amountMinor × minor unit + closing`, exactly.
 */
export type Piece = {
  readonly from: number;
  readonly to: number;
  readonly openingMicro: bigint;
  readonly amountMinor: bigint;
  readonly closingMicro: bigint;
};

/** How far the next aggregate reaches: as many receipts as fit the leaf limit and a u64 sum. */
const chunkEnd = (
  amounts: readonly bigint[],
  from: number,
  leavesMax: number,
): { to: number; sumMicro: bigint } => {
  let to = from;
  let sumMicro = 0n;
  while (to < amounts.length && to - from < leavesMax) {
    const next = sumMicro + (amounts[to] as bigint);
    if (next > MAX_AMOUNT_MICRO) break;
    sumMicro = next;
    to++;
  }
  return { to, sumMicro };
};

/**
 * Cuts a due lane into aggregates. Rounding happens here and only here: whole minor units are presented, the
 * remainder is carried. A sum above `amountMinorMax` becomes several aggregates, the later ones without receipts
 * of their own, chained by their residuals. A full aggregate may present nothing if a later one does; receipts that
 * do not make one minor unit stay pending.
 */
export const planPieces = (
  residualMicro: bigint,
  amounts: readonly bigint[],
  minorUnitMicro: bigint,
  limits: { readonly amountMinorMax: bigint; readonly leavesMax: number },
): Piece[] => {
  invariant(residualMicro >= 0n && minorUnitMicro > 0n, 'aggregate: negative residual or no unit');
  const pieces: Piece[] = [];
  let carried = residualMicro;
  let from = 0;
  while (pieces.length < LANE_PIECES_MAX) {
    const { to, sumMicro } = chunkEnd(amounts, from, limits.leavesMax);
    const whole = (carried + sumMicro) / minorUnitMicro;
    const amountMinor = whole > limits.amountMinorMax ? limits.amountMinorMax : whole;
    const isFull = to < amounts.length;
    if (amountMinor === 0n && !isFull) break;
    const closingMicro = carried + sumMicro - amountMinor * minorUnitMicro;
    pieces.push({ from, to, openingMicro: carried, amountMinor, closingMicro });
    carried = closingMicro;
    from = to;
  }
  while (pieces.at(-1)?.amountMinor === 0n) pieces.pop();
  return pieces;
};

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** DE37: the first 60 bits of the aggregate's id in Crockford's base 32, twelve characters. */
export const shortIdOf = (aggregateId: string): string => {
  let bits = BigInt(`0x${aggregateId.slice(0, 16)}`) >> 4n;
  let text = '';
  for (let at = 0; at < 12; at++, bits >>= 5n) text = CROCKFORD.charAt(Number(bits & 31n)) + text;
  return text;
};
