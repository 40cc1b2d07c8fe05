/** What the bank says in a history, told to both bookkeepers. */
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { bookReturn } from '../../../sync/clearing/returned-transfers.ts';
import type { Step } from './histories.ts';
import type { SecondDesk } from './second-desk.ts';

type Deed = {
  readonly act: (clearing: ClearingService) => Promise<unknown>;
  readonly tell: () => void;
};

/** The bank gives back a transfer of a payout, now and then one that it gave back before. */
export const bounceOf = (
  { kind, pick, how }: Step,
  desk: SecondDesk,
  paths: Iterable<string>,
  nowS: number,
): Deed | undefined => {
  if (kind !== 'bounce') return undefined;
  const at = pick % Math.max(1, desk.payouts.length);
  const transfers = desk.payouts[at];
  const transfer = transfers?.[(pick >> 3) % transfers.length];
  const files = [...paths].filter((path) => /^out\/payouts\/.+\.txt$/.test(path)).toSorted();
  const file = files[at]?.slice('out/payouts/'.length);
  if (!transfers || !transfer || file === undefined) {
    return { act: async () => undefined, tell: () => undefined };
  }
  const number = transfers.indexOf(transfer) + 1;
  const mayRetry = (how & 3) !== 0;
  const { yen: amountYen } = transfer;
  const advice = { file, number, amountYen, reason: 'no such account', mayRetry };
  return {
    act: (clearing) => clearing.within((session) => bookReturn(session, advice, nowS)),
    tell: () => desk.bounce(at, transfer, mayRetry, nowS),
  };
};
