import { hash } from 'node:crypto';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import type { Currency } from '../../protocol/currency.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { OPERATOR_RULE } from './bearers.ts';
import { keyOf, keyOfRow, laneOfRow } from './books.ts';
import type { Books, LaneState } from './books.ts';
import {
  AGGREGATE_LEAVES_MAX,
  CONFLICT_LEAVES_MAX,
  LANE_BUCKET,
  dueReason,
  planPieces,
} from './core/aggregate.ts';
import type { AggregateKey, DueReason, Lane, Piece, Programme } from './core/aggregate.ts';
import { REMAINDERS_MAX, aggregateIdOf, encodeEvidence } from './core/evidence.ts';
import type { EvidenceConflict, EvidenceLeaf } from './core/evidence.ts';
import { amountMinorMax, chosenProfile, ipmProfile } from './core/ipm-profile.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import type { Sign } from './core/ledger-states.ts';
import { noteFinding } from './ingest-scope.ts';
import { laneName, moveResidual, takeEntries } from './lane-entries.ts';
import { sumTreeRoot } from './core/sum-tree.ts';
import { LineCheck } from './core/line-record.ts';
import type { SettlementDetails } from './core/line-record.ts';
import type { CutContext } from './cut-context.ts';
import type { IsDeclined } from './declined.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** One aggregate that a cut will present (or, with `amountMinor` 0, only chain). */
export type StagedAggregate = {
  readonly aggregateId: string;
  readonly key: AggregateKey;
  readonly keyId: string;
  readonly lane: Lane;
  readonly number: number;
  readonly document: Uint8Array;
  readonly reason: DueReason;
  readonly amountMinor: bigint;
  readonly amountMicro: bigint;
  readonly firstPaidS: number;
  readonly details: SettlementDetails;
  readonly currency: Currency;
  /** Of the file it goes into: its programme's. */
  readonly profile: IpmProfile;
};

/** What all aggregates of one lane in one cut have in common. */
type Staging = Pick<
  StagedAggregate,
  'key' | 'keyId' | 'lane' | 'reason' | 'details' | 'currency' | 'profile'
>;

type PendingReceipt = {
  readonly id: bigint;
  readonly receiptHash: Uint8Array;
  readonly paymentHash: Uint8Array;
  readonly chargeMicro: bigint;
  readonly paidS: number;
  readonly ingestedS: number;
  readonly origin: string;
  readonly leafIndex: number;
};

/**
 * What joins an aggregate: of a debit key its receipts, of a credit key its refunds and corrections, each with the hash of
 * its own signed payload and of the Payment it belongs to.
 */
const PENDING: Readonly<Record<Sign, string>> = {
  debit: `SELECT id, receipt_hash, payment_hash, charge_micro, business_time_s, ingested_s, origin, leaf_index
     FROM receipts WHERE key_id = ? AND lane = ? AND state = 'pending' ORDER BY id`,
  credit: `SELECT id, credit_hash AS receipt_hash, payment_hash, amount_micro AS charge_micro, business_time_s,
       ingested_s, origin, leaf_index
     FROM credits WHERE key_id = ? AND lane = ? AND state = 'pending' ORDER BY id`,
};

const ASSIGN: Readonly<Record<Sign, string>> = {
  debit: `UPDATE receipts SET state = 'aggregated', aggregate_id = ?
     WHERE key_id = ? AND lane = ? AND state = 'pending' AND id BETWEEN ? AND ?`,
  credit: `UPDATE credits SET state = 'aggregated', aggregate_id = ?
     WHERE key_id = ? AND lane = ? AND state = 'pending' AND id BETWEEN ? AND ?`,
};

const pendingReceipts = async (
  session: SqlSession,
  sign: Sign,
  keyId: string,
  lane: Lane,
): Promise<PendingReceipt[]> => {
  const rows = await session.all(PENDING[sign], keyId, lane);
  return rows.map((row) => ({
    id: row['id'] as bigint,
    receiptHash: bytesOf(row, 'receipt_hash'),
    paymentHash: bytesOf(row, 'payment_hash'),
    chargeMicro: amountOf(row, 'charge_micro'),
    paidS: numberOf(row, 'business_time_s'),
    ingestedS: numberOf(row, 'ingested_s'),
    origin: textOf(row, 'origin'),
    leafIndex: numberOf(row, 'leaf_index'),
  }));
};

/** What each receipt of a conflict lane contradicts; a correction stands there with the Void that it follows from. */
const conflictsOf = async (
  session: SqlSession,
  sign: Sign,
  receipts: readonly PendingReceipt[],
): Promise<EvidenceConflict[]> => {
  if (sign === 'credit') {
    return receipts.map(({ paymentHash, receiptHash }) => ({
      paymentHash,
      otherHash: receiptHash,
      rule: OPERATOR_RULE,
    }));
  }
  const found: EvidenceConflict[] = [];
  for (const { paymentHash } of receipts) {
    const [row] = await session.all(
      'SELECT other_hash, rule FROM conflicts WHERE payment_hash = ?',
      paymentHash,
    );
    if (row) {
      found.push({ paymentHash, otherHash: bytesOf(row, 'other_hash'), rule: textOf(row, 'rule') });
    }
  }
  return found;
};

const nodeSha256 = (bytes: Uint8Array): Uint8Array => hash('sha256', bytes, 'buffer');

const leavesOf = (
  receipts: readonly PendingReceipt[],
): { origins: string[]; leaves: EvidenceLeaf[] } => {
  const origins = [...new Set(receipts.map((receipt) => receipt.origin))].toSorted();
  const places = new Map(origins.map((origin, at) => [origin, at]));
  const leaves = receipts.map((receipt) => ({
    receiptHash: receipt.receiptHash,
    paymentHash: receipt.paymentHash,
    amountMicro: receipt.chargeMicro,
    origin: places.get(receipt.origin) as number,
    leafIndex: receipt.leafIndex,
  }));
  return { origins, leaves };
};

/** Stages the due lanes of a cut, inside its transaction. */
export class LaneStager {
  readonly #session: SqlSession;
  readonly #books: Books;
  readonly #context: CutContext;
  /** Lanes that are due but cannot be presented: programme or merchant not known, or not writable. */
  readonly blocked: string[] = [];

  readonly #replaced: ReadonlyMap<string, readonly string[]>;
  readonly #isDeclined: IsDeclined;
  readonly #lineCheck = new LineCheck();

  /** @param replaced lanes of ended accounts, by the lane that follows: see lane-entries.ts */
  constructor(
    session: SqlSession,
    books: Books,
    context: CutContext,
    replaced: ReadonlyMap<string, readonly string[]>,
    isDeclined: IsDeclined,
  ) {
    this.#session = session;
    this.#books = books;
    this.#context = context;
    this.#replaced = replaced;
    this.#isDeclined = isDeclined;
  }

  /** Reads together what {@link stage} would ask for by itself for each of these lanes that is due. */
  async lookAhead(rows: readonly SqlRow[]): Promise<void> {
    const { directory, nowS, closeOut } = this.#context;
    const due = rows.filter((row) => {
      const key = keyOfRow(row);
      const rule = directory.programme(key.programme, key.mcc);
      return rule && dueReason(laneOfRow(row), rule, nowS, closeOut, directory.accountEndsS?.(key));
    });
    await this.#books.lookAt(due.map((row) => textOf(row, 'key_id')));
  }

  /** The aggregates of one lane; none if it is not due, blocked, of a declined account, or below one minor unit. */
  async stage(row: SqlRow): Promise<StagedAggregate[]> {
    const { directory, nowS, closeOut } = this.#context;
    const [key, keyId, lane] = [keyOfRow(row), textOf(row, 'key_id'), textOf(row, 'lane') as Lane];
    // The issuer has said that it pays nothing further: it stays in its lane until a person lifts that (declined.ts).
    if (key.sign === 'debit' && this.#isDeclined(key.account, key.party)) return [];
    const rule = directory.programme(key.programme, key.mcc);
    const accountEndsS = directory.accountEndsS?.(key);
    const reason = rule && dueReason(laneOfRow(row), rule, nowS, closeOut, accountEndsS);
    if (rule && !reason) return [];
    if (rule && rule.name !== key.programme) await this.#noteFallback(key, rule.name);
    const profile = this.#profileOf(key, rule);
    const details = directory.details(key);
    const currency = currencyOf(key.currency);
    const isPresentable =
      details && currency && profile && this.#lineCheck.isWritable(key, details, currency, profile);
    if (!reason || !isPresentable) {
      this.blocked.push(keyId);
      return [];
    }
    const state = await this.#books.lane(keyId, lane, row);
    const receipts = await pendingReceipts(this.#session, key.sign, keyId, lane);
    const sum = receipts.reduce((total, receipt) => total + receipt.chargeMicro, 0n);
    invariant(
      state.residualMicro + sum === state.pendingMicro,
      `clearing: lane ${lane} of ${keyId} holds ${state.pendingMicro}, receipts say otherwise`,
    );
    const unitMicro = microPerMinor(currency);
    const leavesMax = lane === 'conflict' ? CONFLICT_LEAVES_MAX : AGGREGATE_LEAVES_MAX;
    const remainders = await this.#remainders(keyId, lane, unitMicro);
    const pieces = planPieces(
      remainders.reduce((total, one) => total + one.pendingMicro, state.residualMicro),
      receipts.map((receipt) => receipt.chargeMicro),
      unitMicro,
      { amountMinorMax: amountMinorMax(profile), leavesMax },
    );
    const common = { key, keyId, lane, reason, details, currency, profile };
    const staged: StagedAggregate[] = [];
    if (pieces.length > 0) {
      for (const one of remainders)
        staged.push(...(await this.#takeOver(one.keyId, common, leavesMax)));
    }
    for (const piece of pieces) {
      staged.push(
        await this.#aggregate(piece, receipts.slice(piece.from, piece.to), state, common),
      );
    }
    if (pieces.length > 0) this.#settleLane(state, receipts.slice(pieces.at(-1)?.to));
    return staged;
  }

  /** What accounts that this one follows have left below one minor unit; more than that they present themselves. */
  async #remainders(
    keyId: string,
    lane: Lane,
    unitMicro: bigint,
  ): Promise<{ readonly keyId: string; readonly pendingMicro: bigint }[]> {
    const found: { keyId: string; pendingMicro: bigint }[] = [];
    for (const old of this.#replaced.get(laneName(keyId, lane)) ?? []) {
      const { pendingMicro } = await this.#books.lane(old, lane);
      if (pendingMicro === 0n || pendingMicro >= unitMicro) continue;
      found.push({ keyId: old, pendingMicro });
      if (found.length === REMAINDERS_MAX) break;
    }
    return found;
  }

  /**
   * Moves the remainder of a replaced account into the lane that is staged. Its receipts that no aggregate holds yet get
   * one that presents nothing, so that the chain of evidence names every one.
   */
  async #takeOver(
    oldKeyId: string,
    common: Staging,
    leavesMax: number,
  ): Promise<StagedAggregate[]> {
    const { lane, keyId } = common;
    const key = await keyOf(this.#session, oldKeyId);
    const state = await this.#books.lane(oldKeyId, lane);
    const receipts = await pendingReceipts(this.#session, key.sign, oldKeyId, lane);
    const silent: StagedAggregate[] = [];
    for (let from = 0; from < receipts.length; from += leavesMax) {
      const part = receipts.slice(from, from + leavesMax);
      const openingMicro = state.residualMicro;
      const closingMicro = part.reduce((sum, one) => sum + one.chargeMicro, openingMicro);
      const piece = { from, to: from + part.length, openingMicro, amountMinor: 0n, closingMicro };
      const of = { ...common, key, keyId: oldKeyId, reason: 'account-end' } as const;
      silent.push(await this.#aggregate(piece, part, state, of));
    }
    const move = { fromKeyId: oldKeyId, toKeyId: keyId, lane };
    await moveResidual(this.#session, this.#books, move, this.#context.nowS);
    return silent;
  }

  /** By rule for acquirer and programme, else by the programme itself. */
  #profileOf(key: AggregateKey, rule: Programme | undefined): IpmProfile | undefined {
    const { profile, profiles } = this.#context;
    const chosen = chosenProfile(profiles, key);
    return chosen ?? (rule?.profile === undefined ? profile : ipmProfile(rule.profile));
  }

  /** Once per merchant: its acquirer states a programme that its category does not belong to. */
  async #noteFallback({ programme, merchant, mcc }: AggregateKey, used: string): Promise<void> {
    await noteFinding(
      { session: this.#session, nowS: this.#context.nowS },
      'PROGRAMME_MCC',
      `${programme} ${merchant} ${mcc}`,
      `category ${mcc} does not belong to ${programme}; presented under the rules of ${used}`,
    );
  }

  async #aggregate(
    piece: Piece,
    receipts: readonly PendingReceipt[],
    state: LaneState,
    common: Staging,
  ): Promise<StagedAggregate> {
    const { origins, leaves } = leavesOf(receipts);
    const root = sumTreeRoot(leaves, nodeSha256);
    // A piece without receipts of its own is dated like the piece whose rest it presents.
    const paid = receipts.map((receipt) => receipt.paidS);
    const firstPaidS = paid.length > 0 ? Math.min(...paid) : state.firstPaidS;
    const lastPaidS = paid.length > 0 ? Math.max(...paid) : state.firstPaidS;
    const number = state.aggregates + 1;
    const { key, keyId, lane } = common;
    const document = encodeEvidence({
      key,
      lane,
      number,
      previous: state.lastAggregate,
      openingMicro: piece.openingMicro,
      amountMinor: piece.amountMinor,
      closingMicro: piece.closingMicro,
      firstPaidS,
      lastPaidS,
      root: root.hash,
      sumMicro: root.sumMicro,
      origins,
      leaves,
      entries: await takeEntries(this.#session, keyId, lane, number),
      conflicts: lane === 'conflict' ? await conflictsOf(this.#session, key.sign, receipts) : [],
    });
    const aggregateId = aggregateIdOf(document, nodeSha256);
    await this.#assign(aggregateId, common, receipts);
    state.aggregates = number;
    state.lastAggregate = aggregateId;
    state.residualMicro = piece.closingMicro;
    state.firstPaidS = firstPaidS;
    const amountMicro = piece.amountMinor * microPerMinor(common.currency);
    const from = LANE_BUCKET[lane];
    await this.#books.move({ keyId, from, to: 'queued', amountMicro, cause: 'cut' });
    const { amountMinor } = piece;
    return { ...common, aggregateId, number, document, amountMinor, amountMicro, firstPaidS };
  }

  async #assign(
    aggregateId: string,
    { key, keyId, lane }: Pick<StagedAggregate, 'key' | 'keyId' | 'lane'>,
    receipts: readonly PendingReceipt[],
  ): Promise<void> {
    const first = receipts[0];
    const last = receipts.at(-1);
    if (!first || !last) return;
    const assigned = await this.#session.run(
      ASSIGN[key.sign],
      aggregateId,
      keyId,
      lane,
      first.id,
      last.id,
    );
    invariant(
      assigned === receipts.length,
      `clearing: ${assigned} of ${receipts.length} receipts assigned to ${aggregateId}`,
    );
  }

  /** What stays behind after the cut: the residual and the receipts that found no aggregate. */
  #settleLane(state: LaneState, left: readonly PendingReceipt[]): void {
    state.pendingMicro = left.reduce((sum, one) => sum + one.chargeMicro, state.residualMicro);
    const [first] = left;
    if (!first) return;
    state.firstPaidS = Math.min(...left.map((receipt) => receipt.paidS));
    state.firstIngestS = first.ingestedS;
  }
}
