/** Statements over many rows: one call of the store, one round trip to a server, for what would be hundreds. */
import type { SqlRow, SqlSession, SqlValue } from './sql.ts';

/** Rows of one statement at most: twenty columns of each stay far below what SQLite (32,766) and PostgreSQL bind. */
export const ROWS_MAX = 256;

/** A statement for any number of rows. */
export type ManyRows = {
  /** Parameters of one row. */
  readonly width: number;
  /** The text for so many rows. */
  readonly text: (rows: number) => string;
};

/**
 * A statement for any number of rows. It is asked for in powers of two only, so a handful of texts stay prepared.
 * @param row parameters of one row, as `?` or `(?, ?)`
 */
export const manyRows = (row: string, statement: (rows: string) => string): ManyRows => {
  const texts = new Map<number, string>();
  const text = (rows: number): string => {
    const known = texts.get(rows);
    if (known !== undefined) return known;
    const made = statement(Array.from({ length: rows }, () => row).join(', '));
    texts.set(rows, made);
    return made;
  };
  return { width: row.split('?').length - 1, text };
};

/**
 * Writes rows, in their order.
 * @param values of all rows, one row behind the other
 */
export const writeRows = async (
  session: SqlSession,
  { width, text }: ManyRows,
  values: readonly SqlValue[],
): Promise<void> => {
  for (let from = 0; from < values.length;) {
    const left = (values.length - from) / width;
    let size = ROWS_MAX;
    while (size > left) size >>>= 1;
    await session.run(text(size), ...values.slice(from, from + size * width));
    from += size * width;
  }
};

/**
 * Reads by many values. Where they are fewer than a statement takes, `nothing` stands in for the rest.
 * @param wanted of all rows, one row behind the other
 * @param nothing parameters that no row answers to
 */
export const readRows = async (
  session: SqlSession,
  { width, text }: ManyRows,
  wanted: readonly SqlValue[],
  nothing: readonly SqlValue[],
): Promise<SqlRow[]> => {
  const found: SqlRow[] = [];
  for (let from = 0; from < wanted.length; from += ROWS_MAX * width) {
    const parameters = wanted.slice(from, from + ROWS_MAX * width);
    let size = 1;
    while (size * width < parameters.length) size *= 2;
    while (parameters.length < size * width) parameters.push(...nothing);
    for (const row of await session.all(text(size), ...parameters)) found.push(row);
  }
  return found;
};
