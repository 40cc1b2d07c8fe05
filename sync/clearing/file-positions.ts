/** What stands in a file of ours, and what the issuer says it took of it (685, 688). */
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { Reconciliation } from './core/inbound-message.ts';
import type { PresentmentState } from './core/presentment-states.ts';
import { amountOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Where a message lies among what the issuer sent. */
export type InboundPlace = {
  readonly issuer: string;
  readonly number: number;
  readonly record: number;
};

type Sums = Record<'debit' | 'credit', { lines: number; amountMinor: bigint }>;

const FILE_LINES = `SELECT l.aggregate_id, l.cycle, l.amount_micro, k.sign, k.currency, p.state,
    p.file_name AS first_file, d.second_file, d.arbitrated_micro
  FROM file_lines l JOIN aggregates a ON a.aggregate_id = l.aggregate_id
  JOIN keys k ON k.key_id = a.key_id JOIN presentments p ON p.aggregate_id = l.aggregate_id
  LEFT JOIN disputes d ON d.aggregate_id = l.aggregate_id
  WHERE l.file_name = ? ORDER BY l.number`;

const sumsOf = (rows: readonly SqlRow[]): Sums => {
  const sums: Sums = {
    debit: { lines: 0, amountMinor: 0n },
    credit: { lines: 0, amountMinor: 0n },
  };
  for (const row of rows) {
    const currency = currencyOf(numberOf(row, 'currency'));
    invariant(currency !== undefined, `clearing: currency ${numberOf(row, 'currency')}`);
    const sum = sums[textOf(row, 'sign') as keyof Sums];
    sum.lines += 1;
    sum.amountMinor += amountOf(row, 'amount_micro') / microPerMinor(currency);
  }
  return sums;
};

/** ISO 4217 numeric of a file of ours; every line of one file has the same. */
export const fileCurrency = async (session: SqlSession, fileName: string): Promise<number> => {
  const [row] = await session.all(`${FILE_LINES} LIMIT 1`, fileName);
  return numberOf(row ?? {}, 'currency');
};

/** Records with both ends, and `currency sign lines amount` of each sign that occurs, in order. */
export const fileTotals = async (
  session: SqlSession,
  fileName: string,
): Promise<{ readonly records: number; readonly totals: readonly string[] }> => {
  const rows = await session.all(FILE_LINES, fileName);
  const currency = rows[0] ? numberOf(rows[0], 'currency') : 0;
  const totals = Object.entries(sumsOf(rows))
    .filter(([, { lines }]) => lines > 0)
    .map(([sign, { lines, amountMinor }]) => `${currency} ${sign} ${lines} ${amountMinor}`);
  return { records: rows.length + 2, totals: totals.toSorted() };
};

/** Whether the file is the one in which the line stands now: a refused line may stand in a later one. */
const isCurrent = (row: SqlRow, fileName: string): boolean =>
  (row['cycle'] === 1n ? textOf(row, 'first_file') : textOrNull(row, 'second_file')) === fileName;

const NOT_TAKEN: ReadonlySet<PresentmentState> = new Set(['queued', 'parked', 'released']);

const isArbitrated = (row: SqlRow): boolean => (textOrNull(row, 'arbitrated_micro') ?? '0') !== '0';

/** True for a line that was refused by itself (691) in the file in which it stands. */
const isRefused = (row: SqlRow): boolean => {
  const state = textOf(row, 'state') as PresentmentState;
  if (row['cycle'] === 1n) return NOT_TAKEN.has(state);
  // A second presentment that was refused is disputed as before, until somebody gives it up.
  return state === 'disputed' || (state === 'chargedBack' && !isArbitrated(row));
};

/** Aggregate ids of the lines that stand in a file now and were not refused by themselves. */
export const linesInFile = async (
  session: SqlSession,
  fileName: string,
): Promise<readonly string[]> => {
  const rows = await session.all(FILE_LINES, fileName);
  return rows
    .filter((row) => isCurrent(row, fileName) && !isRefused(row))
    .map((row) => textOf(row, 'aggregate_id'));
};

/** True for a line that the issuer did not refuse in this file. */
const isTaken = (row: SqlRow, fileName: string): boolean => {
  const state = textOf(row, 'state') as PresentmentState;
  if (!isCurrent(row, fileName)) return false;
  if (row['cycle'] === 1n) return !NOT_TAKEN.has(state);
  // Only what was taken can be arbitrated; charged back without that, it was refused (691) and then given up.
  return (
    state === 'secondPresented' ||
    state === 'secondFinal' ||
    (state === 'chargedBack' && isArbitrated(row))
  );
};

/** Lines of a file that the issuer did not refuse by themselves; `amountMicro` is what the file presents. */
export const takenLines = async (
  session: SqlSession,
  fileName: string,
): Promise<
  readonly { readonly aggregateId: string; readonly cycle: number; readonly amountMicro: bigint }[]
> => {
  const rows = await session.all(FILE_LINES, fileName);
  return rows
    .filter((row) => isTaken(row, fileName))
    .map((row) => ({
      aggregateId: textOf(row, 'aggregate_id'),
      cycle: numberOf(row, 'cycle'),
      amountMicro: amountOf(row, 'amount_micro'),
    }));
};

/** Keeps what a 685 or 688 says; {@link comparePositions} holds it against our lines, now and after each reject. */
export const keepPosition = async (
  session: SqlSession,
  fileName: string,
  { position, debit, credit }: Reconciliation,
  place: InboundPlace,
  nowS: number,
): Promise<void> => {
  await session.run(
    `INSERT INTO positions (issuer, number, record, file_name, position, debit_lines, debit_minor,
       credit_lines, credit_minor, noted_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    place.issuer,
    BigInt(place.number),
    BigInt(place.record),
    fileName,
    position,
    BigInt(debit.count),
    debit.amountMinor.toString(),
    BigInt(credit.count),
    credit.amountMinor.toString(),
    BigInt(nowS),
  );
};

const wordsOf = (lines: bigint | number, amountMinor: bigint | string): string =>
  `${lines} lines ${amountMinor}`;

/**
 * Holds every position of a file against the lines that the issuer took of it. Asked again after each message that
 * concerns the file, so a 688 that came before its 691 does not stay a difference.
 */
export const comparePositions = async (session: SqlSession, fileName: string): Promise<void> => {
  const stated = await session.all(
    'SELECT * FROM positions WHERE file_name = ? ORDER BY issuer, number, record',
    fileName,
  );
  if (stated.length === 0) return;
  const rows = await session.all(FILE_LINES, fileName);
  const ours = sumsOf(rows.filter((row) => isTaken(row, fileName)));
  for (const row of stated) {
    const differences: string[] = [];
    for (const sign of ['debit', 'credit'] as const) {
      const theirs = wordsOf(numberOf(row, `${sign}_lines`), textOf(row, `${sign}_minor`));
      const own = wordsOf(ours[sign].lines, ours[sign].amountMinor);
      if (theirs !== own) differences.push(`${sign}: issuer ${theirs}, ours ${own}`);
    }
    await session.run(
      'UPDATE positions SET difference = ? WHERE issuer = ? AND number = ? AND record = ?',
      differences.length === 0 ? null : differences.join('; '),
      textOf(row, 'issuer'),
      BigInt(numberOf(row, 'number')),
      BigInt(numberOf(row, 'record')),
    );
  }
};
