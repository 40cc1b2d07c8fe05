/** Charges that nobody pays any more: their line was given up, or charged back in full. */
import { OPERATOR_RULE } from './bearers.ts';
import type { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { CREDIT_FORKED } from './held-credits.ts';
import { enterMerchant } from './merchant-accounts.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';
import { toHex } from '../../protocol/bytes.ts';

/** True where the payer got the charge of this Payment back already, or was never asked for it. */
export const isReturned = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<boolean> => {
  const rows = await session.all(
    `SELECT p.aggregate_id FROM receipts r JOIN presentments p ON p.aggregate_id = r.aggregate_id
     WHERE r.payment_hash = ? AND (p.state = 'released'
       OR (p.state = 'chargedBack' AND p.charged_back_micro = p.amount_micro))`,
    paymentHash,
  );
  return rows.length > 0;
};

/** True where a refund of one of the line's receipts stands in a line that is not given up itself. */
export const isRefundOut = async (session: SqlSession, aggregateId: string): Promise<boolean> => {
  const rows = await session.all(
    `SELECT c.id FROM receipts r JOIN credits c ON c.payment_hash = r.payment_hash
     LEFT JOIN presentments p ON p.aggregate_id = c.aggregate_id
     WHERE r.aggregate_id = ? AND c.state = 'aggregated' AND (p.state IS NULL OR p.state <> 'released')
     ORDER BY c.id LIMIT 1`,
    aggregateId,
  );
  return rows.length > 0;
};

/**
 * The refunds of a line's receipts that are in no aggregate yet: the payer has that money already, so they are reversed.
 * Where one followed from a Void, the operator pays the merchant instead (DESIGN §4).
 */
export const reverseCreditsOf = async (
  session: SqlSession,
  books: Books,
  aggregateId: string,
  nowS: number,
): Promise<void> => {
  const rows = await session.all(
    `SELECT c.id, c.key_id, c.lane, c.state, c.cause, c.amount_micro, c.payment_hash, k.acquirer, k.merchant,
       k.currency, b.bearer
     FROM receipts r JOIN credits c ON c.payment_hash = r.payment_hash JOIN keys k ON k.key_id = c.key_id
     LEFT JOIN borne b ON b.payment_hash = c.payment_hash AND b.rule = ?
     WHERE r.aggregate_id = ? AND c.state IN ('pending', ?) ORDER BY c.id`,
    OPERATOR_RULE,
    aggregateId,
    CREDIT_FORKED,
  );
  for (const row of rows) {
    const keyId = textOf(row, 'key_id');
    const laneName = textOf(row, 'lane') as Lane;
    const amountMicro = amountOf(row, 'amount_micro');
    const isHeld = textOf(row, 'state') === CREDIT_FORKED;
    if (!isHeld) (await books.lane(keyId, laneName)).pendingMicro -= amountMicro;
    const from = isHeld ? 'withheld' : LANE_BUCKET[laneName];
    await books.move({ keyId, from, to: 'reversed', amountMicro, cause: 'charge returned' });
    await session.run("UPDATE credits SET state = 'reversed' WHERE id = ?", row['id'] as bigint);
    if (textOf(row, 'cause') === 'void' && row['bearer'] === 'operator') {
      await payMerchant(session, row, amountMicro, nowS);
    }
  }
};

const payMerchant = async (
  session: SqlSession,
  row: SqlRow,
  amountMicro: bigint,
  nowS: number,
): Promise<void> => {
  await enterMerchant(session, {
    acquirer: textOf(row, 'acquirer'),
    merchant: textOf(row, 'merchant'),
    currency: numberOf(row, 'currency'),
    kind: 'borne',
    amountMicro,
    reference: `${OPERATOR_RULE} ${toHex(bytesOf(row, 'payment_hash'))}`,
    nowS,
  });
};
