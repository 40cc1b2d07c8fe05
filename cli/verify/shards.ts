import { fromHex } from '../../protocol/bytes.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import { CHECKPOINT_PATH } from '../../sync/ledger/core/log-batch.ts';
import { parseShard, verifyShardChain, type ChainedShard } from '../../sync/ledger/core/shard.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { TrustStore } from './trust.ts';

/** A log of the folder and where it stands in it. */
export interface PlacedLog {
  /** Of the log's folder, with its last slash. */
  readonly prefix: string;
  readonly log: LogView;
}

interface PlacedShard extends PlacedLog {
  readonly index: number;
}

const chainedOf = ({ origin, size, root, first }: LogView): ChainedShard => ({
  head: { origin, size, root: fromHex(root) },
  ...(first ? { first } : {}),
});

/** Whether the later one names a shard in between, which this folder does not hold. */
function skipsOne(earlier: PlacedShard, later: PlacedShard, store: TrustStore): boolean {
  const { first } = later.log;
  if (!store.policy || !first) return false;
  const named = verifyFinalCheckpoint(first.record, store.policy, store.noteVerify);
  const shard = named.ok ? parseShard(named.value.origin) : undefined;
  const own = parseShard(later.log.origin);
  return (
    shard !== undefined &&
    shard.prefix === own?.prefix &&
    shard.index > earlier.index &&
    shard.index < later.index
  );
}

/**
 * Quarterly logs of one gateway follow each other: the first entry of each names the last checkpoint of the one before
 * (DESIGN §5), so that no quarter's end can be cut off. A shard whose contents were retired has nothing left to name.
 */
export function checkShards(
  logs: readonly PlacedLog[],
  store: TrustStore,
  findings: Findings,
): void {
  const { policy, noteVerify } = store;
  if (!policy) return;
  const chains = new Map<string, PlacedShard[]>();
  for (const placed of logs) {
    const shard = parseShard(placed.log.origin);
    if (!shard) continue;
    const chain = chains.get(shard.prefix) ?? [];
    chains.set(shard.prefix, chain);
    chain.push({ ...placed, index: shard.index });
  }
  for (const chain of chains.values()) {
    const shards = chain.toSorted((a, b) => a.index - b.index);
    for (const [at, later] of shards.entries()) {
      const earlier = shards[at - 1];
      if (!earlier || later.log.isRetired) continue;
      if (skipsOne(earlier, later, store)) {
        findings.count('shards whose predecessor is elsewhere');
        continue;
      }
      const pair = [chainedOf(earlier.log), chainedOf(later.log)];
      const verdict = verifyShardChain(pair, (note) =>
        verifyFinalCheckpoint(note, policy, noteVerify),
      );
      if (verdict.ok) findings.count('shards that follow on');
      else findings.fault(`${later.prefix}${CHECKPOINT_PATH}`, verdict.reason);
    }
  }
}
