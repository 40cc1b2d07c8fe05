import type { LaneState } from './books.ts';

/** What is charged or given back joins its lane; the first to come decides the lane's window (DESIGN §6). */
export const addToLane = (
  lane: LaneState,
  amountMicro: bigint,
  paidS: number,
  nowS: number,
): void => {
  const isFirst = lane.pendingMicro === lane.residualMicro;
  lane.firstPaidS = isFirst ? paidS : Math.min(lane.firstPaidS, paidS);
  if (isFirst) lane.firstIngestS = nowS;
  lane.pendingMicro += amountMicro;
};
