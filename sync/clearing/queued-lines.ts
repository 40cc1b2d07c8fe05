/**
 * Lines that a file presents once more under their old ARN (settlement.md 4.4): a first presentment whose file or
 * record the issuer refused, and the second presentment of a disputed line.
 */
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import type { Currency } from '../../protocol/currency.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { Books } from './books.ts';
import { PRESENTMENT_TABLE } from './core/presentment-states.ts';
import type { PresentmentState } from './core/presentment-states.ts';
import type { PresentmentRecord } from './core/ipm-record.ts';
import { decodeRecord, encodeRecord } from './file-document.ts';
import { amountOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

export type QueuedLine = {
  readonly aggregateId: string;
  readonly keyId: string;
  readonly member: string;
  readonly currency: Currency;
  readonly amountMicro: bigint;
  readonly state: PresentmentState;
  readonly record: PresentmentRecord;
  /** Name of the profile that its last file was made under. */
  readonly profile: string;
};

const lineOf = (row: SqlRow): QueuedLine => {
  const first = decodeRecord(textOf(row, 'record'));
  const currency = currencyOf(Number(first.currency));
  invariant(currency !== undefined, `clearing: line ${first.arn} in currency ${first.currency}`);
  const state = textOf(row, 'state') as PresentmentState;
  const line = {
    aggregateId: textOf(row, 'aggregate_id'),
    keyId: textOf(row, 'key_id'),
    member: first.forwardingMember,
    currency,
    state,
    profile: textOf(row, 'profile'),
  };
  if (state === 'queued') {
    return { ...line, amountMicro: amountOf(row, 'amount_micro'), record: first };
  }
  const amountMicro = amountOf(row, 'second_micro');
  const amountMinor = amountMicro / microPerMinor(currency);
  const second = {
    originalMinor: first.amountMinor,
    reason: textOrNull(row, 'second_reason') ?? '',
  };
  return { ...line, amountMicro, record: { ...first, amountMinor, second } };
};

/**
 * Lines that wait, by ARN: all but those of files that were refused as a whole and are not resubmitted yet, or only
 * those of one such file.
 */
export const queuedLines = async (
  session: SqlSession,
  ofFile?: string,
): Promise<readonly QueuedLine[]> => {
  // A rejected file's lines leave together under the new file, not one by one with the next cut.
  const where =
    ofFile === undefined
      ? `NOT EXISTS (SELECT 1 FROM files f WHERE f.state = 'rejected'
           AND f.file_name = coalesce(CASE WHEN p.state = 'queued' THEN p.file_name END, d.second_file, ''))`
      : "coalesce(CASE WHEN p.state = 'queued' THEN p.file_name END, d.second_file) = ?";
  const rows = await session.all(
    `SELECT p.aggregate_id, p.amount_micro, p.state, a.key_id, l.record, d.second_micro, d.second_reason, f.profile
     FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
     JOIN files f ON f.file_name = p.file_name
     JOIN file_lines l ON l.file_name = p.file_name AND l.number = p.number
     LEFT JOIN disputes d ON d.aggregate_id = p.aggregate_id
     WHERE p.state IN ('queued', 'secondQueued') AND ${where} ORDER BY p.arn`,
    ...(ofFile === undefined ? [] : [ofFile]),
  );
  return rows.map(lineOf);
};

/** Puts one of them into a file, inside the transaction of the cut. */
export const assignAgain = async (
  session: SqlSession,
  books: Books,
  line: QueuedLine,
  place: { readonly fileName: string; readonly number: number },
): Promise<void> => {
  const { aggregateId, keyId, amountMicro, record, state } = line;
  const { fileName } = place;
  const number = BigInt(place.number);
  const answer = PRESENTMENT_TABLE[state].assign;
  invariant(answer.kind === 'move', `clearing: line ${record.arn} cannot be assigned in ${state}`);
  await session.run(
    `INSERT INTO file_lines (file_name, number, aggregate_id, cycle, amount_micro, record)
     VALUES (?, ?, ?, ?, ?, ?)`,
    fileName,
    number,
    aggregateId,
    record.second ? 2n : 1n,
    amountMicro.toString(),
    encodeRecord(record),
  );
  await session.run(
    'UPDATE presentments SET state = ? WHERE aggregate_id = ?',
    answer.to,
    aggregateId,
  );
  if (record.second) {
    // Its money stays disputed until the file is on the disk.
    await session.run(
      'UPDATE disputes SET second_file = ? WHERE aggregate_id = ?',
      fileName,
      aggregateId,
    );
    return;
  }
  await session.run(
    'UPDATE presentments SET file_name = ?, number = ? WHERE aggregate_id = ?',
    fileName,
    number,
    aggregateId,
  );
  await books.move({ keyId, from: 'queued', to: 'inFile', amountMicro, cause: `file ${fileName}` });
};
