/** The second bookkeeper's balances, added up anew each time from payments, remainders and lines. */
import { BUCKET_OF, accountText } from './second-facts.ts';
import type { AccountName, State } from './second-facts.ts';
import type { SecondLines } from './second-lines.ts';

/** Account → bucket → micro-units above zero, `source` among them. */
export const balancesOf = (state: State, lines: SecondLines): Map<string, Map<string, bigint>> => {
  const found = new Map<string, Map<string, bigint>>();
  const add = (account: AccountName, bucket: string, micro: bigint): void => {
    const name = accountText(account);
    const buckets = found.get(name) ?? new Map<string, bigint>();
    found.set(name, buckets);
    const sum = (buckets.get(bucket) ?? 0n) + micro;
    if (sum !== 0n) buckets.set(bucket, sum);
  };
  for (const { fact, stand, lane } of state.paid.values()) {
    add(fact.account, 'source', fact.charge);
    if (stand === 'awaiting') add(fact.account, 'awaitingL2', fact.charge);
    if (stand === 'withheld' || stand === 'forked') add(fact.account, 'withheld', fact.charge);
    if (stand === 'pending') add(fact.account, BUCKET_OF[lane!], fact.charge);
    if (stand === 'reversed') add(fact.account, 'reversed', fact.charge);
  }
  for (const { account, lane, rest } of state.lanes.values()) add(account, BUCKET_OF[lane], rest);
  for (const line of lines.lines) {
    for (const [bucket, micro] of lines.standingOf(line)) add(line.account, bucket, micro);
  }
  return found;
};
