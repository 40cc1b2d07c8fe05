import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import type { Currency } from '../../protocol/currency.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { OPERATOR_RULE } from './bearers.ts';
import { keyOfRow, laneOfRow } from './books.ts';
import type { Books, LaneState } from './books.ts';
import {
  AGGREGATE_LEAVES_MAX,
  CONFLICT_LEAVES_MAX,
  LANE_BUCKET,
  dueReason,
  planPieces,
} from './core/aggregate.ts';
import type { AggregateKey, DueReason, Lane, Piece, Programme } from './core/aggregate.ts';
import { aggregateIdOf, encodeEvidence } from './core/evidence.ts';
import type { EvidenceConflict, EvidenceLeaf } from './core/evidence.ts';
import { amountMinorMax, chosenProfile, ipmProfile } from './core/ipm-profile.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import type { Sign } from './core/ledger-states.ts';
import { noteFinding } from './ingest-scope.ts';
import { sumTreeRoot } from './core/sum-tree.ts';
import { isWritable } from './core/line-record.ts';
import type { SettlementDetails } from './core/line-record.ts';
import type { CutContext } from './cut-context.ts';
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

/** Lanes with their keys held at a time: a store of a million accounts is gone through in pages. */
const LANES_PAGE = 4_096;

/** Lanes that hold anything, each with its key, in the order in which a cut takes them. */
export async function* heldLanes(session: SqlSession): AsyncGenerator<SqlRow> {
  let [keyId, lane] = ['', ''];
  for (;;) {
    const rows = await session.all(
      `SELECT k.*, l.lane, l.residual_micro, l.pending_micro, l.first_paid_s, l.first_ingest_s,
         l.aggregates, l.last_aggregate FROM lanes l JOIN keys k ON k.key_id = l.key_id
       WHERE (l.key_id, l.lane) > (?, ?) AND l.pending_micro <> '0'
       ORDER BY l.key_id, l.lane LIMIT ${LANES_PAGE}`,
      keyId,
      lane,
    );
    yield* rows;
    const last = rows.at(-1);
    if (!last || rows.length < LANES_PAGE) return;
    [keyId, lane] = [textOf(last, 'key_id'), textOf(last, 'lane')];
  }
}

/** Stages the due lanes of a cut, inside its transaction. */
export class LaneStager {
  readonly #session: SqlSession;
  readonly #books: Books;
  readonly #context: CutContext;
  /** Lanes that are due but cannot be presented: programme or merchant not known, or not writable. */
  readonly blocked: string[] = [];

  constructor(session: SqlSession, books: Books, context: CutContext) {
    this.#session = session;
    this.#books = books;
    this.#context = context;
  }

  /** The aggregates of one lane; none if it is not due, blocked, or below one minor unit. */
  async stage(row: SqlRow): Promise<StagedAggregate[]> {
    const { directory, nowS, closeOut } = this.#context;
    const [key, keyId, lane] = [keyOfRow(row), textOf(row, 'key_id'), textOf(row, 'lane') as Lane];
    const rule = directory.programme(key.programme, key.mcc);
    const accountEndsS = directory.accountEndsS?.(key);
    const reason = rule && dueReason(laneOfRow(row), rule, nowS, closeOut, accountEndsS);
    if (rule && !reason) return [];
    if (rule && rule.name !== key.programme) await this.#noteFallback(key, rule.name);
    const profile = this.#profileOf(key, rule);
    const details = directory.details(key);
    const currency = currencyOf(key.currency);
    const isPresentable =
      details && currency && profile && isWritable(key, details, currency, profile);
    if (!reason || !isPresentable) {
      this.blocked.push(keyId);
      return [];
    }
    const state = await this.#books.lane(keyId, lane);
    const receipts = await pendingReceipts(this.#session, key.sign, keyId, lane);
    const sum = receipts.reduce((total, receipt) => total + receipt.chargeMicro, 0n);
    invariant(
      state.residualMicro + sum === state.pendingMicro,
      `clearing: lane ${lane} of ${keyId} holds ${state.pendingMicro}, receipts say otherwise`,
    );
    const pieces = planPieces(
      state.residualMicro,
      receipts.map((receipt) => receipt.chargeMicro),
      microPerMinor(currency),
      {
        amountMinorMax: amountMinorMax(profile),
        leavesMax: lane === 'conflict' ? CONFLICT_LEAVES_MAX : AGGREGATE_LEAVES_MAX,
      },
    );
    const staged: StagedAggregate[] = [];
    for (const piece of pieces) {
      const common = { key, keyId, lane, reason, details, currency, profile };
      staged.push(
        await this.#aggregate(piece, receipts.slice(piece.from, piece.to), state, common),
      );
    }
    if (pieces.length > 0) this.#settleLane(state, receipts.slice(pieces.at(-1)?.to));
    return staged;
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
    common: Pick<
      StagedAggregate,
      'key' | 'keyId' | 'lane' | 'reason' | 'details' | 'currency' | 'profile'
    >,
  ): Promise<StagedAggregate> {
    const { origins, leaves } = leavesOf(receipts);
    const root = sumTreeRoot(leaves);
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
      conflicts: lane === 'conflict' ? await conflictsOf(this.#session, key.sign, receipts) : [],
    });
    const aggregateId = aggregateIdOf(document);
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
