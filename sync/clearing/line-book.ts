/** One line (ARN) and its money: every event goes through the table of its states, every move through the books. */
import { invariant } from '../../protocol/kiri-error.ts';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import type { Books } from './books.ts';
import type { Bucket } from './core/ledger-states.ts';
import type { PresentmentRecord } from './core/ipm-record.ts';
import { PRESENTMENT_TABLE } from './core/presentment-states.ts';
import type {
  PresentmentEvent,
  PresentmentRefusal,
  PresentmentState,
} from './core/presentment-states.ts';
import type { StateAnswer } from './core/state-table.ts';
import { decodeRecord } from './file-document.ts';
import { amountOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** A line as it stands now. Amounts in micro-units. */
export type Line = {
  readonly aggregateId: string;
  readonly keyId: string;
  readonly account: string;
  readonly party: string;
  readonly arn: string;
  /** `2026-11-21`: an ARN comes back after ten years. */
  readonly arnDate: string;
  /** The file of its first presentment, and of its second. */
  readonly fileName: string;
  readonly secondFile: string | undefined;
  readonly state: PresentmentState;
  readonly amountMicro: bigint;
  readonly disputedMicro: bigint;
  readonly chargedBackMicro: bigint;
  readonly secondMicro: bigint;
  readonly unitMicro: bigint;
  readonly presentedS: number | undefined;
  readonly answerByS: number | undefined;
  /** Its first presentment. */
  readonly record: PresentmentRecord;
};

const SELECT = `SELECT p.*, a.key_id, k.account, k.party, k.currency, l.record, d.second_micro, d.second_file,
    d.answer_by_s
  FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
  JOIN keys k ON k.key_id = a.key_id
  JOIN file_lines l ON l.file_name = p.file_name AND l.number = p.number
  LEFT JOIN disputes d ON d.aggregate_id = p.aggregate_id`;

const lineOf = (row: SqlRow | undefined): Line | undefined => {
  if (!row) return undefined;
  const currency = currencyOf(numberOf(row, 'currency'));
  invariant(currency !== undefined, `clearing: currency ${numberOf(row, 'currency')}`);
  return {
    aggregateId: textOf(row, 'aggregate_id'),
    keyId: textOf(row, 'key_id'),
    account: textOf(row, 'account'),
    party: textOf(row, 'party'),
    arn: textOf(row, 'arn'),
    arnDate: textOf(row, 'arn_date'),
    fileName: textOf(row, 'file_name'),
    secondFile: textOrNull(row, 'second_file'),
    state: textOf(row, 'state') as PresentmentState,
    amountMicro: amountOf(row, 'amount_micro'),
    disputedMicro: amountOf(row, 'disputed_micro'),
    chargedBackMicro: amountOf(row, 'charged_back_micro'),
    secondMicro: row['second_micro'] === null ? 0n : amountOf(row, 'second_micro'),
    unitMicro: microPerMinor(currency),
    presentedS: row['presented_s'] === null ? undefined : numberOf(row, 'presented_s'),
    answerByS: row['answer_by_s'] === null ? undefined : numberOf(row, 'answer_by_s'),
    record: decodeRecord(textOf(row, 'record')),
  };
};

/** By ARN; year and day in it come back after ten years, so the newest counts. */
export const lineByArn = async (session: SqlSession, arn: string): Promise<Line | undefined> => {
  const [row] = await session.all(
    `${SELECT} WHERE p.arn = ? ORDER BY p.arn_date DESC LIMIT 1`,
    arn,
  );
  return lineOf(row);
};

export const lineByAggregate = async (
  session: SqlSession,
  aggregateId: string,
): Promise<Line | undefined> => {
  const [row] = await session.all(`${SELECT} WHERE p.aggregate_id = ?`, aggregateId);
  return lineOf(row);
};

type Step = readonly [from: Bucket, to: Bucket, amountMicro: bigint];

/** The moves of one event that the table has let through. `sumMicro` is what a chargeback or an answer is about. */
const stepsOf = (line: Line, event: PresentmentEvent, sumMicro: bigint): readonly Step[] => {
  const { amountMicro, disputedMicro, secondMicro, state } = line;
  const backToDispute: Step = ['presentedOpen', 'presentedDisputed', secondMicro];
  switch (event) {
    case 'fileReject':
      return [
        state === 'secondPresented' ? backToDispute : ['presentedOpen', 'queued', amountMicro],
      ];
    case 'messageReject':
      return [
        state === 'secondPresented' ? backToDispute : ['presentedOpen', 'parked', amountMicro],
      ];
    case 'requeue':
      return [['parked', 'queued', amountMicro]];
    case 'park':
      return [['queued', 'parked', amountMicro]];
    case 'release':
      return [['parked', 'reversed', amountMicro]];
    case 'chargeback':
      return [['presentedOpen', 'presentedDisputed', sumMicro]];
    case 'represent':
      // What is not presented again is charged back for good.
      return [['presentedDisputed', 'presentedChargedBack', disputedMicro - sumMicro]];
    case 'accept':
      return [['presentedDisputed', 'presentedChargedBack', disputedMicro]];
    case 'arbitration':
      return [
        ['presentedOpen', 'presentedDisputed', sumMicro],
        ['presentedDisputed', 'presentedChargedBack', sumMicro],
      ];
    // What was presented again is open since its file was written.
    case 'lapse':
    case 'retrieval':
      return [];
    case 'assign':
    case 'write':
      throw new TypeError(`${event} is a step of a cut`);
  }
};

/**
 * Lets one event happen to a line, or says why not. Refusals and repetitions change nothing.
 * @param sumMicro of a chargeback, an arbitration, or what is presented again
 */
export const happen = async (
  session: SqlSession,
  books: Books,
  line: Line,
  event: PresentmentEvent,
  cause: string,
  sumMicro = 0n,
): Promise<StateAnswer<PresentmentState, PresentmentRefusal>> => {
  const answer = PRESENTMENT_TABLE[line.state][event];
  if (answer.kind !== 'move') return answer;
  let disputed = line.disputedMicro;
  let chargedBack = line.chargedBackMicro;
  for (const [from, to, amountMicro] of stepsOf(line, event, sumMicro)) {
    await books.move({ keyId: line.keyId, from, to, amountMicro, cause });
    if (from === 'presentedDisputed') disputed -= amountMicro;
    if (to === 'presentedDisputed') disputed += amountMicro;
    if (to === 'presentedChargedBack') chargedBack += amountMicro;
  }
  const isSplit = disputed >= 0n && disputed + chargedBack <= line.amountMicro;
  invariant(
    isSplit,
    `clearing: line ${line.arn}: ${disputed} disputed, ${chargedBack} charged back`,
  );
  await session.run(
    `UPDATE presentments SET state = ?, disputed_micro = ?, charged_back_micro = ?
     WHERE aggregate_id = ?`,
    answer.to,
    disputed.toString(),
    chargedBack.toString(),
    line.aggregateId,
  );
  return answer;
};
