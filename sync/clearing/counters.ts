/** Counters that never go back: of files, ARNs, payouts, answers. */
import { numberOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/**
 * Takes the next number of a counter; the transaction makes it once. Parts of a clearing share out the numbers: part i of
 * n takes i + 1, i + 1 + n, i + 1 + 2n, so no two of them ever take the same.
 */
export const nextNumber = async (session: SqlSession, name: string): Promise<number> => {
  const numbers = await nextNumbers(session, name, 1);
  return numbers.next().value as number;
};

/** The same for as many numbers as there are lines to be numbered, in rising order; `count` of at least 1. */
export const nextNumbers = async (
  session: SqlSession,
  name: string,
  count: number,
): Promise<Iterator<number>> => {
  await session.run(
    `INSERT INTO counters (name, value) VALUES (?,
       coalesce((SELECT part_index FROM part), 0) + 1 + coalesce((SELECT part_count FROM part), 1) * ?)
     ON CONFLICT (name) DO UPDATE
       SET value = counters.value + coalesce((SELECT part_count FROM part), 1) * ?`,
    name,
    BigInt(count - 1),
    BigInt(count),
  );
  const [row] = await session.all(
    `SELECT value, coalesce((SELECT part_count FROM part), 1) AS step FROM counters WHERE name = ?`,
    name,
  );
  const [last, step] = [numberOf(row ?? {}, 'value'), numberOf(row ?? {}, 'step')];
  return numbersThrough(last, step, count);
};

function* numbersThrough(last: number, step: number, count: number): Generator<number> {
  for (let before = count - 1; before >= 0; before--) yield last - before * step;
}
