/**
 * Device lines on which nothing was paid within the years that books are kept: all their receipts stood in files that
 * were deleted. What is left of those goes too; the line's id stays, so that no receipt of it is ever booked again.
 */
import { toHex } from '../../protocol/bytes.ts';
import { CLOSED } from './close-files.ts';
import { ClosedSums } from './closed-sums.ts';
import type { Hold } from './retention.ts';
import { beginRewriting } from './seal-segments.ts';
import { receiptTables, tableOf } from './segments.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from './sql.ts';

const PAGE = 256;
const ROWS_PAGE = 4_096;

const PAYMENTS = '(SELECT payment_hash FROM all_receipts WHERE line = ?)';

/** True where somebody holds the line or one of its parties, or a refund on it is younger than its receipts. */
const isKept = async (
  session: SqlSession,
  line: Uint8Array,
  holds: readonly Hold[],
): Promise<boolean> => {
  const hex = toHex(line);
  for (const { kind, reference } of holds) {
    if (kind === 'line' && reference === hex) return true;
    if (kind !== 'party' && kind !== 'issuer') continue;
    const rows = await session.all(
      `SELECT r.id FROM all_receipts r JOIN keys k ON k.key_id = r.key_id WHERE r.line = ? AND k.${kind} = ? LIMIT 1`,
      line,
      reference,
    );
    if (rows.length > 0) return true;
  }
  // The newest receipt stays, so that no id is given out twice.
  const [newest] = await session.all('SELECT line FROM receipts ORDER BY id DESC LIMIT 1');
  if (newest && toHex(bytesOf(newest, 'line')) === hex) return true;
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
      `SELECT id, key_id, charge_micro FROM all_receipts WHERE line = ? AND id > ? ORDER BY id LIMIT ${ROWS_PAGE}`,
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
     SELECT approver, max(sequence) FROM all_receipts WHERE line = ? GROUP BY approver
     ON CONFLICT (approver) DO UPDATE SET through_sequence = CASE
       WHEN excluded.through_sequence > closed_approvers.through_sequence
       THEN excluded.through_sequence ELSE closed_approvers.through_sequence END`,
    line,
  );
};

/** Takes a line's receipts out of a sealed segment, and out of what is noted of it. */
const takeOut = async (session: SqlSession, name: string, line: Uint8Array): Promise<void> => {
  const table = tableOf(name);
  const rows = await session.all(
    `SELECT key_id, charge_micro FROM ${table} WHERE line = ? ORDER BY id`,
    line,
  );
  if (rows.length === 0) return;
  await beginRewriting(session, name);
  await session.run(`DELETE FROM ${table} WHERE line = ?`, line);
  const sums = new Map<string, { receipts: number; chargeMicro: bigint }>();
  for (const row of rows) {
    const keyId = textOf(row, 'key_id');
    const sum = sums.get(keyId) ?? { receipts: 0, chargeMicro: 0n };
    sum.receipts += 1;
    sum.chargeMicro += amountOf(row, 'charge_micro');
    sums.set(keyId, sum);
  }
  for (const [keyId, sum] of sums) {
    await lessen(session, 'segment_sums', 'name = ? AND key_id = ?', [name, keyId], sum);
  }
  const chargeMicro = [...sums.values()].reduce((all, one) => all + one.chargeMicro, 0n);
  await lessen(session, 'segments', 'name = ?', [name], { receipts: rows.length, chargeMicro });
  await session.run('DELETE FROM segment_sums WHERE name = ? AND receipts = 0', name);
};

const lessen = async (
  session: SqlSession,
  table: string,
  where: string,
  values: readonly string[],
  less: { readonly receipts: number; readonly chargeMicro: bigint },
): Promise<void> => {
  const [row = {}] = await session.all(
    `SELECT receipts, charge_micro FROM ${table} WHERE ${where}`,
    ...values,
  );
  await session.run(
    `UPDATE ${table} SET receipts = ?, charge_micro = ? WHERE ${where}`,
    BigInt(numberOf(row, 'receipts') - less.receipts),
    (amountOf(row, 'charge_micro') - less.chargeMicro).toString(),
    ...values,
  );
};

const closeLine = async (session: SqlSession, line: Uint8Array, nowS: number): Promise<number> => {
  const count = await keepSums(session, line);
  await keepApprovers(session, line);
  for (const table of ['credits', 'borne', 'conflicts', 'second_receipts', 'other_places']) {
    await session.run(`DELETE FROM ${table} WHERE payment_hash IN ${PAYMENTS}`, line);
  }
  for (const { table, segment } of await receiptTables(session)) {
    if (segment) await takeOut(session, segment.name, line);
    else await session.run(`DELETE FROM ${table} WHERE line = ?`, line);
  }
  for (const table of ['voids', 'sealed_lines']) {
    await session.run(`DELETE FROM ${table} WHERE line = ?`, line);
  }
  await session.run(
    'INSERT INTO closed_lines (line, closed_s) VALUES (?, ?) ON CONFLICT DO NOTHING',
    line,
    BigInt(nowS),
  );
  return count;
};

/** Lines of hot receipts, then of sealed ones: what the first has dealt with is not found again. */
const LINES: readonly string[] = [
  `SELECT DISTINCT line FROM receipts WHERE line > ? ORDER BY line LIMIT ${PAGE}`,
  `SELECT line FROM sealed_lines WHERE line > ? ORDER BY line LIMIT ${PAGE}`,
];

const isStanding = async (session: SqlSession, line: Uint8Array): Promise<boolean> => {
  const sql = `SELECT id FROM all_receipts WHERE line = ? AND state <> '${CLOSED}' LIMIT 1`;
  return (await session.all(sql, line)).length > 0;
};

/** Deletes what is left of ended lines, some lines a transaction. @returns receipts that are gone */
export const closeLines = async (
  database: SqlDatabase,
  holds: readonly Hold[],
  nowS: number,
): Promise<number> => {
  let closed = 0;
  for (const sql of LINES) {
    let after: Uint8Array | undefined = new Uint8Array(0);
    while (after) {
      const from: Uint8Array = after;
      const page: readonly SqlRow[] = await database.transaction(async (session) => {
        const rows = await session.all(sql, from);
        for (const row of rows) {
          const line = new Uint8Array(bytesOf(row, 'line'));
          if ((await isStanding(session, line)) || (await isKept(session, line, holds))) continue;
          closed += await closeLine(session, line, nowS);
        }
        return rows;
      });
      const last = page.at(-1);
      after = last && new Uint8Array(bytesOf(last, 'line'));
    }
  }
  return closed;
};
