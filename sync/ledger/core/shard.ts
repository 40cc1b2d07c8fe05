/**
 * Shards (DESIGN section 5): a gateway's log is a chain of logs, one per quarter, named `<prefix>/<year>q<1-4>`. Quarters
 * are those of UTC, so that every party finds the same boundary from a clock alone.
 */
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { TreeHead } from './checkpoint.ts';
import { commitsTo, parseLeaf } from './leaf.ts';
import { type VerifierKey, verifierKey } from './note-key.ts';
import type { Policy } from './policy.ts';
import { type Outcome, bad, ok } from './text.ts';

/** The origin of a shard. */
export const shardOrigin = ({ prefix, index }: Shard): string =>
  `${prefix}/${Math.floor(index / 4)}q${(index % 4) + 1}`;

const DAY_MS = 86_400_000;
/** How far a shard's quarter may be from the clock of who is asked to cosign its first head. */
const QUARTERS_BEHIND = 4;
const QUARTERS_AHEAD = 1;

const SHARD_ORIGIN = /^(.+)\/([1-9][0-9]{3})q([1-4])$/u;

/** A shard's place in its chain. */
export interface Shard {
  readonly prefix: string;
  /** Quarters since year 0: `4 * year + quarter - 1`. */
  readonly index: number;
}

/** Takes an origin apart; `undefined` where it is no shard's. */
export const parseShard = (origin: string): Shard | undefined => {
  const [, prefix, year, quarter] = SHARD_ORIGIN.exec(origin) ?? [];
  return prefix === undefined
    ? undefined
    : { prefix, index: 4 * Number(year) + Number(quarter) - 1 };
};

/** The quarter of a time, in the count of {@link Shard}. */
export const quarterOf = (unixMs: number): number => {
  // Days to civil date (proleptic Gregorian), counted from 1 March of year 0: eras of 400 years.
  const days = Math.floor(unixMs / DAY_MS) + 719_468;
  const era = Math.floor(days / 146_097);
  const ofEra = days - era * 146_097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1_460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) /
      365,
  );
  const dayOfYear =
    ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = (marchMonth + 2) % 12;
  const year = yearOfEra + era * 400 + (marchMonth >= 10 ? 1 : 0);
  return 4 * year + Math.floor(month / 3);
};

/** First second of a quarter in UTC, POSIX seconds: the inverse of {@link quarterOf}. */
export const quarterStartS = (index: number): number => {
  const quarter = index % 4;
  // Years from 1 March (see quarterOf): January belongs to the year before.
  const year = Math.floor(index / 4) - (quarter === 0 ? 1 : 0);
  const dayOfYear = Math.floor((153 * ((3 * quarter + 10) % 12) + 2) / 5);
  const leapDays = Math.floor(year / 4) - Math.floor(year / 100) + Math.floor(year / 400);
  return (365 * year + leapDays + dayOfYear - 719_468) * (DAY_MS / 1_000);
};

/** Whether a shard may be written at a time: its quarter is near. A log that was offline long ends its old shard late. */
export const isShardOfTime = ({ index }: Shard, unixMs: number): boolean => {
  const now = quarterOf(unixMs);
  return index >= now - QUARTERS_BEHIND && index <= now + QUARTERS_AHEAD;
};

/** Keys by the name of a log or of a shard's prefix, under the origin: the same public key, as the origin's. */
export const shardKeys = (keys: readonly VerifierKey[], origin: string): readonly VerifierKey[] =>
  keys.map((key) => (key.name === origin ? key : verifierKey(origin, key.type, key.publicKey)));

const findKeysOfLog = (policy: Policy, origin: string): readonly VerifierKey[] => {
  const prefix = parseShard(origin)?.prefix;
  const keys = policy.logs.map((log) => log.key);
  return shardKeys(
    keys.filter(({ name }) => name === origin || name === prefix),
    origin,
  );
};

/** Origins remembered for each policy: a hub's gateways. */
const MAX_REMEMBERED_ORIGINS = 1024;
const remembered = new WeakMap<Policy, Map<string, readonly VerifierKey[]>>();

/**
 * The keys that may sign for an origin under a policy. A log line names an origin, or the prefix of a chain of shards:
 * then its key signs for each of them. Remembered, since a key's id under an origin is a hash and every proof asks.
 */
export const keysOfLog = (policy: Policy, origin: string): readonly VerifierKey[] => {
  const known = remembered.get(policy) ?? new Map<string, readonly VerifierKey[]>();
  const held = known.get(origin);
  if (held !== undefined) return held;
  const keys = findKeysOfLog(policy, origin);
  // An origin without a key is whatever a stranger's note says: not worth a place.
  if (keys.length === 0) return keys;
  if (known.size >= MAX_REMEMBERED_ORIGINS) known.clear();
  known.set(origin, keys);
  remembered.set(policy, known);
  return keys;
};

/** One shard of a chain, as its log shows it. */
export interface ChainedShard {
  /** The final head. */
  readonly head: TreeHead;
  /** Entry 0 with its payload record; absent in an empty log. */
  readonly first?: { readonly leaf: Uint8Array; readonly record: Uint8Array };
}

/**
 * Verifies that shards follow each other: one prefix, ascending quarters, and the first entry of each names the last
 * checkpoint of the one before, which is final. Quarters without a shard are allowed: the log was not running.
 * @param shards in order, each checked by itself before (entries, tiles, records)
 */
export const verifyShardChain = (
  shards: readonly ChainedShard[],
  isFinal: (note: Uint8Array) => Outcome<TreeHead>,
): Outcome<{ readonly prefix: string }> => {
  let before: { readonly shard: Shard; readonly head: TreeHead } | undefined;
  for (const { head, first } of shards) {
    const shard = parseShard(head.origin);
    if (shard === undefined) return bad(`${head.origin} is no shard`);
    if (before !== undefined) {
      const { prefix, index } = before.shard;
      if (shard.prefix !== prefix || shard.index <= index) {
        return bad(`${head.origin} does not come after ${before.head.origin}`);
      }
      const follows = followsOn(before.head, first, isFinal);
      if (!follows.ok) return bad(`${head.origin}: ${follows.reason}`);
    }
    before = { shard, head };
  }
  return before === undefined ? bad('no shard') : ok({ prefix: before.shard.prefix });
};

const followsOn = (
  last: TreeHead,
  first: ChainedShard['first'],
  isFinal: (note: Uint8Array) => Outcome<TreeHead>,
): Outcome<undefined> => {
  if (first === undefined || parseLeaf(first.leaf)?.kind !== 'predecessor') {
    return bad('its first entry names no predecessor');
  }
  if (!commitsTo(first.leaf, first.record)) return bad('its first entry has another record');
  const named = isFinal(first.record);
  if (!named.ok) return bad(`the predecessor's checkpoint: ${named.reason}`);
  const { origin, size, root } = named.value;
  return origin === last.origin && size === last.size && bytesEqual(root, last.root)
    ? ok(undefined)
    : bad(`names another checkpoint than the last one of ${last.origin}`);
};
