/**
 * Disputes of lines and how they end: presented again, accepted, arbitrated. A refund that reached the payer in a line of its
 * own is no charge any more, so of such a line only the rest is charged back (settlement.md 4.4, DESIGN §6): accepting
 * more is refused, and a chargeback of what was refunded altogether is answered by a second presentment.
 */
import { Books } from './books.ts';
import { isAboveRest, refundedPart } from './core/dispute-rules.ts';
import { SECOND_REASON_REFUNDED } from './core/inbound-reasons.ts';
import type { ReasonRule } from './core/inbound-reasons.ts';
import { noteFinding } from './ingest-scope.ts';
import { happen, lineByAggregate } from './line-book.ts';
import type { Line } from './line-book.ts';
import { givenBackOfLine, reverseCreditsOf } from './returned-charges.ts';
import { textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** One transaction in which disputes move. */
export type DisputeWork = {
  readonly session: SqlSession;
  readonly books: Books;
  readonly nowS: number;
};

/** A first chargeback that the line has taken. */
type FirstChargeback = {
  readonly reason: string;
  readonly sumMicro: bigint;
  readonly answerByS: number;
  /** Of the profile; absent for a reason that it does not know. */
  readonly rule: ReasonRule | undefined;
};

/** True where so much cannot be charged back for good, because refunds of the line reached the payer. */
export const isRefundedBeside = async (
  session: SqlSession,
  line: Line,
  chargedBackMicro: bigint,
): Promise<boolean> =>
  isAboveRest({ ...line, chargedBackMicro }, await givenBackOfLine(session, line.aggregateId));

/**
 * Opens the dispute. Where refunds cover all of the disputed sum, and evidence may answer the reason, the second
 * presentment of it is queued by itself: the merchant gave that money back already, so there is nothing to decide.
 * @returns the sum that refunds cover, in micro-units, and whether it is answered
 */
export const openDispute = async (
  { session, books, nowS }: DisputeWork,
  line: Line,
  { reason, sumMicro, answerByS, rule }: FirstChargeback,
): Promise<{ readonly refundedMicro: bigint; readonly isAnswered: boolean }> => {
  await session.run(
    `INSERT INTO disputes (aggregate_id, reason, amount_micro, opened_s, answer_by_s, second_micro,
       arbitrated_micro) VALUES (?, ?, ?, ?, ?, '0', '0')`,
    line.aggregateId,
    reason,
    sumMicro.toString(),
    BigInt(nowS),
    BigInt(answerByS),
  );
  const back = await givenBackOfLine(session, line.aggregateId);
  const refundedMicro = refundedPart(line, sumMicro, back);
  const disputed = await lineByAggregate(session, line.aggregateId);
  const isAnswered = refundedMicro === sumMicro && rule?.isRepresentable === true;
  if (isAnswered && disputed) {
    await presentAgain({ session, books, nowS }, disputed, sumMicro, SECOND_REASON_REFUNDED);
  }
  return { refundedMicro, isAnswered };
};

/** Second presentments that end in one transaction. */
const LAPSED_MAX = 1_000;

/**
 * Ends disputes whose second presentment the issuer took and did not answer in time: it stands, whatever comes later.
 * @returns how many; as many as may be in one transaction where more may be due
 */
const lapseSome = async (
  { session, books, nowS }: DisputeWork,
  arbitrationS: number,
): Promise<number> => {
  const rows = await session.all(
    `SELECT p.aggregate_id FROM presentments p JOIN disputes d ON d.aggregate_id = p.aggregate_id
     JOIN files f ON f.file_name = d.second_file
     WHERE p.state = 'secondPresented' AND f.state IN ('accepted', 'partly') AND f.written_s < ?
     ORDER BY p.arn LIMIT ${LAPSED_MAX}`,
    BigInt(nowS - arbitrationS),
  );
  for (const row of rows) {
    const line = await lineByAggregate(session, textOf(row, 'aggregate_id'));
    if (!line) continue;
    await happen(session, books, line, 'lapse', `lapse ${line.arn}`);
    await session.run(
      'UPDATE disputes SET closed_s = ? WHERE aggregate_id = ?',
      BigInt(nowS),
      line.aggregateId,
    );
  }
  return rows.length;
};

/** Ends every dispute whose time for arbitration is over; see {@link lapseSome}. */
export const lapseDisputes = async (
  database: SqlDatabase,
  arbitrationS: number,
  nowS: number,
): Promise<void> => {
  for (;;) {
    const ended = await database.transaction((session) =>
      lapseSome({ session, books: new Books(session, nowS), nowS }, arbitrationS),
    );
    if (ended < LAPSED_MAX) return;
  }
};

/** Lines of refunds named in one alert. */
const NAMED_MAX = 3;

/** What of a disputed line was refunded, and what must be presented again for that; empty where nothing was. */
export const refundWords = async (session: SqlSession, aggregateId: string): Promise<string> => {
  const line = await lineByAggregate(session, aggregateId);
  const back = await givenBackOfLine(session, aggregateId);
  if (!line || back.outMicro === 0n) return '';
  const covered = refundedPart(line, line.disputedMicro, back) / line.unitMicro;
  const rest = back.arns.length > NAMED_MAX ? ' …' : '';
  const named = back.arns.slice(0, NAMED_MAX).join(' ') + rest;
  return `; ${back.outMicro} micro-units of the line are refunded (${named}): present again at least ${covered} minor units`;
};

/** Queues the second presentment of so much of a disputed line; the rest of the dispute is charged back for good. */
export const presentAgain = async (
  { session, books, nowS }: DisputeWork,
  line: Line,
  sumMicro: bigint,
  reason: string,
): Promise<void> => {
  await happen(session, books, line, 'represent', `represent ${line.arn}`, sumMicro);
  await session.run(
    `UPDATE disputes SET second_micro = ?, second_reason = ?, second_file = NULL
     WHERE aggregate_id = ?`,
    sumMicro.toString(),
    reason,
    line.aggregateId,
  );
  const chargedBackMicro = line.chargedBackMicro + line.disputedMicro - sumMicro;
  if (chargedBackMicro > line.chargedBackMicro) {
    await reverseCreditsOf(session, books, { ...line, chargedBackMicro }, nowS);
  }
};

/** The issuer's last word, or the end of the time to answer: so much more of the line is charged back for good. */
export const closeDispute = async (
  { session, books, nowS }: DisputeWork,
  line: Line,
  sums: { readonly chargedBackMicro: bigint; readonly arbitratedMicro: bigint },
): Promise<void> => {
  const { chargedBackMicro, arbitratedMicro } = sums;
  await session.run(
    'UPDATE disputes SET arbitrated_micro = ?, closed_s = ? WHERE aggregate_id = ?',
    arbitratedMicro.toString(),
    BigInt(nowS),
    line.aggregateId,
  );
  if (await isRefundedBeside(session, line, chargedBackMicro)) {
    await noteFinding(
      { session, nowS },
      'REFUNDED_AND_CHARGED_BACK',
      `${line.arn} ${line.arnDate}`,
      `${chargedBackMicro} micro-units charged back beside refunds that are out: the merchant gave both`,
    );
  }
  await reverseCreditsOf(session, books, { ...line, chargedBackMicro }, nowS);
};
