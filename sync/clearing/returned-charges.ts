/** Charges that go back to the payer: their line was given up or charged back, or refunds of them stand beside it. */
import { OPERATOR_RULE } from './bearers.ts';
import type { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { fitsBeside } from './core/dispute-rules.ts';
import type { GivenBack, ReturnedLine } from './core/dispute-rules.ts';
import { CREDIT_FORKED } from './held-credits.ts';
import { enterMerchant } from './merchant-accounts.ts';
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';
import { toHex } from '../../protocol/bytes.ts';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { invariant } from '../../protocol/kiri-error.ts';

/** The line that a Payment's charge is presented in, with what went back of it for good. */
type ReturnedCharge = ReturnedLine & { readonly aggregateId: string; readonly isWhole: boolean };

/** Undefined where the charge is in no line, or nothing of its line went back. */
export const returnedCharge = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<ReturnedCharge | undefined> => {
  const [row] = await session.all(
    `SELECT p.aggregate_id, p.state, p.amount_micro, p.charged_back_micro, k.currency FROM all_receipts r
     JOIN presentments p ON p.aggregate_id = r.aggregate_id JOIN keys k ON k.key_id = r.key_id
     WHERE r.payment_hash = ? AND (p.state = 'released' OR p.charged_back_micro <> '0')`,
    paymentHash,
  );
  if (!row) return undefined;
  const amountMicro = amountOf(row, 'amount_micro');
  const chargedBackMicro = amountOf(row, 'charged_back_micro');
  return {
    aggregateId: textOf(row, 'aggregate_id'),
    amountMicro,
    chargedBackMicro,
    unitMicro: unitOf(row),
    isWhole: textOf(row, 'state') === 'released' || chargedBackMicro === amountMicro,
  };
};

const unitOf = (row: SqlRow): bigint => {
  const currency = currencyOf(numberOf(row, 'currency'));
  invariant(currency !== undefined, `clearing: currency ${numberOf(row, 'currency')}`);
  return microPerMinor(currency);
};

/** Refunds and corrections of a line's receipts; those whose own line was given up reached nobody. */
const REFUNDS = `SELECT c.state, c.amount_micro, p.arn FROM all_receipts r
  JOIN credits c ON c.payment_hash = r.payment_hash
  LEFT JOIN presentments p ON p.aggregate_id = c.aggregate_id
  WHERE r.aggregate_id = ? AND c.state IN ('aggregated', 'pending', ?)
    AND (p.state IS NULL OR p.state <> 'released') ORDER BY c.id`;

/** What goes back of one line beside chargebacks; `arns` are the lines that it is out in. */
export const givenBackOfLine = async (
  session: SqlSession,
  aggregateId: string,
): Promise<GivenBack & { readonly arns: readonly string[] }> => {
  let [outMicro, waitingMicro] = [0n, 0n];
  const arns = new Set<string>();
  for (const row of await session.all(REFUNDS, aggregateId, CREDIT_FORKED)) {
    const amountMicro = amountOf(row, 'amount_micro');
    if (textOf(row, 'state') !== 'aggregated') waitingMicro += amountMicro;
    else {
      outMicro += amountMicro;
      const arn = textOrNull(row, 'arn');
      if (arn !== undefined) arns.add(arn);
    }
  }
  return { outMicro, waitingMicro, arns: [...arns] };
};

/** True where a refund of one of the line's receipts stands in a line that is not given up itself. */
export const isRefundOut = async (session: SqlSession, aggregateId: string): Promise<boolean> => {
  const rows = await session.all(
    `SELECT c.id FROM all_receipts r JOIN credits c ON c.payment_hash = r.payment_hash
     LEFT JOIN presentments p ON p.aggregate_id = c.aggregate_id
     WHERE r.aggregate_id = ? AND c.state = 'aggregated' AND (p.state IS NULL OR p.state <> 'released')
     ORDER BY c.id LIMIT 1`,
    aggregateId,
  );
  return rows.length > 0;
};

const WAITING = `SELECT c.id, c.key_id, c.lane, c.state, c.cause, c.amount_micro, c.payment_hash, k.acquirer,
    k.merchant, k.currency, b.bearer
  FROM all_receipts r JOIN credits c ON c.payment_hash = r.payment_hash JOIN keys k ON k.key_id = c.key_id
  LEFT JOIN borne b ON b.payment_hash = c.payment_hash AND b.rule = ?
  WHERE r.aggregate_id = ? AND c.state IN ('pending', ?) ORDER BY c.id`;

/**
 * The refunds of a line's receipts that are in no aggregate yet, and that find no room beside what went back of it: the
 * payer has that money already, so they are reversed. Where one followed from a Void, the operator pays the merchant
 * instead (DESIGN §4).
 * @param line as it stands now; a line that was given up counts as charged back in full
 */
export const reverseCreditsOf = async (
  session: SqlSession,
  books: Books,
  line: ReturnedLine & { readonly aggregateId: string },
  nowS: number,
): Promise<void> => {
  let { outMicro } = await givenBackOfLine(session, line.aggregateId);
  const rows = await session.all(WAITING, OPERATOR_RULE, line.aggregateId, CREDIT_FORKED);
  for (const row of rows) {
    const amountMicro = amountOf(row, 'amount_micro');
    if (fitsBeside(line, { outMicro }, amountMicro)) {
      outMicro += amountMicro;
      continue;
    }
    const keyId = textOf(row, 'key_id');
    const laneName = textOf(row, 'lane') as Lane;
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
    // A part may have been entered with the Void itself, under the rule and the Payment alone.
    reference: `${OPERATOR_RULE} ${toHex(bytesOf(row, 'payment_hash'))} reversed`,
    nowS,
  });
};
