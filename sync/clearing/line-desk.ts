/** What a person decides about lines and files that an issuer refused or disputes. Refusals are values and move nothing. */
import { fromHex } from '../../protocol/bytes.ts';
import { Books } from './books.ts';
import type { CutAssigner } from './assign-cut.ts';
import type { DisputeLimits } from './core/dispute-rules.ts';
import { FILE_TABLE } from './core/file-states.ts';
import type { FileRefusal, FileState } from './core/file-states.ts';
import type { PresentmentRefusal, PresentmentState } from './core/presentment-states.ts';
import { PRESENTMENT_TABLE } from './core/presentment-states.ts';
import { closeDispute, isRefundedBeside, presentAgain } from './disputes.ts';
import { happen, lineByArn } from './line-book.ts';
import type { Line } from './line-book.ts';
import { queuedLines } from './queued-lines.ts';
import { isRefundOut, reverseCreditsOf } from './returned-charges.ts';
import { amountOf, textOf, textOrNull } from './sql.ts';
import type { SqlSession } from './sql.ts';

type DeskRefusal =
  | PresentmentRefusal
  | FileRefusal
  | 'UNKNOWN_ARN'
  | 'UNKNOWN_FILE'
  | 'UNKNOWN_RECEIPT'
  | 'NOTHING_LEFT'
  /**
   * A refund of the line's receipts is presented: the charge has to be too, for both to cancel out. So the line is not
   * given up, and a chargeback is accepted only less what was refunded.
   */
  | 'REFUNDED'
  | 'ABOVE_DISPUTED'
  | 'REASON_INVALID'
  | 'ANSWER_WINDOW_CLOSED'
  | 'EVIDENCE_EXPIRED';

/** `state` is where the line, or the file, stands afterwards. */
export type Decided =
  | { readonly kind: 'moved' | 'repeated'; readonly state: PresentmentState | FileState }
  | { readonly kind: 'refused'; readonly code: DeskRefusal };

const refused = (code: DeskRefusal): { readonly kind: 'refused'; readonly code: DeskRefusal } => ({
  kind: 'refused',
  code,
});

/** What may be decided about a line by its ARN alone. */
export type LineDecision = 'requeue' | 'park' | 'release' | 'accept';

/** Requeue, park or give up a refused line; accept a chargeback. */
export const decideLine = async (
  session: SqlSession,
  arn: string,
  decision: LineDecision,
  nowS: number,
): Promise<Decided> => {
  const line = await lineByArn(session, arn);
  if (!line) return refused('UNKNOWN_ARN');
  const isGivenUp = decision === 'release' && line.state === 'parked';
  if (isGivenUp && (await isRefundOut(session, line.aggregateId))) return refused('REFUNDED');
  const allowed = PRESENTMENT_TABLE[line.state][decision];
  const chargedBackMicro = line.chargedBackMicro + line.disputedMicro;
  if (decision === 'accept' && allowed.kind === 'move') {
    // When the time to answer is over nothing can be presented again: the chargeback stands, and a finding says so.
    const isAnswerable = line.state === 'secondQueued' || nowS <= (line.answerByS ?? nowS);
    if (isAnswerable && (await isRefundedBeside(session, line, chargedBackMicro))) {
      return refused('REFUNDED');
    }
  }
  const books = new Books(session, nowS);
  const answer = await happen(session, books, line, decision, `${decision} ${arn}`);
  if (answer.kind === 'refused') return answer;
  if (answer.kind === 'repeated') return { kind: 'repeated', state: line.state };
  const work = { session, books, nowS };
  if (decision === 'accept')
    await closeDispute(work, line, { chargedBackMicro, arbitratedMicro: 0n });
  if (isGivenUp) {
    await reverseCreditsOf(session, books, { ...line, chargedBackMicro: line.amountMicro }, nowS);
  }
  await books.flush();
  return { kind: 'moved', state: answer.to };
};

/** How a chargeback is answered: all of it, or what is left without some receipts (whole minor units). */
export type SecondAnswer = {
  readonly arn: string;
  /** DE25, four digits. */
  readonly reason: string;
  /** At most what is disputed; absent: all of it. */
  readonly amountMinor?: bigint;
  /** SHA-256 of Receipt payloads, in hex, that are not defended. */
  readonly withoutReceipts?: readonly string[];
};

/** Micro-units of the receipts of a line; undefined if one of them is not in it. */
const chargedBy = async (
  session: SqlSession,
  line: Line,
  receipts: readonly string[],
): Promise<bigint | undefined> => {
  let sum = 0n;
  for (const hash of new Set(receipts)) {
    const [row] = /^([\da-f]{2}){32}$/.test(hash)
      ? await session.all(
          'SELECT charge_micro FROM all_receipts WHERE aggregate_id = ? AND receipt_hash = ?',
          line.aggregateId,
          fromHex(hash),
        )
      : [];
    if (!row) return undefined;
    sum += amountOf(row, 'charge_micro');
  }
  return sum;
};

const answerMicro = async (
  session: SqlSession,
  line: Line,
  answer: SecondAnswer,
): Promise<bigint | DeskRefusal> => {
  if (answer.amountMinor !== undefined) {
    const sum = answer.amountMinor * line.unitMicro;
    return sum > line.disputedMicro ? 'ABOVE_DISPUTED' : sum > 0n ? sum : 'NOTHING_LEFT';
  }
  const without = await chargedBy(session, line, answer.withoutReceipts ?? []);
  if (without === undefined) return 'UNKNOWN_RECEIPT';
  const minor = (line.disputedMicro - without) / line.unitMicro;
  return minor > 0n ? minor * line.unitMicro : 'NOTHING_LEFT';
};

/** Answers a chargeback by a second presentment, which leaves with the next cut. */
export const represent = async (
  session: SqlSession,
  answer: SecondAnswer,
  limits: DisputeLimits,
  nowS: number,
): Promise<Decided> => {
  const line = await lineByArn(session, answer.arn);
  if (!line) return refused('UNKNOWN_ARN');
  if (!/^\d{4}$/.test(answer.reason)) return refused('REASON_INVALID');
  const allowed = PRESENTMENT_TABLE[line.state].represent;
  if (allowed.kind === 'refused') return allowed;
  if (allowed.kind === 'repeated') return { kind: 'repeated', state: line.state };
  if (nowS > (line.answerByS ?? nowS)) return refused('ANSWER_WINDOW_CLOSED');
  if (nowS - (line.presentedS ?? nowS) > limits.evidenceS) return refused('EVIDENCE_EXPIRED');
  const sumMicro = await answerMicro(session, line, answer);
  if (typeof sumMicro === 'string') return refused(sumMicro);
  const chargedBackMicro = line.chargedBackMicro + line.disputedMicro - sumMicro;
  const isPart = sumMicro < line.disputedMicro;
  if (isPart && (await isRefundedBeside(session, line, chargedBackMicro))) {
    return refused('REFUNDED');
  }
  const books = new Books(session, nowS);
  await presentAgain({ session, books, nowS }, line, sumMicro, answer.reason);
  await books.flush();
  return { kind: 'moved', state: allowed.to };
};

/** The new file, without ending. */
export type Resubmitted =
  | { readonly kind: 'moved' | 'repeated'; readonly fileName: string }
  | { readonly kind: 'refused'; readonly code: DeskRefusal };

/**
 * Puts the lines of a file that was refused as a whole into a new one: new file id and numbers, same ARNs. Asked
 * again, it answers with the file that was made.
 */
export const resubmit = async (
  session: SqlSession,
  fileName: string,
  assigner: CutAssigner,
): Promise<Resubmitted> => {
  const [row] = await session.all(
    'SELECT state, replaced_by FROM files WHERE file_name = ?',
    fileName,
  );
  if (!row) return refused('UNKNOWN_FILE');
  const answer = FILE_TABLE[textOf(row, 'state') as FileState].resubmit;
  if (answer.kind === 'refused') return answer;
  if (answer.kind === 'repeated') {
    return { kind: 'repeated', fileName: textOrNull(row, 'replaced_by') ?? '' };
  }
  // A second presentment of one of its lines waits for a file of its own.
  if ((await queuedLines(session, fileName)).length === 0) return refused('NOTHING_LEFT');
  const next = await assigner.resubmit(fileName);
  await session.run(
    'UPDATE files SET state = ?, replaced_by = ? WHERE file_name = ?',
    answer.to,
    next,
    fileName,
  );
  return { kind: 'moved', fileName: next };
};
