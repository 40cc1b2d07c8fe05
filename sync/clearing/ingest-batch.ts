import { toHex } from '../../protocol/bytes.ts';
import { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { chargeOf, decideReceipt, decideVoid } from './core/ingest.ts';
import type {
  PaymentOnLine,
  Placement,
  ReceiptFacts,
  RejectedItem,
  VerifiedItem,
  VerifiedReceipt,
  VerifiedVoid,
} from './core/ingest.ts';
import type { MetRow } from './core/log-row.ts';
import { FORKED } from './stopped-logs.ts';
import { takeRows } from './taken-rows.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** What a batch did, by number of items. */
export type IngestCounts = {
  first: number;
  final: number;
  duplicate: number;
  secondReceipt: number;
  conflict: number;
  late: number;
  withheld: number;
  void: number;
  refused: number;
};

export const noCounts = (): IngestCounts => ({
  first: 0,
  final: 0,
  duplicate: 0,
  secondReceipt: 0,
  conflict: 0,
  late: 0,
  withheld: 0,
  void: 0,
  refused: 0,
});

const CAUSE = 'ingest';

/** What a finding says of a receipt that is held back. */
const WHY_WITHHELD = {
  RECEIPT_AND_VOID: 'the approver’s operator bears it',
  APPROVER_CLOSED: 'signed above the sequence at which the issuer closed its approver',
} as const;

const paymentOf = (row: SqlRow | undefined): PaymentOnLine | undefined =>
  row && {
    paymentHash: bytesOf(row, 'payment_hash'),
    counter: numberOf(row, 'counter'),
    amountMicro: amountOf(row, 'amount_micro'),
    totalMicro: amountOf(row, 'total_micro'),
  };

const ON_LINE =
  'SELECT payment_hash, counter, amount_micro, total_micro FROM receipts WHERE line = ?';

/** Nearest Payments on the line that are not in conflict themselves, and any other on the same counter. */
const neighbours = async (
  session: SqlSession,
  { line, counter, paymentHash }: VerifiedReceipt,
): Promise<Pick<ReceiptFacts, 'sameCounter' | 'below' | 'above'>> => {
  const at = BigInt(counter);
  const [same] = await session.all(
    `${ON_LINE} AND counter = ? AND payment_hash <> ? ORDER BY in_conflict LIMIT 1`,
    line,
    at,
    paymentHash,
  );
  const [lower] = await session.all(
    `${ON_LINE} AND counter < ? AND in_conflict = 0 ORDER BY counter DESC LIMIT 1`,
    line,
    at,
  );
  const [higher] = await session.all(
    `${ON_LINE} AND counter > ? AND in_conflict = 0 ORDER BY counter LIMIT 1`,
    line,
    at,
  );
  const sameCounter = paymentOf(same);
  const below = paymentOf(lower);
  const above = paymentOf(higher);
  return {
    ...(sameCounter ? { sameCounter } : {}),
    ...(below ? { below } : {}),
    ...(above ? { above } : {}),
  };
};

/** One batch inside one transaction. Items see what the items before them in the batch did. */
export class IngestBatch {
  readonly #session: SqlSession;
  readonly #nowS: number;
  readonly #books: Books;
  readonly #met: MetRow[] = [];
  readonly counts: IngestCounts = noCounts();

  constructor(session: SqlSession, nowS: number) {
    this.#session = session;
    this.#nowS = nowS;
    this.#books = new Books(session, nowS);
  }

  async add(item: VerifiedItem | RejectedItem): Promise<void> {
    if (item.kind === 'receipt') await this.#addReceipt(item);
    else if (item.kind === 'void') await this.#addVoid(item);
    else await this.#reject(item);
  }

  async #reject({ code, detail, origin, leafIndex }: RejectedItem): Promise<void> {
    this.counts.refused++;
    await this.#note(code, `${origin}#${leafIndex}`, detail);
  }

  async flush(): Promise<void> {
    await this.#books.flush();
    await takeRows(this.#session, this.#met.splice(0));
  }

  async #facts(
    receipt: VerifiedReceipt,
  ): Promise<{ facts: ReceiptFacts; stored: SqlRow | undefined }> {
    const { paymentHash } = receipt;
    const [stored] = await this.#session.all(
      `SELECT id, receipt_hash, state, key_id, charge_micro, origin FROM receipts
       WHERE payment_hash = ?`,
      paymentHash,
    );
    const voids = await this.#session.all(
      'SELECT counter FROM voids WHERE payment_hash = ?',
      paymentHash,
    );
    const [window] = await this.#session.all(
      'SELECT closed_through_s FROM windows WHERE programme = ?',
      receipt.key.programme,
    );
    const facts: ReceiptFacts = {
      ...(stored && {
        stored: {
          receiptHash: bytesOf(stored, 'receipt_hash'),
          isAwaitingL2: textOf(stored, 'state') === 'awaitingL2',
          isForkedElsewhere:
            textOf(stored, 'state') === FORKED && textOf(stored, 'origin') !== receipt.origin,
        },
      }),
      isVoided: voids.length > 0,
      ...(await neighbours(this.#session, receipt)),
      closedThroughS: window ? numberOf(window, 'closed_through_s') : 0,
    };
    return { facts, stored };
  }

  async #addReceipt(receipt: VerifiedReceipt): Promise<void> {
    const { facts, stored } = await this.#facts(receipt);
    const decision = decideReceipt(receipt, facts);
    const isFirst = decision.kind === 'first';
    if (receipt.row) {
      const chargeMicro = chargeOf(receipt);
      this.#met.push({ row: receipt.row, ...(isFirst ? { chargeMicro } : {}) });
    }
    switch (decision.kind) {
      case 'refused':
        this.counts.refused++;
        await this.#note(
          decision.code,
          toHex(receipt.paymentHash),
          `${receipt.origin} ${receipt.leafIndex}`,
        );
        return;
      case 'duplicate':
        this.counts.duplicate++;
        if (decision.isSecondReceipt) await this.#keepSecond(receipt);
        if (stored && textOf(stored, 'origin') !== receipt.origin) await this.#keepPlace(receipt);
        return;
      case 'first':
        this.counts.first++;
        await this.#insert(receipt, decision.placement);
        return;
      case 'final':
        this.counts.final++;
        await this.#promote(receipt, decision.placement, stored as SqlRow);
        return;
      default:
        decision satisfies never;
    }
  }

  async #keepSecond(receipt: VerifiedReceipt): Promise<void> {
    this.counts.secondReceipt++;
    await this.#session.run(
      `INSERT INTO second_receipts (payment_hash, receipt_hash, origin, leaf_index)
       VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      receipt.paymentHash,
      receipt.receiptHash,
      receipt.origin,
      BigInt(receipt.leafIndex),
    );
  }

  /** Should the log that it is booked from fork below it, it is payable from here. */
  async #keepPlace(receipt: VerifiedReceipt): Promise<void> {
    await this.#session.run(
      `INSERT INTO other_places (payment_hash, origin, leaf_index, receipt_hash)
       VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      receipt.paymentHash,
      receipt.origin,
      BigInt(receipt.leafIndex),
      receipt.receiptHash,
    );
  }

  async #insert(receipt: VerifiedReceipt, placement: Placement): Promise<void> {
    const keyId = await this.#books.open({ ...receipt.key, sign: 'debit' });
    const charge = chargeOf(receipt);
    await this.#session.run(
      `INSERT INTO receipts (payment_hash, receipt_hash, key_id, lane, state, in_conflict, line, counter,
         amount_micro, charge_micro, total_micro, released_micro, approver, sequence, payee,
         business_time_s, time_flagged, origin, leaf_index, ingested_s)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      receipt.paymentHash,
      receipt.receiptHash,
      keyId,
      ...stateColumns(placement),
      receipt.line,
      BigInt(receipt.counter),
      receipt.amountMicro.toString(),
      charge.toString(),
      receipt.totalMicro.toString(),
      receipt.releasedMicro.toString(),
      receipt.approver,
      BigInt(receipt.sequence),
      receipt.payee,
      BigInt(receipt.businessTimeS),
      receipt.isTimeFlagged ? 1n : 0n,
      receipt.origin,
      BigInt(receipt.leafIndex),
      BigInt(this.#nowS),
    );
    const to = placement.bucket;
    await this.#books.move({ keyId, from: 'accepted', to, amountMicro: charge, cause: CAUSE });
    await this.#placed(receipt, keyId, charge, placement);
  }

  async #promote(receipt: VerifiedReceipt, placement: Placement, stored: SqlRow): Promise<void> {
    const [lane, state, inConflict] = stateColumns(placement);
    await this.#session.run(
      `UPDATE receipts SET lane = ?, state = ?, in_conflict = ?, origin = ?, leaf_index = ?,
         receipt_hash = ? WHERE payment_hash = ?`,
      lane,
      state,
      inConflict,
      receipt.origin,
      BigInt(receipt.leafIndex),
      receipt.receiptHash,
      receipt.paymentHash,
    );
    const keyId = textOf(stored, 'key_id');
    const amountMicro = amountOf(stored, 'charge_micro');
    const to = placement.bucket;
    const from = textOf(stored, 'state') === FORKED ? 'withheld' : 'awaitingL2';
    if (from !== to) await this.#books.move({ keyId, from, to, amountMicro, cause: CAUSE });
    await this.#placed(receipt, keyId, amountMicro, placement);
  }

  /** What follows from the place: the lane's pending sum, the proof, the reason. */
  async #placed(
    receipt: VerifiedReceipt,
    keyId: string,
    charge: bigint,
    placement: Placement,
  ): Promise<void> {
    if (placement.bucket === 'withheld') this.counts.withheld++;
    if ('reason' in placement) {
      await this.#note(
        placement.reason,
        toHex(receipt.paymentHash),
        WHY_WITHHELD[placement.reason],
      );
    }
    if (!('lane' in placement)) return;
    const lane = await this.#books.lane(keyId, placement.lane);
    const paidS = receipt.businessTimeS;
    const isFirst = lane.pendingMicro === lane.residualMicro;
    lane.firstPaidS = isFirst ? paidS : Math.min(lane.firstPaidS, paidS);
    if (isFirst) lane.firstIngestS = this.#nowS;
    lane.pendingMicro += charge;
    if (placement.lane === 'late') this.counts.late++;
    if (placement.proof === undefined) return;
    this.counts.conflict++;
    await this.#session.run(
      `INSERT INTO conflicts (payment_hash, other_hash, rule, bearer) VALUES (?, ?, ?, 'party')
       ON CONFLICT DO NOTHING`,
      receipt.paymentHash,
      placement.proof.other.paymentHash,
      placement.proof.rule,
    );
  }

  async #addVoid(item: VerifiedVoid): Promise<void> {
    if (item.row) this.#met.push({ row: item.row });
    const known = await this.#session.all(
      'SELECT counter FROM voids WHERE payment_hash = ?',
      item.paymentHash,
    );
    const [receipt] = await this.#session.all(
      'SELECT state, key_id, lane, charge_micro FROM receipts WHERE payment_hash = ?',
      item.paymentHash,
    );
    const state = receipt && textOf(receipt, 'state');
    const place =
      state === 'aggregated' || state === undefined
        ? state
        : state === 'withheld' || state === FORKED
          ? 'withheld'
          : 'pending';
    const decision = decideVoid({
      isKnown: known.length > 0,
      ...(place === undefined ? {} : { receipt: place }),
    });
    if (decision === 'duplicate') {
      this.counts.duplicate++;
      return;
    }
    this.counts.void++;
    await this.#session.run(
      `INSERT INTO voids (payment_hash, line, counter, amount_micro, origin, leaf_index, approver,
         sequence) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      item.paymentHash,
      item.line,
      BigInt(item.counter),
      item.amountMicro.toString(),
      item.origin,
      BigInt(item.leafIndex),
      item.row?.approver ?? null,
      item.row ? BigInt(item.row.sequence) : null,
    );
    if (decision === 'withdraw') await this.#withdraw(item, receipt as SqlRow);
    if (decision === 'too-late') {
      await this.#note(
        'VOID_AFTER_AGGREGATE',
        toHex(item.paymentHash),
        'refund owed by the approver’s operator',
      );
    }
  }

  async #withdraw(item: VerifiedVoid, receipt: SqlRow): Promise<void> {
    const keyId = textOf(receipt, 'key_id');
    const amountMicro = amountOf(receipt, 'charge_micro');
    const laneName = textOrNull(receipt, 'lane') as Lane | undefined;
    if (laneName) (await this.#books.lane(keyId, laneName)).pendingMicro -= amountMicro;
    await this.#session.run(
      "UPDATE receipts SET state = 'withheld', lane = NULL WHERE payment_hash = ?",
      item.paymentHash,
    );
    const from = laneName ? LANE_BUCKET[laneName] : 'awaitingL2';
    await this.#books.move({ keyId, from, to: 'withheld', amountMicro, cause: 'void' });
    this.counts.withheld++;
    await this.#note(
      'RECEIPT_AND_VOID',
      toHex(item.paymentHash),
      'the approver’s operator bears it',
    );
  }

  async #note(kind: string, reference: string, detail: string): Promise<void> {
    await this.#session.run(
      `INSERT INTO findings (noted_s, kind, reference, detail) VALUES (?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
      BigInt(this.#nowS),
      kind,
      reference,
      detail,
    );
  }
}

/** lane, state, in_conflict of a receipt's row. */
const stateColumns = (placement: Placement): [string | null, string, bigint] => {
  if (!('lane' in placement)) return [null, placement.bucket, 0n];
  return [placement.lane, 'pending', placement.lane === 'conflict' ? 1n : 0n];
};
