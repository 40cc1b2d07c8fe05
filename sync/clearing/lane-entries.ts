import { invariant } from '../../protocol/kiri-error.ts';
import { keyOf, keyOfRow } from './books.ts';
import type { Books } from './books.ts';
import { LANE_BUCKET, keyIdOf } from './core/aggregate.ts';
import type { AggregateKey, Lane } from './core/aggregate.ts';
import type { EntryKind, EvidenceEntry } from './core/evidence.ts';
import type { CutContext } from './cut-context.ts';
import { heldLanes } from './held-lanes.ts';
import { amountOf, textOf, textOrNull } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Names a lane among all. */
export const laneName = (keyId: string, lane: Lane): string => `${keyId} ${lane}`;

/** One change of a lane's residual, kept until the lane's next evidence names it. */
type LaneEntry = {
  readonly keyId: string;
  readonly lane: Lane;
  readonly kind: EntryKind;
  readonly amountMicro: bigint;
  readonly from?: string;
};

/** Keeps an entry for the evidence of the lane's next aggregate. */
export const enterOnLane = async (
  session: SqlSession,
  { keyId, lane, kind, amountMicro, from }: LaneEntry,
  atS: number,
): Promise<void> => {
  await session.run(
    `INSERT INTO lane_entries (at_s, key_id, lane, kind, amount_micro, from_aggregate)
     VALUES (?, ?, ?, ?, ?, ?)`,
    BigInt(atS),
    keyId,
    lane,
    kind,
    amountMicro.toString(),
    from ?? null,
  );
};

/** The entries since the lane's last aggregate, from now on those of aggregate `number`. */
export const takeEntries = async (
  session: SqlSession,
  keyId: string,
  lane: Lane,
  number: number,
): Promise<EvidenceEntry[]> => {
  const where = 'WHERE key_id = ? AND lane = ? AND number IS NULL';
  const rows = await session.all(
    `SELECT kind, amount_micro, from_aggregate FROM lane_entries ${where} ORDER BY id`,
    keyId,
    lane,
  );
  if (rows.length === 0) return [];
  await session.run(`UPDATE lane_entries SET number = ? ${where}`, BigInt(number), keyId, lane);
  return rows.map((row) => {
    const from = textOrNull(row, 'from_aggregate');
    return {
      kind: textOf(row, 'kind') as EntryKind,
      amountMicro: amountOf(row, 'amount_micro'),
      ...(from === undefined ? {} : { from }),
    };
  });
};

/** Lanes of accounts that another one follows: by the name of the lane that follows, the keys they are of. */
export const replacedLanes = async (
  session: SqlSession,
  { directory, nowS }: Pick<CutContext, 'directory' | 'nowS'>,
): Promise<ReadonlyMap<string, readonly string[]>> => {
  const replaced = new Map<string, string[]>();
  if (!directory.accountAfter) return replaced;
  for await (const page of heldLanes(session)) {
    for (const row of page) {
      const key = keyOfRow(row);
      const account = directory.accountAfter(key, nowS);
      if (account === undefined) continue;
      const name = laneName(keyIdOf({ ...key, account }), textOf(row, 'lane') as Lane);
      replaced.set(name, [...(replaced.get(name) ?? []), textOf(row, 'key_id')]);
    }
  }
  return replaced;
};

/** True of keys that differ in their funding account alone: same party, same issuer, same merchant. */
const differsInAccount = (one: AggregateKey, other: AggregateKey): boolean =>
  one.account !== other.account && keyIdOf({ ...one, account: other.account }) === keyIdOf(other);

/**
 * Moves the whole residual of a lane to the same lane of the account that follows: out of the one key and into the other
 * by a journal entry on each, under one cause that names both.
 */
export const moveResidual = async (
  session: SqlSession,
  books: Books,
  move: { readonly fromKeyId: string; readonly toKeyId: string; readonly lane: Lane },
  atS: number,
): Promise<void> => {
  const { fromKeyId, toKeyId, lane } = move;
  const keys = [await keyOf(session, fromKeyId), await keyOf(session, toKeyId)] as const;
  invariant(differsInAccount(...keys), `clearing: ${fromKeyId} is not replaced by ${toKeyId}`);
  const [from, to] = [await books.lane(fromKeyId, lane), await books.lane(toKeyId, lane)];
  const amountMicro = from.residualMicro;
  if (amountMicro === 0n) return;
  const last = from.lastAggregate;
  invariant(
    last !== undefined && from.pendingMicro === amountMicro,
    `clearing: lane ${lane} of ${fromKeyId} holds more than its residual`,
  );
  const bucket = LANE_BUCKET[lane];
  const cause = `account replaced ${fromKeyId} ${toKeyId}`;
  const out = { keyId: fromKeyId, from: bucket, to: 'transferred', amountMicro, cause } as const;
  await books.move(out);
  await books.move({ ...out, keyId: toKeyId, from: 'transferred', to: bucket });
  await enterOnLane(session, { keyId: fromKeyId, lane, kind: 'moved-out', amountMicro }, atS);
  const moved = { keyId: toKeyId, lane, kind: 'moved-in', amountMicro, from: last } as const;
  await enterOnLane(session, moved, atS);
  from.residualMicro = 0n;
  from.pendingMicro = 0n;
  to.residualMicro += amountMicro;
  to.pendingMicro += amountMicro;
};
