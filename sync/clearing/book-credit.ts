import { toHex } from '../../protocol/bytes.ts';
import { keyOf } from './books.ts';
import { CLOSED } from './close-files.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import { WAITING_CREDITS_MAX, decideCredit, supersededBy } from './core/credit.ts';
import type { CreditFacts, CreditRefusal, VerifiedCredit } from './core/credit.ts';
import { fitsBeside } from './core/dispute-rules.ts';
import { takeFromOther } from './held-credits.ts';
import { noteFinding } from './ingest-scope.ts';
import type { IngestScope } from './ingest-scope.ts';
import { addToLane } from './lane-sum.ts';
import { givenBackOfLine, returnedCharge } from './returned-charges.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Why a credit was booked: the payee gave back, or a Void came after its receipt was in an aggregate. */
const REFUND = 'refund';
export const VOIDED = 'void';

/** What was given back of one Payment so far, in micro-units. */
export const refundedOf = async (session: SqlSession, paymentHash: Uint8Array): Promise<bigint> => {
  const rows = await session.all(
    'SELECT amount_micro FROM credits WHERE payment_hash = ? AND cause = ? ORDER BY id',
    paymentHash,
    REFUND,
  );
  return rows.reduce((sum, row) => sum + amountOf(row, 'amount_micro'), 0n);
};

/** Of that, what reaches the payer: not what is held for a fork, which stays held once a Void is here. */
export const givenBackOf = async (
  session: SqlSession,
  paymentHash: Uint8Array,
): Promise<bigint> => {
  const rows = await session.all(
    `SELECT amount_micro FROM credits
     WHERE payment_hash = ? AND cause = ? AND state IN ('pending', 'aggregated') ORDER BY id`,
    paymentHash,
    REFUND,
  );
  return rows.reduce((sum, row) => sum + amountOf(row, 'amount_micro'), 0n);
};

const PAYABLE: readonly string[] = ['pending', 'aggregated'];

/** True where the payer got so much of the charge back already, or was never asked for it. */
const isBackAlready = async (
  session: SqlSession,
  paymentHash: Uint8Array,
  increaseMicro: bigint,
): Promise<boolean> => {
  const line = await returnedCharge(session, paymentHash);
  if (!line || line.isWhole) return line !== undefined;
  const { outMicro, waitingMicro } = await givenBackOfLine(session, line.aggregateId);
  return !fitsBeside(line, { outMicro: outMicro + waitingMicro }, increaseMicro);
};

const factsOf = async (
  session: SqlSession,
  { paymentHash, creditHash, refundedMicro }: VerifiedCredit,
): Promise<{ facts: CreditFacts; keyId: string | undefined }> => {
  const [row] = await session.all(
    'SELECT key_id, state, charge_micro FROM all_receipts WHERE payment_hash = ?',
    paymentHash,
  );
  const voids = await session.all('SELECT counter FROM voids WHERE payment_hash = ?', paymentHash);
  const waiting = await session.all(
    'SELECT credit_hash, refunded_micro FROM waiting_credits WHERE payment_hash = ? ORDER BY credit_hash',
    paymentHash,
  );
  const stored = row ? textOf(row, 'state') : '';
  const state = PAYABLE.includes(stored) ? 'payable' : 'held';
  const bookedMicro = await refundedOf(session, paymentHash);
  // Settled so long ago that its file is gone: nothing of it can be given back here.
  const isReturned =
    stored === CLOSED || (await isBackAlready(session, paymentHash, refundedMicro - bookedMicro));
  const facts: CreditFacts = {
    ...(row && {
      original: {
        chargeMicro: amountOf(row, 'charge_micro'),
        state: isReturned ? 'returned' : state,
      },
    }),
    isVoided: voids.length > 0,
    bookedMicro,
    waiting: waiting.map((one) => ({
      creditHash: bytesOf(one, 'credit_hash'),
      refundedMicro: amountOf(one, 'refunded_micro'),
    })),
    isWaiting: waiting.some((one) => toHex(bytesOf(one, 'credit_hash')) === toHex(creditHash)),
  };
  return { facts, keyId: row && textOf(row, 'key_id') };
};

const refuse = async (
  scope: IngestScope,
  { creditHash, paymentHash, refundedMicro, origin, leafIndex }: VerifiedCredit,
  code: CreditRefusal,
): Promise<void> => {
  scope.counts.refused++;
  await noteFinding(
    scope,
    code,
    toHex(creditHash),
    `${refundedMicro} micro-units of Payment ${toHex(paymentHash)}, ${origin}#${leafIndex}`,
  );
};

/** Refunds that wait in the store; counted once per batch, then kept. */
export const waitingCount = async (scope: IngestScope): Promise<number> => {
  if (scope.waitingCredits === undefined) {
    const [row] = await scope.session.all('SELECT count(*) AS waiting FROM waiting_credits');
    scope.waitingCredits = numberOf(row ?? {}, 'waiting');
  }
  return scope.waitingCredits;
};

const keepWaiting = async (
  scope: IngestScope,
  credit: VerifiedCredit,
  facts: CreditFacts,
): Promise<void> => {
  for (const { creditHash } of supersededBy(credit, facts)) {
    scope.waitingCredits = (await waitingCount(scope)) - 1;
    await scope.session.run('DELETE FROM waiting_credits WHERE credit_hash = ?', creditHash);
  }
  const waiting = await waitingCount(scope);
  if (waiting >= WAITING_CREDITS_MAX) return refuse(scope, credit, 'CREDIT_WAITING_FULL');
  scope.counts.waiting++;
  scope.waitingCredits = waiting + 1;
  await scope.session.run(
    `INSERT INTO waiting_credits (credit_hash, payment_hash, refunded_micro, reason, business_time_s,
       time_flagged, origin, leaf_index, ingested_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    credit.creditHash,
    credit.paymentHash,
    credit.refundedMicro.toString(),
    credit.reason,
    BigInt(credit.businessTimeS),
    credit.isTimeFlagged ? 1n : 0n,
    credit.origin,
    BigInt(credit.leafIndex),
    BigInt(scope.nowS),
  );
  await forgetRefusal(scope, credit);
};

/** There was no room for it once; handed in again it counts, so nobody has to look at it any more. */
const forgetRefusal = async (
  { session }: IngestScope,
  { creditHash }: VerifiedCredit,
): Promise<void> => {
  await session.run(
    "DELETE FROM findings WHERE kind = 'CREDIT_WAITING_FULL' AND reference = ?",
    toHex(creditHash),
  );
};

/** A credit as it is booked, whatever the reason. */
export type CreditEntry = Pick<
  VerifiedCredit,
  | 'creditHash'
  | 'paymentHash'
  | 'reason'
  | 'businessTimeS'
  | 'isTimeFlagged'
  | 'origin'
  | 'leafIndex'
> & {
  /** Key of the Payment's charge: what was paid decides who gives back and to whom, whatever has changed since. */
  readonly keyId: string;
  readonly amountMicro: bigint;
  readonly lane: Lane;
  readonly cause: typeof REFUND | typeof VOIDED;
};

/**
 * Books a credit on the key of its charge, with the sign `credit`: a record of its own, never netted into a charge. Where
 * the issuer has replaced the account since, it goes to the new one.
 */
export const enterCredit = async (scope: IngestScope, entry: CreditEntry): Promise<void> => {
  const { session, books, nowS, counts } = scope;
  const charged = await keyOf(session, entry.keyId);
  const account = scope.directory?.accountAfter?.(charged, nowS) ?? charged.account;
  const keyId = await books.open({ ...charged, account }, 'credit');
  const { amountMicro, lane, cause, businessTimeS } = entry;
  await session.run(
    `INSERT INTO credits (credit_hash, payment_hash, key_id, lane, state, amount_micro, cause, reason,
       business_time_s, time_flagged, origin, leaf_index, ingested_s)
     VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?)`,
    entry.creditHash,
    entry.paymentHash,
    keyId,
    lane,
    amountMicro.toString(),
    cause,
    entry.reason,
    BigInt(businessTimeS),
    entry.isTimeFlagged ? 1n : 0n,
    entry.origin,
    BigInt(entry.leafIndex),
    BigInt(nowS),
  );
  counts.credit++;
  await books.move({ keyId, from: 'credits', to: LANE_BUCKET[lane], amountMicro, cause });
  addToLane(await books.lane(keyId, lane), amountMicro, businessTimeS, nowS);
};

const laneOf = async (
  session: SqlSession,
  keyId: string,
  businessTimeS: number,
): Promise<'normal' | 'late'> => {
  const [row] = await session.all(
    `SELECT w.closed_through_s FROM keys k JOIN windows w ON w.programme = k.programme
     WHERE k.key_id = ?`,
    keyId,
  );
  return row && businessTimeS < numberOf(row, 'closed_through_s') ? 'late' : 'normal';
};

const isPayable = ({ original, isVoided }: CreditFacts): boolean =>
  original?.state === 'payable' && !isVoided;

/** Books one refund, or keeps it until its Payment is here. */
export const bookCredit = async (scope: IngestScope, credit: VerifiedCredit): Promise<void> => {
  const { session, counts } = scope;
  const { facts, keyId } = await factsOf(session, credit);
  const decision = decideCredit(credit, facts);
  switch (decision.kind) {
    case 'refused':
      return refuse(scope, credit, decision.code);
    case 'nothing':
      if (isPayable(facts) && (await takeFromOther(scope, credit))) counts.credit++;
      else counts.duplicate++;
      return;
    case 'wait':
      return keepWaiting(scope, credit, facts);
    case 'book': {
      const key = keyId as string;
      const lane = await laneOf(session, key, credit.businessTimeS);
      const amountMicro = decision.increaseMicro;
      await forgetRefusal(scope, credit);
      return enterCredit(scope, { ...credit, keyId: key, amountMicro, lane, cause: REFUND });
    }
    default:
      decision satisfies never;
  }
};

const creditOf = (row: SqlRow): VerifiedCredit => ({
  kind: 'credit',
  creditHash: bytesOf(row, 'credit_hash'),
  paymentHash: bytesOf(row, 'payment_hash'),
  refundedMicro: amountOf(row, 'refunded_micro'),
  reason: textOf(row, 'reason'),
  businessTimeS: numberOf(row, 'business_time_s'),
  isTimeFlagged: numberOf(row, 'time_flagged') === 1,
  origin: textOf(row, 'origin'),
  leafIndex: numberOf(row, 'leaf_index'),
});

/** Decides again on the refunds that waited for a Payment: it is here now, or a Void of it. */
export const bookWaiting = async (scope: IngestScope, paymentHash: Uint8Array): Promise<void> => {
  if ((await waitingCount(scope)) === 0) return;
  const rows = await scope.session.all(
    'SELECT * FROM waiting_credits WHERE payment_hash = ? ORDER BY leaf_index, credit_hash',
    paymentHash,
  );
  if (rows.length === 0) return;
  await scope.session.run('DELETE FROM waiting_credits WHERE payment_hash = ?', paymentHash);
  scope.waitingCredits = (await waitingCount(scope)) - rows.length;
  for (const row of rows) await bookCredit(scope, creditOf(row));
};
