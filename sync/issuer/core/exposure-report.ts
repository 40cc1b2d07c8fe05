/**
 * The worst case now (DESIGN section 4, Exposure): how much can stand at approvers that the centre does not know of. A device
 * that is cloned or set back shows each approver its old total, so approvers that do not hear each other each accept
 * min(their cap for the device, what the allowance leaves there). Never below the truth; pure.
 */
import { HOLD_AFTER_EXPIRY_S } from './holds.ts';

/** One allowance of a line whose receipts may still come. */
interface StandingAllowance {
  readonly ceilingMicro: bigint;
  readonly baseMicro: bigint;
  readonly upperMicro: bigint;
  readonly releaseCapMicro: bigint;
  readonly expiresS: number;
}

export interface ExposureLine {
  /** In hex, as all ids here. */
  readonly line: string;
  readonly party: string;
  readonly currency: number;
  readonly allowances: readonly StandingAllowance[];
  /** Who bears what a misbehaving device costs, by the newest allowance. */
  readonly bearer: 'party' | 'issuer';
}

/** Limits of one approver; of several mandates in force the largest of each. */
export interface ExposureApprover {
  readonly approver: string;
  readonly currency: number;
  readonly deviceLimitMicro: bigint;
  readonly partyLimitMicro: bigint;
  readonly maxUnacknowledgedMicro: bigint;
  readonly neighbours: readonly string[];
}

/** Sum of the receipts at the centre that one approver accepted of one line. */
export type AcknowledgedSums = (line: string, approver: string) => bigint;

/** Sums of one party, line or of all in one currency, in micro-units. */
interface WorstCase {
  /** Most that can be accepted and is not at the centre. */
  readonly worstMicro: bigint;
  /** What the allowances leave by themselves: an honest device spends no more, wherever it pays. */
  readonly leftMicro: bigint;
}

interface PartyExposure extends WorstCase {
  readonly party: string;
  readonly currency: number;
  readonly lines: number;
}

export interface ExposureReport {
  readonly parties: readonly PartyExposure[];
  /** Per currency; `byBearer` splits what is above it by line, before the limits of whole approvers. */
  readonly totals: readonly (WorstCase & {
    readonly currency: number;
    readonly approvers: number;
    readonly byBearer: Readonly<Record<'party' | 'issuer', bigint>>;
  })[];
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const sumOf = (values: readonly bigint[]): bigint => values.reduce((sum, one) => sum + one, 0n);
const mostOf = (values: readonly bigint[]): bigint => values.reduce(larger, 0n);

/** Highest gross sum that an approver can take under any allowance: `released` is believed up to its cap. */
const grossTop = (allowances: readonly StandingAllowance[], nowS: number): bigint =>
  mostOf(
    allowances
      .filter(({ expiresS }) => nowS < expiresS + HOLD_AFTER_EXPIRY_S)
      .map(
        ({ ceilingMicro, baseMicro, upperMicro, releaseCapMicro }) =>
          smaller(ceilingMicro, baseMicro + upperMicro) + releaseCapMicro,
      ),
  );

/**
 * Groups in which all hear each other. What one of a group accepts counts at the others too, so a group takes no more than
 * its largest cap; who is in none stands alone. Only neighbours that name each other count.
 */
export const groupsOf = (
  approvers: readonly ExposureApprover[],
): readonly (readonly ExposureApprover[])[] => {
  const hears = (a: ExposureApprover, b: ExposureApprover): boolean =>
    a.neighbours.includes(b.approver) && b.neighbours.includes(a.approver);
  const groups: ExposureApprover[][] = [];
  // The largest cap first: it covers as many others as possible.
  const inOrder = approvers.toSorted((a, b) => {
    if (a.deviceLimitMicro !== b.deviceLimitMicro) {
      return a.deviceLimitMicro > b.deviceLimitMicro ? -1 : 1;
    }
    return a.approver < b.approver ? -1 : 1;
  });
  for (const one of inOrder) {
    const group = groups.find((members) => members.every((member) => hears(member, one)));
    if (group) group.push(one);
    else groups.push([one]);
  }
  return groups;
};

interface AtLine {
  /** By approver in the order of the groups. */
  readonly byApprover: readonly (readonly bigint[])[];
  readonly byGroup: readonly bigint[];
  readonly leftMicro: bigint;
}

const atLine = (
  line: ExposureLine,
  groups: readonly (readonly ExposureApprover[])[],
  acknowledged: AcknowledgedSums,
  nowS: number,
): AtLine => {
  const top = grossTop(line.allowances, nowS);
  const known = groups.map((group) =>
    group.map(({ approver }) => acknowledged(line.line, approver)),
  );
  const byApprover = groups.map((group, at) =>
    group.map(({ deviceLimitMicro }, of) =>
      smaller(deviceLimitMicro, larger(top - (known[at]?.[of] ?? 0n), 0n)),
    ),
  );
  return {
    byApprover,
    byGroup: byApprover.map((sums, at) =>
      smaller(sumOf(sums), mostOf((groups[at] ?? []).map((one) => one.deviceLimitMicro))),
    ),
    leftMicro: larger(top - sumOf(known.flat()), 0n),
  };
};

/** Sums of several lines at each approver and group. */
class Sums {
  readonly byApprover: bigint[][];
  readonly byGroup: bigint[];
  leftMicro = 0n;

  constructor(groups: readonly (readonly unknown[])[]) {
    this.byApprover = groups.map((group) => group.map(() => 0n));
    this.byGroup = groups.map(() => 0n);
  }

  add({ byApprover, byGroup, leftMicro }: AtLine): void {
    for (const [at, sums] of byApprover.entries()) {
      for (const [of, sum] of sums.entries()) this.byApprover[at]![of]! += sum;
      this.byGroup[at]! += byGroup[at] ?? 0n;
    }
    this.leftMicro += leftMicro;
  }

  /** Under a limit of each approver for what is summed here. */
  under(limits: readonly (readonly bigint[])[]): AtLine {
    const byApprover = this.byApprover.map((sums, at) =>
      sums.map((sum, of) => smaller(sum, limits[at]?.[of] ?? 0n)),
    );
    const byGroup = byApprover.map((sums, at) => smaller(sumOf(sums), this.byGroup[at] ?? 0n));
    return { byApprover, byGroup, leftMicro: this.leftMicro };
  }
}

interface Input {
  readonly lines: readonly ExposureLine[];
  readonly approvers: readonly ExposureApprover[];
  readonly acknowledged: AcknowledgedSums;
  /** Whether neighbours share what they accepted; without it every approver stands alone. */
  readonly neighboursShare: boolean;
  readonly nowS: number;
}

type Total = ExposureReport['totals'][number];
const worstOf = ({ byGroup }: AtLine): bigint => sumOf(byGroup);

const inCurrency = (input: Input, currency: number): { parties: PartyExposure[]; total: Total } => {
  const approvers = input.approvers.filter((one) => one.currency === currency);
  const groups = input.neighboursShare ? groupsOf(approvers) : approvers.map((one) => [one]);
  const byBearer = { party: 0n, issuer: 0n };
  const byParty = new Map<string, { sums: Sums; lines: number }>();
  for (const line of input.lines) {
    if (line.currency !== currency) continue;
    const at = atLine(line, groups, input.acknowledged, input.nowS);
    const held = byParty.get(line.party) ?? { sums: new Sums(groups), lines: 0 };
    held.sums.add(at);
    held.lines += 1;
    byParty.set(line.party, held);
    byBearer[line.bearer] += larger(worstOf(at) - at.leftMicro, 0n);
  }
  const partyLimits = groups.map((group) => group.map((one) => one.partyLimitMicro));
  const all = new Sums(groups);
  const parties: PartyExposure[] = [];
  for (const [party, { sums, lines }] of byParty) {
    const at = sums.under(partyLimits);
    all.add(at);
    const { leftMicro } = at;
    parties.push({ party, currency, lines, worstMicro: worstOf(at), leftMicro });
  }
  const limits = groups.map((group) => group.map((one) => one.maxUnacknowledgedMicro));
  const whole = all.under(limits);
  const { leftMicro } = whole;
  const worstMicro = worstOf(whole);
  return {
    parties,
    total: { currency, approvers: approvers.length, worstMicro, leftMicro, byBearer },
  };
};

/** Parties with the largest worst case first. */
export const exposureReport = (input: Input): ExposureReport => {
  const currencies = [...new Set(input.lines.map(({ currency }) => currency))].toSorted(
    (a, b) => a - b,
  );
  const found = currencies.map((currency) => inCurrency(input, currency));
  const parties = found
    .flatMap((one) => one.parties)
    .toSorted((a, b) => {
      if (a.worstMicro !== b.worstMicro) return a.worstMicro > b.worstMicro ? -1 : 1;
      return a.party < b.party ? -1 : 1;
    });
  return { parties, totals: found.map(({ total }) => total) };
};
