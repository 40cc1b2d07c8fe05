import { toHex } from '../../protocol/bytes.ts';
import { chargeOf, decideReceipt } from './core/ingest.ts';
import type { PaymentOnLine, Placement, ReceiptFacts, VerifiedReceipt } from './core/ingest.ts';
import { noteBearer, OPERATOR_RULE } from './bearers.ts';
import { bookWaiting, refundedOf } from './book-credit.ts';
import { releaseCreditsOf } from './held-credits.ts';
import { noteFinding } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { addToLane } from './lane-sum.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';
import { FORKED } from './stopped-logs.ts';

const CAUSE = 'ingest';

/** What a finding says of a receipt that is held back. */
const WHY_WITHHELD = {
  RECEIPT_AND_VOID: 'the approver’s operator bears it',
  PAYER_REVOKED: 'paid after a status list had the payer revoked',
  APPROVER_CLOSED: 'signed above the sequence at which the issuer closed its approver',
} as const;

const paymentOf = (row: SqlRow | undefined): PaymentOnLine | undefined =>
  row && {
    paymentHash: bytesOf(row, 'payment_hash'),
    counter: numberOf(row, 'counter'),
    amountMicro: amountOf(row, 'amount_micro'),
    totalMicro: amountOf(row, 'total_micro'),
  };

const ON_LINE = 'payment_hash, counter, amount_micro, total_micro FROM receipts WHERE line = ?';

/** In one statement: each of its own would be a round trip to a server, for every receipt. */
const NEIGHBOURS = `
  SELECT * FROM (SELECT 'same' AS place, ${ON_LINE} AND counter = ? AND payment_hash <> ?
    ORDER BY in_conflict LIMIT 1) AS same
  UNION ALL SELECT * FROM (SELECT 'below' AS place, ${ON_LINE} AND counter < ? AND in_conflict = 0
    ORDER BY counter DESC LIMIT 1) AS below
  UNION ALL SELECT * FROM (SELECT 'above' AS place, ${ON_LINE} AND counter > ? AND in_conflict = 0
    ORDER BY counter LIMIT 1) AS above`;

/** Nearest Payments on the line that were judged and are not in conflict themselves, and any other on the same counter. */
const neighbours = async (
  session: SqlSession,
  { line, counter, paymentHash }: VerifiedReceipt,
): Promise<Pick<ReceiptFacts, 'sameCounter' | 'below' | 'above'>> => {
  const at = BigInt(counter);
  const rows = await session.all(NEIGHBOURS, line, at, paymentHash, line, at, line, at);
  const standing = (place: string): PaymentOnLine | undefined =>
    paymentOf(rows.find((row) => row['place'] === place));
  const sameCounter = standing('same');
  const below = standing('below');
  const above = standing('above');
  return {
    ...(sameCounter ? { sameCounter } : {}),
    ...(below ? { below } : {}),
    ...(above ? { above } : {}),
  };
};

const factsOf = async (
  session: SqlSession,
  receipt: VerifiedReceipt,
): Promise<{ facts: ReceiptFacts; stored: SqlRow | undefined }> => {
  const { paymentHash } = receipt;
  const [stored] = await session.all(
    `SELECT id, receipt_hash, state, key_id, charge_micro, origin FROM receipts
     WHERE payment_hash = ?`,
    paymentHash,
  );
  const [around = {}] = await session.all(
    `SELECT (SELECT count(*) FROM voids WHERE payment_hash = ?) AS voids,
       coalesce((SELECT closed_through_s FROM windows WHERE programme = ?), 0) AS closed_through_s`,
    paymentHash,
    receipt.key.programme,
  );
  const facts: ReceiptFacts = {
    ...(stored && {
      stored: {
        receiptHash: bytesOf(stored, 'receipt_hash'),
        chargeMicro: amountOf(stored, 'charge_micro'),
        isAwaitingL2: textOf(stored, 'state') === 'awaitingL2',
        isForkedElsewhere:
          textOf(stored, 'state') === FORKED && textOf(stored, 'origin') !== receipt.origin,
      },
    }),
    isVoided: numberOf(around, 'voids') > 0,
    ...(await neighbours(session, receipt)),
    closedThroughS: numberOf(around, 'closed_through_s'),
  };
  return { facts, stored };
};

const keepSecond = async (scope: IngestScope, receipt: VerifiedReceipt): Promise<void> => {
  scope.counts.secondReceipt++;
  await scope.session.run(
    `INSERT INTO second_receipts (payment_hash, receipt_hash, origin, leaf_index)
     VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    receipt.paymentHash,
    receipt.receiptHash,
    receipt.origin,
    BigInt(receipt.leafIndex),
  );
};

/** In another log, and what was booked can be proven from there: two Receipts may charge differently. */
const canStandFor = (stored: SqlRow, receipt: VerifiedReceipt): boolean =>
  textOf(stored, 'origin') !== receipt.origin &&
  amountOf(stored, 'charge_micro') === chargeOf(receipt);

/** Should the log that it is booked from fork below it, it is payable from here. */
const keepPlace = async ({ session }: IngestScope, receipt: VerifiedReceipt): Promise<void> => {
  await session.run(
    `INSERT INTO other_places (payment_hash, origin, leaf_index, receipt_hash)
     VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    receipt.paymentHash,
    receipt.origin,
    BigInt(receipt.leafIndex),
    receipt.receiptHash,
  );
};

const insert = async (
  scope: IngestScope,
  receipt: VerifiedReceipt,
  placement: Placement,
): Promise<void> => {
  const { session, books, nowS } = scope;
  const keyId = await books.open({ ...receipt.key, sign: 'debit' });
  const charge = chargeOf(receipt);
  await session.run(
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
    BigInt(nowS),
  );
  const to = placement.bucket;
  await books.move({ keyId, from: 'accepted', to, amountMicro: charge, cause: CAUSE });
  await placed(scope, receipt, keyId, charge, placement);
};

const promote = async (
  scope: IngestScope,
  receipt: VerifiedReceipt,
  placement: Placement,
  stored: SqlRow,
): Promise<void> => {
  const { session, books } = scope;
  const [lane, state, inConflict] = stateColumns(placement);
  await session.run(
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
  const isForked = textOf(stored, 'state') === FORKED;
  const from = isForked ? 'withheld' : 'awaitingL2';
  if (from !== to) await books.move({ keyId, from, to, amountMicro, cause: CAUSE });
  await placed(scope, receipt, keyId, amountMicro, placement);
  if (isForked && 'lane' in placement) {
    await releaseCreditsOf(scope, receipt.paymentHash, FORKED, CAUSE);
  }
};

/** What follows from the place: the lane's pending sum, the proof, who bears it, the refunds that waited. */
const placed = async (
  scope: IngestScope,
  receipt: VerifiedReceipt,
  keyId: string,
  charge: bigint,
  placement: Placement,
): Promise<void> => {
  const { session, books, counts, nowS } = scope;
  const { paymentHash } = receipt;
  if (placement.bucket === 'withheld') counts.withheld++;
  if ('reason' in placement) {
    const why = WHY_WITHHELD[placement.reason];
    await noteFinding(scope, placement.reason, toHex(paymentHash), why);
    if (placement.reason === OPERATOR_RULE) {
      const { operator } = receipt;
      const amountMicro = charge - (await refundedOf(session, paymentHash));
      const borne = { paymentHash, operator, amountMicro, isMerchantUnpaid: true };
      await noteBearer(scope, borne);
    }
  }
  if (!('lane' in placement)) return;
  const state = await books.lane(keyId, placement.lane);
  addToLane(state, charge, receipt.businessTimeS, nowS);
  if (placement.lane === 'late') counts.late++;
  if (placement.proof !== undefined) {
    counts.conflict++;
    await session.run(
      `INSERT INTO conflicts (payment_hash, other_hash, rule, bearer) VALUES (?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
      paymentHash,
      placement.proof.other.paymentHash,
      placement.proof.rule,
      receipt.lossBearer ?? 'party',
    );
  }
  await bookWaiting(scope, paymentHash);
};

/** Books one receipt with its Payment, once, whatever logs it comes by. */
export const bookReceipt = async (scope: IngestScope, receipt: VerifiedReceipt): Promise<void> => {
  const { counts, met, session } = scope;
  const { facts, stored } = await factsOf(session, receipt);
  const decision = decideReceipt(receipt, facts);
  const isFirst = decision.kind === 'first';
  if (receipt.row) {
    const chargeMicro = chargeOf(receipt);
    met.push({ row: receipt.row, ...(isFirst ? { chargeMicro } : {}) });
  }
  switch (decision.kind) {
    case 'refused':
      counts.refused++;
      await noteFinding(
        scope,
        decision.code,
        toHex(receipt.paymentHash),
        `${receipt.origin} ${receipt.leafIndex}`,
      );
      return;
    case 'duplicate':
      counts.duplicate++;
      if (decision.isSecondReceipt) await keepSecond(scope, receipt);
      if (stored && canStandFor(stored, receipt)) await keepPlace(scope, receipt);
      return;
    case 'first':
      counts.first++;
      await insert(scope, receipt, decision.placement);
      return;
    case 'final':
      counts.final++;
      await promote(scope, receipt, decision.placement, stored as SqlRow);
      return;
    default:
      decision satisfies never;
  }
};

/** in_conflict of a receipt that was never held against its line: it must not hide one that was from its neighbours. */
const NOT_JUDGED = 2n;

/** lane, state, in_conflict of a receipt's row. */
const stateColumns = (placement: Placement): [string | null, string, bigint] => {
  if (!('lane' in placement)) return [null, placement.bucket, NOT_JUDGED];
  return [placement.lane, 'pending', placement.lane === 'conflict' ? 1n : 0n];
};
