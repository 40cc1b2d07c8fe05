import { toHex } from '../../protocol/bytes.ts';
import { OPERATOR_RULE, noteBearer } from './bearers.ts';
import { CLOSED } from './close-files.ts';
import { VOIDED, bookWaiting, enterCredit, givenBackOf, refundedOf } from './book-credit.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import type { VerifiedVoid } from './core/ingest.ts';
import { decideVoid } from './core/void.ts';
import type { VoidFacts } from './core/void.ts';
import { FORKED, holdCreditsOf } from './held-credits.ts';
import { noteFinding } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { givenBackOfLine, returnedCharge } from './returned-charges.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

const factsOf = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<{ facts: VoidFacts; receipt: SqlRow | undefined }> => {
  const known = await session.all('SELECT counter FROM voids WHERE payment_hash = ?', paymentHash);
  const [receipt] = await session.all(
    'SELECT state, key_id, lane, charge_micro FROM all_receipts WHERE payment_hash = ?',
    paymentHash,
  );
  const refunds = await session.all(
    "SELECT id FROM credits WHERE payment_hash = ? AND state = 'aggregated' ORDER BY id LIMIT 1",
    paymentHash,
  );
  const hasReturned = (await returnedCharge(session, paymentHash))?.isWhole === true;
  const facts: VoidFacts = {
    // What was settled so long ago that its file is gone is not undone by a Void any more.
    isKnown: known.length > 0 || (receipt !== undefined && textOf(receipt, 'state') === CLOSED),
    ...(receipt ? { receipt: hasReturned ? 'returned' : placeOf(textOf(receipt, 'state')) } : {}),
    isRefundAggregated: refunds.length > 0,
  };
  return { facts, receipt };
};

const placeOf = (state: string): NonNullable<VoidFacts['receipt']> => {
  if (state === 'aggregated') return 'aggregated';
  // Written off: nobody was charged.
  return ['withheld', 'writtenOff', FORKED].includes(state) ? 'withheld' : 'pending';
};

/** Books one Void: the payer is not charged for this Payment, or gets the charge back. */
export const bookVoid = async (scope: IngestScope, item: VerifiedVoid): Promise<void> => {
  const { session, counts, met } = scope;
  if (item.row) met.push({ row: item.row });
  const { facts, receipt } = await factsOf(session, item.paymentHash);
  const decision = decideVoid(facts);
  if (decision === 'duplicate') {
    counts.duplicate++;
    return;
  }
  counts.void++;
  await session.run(
    `INSERT INTO voids (payment_hash, line, counter, amount_micro, origin, leaf_index, approver,
       sequence, receipt_hash, operator) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    item.paymentHash,
    item.line,
    BigInt(item.counter),
    item.amountMicro.toString(),
    item.origin,
    BigInt(item.leafIndex),
    item.row?.approver ?? null,
    item.row ? BigInt(item.row.sequence) : null,
    item.receiptHash,
    item.operator ?? null,
  );
  if (decision === 'withdraw') await withdraw(scope, item, receipt as SqlRow);
  if (decision === 'correct') {
    const row = receipt as SqlRow;
    const charge = { keyId: textOf(row, 'key_id'), chargeMicro: amountOf(row, 'charge_micro') };
    await correctCharge(scope, item, charge);
  }
  if (decision === 'bear') await bear(scope, item, receipt as SqlRow);
  await bookWaiting(scope, item.paymentHash);
};

/** Neither charged nor to be charged: the operator pays the merchant what it would have kept. */
const bear = async (
  scope: IngestScope,
  { paymentHash, operator }: VerifiedVoid,
  receipt: SqlRow,
): Promise<void> => {
  await noteFinding(scope, OPERATOR_RULE, toHex(paymentHash), 'the approver’s operator bears it');
  const amountMicro =
    amountOf(receipt, 'charge_micro') - (await refundedOf(scope.session, paymentHash));
  await noteBearer(scope, { paymentHash, operator, amountMicro, unpaidMicro: amountMicro });
};

/** In no aggregate yet: charge and refunds are held back, and the operator pays the merchant what it would have kept. */
const withdraw = async (scope: IngestScope, item: VerifiedVoid, receipt: SqlRow): Promise<void> => {
  const { session, books, counts } = scope;
  const { paymentHash } = item;
  const keyId = textOf(receipt, 'key_id');
  const amountMicro = amountOf(receipt, 'charge_micro');
  const laneName = textOrNull(receipt, 'lane') as Lane | undefined;
  if (laneName) (await books.lane(keyId, laneName)).pendingMicro -= amountMicro;
  await session.run(
    "UPDATE receipts SET state = 'withheld', lane = NULL WHERE payment_hash = ?",
    paymentHash,
  );
  const from = laneName ? LANE_BUCKET[laneName] : 'awaitingL2';
  await books.move({ keyId, from, to: 'withheld', amountMicro, cause: VOIDED });
  await holdCreditsOf(scope, paymentHash, 'withheld', VOIDED);
  counts.withheld++;
  await bear(scope, item, receipt);
};

/** A Void as the correction that follows from it names it. */
type VoidedCharge = Pick<
  VerifiedVoid,
  'paymentHash' | 'receiptHash' | 'operator' | 'origin' | 'leafIndex'
>;

/**
 * The Void of a Payment of which a refund is in an aggregate already: its charge has to be presented all the same, for both
 * to cancel out with the correction. Undefined where there is no such refund or no Void.
 */
export const voidBesideRefund = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<VoidedCharge | undefined> => {
  const [row] = await session.all(
    `SELECT v.receipt_hash, v.operator, v.origin, v.leaf_index FROM voids v
     WHERE v.payment_hash = ? AND v.receipt_hash IS NOT NULL AND EXISTS
       (SELECT 1 FROM credits c WHERE c.payment_hash = v.payment_hash AND c.state = 'aggregated')`,
    paymentHash,
  );
  if (!row) return undefined;
  const operator = textOrNull(row, 'operator');
  return {
    paymentHash,
    receiptHash: bytesOf(row, 'receipt_hash'),
    origin: textOf(row, 'origin'),
    leafIndex: numberOf(row, 'leaf_index'),
    ...(operator !== undefined && { operator }),
  };
};

/** What a correction may give back at most: nothing that a chargeback of the line gave back already. */
const roomBeside = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<bigint | undefined> => {
  const line = await returnedCharge(session, paymentHash);
  if (!line) return undefined;
  const { outMicro, waitingMicro } = await givenBackOfLine(session, line.aggregateId);
  const room = line.amountMicro - line.chargedBackMicro - outMicro - waitingMicro;
  return room > 0n ? room : 0n;
};

/**
 * In an aggregate already, or presented all the same: what was charged and not refunded goes back in a credit record with
 * the Void as its proof. What a chargeback gave back is not given twice; the operator pays the merchant that part.
 */
export const correctCharge = async (
  scope: IngestScope,
  { paymentHash, receiptHash, operator, origin, leafIndex }: VoidedCharge,
  { keyId, chargeMicro }: { readonly keyId: string; readonly chargeMicro: bigint },
): Promise<void> => {
  const leftMicro = chargeMicro - (await givenBackOf(scope.session, paymentHash));
  const room = await roomBeside(scope.session, paymentHash);
  const amountMicro = room !== undefined && room < leftMicro ? room : leftMicro;
  await noteFinding(
    scope,
    'VOID_AFTER_AGGREGATE',
    toHex(paymentHash),
    `${amountMicro} micro-units go back in a credit record; the approver’s operator bears ${leftMicro}`,
  );
  if (amountMicro > 0n) {
    await enterCredit(scope, {
      creditHash: receiptHash,
      paymentHash,
      keyId,
      amountMicro,
      lane: 'conflict',
      cause: VOIDED,
      reason: OPERATOR_RULE,
      businessTimeS: scope.nowS,
      isTimeFlagged: false,
      origin,
      leafIndex,
    });
  }
  const unpaidMicro = leftMicro - amountMicro;
  await noteBearer(scope, { paymentHash, operator, amountMicro: leftMicro, unpaidMicro });
};
