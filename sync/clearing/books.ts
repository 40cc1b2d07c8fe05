import { invariant } from '../../protocol/kiri-error.ts';
import { BUCKETS, applyMove, emptyBalance } from './core/ledger-states.ts';
import type { Bucket, KeyBalance, Move, Sign } from './core/ledger-states.ts';
import { LANE_BUCKET, keyIdOf } from './core/aggregate.ts';
import type { AggregateKey, Lane } from './core/aggregate.ts';
import { manyRows, readRows, writeRows } from './many-rows.ts';
import { amountOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession, SqlValue } from './sql.ts';

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

/** A key without its sign: of a charge and of what is given back of it alike. */
type UnsignedKey = Omit<AggregateKey, 'sign'>;

/** Ids of keys kept in memory: hashing a key costs more than looking it up. */
const MAX_IDS = 65_536;
const IDS = new Map<string, string>();
/** By the very object, of which thousands of receipts share one. */
const IDS_OF_OBJECTS: Readonly<Record<Sign, WeakMap<UnsignedKey, string>>> = {
  debit: new WeakMap(),
  credit: new WeakMap(),
};

const idOf = (key: UnsignedKey, sign: Sign): string => {
  const seen = IDS_OF_OBJECTS[sign].get(key);
  if (seen !== undefined) return seen;
  const { issuer, acquirer, merchant, programme, account, party, mcc, currency } = key;
  const parts = [issuer, acquirer, merchant, programme, account, party, mcc, currency, sign];
  const name = JSON.stringify(parts);
  let id = IDS.get(name);
  if (id === undefined) {
    if (IDS.size >= MAX_IDS) IDS.clear();
    id = keyIdOf({ ...key, sign });
    IDS.set(name, id);
  }
  IDS_OF_OBJECTS[sign].set(key, id);
  return id;
};

const LOOK = manyRows(
  '?',
  (ids) => `SELECT k.key_id, k.sign, k.source_micro, b.bucket, b.amount_micro FROM keys k
     LEFT JOIN balances b ON b.key_id = k.key_id WHERE k.key_id IN (${ids}) ORDER BY k.key_id`,
);

const LANES = manyRows(
  '?',
  (ids) => `SELECT * FROM lanes WHERE key_id IN (${ids}) ORDER BY key_id`,
);

const SOURCES = manyRows(
  '(?, ?)',
  (rows) => `WITH written (key_id, source_micro) AS (VALUES ${rows})
     UPDATE keys SET source_micro = written.source_micro FROM written WHERE keys.key_id = written.key_id`,
);

const BALANCES = manyRows(
  '(?, ?, ?)',
  (rows) => `INSERT INTO balances (key_id, bucket, amount_micro) VALUES ${rows}
     ON CONFLICT (key_id, bucket) DO UPDATE SET amount_micro = excluded.amount_micro`,
);

const LANE_ROWS = manyRows(
  '(?, ?, ?, ?, ?, ?, ?, ?)',
  (
    rows,
  ) => `INSERT INTO lanes (key_id, lane, residual_micro, pending_micro, first_paid_s, first_ingest_s,
       aggregates, last_aggregate) VALUES ${rows}
     ON CONFLICT (key_id, lane) DO UPDATE SET residual_micro = excluded.residual_micro,
       pending_micro = excluded.pending_micro, first_paid_s = excluded.first_paid_s,
       first_ingest_s = excluded.first_ingest_s, aggregates = excluded.aggregates,
       last_aggregate = excluded.last_aggregate`,
);

const JOURNAL = manyRows(
  '(?, ?, ?, ?, ?, ?)',
  (rows) => `INSERT INTO books_journal (at_s, key_id, from_bucket, to_bucket, amount_micro, cause)
     VALUES ${rows}`,
);

/**
 * The books inside one transaction: balances and lanes of the keys it touches, read once, changed in memory under
 * the invariant, and written back with the journal of moves by {@link flush}.
 */
export class Books {
  readonly #session: SqlSession;
  readonly #atS: number;
  readonly #balances = new Map<string, KeyBalance>();
  /** Looked for, and not there. */
  readonly #absent = new Set<string>();
  readonly #changed = new Map<string, Set<Bucket>>();
  readonly #lanes = new Map<string, { keyId: string; lane: Lane; state: LaneState }>();
  /** Lanes read ahead, as stored; a key that is in it has no others. */
  readonly #ahead = new Map<string, Map<Lane, LaneState>>();
  readonly #moves = new Map<string, { move: Move; amountMicro: bigint }>();

  constructor(session: SqlSession, atS: number) {
    this.#session = session;
    this.#atS = atS;
  }

  /** Reads keys and their balances ahead; lanes are not looked for. */
  async lookAt(keyIds: readonly string[]): Promise<void> {
    const wanted = new Set(keyIds.filter((keyId) => !this.#balances.has(keyId)));
    for (const row of await readRows(this.#session, LOOK, [...wanted], [''])) this.#read(row);
  }

  /** Reads keys, their balances and lanes ahead, all together: what follows asks the store no more for them. */
  async look(keys: readonly UnsignedKey[], sign: Sign): Promise<void> {
    const ids = new Set<string>();
    for (const key of keys) {
      const keyId = idOf(key, sign);
      if (!this.#balances.has(keyId) && !this.#absent.has(keyId)) ids.add(keyId);
    }
    if (ids.size === 0) return;
    const wanted = [...ids];
    for (const row of await readRows(this.#session, LOOK, wanted, [''])) this.#read(row);
    for (const keyId of ids) {
      if (!this.#balances.has(keyId)) this.#absent.add(keyId);
      this.#ahead.set(keyId, new Map());
    }
    for (const row of await readRows(this.#session, LANES, wanted, [''])) {
      this.#ahead.get(textOf(row, 'key_id'))?.set(textOf(row, 'lane') as Lane, laneOfRow(row));
    }
  }

  /** The id of a key, entered with an empty balance if it is new. */
  async open(key: UnsignedKey, sign: Sign): Promise<string> {
    const keyId = idOf(key, sign);
    if (this.#balances.has(keyId) || (await this.#load(keyId))) return keyId;
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
      sign,
    );
    this.#balances.set(keyId, emptyBalance(sign));
    return keyId;
  }

  async balance(keyId: string): Promise<KeyBalance> {
    const balance = await this.#load(keyId);
    invariant(balance !== undefined, `clearing: no key ${keyId}`);
    return balance;
  }

  async #load(keyId: string): Promise<KeyBalance | undefined> {
    const known = this.#balances.get(keyId);
    if (known || this.#absent.has(keyId)) return known;
    for (const row of await this.#session.all(LOOK.text(1), keyId)) this.#read(row);
    return this.#balances.get(keyId);
  }

  /** One row of {@link LOOK}: a key with one of its balances, or alone where it has none yet. */
  #read(row: SqlRow): void {
    const keyId = textOf(row, 'key_id');
    let balance = this.#balances.get(keyId);
    if (!balance) {
      balance = emptyBalance(textOf(row, 'sign') as Sign);
      balance.sourceMicro = amountOf(row, 'source_micro');
      this.#balances.set(keyId, balance);
    }
    if (row['bucket'] === null) return;
    balance.buckets[textOf(row, 'bucket') as Bucket] = amountOf(row, 'amount_micro');
  }

  /** One move; asserts the invariant. A move of nothing (a stream that used nothing) is none. */
  async move(move: Move): Promise<void> {
    if (move.amountMicro === 0n) return;
    applyMove(this.#balances.get(move.keyId) ?? (await this.balance(move.keyId)), move);
    const changed = this.#changed.get(move.keyId) ?? new Set<Bucket>();
    this.#changed.set(move.keyId, changed);
    if (isBucket(move.from)) changed.add(move.from);
    if (isBucket(move.to)) changed.add(move.to);
    // Neither an id nor a place has a space in it.
    const name = `${move.keyId} ${move.from} ${move.to} ${move.cause}`;
    const entry = this.#moves.get(name);
    if (entry) entry.amountMicro += move.amountMicro;
    else this.#moves.set(name, { move, amountMicro: move.amountMicro });
  }

  /**
   * The lane's state, to be changed in place; written back by flush.
   * @param row of the lane, where it was read in this transaction
   */
  async lane(keyId: string, lane: Lane, row?: SqlRow): Promise<LaneState> {
    const name = `${keyId} ${lane}`;
    const known = this.#lanes.get(name);
    if (known) return known.state;
    const state = row ? laneOfRow(row) : ((await this.#stored(keyId, lane)) ?? emptyLane());
    this.#lanes.set(name, { keyId, lane, state });
    return state;
  }

  async #stored(keyId: string, lane: Lane): Promise<LaneState | undefined> {
    const ahead = this.#ahead.get(keyId);
    if (ahead) return ahead.get(lane);
    const [row] = await this.#session.all(
      'SELECT * FROM lanes WHERE key_id = ? AND lane = ?',
      keyId,
      lane,
    );
    return row && laneOfRow(row);
  }

  async flush(): Promise<void> {
    const sources: SqlValue[] = [];
    const balances: SqlValue[] = [];
    for (const [keyId, buckets] of this.#changed) {
      const balance = await this.balance(keyId);
      sources.push(keyId, balance.sourceMicro.toString());
      for (const bucket of buckets) {
        balances.push(keyId, bucket, balance.buckets[bucket].toString());
      }
    }
    await writeRows(this.#session, SOURCES, sources);
    await writeRows(this.#session, BALANCES, balances);
    const lanes: SqlValue[] = [];
    for (const { keyId, lane, state } of this.#lanes.values()) {
      // What the next cut will present and what the books hold must be one sum, remainder included.
      const held = (await this.balance(keyId)).buckets[LANE_BUCKET[lane]];
      invariant(
        held === state.pendingMicro,
        `clearing: lane ${lane} of ${keyId} has ${state.pendingMicro}, the books ${held}`,
      );
      lanes.push(
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
    await writeRows(this.#session, LANE_ROWS, lanes);
    const atS = BigInt(this.#atS);
    const entries = [...this.#moves.values()].flatMap(({ move, amountMicro }) => [
      atS,
      move.keyId,
      move.from,
      move.to,
      amountMicro.toString(),
      move.cause,
    ]);
    await writeRows(this.#session, JOURNAL, entries);
  }
}

const PLACES: ReadonlySet<string> = new Set(BUCKETS);

const isBucket = (place: string): place is Bucket => PLACES.has(place);

/** The key behind an id. */
export const keyOf = async (session: SqlSession, keyId: string): Promise<AggregateKey> => {
  const [row] = await session.all('SELECT * FROM keys WHERE key_id = ?', keyId);
  return keyOfRow(row ?? {});
};
