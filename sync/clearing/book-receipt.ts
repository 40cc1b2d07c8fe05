import { toHex } from '../../protocol/bytes.ts';
import { chargeOf, decideReceipt } from './core/ingest.ts';
import type { Placement, ReceiptFacts, VerifiedReceipt } from './core/ingest.ts';
import { noteBearer, OPERATOR_RULE } from './bearers.ts';
import { bookWaiting, refundedOf, waitingCount } from './book-credit.ts';
import { correctCharge, voidBesideRefund } from './book-void.ts';
import { FORKED, releaseCreditsOf } from './held-credits.ts';
import { noteFinding } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { addToLane } from './lane-sum.ts';
import { manyRows, ROWS_MAX, writeRows } from './many-rows.ts';
import { RunFacts } from './receipt-facts.ts';
import type { StoredReceipt } from './receipt-facts.ts';
import type { SqlValue } from './sql.ts';

const CAUSE = 'ingest';

/** What a finding says of a receipt that is held back. */
const WHY_WITHHELD = {
  RECEIPT_AND_VOID: 'the approver’s operator bears it',
  PAYER_REVOKED: 'paid after a status list had the payer revoked',
  APPROVER_CLOSED: 'signed above the sequence at which the issuer closed its approver',
} as const;

/** One run of receipts while it is booked. */
type Run = {
  readonly scope: IngestScope;
  readonly facts: RunFacts;
  /** Rows of receipts that are booked and not in the store yet; they are before anything else looks for them there. */
  readonly rows: SqlValue[];
};

const INSERT = manyRows(
  '(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  (
    rows,
  ) => `INSERT INTO receipts (payment_hash, receipt_hash, key_id, lane, state, in_conflict, line, counter,
     amount_micro, charge_micro, total_micro, released_micro, approver, sequence, payee,
     business_time_s, time_flagged, origin, leaf_index, ingested_s) VALUES ${rows}`,
);

const writeBooked = async ({ scope, rows }: Run): Promise<void> => {
  if (rows.length > 0) await writeRows(scope.session, INSERT, rows.splice(0));
};

const factsOf = async (
  run: Run,
  receipt: VerifiedReceipt,
  stored: StoredReceipt | undefined,
): Promise<ReceiptFacts> => ({
  ...(stored && {
    stored: {
      receiptHash: stored.receiptHash,
      chargeMicro: stored.chargeMicro,
      isAwaitingL2: stored.state === 'awaitingL2',
      isForkedElsewhere: stored.state === FORKED && stored.origin !== receipt.origin,
    },
  }),
  isVoided: run.facts.isVoided(receipt) && !(await isPresentedAllTheSame(run, receipt, stored)),
  isLineClosed: run.facts.isLineClosed(receipt),
  ...(await run.facts.neighbours(receipt, () => writeBooked(run))),
  closedThroughS: run.facts.closedThroughS(receipt),
});

/** Voided while it was held for a fork, and a refund of it is out: presented and corrected, so that all cancel out. */
const isPresentedAllTheSame = async (
  { scope }: Run,
  { paymentHash }: VerifiedReceipt,
  stored: StoredReceipt | undefined,
): Promise<boolean> =>
  stored?.state === FORKED && (await voidBesideRefund(scope.session, paymentHash)) !== undefined;

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
const canStandFor = (stored: StoredReceipt, receipt: VerifiedReceipt): boolean =>
  stored.origin !== receipt.origin && stored.chargeMicro === chargeOf(receipt);

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

const insert = async (run: Run, receipt: VerifiedReceipt, placement: Placement): Promise<void> => {
  const { books, nowS } = run.scope;
  const keyId = await books.open(receipt.key, 'debit');
  const charge = chargeOf(receipt);
  const [lane, state, inConflict] = stateColumns(placement);
  run.rows.push(
    receipt.paymentHash,
    receipt.receiptHash,
    keyId,
    lane,
    state,
    inConflict,
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
  const { receiptHash, origin } = receipt;
  const booked = { keyId, receiptHash, chargeMicro: charge, state, origin };
  run.facts.booked(receipt, booked, inConflict);
  const to = placement.bucket;
  await books.move({ keyId, from: 'accepted', to, amountMicro: charge, cause: CAUSE });
  await placed(run, receipt, keyId, charge, placement);
};

const promote = async (
  run: Run,
  receipt: VerifiedReceipt,
  placement: Placement,
  stored: StoredReceipt,
): Promise<void> => {
  const { session, books } = run.scope;
  const { keyId, chargeMicro } = stored;
  const { receiptHash, origin } = receipt;
  const [lane, state, inConflict] = stateColumns(placement);
  await writeBooked(run);
  await session.run(
    `UPDATE receipts SET lane = ?, state = ?, in_conflict = ?, origin = ?, leaf_index = ?,
       receipt_hash = ? WHERE payment_hash = ?`,
    lane,
    state,
    inConflict,
    origin,
    BigInt(receipt.leafIndex),
    receiptHash,
    receipt.paymentHash,
  );
  run.facts.booked(receipt, { keyId, receiptHash, chargeMicro, state, origin }, inConflict);
  const to = placement.bucket;
  const isForked = stored.state === FORKED;
  const from = isForked ? 'withheld' : 'awaitingL2';
  if (from !== to) await books.move({ keyId, from, to, amountMicro: chargeMicro, cause: CAUSE });
  await placed(run, receipt, keyId, chargeMicro, placement);
  if (isForked && 'lane' in placement) {
    await releaseCreditsOf(run.scope, receipt.paymentHash, FORKED, CAUSE);
    const voided = await voidBesideRefund(session, receipt.paymentHash);
    if (voided) await correctCharge(run.scope, voided, { keyId, chargeMicro });
  }
};

/** What follows from the place: the lane's pending sum, the proof, who bears it, the refunds that waited. */
const placed = async (
  run: Run,
  receipt: VerifiedReceipt,
  keyId: string,
  charge: bigint,
  placement: Placement,
): Promise<void> => {
  const { scope } = run;
  const { session, books, counts, nowS } = scope;
  const { paymentHash } = receipt;
  if (placement.bucket === 'withheld') counts.withheld++;
  if ('reason' in placement) {
    const why = WHY_WITHHELD[placement.reason];
    await noteFinding(scope, placement.reason, toHex(paymentHash), why);
    if (placement.reason === OPERATOR_RULE) {
      const { operator } = receipt;
      await writeBooked(run);
      const amountMicro = charge - (await refundedOf(session, paymentHash));
      const borne = { paymentHash, operator, amountMicro, unpaidMicro: amountMicro };
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
  if (!run.facts.isWaitedFor(receipt)) return;
  await writeBooked(run);
  await bookWaiting(scope, paymentHash);
};

const bookOne = async (run: Run, receipt: VerifiedReceipt): Promise<void> => {
  const { scope } = run;
  const { counts, met } = scope;
  const stored = run.facts.stored(receipt);
  const decision = decideReceipt(receipt, await factsOf(run, receipt, stored));
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
      await insert(run, receipt, decision.placement);
      return;
    case 'final':
      counts.final++;
      await promote(run, receipt, decision.placement, stored as StoredReceipt);
      return;
    default:
      decision satisfies never;
  }
};

/** Receipts that are booked together at most. */
export const RUN_MAX: number = ROWS_MAX;

/**
 * Books receipts with their Payments, each once, whatever logs they come by. What the store knows of them is asked for
 * together and their rows are written together; each is judged by itself, with those before it.
 */
export const bookReceipts = async (
  scope: IngestScope,
  receipts: readonly VerifiedReceipt[],
): Promise<void> => {
  const { session, books, closed } = scope;
  const areCreditsWaiting = (await waitingCount(scope)) > 0;
  const facts = await RunFacts.read(session, receipts, closed, areCreditsWaiting);
  await books.look(
    receipts.map(({ key }) => key),
    'debit',
  );
  const run: Run = { scope, facts, rows: [] };
  for (const receipt of receipts) await bookOne(run, receipt);
  await writeBooked(run);
};

/** in_conflict of a receipt that was never held against its line: it must not hide one that was from its neighbours. */
const NOT_JUDGED = 2n;

/** lane, state, in_conflict of a receipt's row. */
const stateColumns = (placement: Placement): [string | null, string, bigint] => {
  if (!('lane' in placement)) return [null, placement.bucket, NOT_JUDGED];
  return [placement.lane, 'pending', placement.lane === 'conflict' ? 1n : 0n];
};
