import { toHex } from '../../protocol/bytes.ts';
import { OPERATOR_RULE, noteBearer } from './bearers.ts';
import { VOIDED, bookWaiting, enterCredit, givenBackOf, refundedOf } from './book-credit.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import type { VerifiedVoid } from './core/ingest.ts';
import { decideVoid } from './core/void.ts';
import type { VoidFacts } from './core/void.ts';
import { holdCreditsOf } from './held-credits.ts';
import { noteFinding } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { isReturned } from './returned-charges.ts';
import { amountOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';
import { FORKED } from './stopped-logs.ts';

const factsOf = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<{ facts: VoidFacts; receipt: SqlRow | undefined }> => {
  const known = await session.all('SELECT counter FROM voids WHERE payment_hash = ?', paymentHash);
  const [receipt] = await session.all(
    'SELECT state, key_id, lane, charge_micro FROM receipts WHERE payment_hash = ?',
    paymentHash,
  );
  const refunds = await session.all(
    "SELECT id FROM credits WHERE payment_hash = ? AND state = 'aggregated' ORDER BY id LIMIT 1",
    paymentHash,
  );
  const hasReturned = await isReturned(session, paymentHash);
  const facts: VoidFacts = {
    isKnown: known.length > 0,
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
  if (decision === 'withdraw') await withdraw(scope, item, receipt as SqlRow);
  if (decision === 'correct') await correct(scope, item, receipt as SqlRow);
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
  await noteBearer(scope, { paymentHash, operator, amountMicro, isMerchantUnpaid: true });
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

/** In an aggregate already: what was charged and not refunded goes back in a credit record with the Void as its proof. */
const correct = async (scope: IngestScope, item: VerifiedVoid, receipt: SqlRow): Promise<void> => {
  const { paymentHash, receiptHash, operator, origin, leafIndex } = item;
  const amountMicro =
    amountOf(receipt, 'charge_micro') - (await givenBackOf(scope.session, paymentHash));
  await noteFinding(
    scope,
    'VOID_AFTER_AGGREGATE',
    toHex(paymentHash),
    `${amountMicro} micro-units go back in a credit record; the approver’s operator bears them`,
  );
  if (amountMicro === 0n) return;
  await enterCredit(scope, {
    creditHash: receiptHash,
    paymentHash,
    keyId: textOf(receipt, 'key_id'),
    amountMicro,
    lane: 'conflict',
    cause: VOIDED,
    reason: OPERATOR_RULE,
    businessTimeS: scope.nowS,
    isTimeFlagged: false,
    origin,
    leafIndex,
  });
  await noteBearer(scope, { paymentHash, operator, amountMicro, isMerchantUnpaid: false });
};
