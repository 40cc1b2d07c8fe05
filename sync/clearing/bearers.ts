/** Who bears what the payer or the merchant must not: the accounts that a rule of the documents names (DESIGN §4, §6). */
import { toHex } from '../../protocol/bytes.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { IngestScope } from './ingest-scope.ts';
import { enterMerchant } from './merchant-accounts.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** The rule under which an approver's operator bears a charge: both a Receipt and a Void exist for one Payment. */
export const OPERATOR_RULE = 'RECEIPT_AND_VOID';

/** A charge that somebody other than the payer bears. */
type Borne = {
  readonly paymentHash: Uint8Array;
  /** Of the approver's mandate; absent in direct mode or where it is not at hand. */
  readonly operator: string | undefined;
  readonly amountMicro: bigint;
  /** Of it, what no line pays the merchant: the charge is not presented, or was charged back. */
  readonly unpaidMicro: bigint;
};

/**
 * Enters what the approver's operator bears, once per Payment. In direct mode the merchant's own device approved: the
 * merchant bears it, which is to say that it is not paid.
 */
export const noteBearer = async (
  { session, nowS }: Pick<IngestScope, 'session' | 'nowS'>,
  { paymentHash, operator, amountMicro, unpaidMicro }: Borne,
): Promise<void> => {
  if (amountMicro === 0n) return;
  const [row] = await session.all(
    `SELECT r.key_id, r.approver, r.payee, k.acquirer, k.merchant, k.currency FROM all_receipts r
     JOIN keys k ON k.key_id = r.key_id WHERE r.payment_hash = ?`,
    paymentHash,
  );
  invariant(row !== undefined, 'clearing: a bearer without a receipt');
  const approver = toHex(bytesOf(row, 'approver'));
  const isDirect = approver === toHex(bytesOf(row, 'payee'));
  const merchant = textOf(row, 'merchant');
  const added = await session.run(
    `INSERT INTO borne (payment_hash, rule, bearer, reference, key_id, amount_micro, at_s)
     VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    paymentHash,
    OPERATOR_RULE,
    isDirect ? 'merchant' : 'operator',
    isDirect ? merchant : (operator ?? approver),
    textOf(row, 'key_id'),
    amountMicro.toString(),
    BigInt(nowS),
  );
  if (added === 0 || isDirect || unpaidMicro === 0n) return;
  await enterMerchant(session, {
    acquirer: textOf(row, 'acquirer'),
    merchant,
    currency: numberOf(row, 'currency'),
    kind: 'borne',
    amountMicro: unpaidMicro,
    reference: `${OPERATOR_RULE} ${toHex(paymentHash)}`,
    nowS,
  });
};

/** What one bearer answers for under one rule, in one currency. */
export type BearerSum = {
  readonly bearer: 'operator' | 'merchant' | 'party' | 'issuer';
  /** The operator's name (or the approver's id in hex), the merchant's, the party's or the issuer's. */
  readonly reference: string;
  readonly rule: string;
  readonly currency: number;
  readonly payments: number;
  readonly sumMicro: bigint;
};

/** Contradictions with the charge they stand for, and what operators bear. */
const BORNE = `
  SELECT b.bearer, b.reference, b.rule, k.currency, b.amount_micro FROM borne b
    JOIN keys k ON k.key_id = b.key_id
  UNION ALL SELECT c.bearer, CASE c.bearer WHEN 'issuer' THEN k.issuer ELSE k.party END, c.rule, k.currency,
    r.charge_micro FROM conflicts c JOIN all_receipts r ON r.payment_hash = c.payment_hash
    JOIN keys k ON k.key_id = r.key_id
    WHERE NOT EXISTS (SELECT 1 FROM borne b WHERE b.payment_hash = c.payment_hash)`;

/** Every bearer's account, added up. */
export const readBearers = async (session: SqlSession): Promise<BearerSum[]> => {
  const sums = new Map<string, { sum: BearerSum; payments: number; sumMicro: bigint }>();
  const rows = await session.all(`${BORNE} ORDER BY 1, 2, 3, 4`);
  for (const row of rows) {
    const sum: BearerSum = {
      bearer: textOf(row, 'bearer') as BearerSum['bearer'],
      reference: textOf(row, 'reference'),
      rule: textOf(row, 'rule'),
      currency: numberOf(row, 'currency'),
      payments: 0,
      sumMicro: 0n,
    };
    const name = JSON.stringify([sum.bearer, sum.reference, sum.rule, sum.currency]);
    const entry = sums.get(name) ?? { sum, payments: 0, sumMicro: 0n };
    entry.payments += 1;
    entry.sumMicro += amountOf(row, 'amount_micro');
    sums.set(name, entry);
  }
  return [...sums.values()].map(({ sum, payments, sumMicro }) => ({ ...sum, payments, sumMicro }));
};
