import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import type { Period } from './documents/standard.ts';

/** A span of validity and the document that ends it. */
export interface NamedPeriod extends Period {
  readonly typ: string;
}

/**
 * Whether `period` holds at `timeS` (seconds since 1970): CREDENTIAL_EXPIRED from its end on,
 * CREDENTIAL_INVALID before its beginning. Clearing asks with the time of acceptance.
 */
export function checkPeriod(period: NamedPeriod, timeS: number): Checked<true> {
  if (timeS >= period.expiresS) {
    return refused(
      'CREDENTIAL_EXPIRED',
      `${period.typ}: expired at ${period.expiresS}, it is ${timeS}`,
    );
  }
  if (timeS < period.notBeforeS) {
    return refused(
      'CREDENTIAL_INVALID',
      `${period.typ}: not valid before ${period.notBeforeS}, it is ${timeS}`,
    );
  }
  return accepted(true);
}

/** The time at which all of them hold, named after the one that ends first. */
export function commonPeriod(first: NamedPeriod, ...rest: readonly NamedPeriod[]): NamedPeriod {
  let common = first;
  for (const next of rest) {
    const ends = next.expiresS < common.expiresS ? next : common;
    const notBeforeS = Math.max(next.notBeforeS, common.notBeforeS);
    common = { typ: ends.typ, notBeforeS, expiresS: ends.expiresS };
  }
  return common;
}

/** Checks each at `nowS`; undefined means an unknown clock, where only signatures can be judged. */
export function checkPeriods(
  periods: readonly NamedPeriod[],
  nowS: number | undefined,
): Checked<true> {
  if (nowS === undefined) return accepted(true);
  for (const period of periods) {
    const held = checkPeriod(period, nowS);
    if (!held.ok) return held;
  }
  return accepted(true);
}
