/** Statements over many rows: one call of the store, one round trip to a server, for what would be hundreds. */
import type { SqlRow, SqlSession, SqlValue } from './sql.ts';

/** Rows of one statement at most: twenty columns of each stay far below what SQLite (32,766) and PostgreSQL bind. */
export const ROWS_MAX = 256;

/** The text of a statement for so many rows. */
export type ManyRows = (rows: number) => string;

/**
 * A statement for any number of rows. It is asked for in powers of two only, so a handful of texts stay prepared.
 * @param row parameters of one row, as `?` or `(?, ?)`
 */
export const manyRows = (row: string, text: (rows: string) => string): ManyRows => {
  const texts = new Map<number, string>();
  return (rows) => {
    const known = texts.get(rows);
    if (known !== undefined) return known;
    const made = text(Array.from({ length: rows }, () => row).join(', '));
    texts.set(rows, made);
    return made;
  };
};

type Row = readonly SqlValue[];

const parametersOf = (rows: readonly Row[], from: number, to: number): SqlValue[] => {
  const parameters: SqlValue[] = [];
  for (let at = from; at < to; at += 1) parameters.push(...(rows[at] ?? []));
  return parameters;
};

/** Writes rows, in their order. */
export const writeRows = async (
  session: SqlSession,
  statement: ManyRows,
  rows: readonly Row[],
): Promise<void> => {
  for (let from = 0; from < rows.length;) {
    const left = rows.length - from;
    let size = ROWS_MAX;
    while (size > left) size >>>= 1;
    await session.run(statement(size), ...parametersOf(rows, from, from + size));
    from += size;
  }
};

/**
 * Reads by many values. Where they are fewer than a statement takes, `nothing` stands in for the rest.
 * @param nothing parameters that no row answers to
 */
export const readRows = async (
  session: SqlSession,
  statement: ManyRows,
  wanted: readonly Row[],
  nothing: Row,
): Promise<SqlRow[]> => {
  const found: SqlRow[] = [];
  for (let from = 0; from < wanted.length; from += ROWS_MAX) {
    const to = Math.min(from + ROWS_MAX, wanted.length);
    let size = 1;
    while (size < to - from) size *= 2;
    const parameters = parametersOf(wanted, from, to);
    for (let at = to - from; at < size; at += 1) parameters.push(...nothing);
    for (const row of await session.all(statement(size), ...parameters)) found.push(row);
  }
  return found;
};
