/** What the second bookkeeper says was given back of payments and of lines. */
import type { Paid, State } from './second-facts.ts';
import type { Line } from './second-lines.ts';

export const refundsOf = (state: State, name: string): Paid[] =>
  [...state.paid.values()].filter((one) => one.of === name);

const sumOf = (list: readonly Paid[]): bigint =>
  list.reduce((sum, { fact }) => sum + fact.charge, 0n);

/** What the payee gave back of a payment, whatever became of it. */
export const refundedOf = (state: State, name: string): bigint =>
  sumOf(refundsOf(state, name).filter(({ cause }) => cause === 'refund'));

/** Refunds and corrections of what a line charges, in the order in which they were booked. */
export const refundsIn = (state: State, line: Line): Paid[] => {
  const names = new Set<string>();
  for (const paid of state.paid.values()) {
    if (paid.line === line && !paid.of) names.add(paid.fact.name);
  }
  return [...state.paid.values()].filter(({ of }) => of !== undefined && names.has(of));
};

export const refundSums = (state: State, line: Line): { out: bigint; waiting: bigint } => {
  const refunds = refundsIn(state, line);
  const isOut = ({ stand, line: own }: Paid): boolean =>
    stand === 'aggregated' && own?.stand !== 'released';
  return {
    out: sumOf(refunds.filter(isOut)),
    waiting: sumOf(refunds.filter(({ stand }) => stand === 'pending')),
  };
};

/** A refund is out, so its charge has to be presented for both to cancel out, Void or not. */
export const isRefundOut = (state: State, name: string): boolean =>
  refundsOf(state, name).some(({ stand }) => stand === 'aggregated');

/** Once a part of the line is charged back, what goes back in all never reaches a minor unit above it. */
export const hasRoom = (state: State, { line, stand }: Paid, more: bigint): boolean => {
  if (stand !== 'aggregated' || !line || line.chargedBack === 0n) return true;
  const { out, waiting } = refundSums(state, line);
  const gone = line.chargedBack + out + waiting;
  return gone < line.micro && gone + more < line.micro + line.unit;
};

/** What a Void still gives back of a charge, and how much of it fits beside what was charged back of its line. */
export const correctionOf = (
  state: State,
  { fact, line, stand }: Paid,
): { left: bigint; micro: bigint } => {
  const given = refundsOf(state, fact.name).filter(
    (one) => one.stand === 'pending' || one.stand === 'aggregated',
  );
  const left = fact.charge - sumOf(given);
  if (stand !== 'aggregated' || !line || line.chargedBack === 0n) return { left, micro: left };
  const { out, waiting } = refundSums(state, line);
  const room = line.micro - line.chargedBack - out - waiting;
  return { left, micro: room < 0n ? 0n : room < left ? room : left };
};
