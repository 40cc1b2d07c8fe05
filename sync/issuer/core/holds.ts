/**
 * The issuer's hold book (DESIGN section 2): what each allowance keeps of its party's cap, and how much a fresh one may
 * take. An allowance is a ceiling on a cumulative total, so allowances of one line do not add up: the highest counts.
 */
import { amountMicro, MAX_AMOUNT_MICRO, type AmountMicro } from '../../../protocol/amount.ts';
import { MAX_ALLOWANCE_VALIDITY_S } from '../../../identity/core/documents/allowance.ts';

/** Receipts of an expired allowance may come this long; until then it is held. */
export const HOLD_AFTER_EXPIRY_S: number = 30 * 86_400;

/** An allowance that was issued and whose hold may still stand. */
export interface HeldAllowance {
  readonly generation: number;
  readonly ceilingMicro: bigint;
  readonly expiresS: number;
  /** Net total at which the device has closed it: it will not be used beyond that. */
  readonly closedAtMicro?: bigint;
}

/** What an allowance still entitles its line to in all: nothing once it is released for good. */
const standingCeiling = (allowance: HeldAllowance, nowS: number): bigint => {
  if (nowS >= allowance.expiresS + HOLD_AFTER_EXPIRY_S) return 0n;
  const { ceilingMicro, closedAtMicro } = allowance;
  return closedAtMicro !== undefined && closedAtMicro < ceilingMicro ? closedAtMicro : ceilingMicro;
};

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

/**
 * What a line keeps of its party's cap: the highest ceiling that still stands, less what is settled.
 * @param settledMicro net sum of the line that is presented to the issuer
 */
export const holdOf = (
  allowances: readonly HeldAllowance[],
  settledMicro: bigint,
  nowS: number,
): bigint => {
  const ceiling = allowances.reduce((most, one) => larger(most, standingCeiling(one, nowS)), 0n);
  return larger(ceiling - settledMicro, 0n);
};

/** Whether nothing of an allowance counts any more: its row may go. */
export const isReleased = (allowance: HeldAllowance, settledMicro: bigint, nowS: number): boolean =>
  standingCeiling(allowance, nowS) <= settledMicro;

/** Cap of a party times its over-commit factor. */
export const capOf = (party: {
  readonly capMicro: bigint;
  readonly overCommitPermille: number;
}): bigint => (party.capMicro * BigInt(party.overCommitPermille)) / 1_000n;

/** What every allowance of a line repeats: limits counted from its base, and how long it holds. */
export interface AllowanceTerms {
  readonly limitMicro: bigint;
  readonly lowerMicro: bigint;
  readonly upperMicro: bigint;
  /** Released that approvers believe beyond what the Statement says. */
  readonly releaseMicro: bigint;
  /** Counters beyond the highest one known. */
  readonly counters: number;
  readonly validityS: number;
}

export interface GrantRequest {
  readonly terms: AllowanceTerms;
  /** The line's allowances whose hold may stand; the newest generation last. */
  readonly allowances: readonly HeldAllowance[];
  readonly settledMicro: bigint;
  readonly releasedMicro: bigint;
  readonly highestCounter: number;
  /** Of the party: cap × factor, and what its other lines hold. */
  readonly capMicro: bigint;
  readonly othersMicro: bigint;
  /** The party or the line pays nothing any more. */
  readonly isBlocked: boolean;
  readonly nowS: number;
}

/** The terms of one fresh allowance. */
export interface Grant {
  readonly generation: number;
  readonly ceilingMicro: AmountMicro;
  readonly baseMicro: AmountMicro;
  readonly lowerMicro: AmountMicro;
  readonly upperMicro: AmountMicro;
  readonly releaseCapMicro: AmountMicro;
  readonly counterCeiling: number;
  readonly notBeforeS: number;
  readonly expiresS: number;
}

/** `BLOCKED`: a decline stands; `NO_ROOM`: the party's cap is taken; `NOT_DUE`: the one in force serves. */
export type GrantDecision =
  | { readonly kind: 'grant'; readonly grant: Grant }
  | { readonly kind: 'none'; readonly why: 'BLOCKED' | 'NO_ROOM' | 'NOT_DUE' };

/** Clocks differ: a new allowance holds from a little earlier. */
const BACKDATED_S = 300;
/** A fresh one is due when it gives back at least this part of the limit, or at half of the old one's life. */
const STEP_PARTS = 4n;
const HALF = 2;
const LAST_PART = 8;
const MAX_COUNTER = 0xffff_ffff;

const amount = (value: bigint): AmountMicro => amountMicro(smaller(value, MAX_AMOUNT_MICRO));

/** Whether a line gets a fresh allowance now, and which: never more than the party's cap leaves. */
export const decideGrant = (request: GrantRequest): GrantDecision => {
  const { terms, allowances, settledMicro, nowS } = request;
  if (request.isBlocked) return { kind: 'none', why: 'BLOCKED' };
  const newest = allowances.at(-1);
  const room = larger(request.capMicro - request.othersMicro, 0n);
  const ceiling = settledMicro + smaller(terms.limitMicro, room);
  const inForce = newest && newest.closedAtMicro === undefined ? newest : undefined;
  const leftS = inForce ? inForce.expiresS - nowS : 0;
  const before = inForce?.ceilingMicro ?? settledMicro;
  // A cap that has become too small lowers a ceiling only when the old one ends anyway.
  const isEnding = leftS * (ceiling < before ? LAST_PART : HALF) < terms.validityS;
  const isStep = (to: bigint): boolean =>
    to > before && (to - before) * STEP_PARTS >= terms.limitMicro;
  if (!isEnding && !isStep(ceiling)) {
    return { kind: 'none', why: isStep(settledMicro + terms.limitMicro) ? 'NO_ROOM' : 'NOT_DUE' };
  }
  if (ceiling <= settledMicro) return { kind: 'none', why: 'NO_ROOM' };
  const notBeforeS = nowS - BACKDATED_S;
  const validityS = Math.min(terms.validityS, MAX_ALLOWANCE_VALIDITY_S - BACKDATED_S);
  return {
    kind: 'grant',
    grant: {
      generation: (newest?.generation ?? 0) + 1,
      ceilingMicro: amount(ceiling),
      baseMicro: amount(settledMicro),
      lowerMicro: amount(terms.lowerMicro),
      upperMicro: amount(terms.upperMicro),
      releaseCapMicro: amount(request.releasedMicro + terms.releaseMicro),
      counterCeiling: Math.min(request.highestCounter + terms.counters, MAX_COUNTER),
      notBeforeS,
      expiresS: notBeforeS + validityS,
    },
  };
};
