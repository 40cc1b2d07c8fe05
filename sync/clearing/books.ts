import { invariant } from '../../protocol/kiri-error.ts';
import { BUCKETS, applyMove, emptyBalance } from './core/ledger-states.ts';
import type { Bucket, KeyBalance, Move, Sign } from './core/ledger-states.ts';
import { LANE_BUCKET, keyIdOf } from './core/aggregate.ts';
import type { AggregateKey, Lane } from './core/aggregate.ts';
import { amountOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** One lane as stored. `pendingMicro` = residual of the last aggregate + every receipt not yet in one. */
export type LaneState = {
  residualMicro: bigint;
  pendingMicro: bigint;
  firstPaidS: number;
  firstIngestS: number;
  aggregates: number;
  lastAggregate: string | undefined;
};

/** The key in a row of `keys`. */
export const keyOfRow = (row: SqlRow): AggregateKey => ({
  issuer: textOf(row, 'issuer'),
  acquirer: textOf(row, 'acquirer'),
  merchant: textOf(row, 'merchant'),
  programme: textOf(row, 'programme'),
  account: textOf(row, 'account'),
  party: textOf(row, 'party'),
  mcc: textOf(row, 'mcc'),
  currency: numberOf(row, 'currency'),
  sign: textOf(row, 'sign') as Sign,
});

/** The lane in a row of `lanes`. */
export const laneOfRow = (row: SqlRow): LaneState => ({
  residualMicro: amountOf(row, 'residual_micro'),
  pendingMicro: amountOf(row, 'pending_micro'),
  firstPaidS: numberOf(row, 'first_paid_s'),
  firstIngestS: numberOf(row, 'first_ingest_s'),
  aggregates: numberOf(row, 'aggregates'),
  lastAggregate: textOrNull(row, 'last_aggregate'),
});

const emptyLane = (): LaneState => ({
  residualMicro: 0n,
  pendingMicro: 0n,
  firstPaidS: 0,
  firstIngestS: 0,
  aggregates: 0,
  lastAggregate: undefined,
});

/** Ids of keys kept in memory: hashing a key costs more than looking it up. */
const MAX_IDS = 65_536;
const IDS = new Map<string, string>();

const idOf = (key: AggregateKey): string => {
  const { issuer, acquirer, merchant, programme, account, party, mcc, currency, sign } = key;
  const parts = [issuer, acquirer, merchant, programme, account, party, mcc, currency, sign];
  const name = JSON.stringify(parts);
  const known = IDS.get(name);
  if (known !== undefined) return known;
  if (IDS.size >= MAX_IDS) IDS.clear();
  const id = keyIdOf(key);
  IDS.set(name, id);
  return id;
};

/**
 * The books inside one transaction: balances and lanes of the keys it touches, read once, changed in memory under
 * the invariant, and written back with the journal of moves by {@link flush}.
 */
export class Books {
  readonly #session: SqlSession;
  readonly #atS: number;
  readonly #balances = new Map<string, KeyBalance>();
  readonly #changed = new Map<string, Set<Bucket>>();
  readonly #lanes = new Map<string, { keyId: string; lane: Lane; state: LaneState }>();
  readonly #moves = new Map<string, { move: Move; amountMicro: bigint }>();

  constructor(session: SqlSession, atS: number) {
    this.#session = session;
    this.#atS = atS;
  }

  /** The id of a key, entered with an empty balance if it is new. */
  async open(key: AggregateKey): Promise<string> {
    const keyId = idOf(key);
    if (await this.#load(keyId)) return keyId;
    await this.#session.run(
      `INSERT INTO keys (key_id, issuer, acquirer, merchant, programme, account, party, mcc, currency,
         sign, source_micro) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '0')`,
      keyId,
      key.issuer,
      key.acquirer,
      key.merchant,
      key.programme,
      key.account,
      key.party,
      key.mcc,
      BigInt(key.currency),
      key.sign,
    );
    this.#balances.set(keyId, emptyBalance(key.sign));
    return keyId;
  }

  async balance(keyId: string): Promise<KeyBalance> {
    const balance = await this.#load(keyId);
    invariant(balance !== undefined, `clearing: no key ${keyId}`);
    return balance;
  }

  async #load(keyId: string): Promise<KeyBalance | undefined> {
    const known = this.#balances.get(keyId);
    if (known) return known;
    const rows = await this.#session.all(
      `SELECT k.sign, k.source_micro, b.bucket, b.amount_micro FROM keys k
         LEFT JOIN balances b ON b.key_id = k.key_id WHERE k.key_id = ?`,
      keyId,
    );
    const [row] = rows;
    if (!row) return undefined;
    const balance = emptyBalance(textOf(row, 'sign') as Sign);
    balance.sourceMicro = amountOf(row, 'source_micro');
    for (const entry of rows) {
      // A key without a balance yet: one row, of the key alone.
      if (entry['bucket'] === null) continue;
      balance.buckets[textOf(entry, 'bucket') as Bucket] = amountOf(entry, 'amount_micro');
    }
    this.#balances.set(keyId, balance);
    return balance;
  }

  /** One move; asserts the invariant. A move of nothing (a stream that used nothing) is none. */
  async move(move: Move): Promise<void> {
    if (move.amountMicro === 0n) return;
    applyMove(this.#balances.get(move.keyId) ?? (await this.balance(move.keyId)), move);
    const changed = this.#changed.get(move.keyId) ?? new Set<Bucket>();
    this.#changed.set(move.keyId, changed);
    for (const place of [move.from, move.to]) {
      if (BUCKETS.some((bucket) => bucket === place)) changed.add(place as Bucket);
    }
    const name = JSON.stringify([move.keyId, move.from, move.to, move.cause]);
    const entry = this.#moves.get(name);
    if (entry) entry.amountMicro += move.amountMicro;
    else this.#moves.set(name, { move, amountMicro: move.amountMicro });
  }

  /** The lane's state, to be changed in place; written back by flush. */
  async lane(keyId: string, lane: Lane): Promise<LaneState> {
    const name = `${keyId} ${lane}`;
    const known = this.#lanes.get(name);
    if (known) return known.state;
    const [row] = await this.#session.all(
      'SELECT * FROM lanes WHERE key_id = ? AND lane = ?',
      keyId,
      lane,
    );
    const state = row ? laneOfRow(row) : emptyLane();
    this.#lanes.set(name, { keyId, lane, state });
    return state;
  }

  async flush(): Promise<void> {
    for (const [keyId, buckets] of this.#changed) await this.#writeBalance(keyId, buckets);
    for (const { keyId, lane, state } of this.#lanes.values()) {
      // What the next cut will present and what the books hold must be one sum, remainder included.
      const held = (await this.balance(keyId)).buckets[LANE_BUCKET[lane]];
      invariant(
        held === state.pendingMicro,
        `clearing: lane ${lane} of ${keyId} has ${state.pendingMicro}, the books ${held}`,
      );
      await this.#session.run(
        `INSERT INTO lanes (key_id, lane, residual_micro, pending_micro, first_paid_s, first_ingest_s,
           aggregates, last_aggregate) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key_id, lane) DO UPDATE SET residual_micro = excluded.residual_micro,
           pending_micro = excluded.pending_micro, first_paid_s = excluded.first_paid_s,
           first_ingest_s = excluded.first_ingest_s, aggregates = excluded.aggregates,
           last_aggregate = excluded.last_aggregate`,
        keyId,
        lane,
        state.residualMicro.toString(),
        state.pendingMicro.toString(),
        BigInt(state.firstPaidS),
        BigInt(state.firstIngestS),
        BigInt(state.aggregates),
        state.lastAggregate ?? null,
      );
    }
    for (const { move, amountMicro } of this.#moves.values()) {
      await this.#session.run(
        `INSERT INTO books_journal (at_s, key_id, from_bucket, to_bucket, amount_micro, cause)
         VALUES (?, ?, ?, ?, ?, ?)`,
        BigInt(this.#atS),
        move.keyId,
        move.from,
        move.to,
        amountMicro.toString(),
        move.cause,
      );
    }
  }

  async #writeBalance(keyId: string, buckets: ReadonlySet<Bucket>): Promise<void> {
    const balance = await this.balance(keyId);
    const source = balance.sourceMicro.toString();
    await this.#session.run('UPDATE keys SET source_micro = ? WHERE key_id = ?', source, keyId);
    for (const bucket of buckets) {
      await this.#session.run(
        `INSERT INTO balances (key_id, bucket, amount_micro) VALUES (?, ?, ?)
         ON CONFLICT (key_id, bucket) DO UPDATE SET amount_micro = excluded.amount_micro`,
        keyId,
        bucket,
        balance.buckets[bucket].toString(),
      );
    }
  }
}

/** The key behind an id. */
export const keyOf = async (session: SqlSession, keyId: string): Promise<AggregateKey> => {
  const [row] = await session.all('SELECT * FROM keys WHERE key_id = ?', keyId);
  return keyOfRow(row ?? {});
};
