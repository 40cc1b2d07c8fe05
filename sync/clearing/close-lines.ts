/**
 * Device lines on which nothing was paid within the years that books are kept: all their receipts stood in files that
 * were deleted. What is left of those goes too; the line's id stays, so that no receipt of it is ever booked again.
 */
import { toHex } from '../../protocol/bytes.ts';
import { CLOSED } from './close-files.ts';
import { ClosedSums } from './closed-sums.ts';
import type { Hold } from './retention.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

const PAGE = 256;
const ROWS_PAGE = 4_096;

const PAYMENTS = '(SELECT payment_hash FROM receipts WHERE line = ?)';

/** True where somebody holds the line or one of its parties, or a refund on it is younger than its receipts. */
const isKept = async (
  session: SqlSession,
  line: Uint8Array,
  holds: readonly Hold[],
): Promise<boolean> => {
  const hex = toHex(line);
  for (const { kind, reference } of holds) {
    if (kind === 'line' && reference === hex) return true;
    if (kind !== 'party') continue;
    const rows = await session.all(
      'SELECT r.id FROM receipts r JOIN keys k ON k.key_id = r.key_id WHERE r.line = ? AND k.party = ? LIMIT 1',
      line,
      reference,
    );
    if (rows.length > 0) return true;
  }
  const open = await session.all(
    `SELECT id FROM credits WHERE payment_hash IN ${PAYMENTS} AND state <> '${CLOSED}' LIMIT 1`,
    line,
  );
  return open.length > 0;
};

const keepSums = async (session: SqlSession, line: Uint8Array): Promise<number> => {
  const sums = new ClosedSums(session);
  let [after, count] = [-1n, 0];
  for (;;) {
    const rows = await session.all(
      `SELECT id, key_id, charge_micro FROM receipts WHERE line = ? AND id > ? ORDER BY id LIMIT ${ROWS_PAGE}`,
      line,
      after,
    );
    for (const row of rows)
      sums.add(textOf(row, 'key_id'), 'receipts', amountOf(row, 'charge_micro'));
    count += rows.length;
    const last = rows.at(-1);
    if (rows.length < ROWS_PAGE || !last) break;
    after = last['id'] as bigint;
  }
  const credits = await session.all(
    `SELECT key_id, amount_micro FROM credits WHERE payment_hash IN ${PAYMENTS} ORDER BY id`,
    line,
  );
  for (const row of credits)
    sums.add(textOf(row, 'key_id'), 'credits', amountOf(row, 'amount_micro'));
  await sums.flush();
  return count;
};

/** Beneath these sequences nothing of an approver is asked for any more. */
const keepApprovers = async (session: SqlSession, line: Uint8Array): Promise<void> => {
  await session.run(
    `INSERT INTO closed_approvers (approver, through_sequence)
     SELECT approver, max(sequence) FROM receipts WHERE line = ? GROUP BY approver
     ON CONFLICT (approver) DO UPDATE SET through_sequence = CASE
       WHEN excluded.through_sequence > closed_approvers.through_sequence
       THEN excluded.through_sequence ELSE closed_approvers.through_sequence END`,
    line,
  );
};

const closeLine = async (session: SqlSession, line: Uint8Array, nowS: number): Promise<number> => {
  const count = await keepSums(session, line);
  await keepApprovers(session, line);
  for (const table of ['credits', 'borne', 'conflicts', 'second_receipts', 'other_places']) {
    await session.run(`DELETE FROM ${table} WHERE payment_hash IN ${PAYMENTS}`, line);
  }
  for (const table of ['voids', 'receipts']) {
    await session.run(`DELETE FROM ${table} WHERE line = ?`, line);
  }
  await session.run(
    'INSERT INTO closed_lines (line, closed_s) VALUES (?, ?) ON CONFLICT DO NOTHING',
    line,
    BigInt(nowS),
  );
  return count;
};

/** Deletes what is left of ended lines, some lines a transaction. @returns receipts that are gone */
export const closeLines = async (
  database: SqlDatabase,
  holds: readonly Hold[],
  nowS: number,
): Promise<number> => {
  let after: Uint8Array = new Uint8Array(0);
  let closed = 0;
  for (;;) {
    const from = after;
    const page = await database.transaction(async (session) => {
      const rows = await session.all(
        `SELECT line, sum(CASE WHEN state = '${CLOSED}' THEN 0 ELSE 1 END) AS standing FROM receipts
         WHERE line > ? GROUP BY line ORDER BY line LIMIT ${PAGE}`,
        from,
      );
      for (const row of rows) {
        const line = new Uint8Array(bytesOf(row, 'line'));
        if (numberOf(row, 'standing') > 0 || (await isKept(session, line, holds))) continue;
        closed += await closeLine(session, line, nowS);
      }
      return rows;
    });
    const last = page.at(-1);
    if (!last) return closed;
    after = new Uint8Array(bytesOf(last, 'line'));
  }
};
