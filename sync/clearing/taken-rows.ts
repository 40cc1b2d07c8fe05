import { fromHex, toHex } from '../../protocol/bytes.ts';
import { advanceTaken, type AheadRow, type MetRow, type Taken } from './core/log-row.ts';
import { amountOf, bytesOf, numberOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Rows read from the store at most when an approver's are moved on; the rest waits for the next time. */
const MAX_AHEAD = 4_096;

/** A row without a booking never undoes one that was not read along. */
const NOTHING_NEW = 'DO NOTHING';
const NEWER = 'DO UPDATE SET count = excluded.count, sum_micro = excluded.sum_micro';

const NOTHING: Taken = { throughSequence: 0, count: 0, sumMicro: 0n };

const readAhead = async (session: SqlSession, approver: Uint8Array): Promise<AheadRow[]> => {
  const rows = await session.all(
    `SELECT sequence, count, sum_micro FROM taken_ahead WHERE approver = ?
     ORDER BY sequence LIMIT ${MAX_AHEAD}`,
    approver,
  );
  return rows.map((row) => ({
    sequence: numberOf(row, 'sequence'),
    count: numberOf(row, 'count'),
    sumMicro: amountOf(row, 'sum_micro'),
  }));
};

/** Moves every approver's rows on, in the transaction that books them. */
export const takeRows = async (session: SqlSession, met: readonly MetRow[]): Promise<void> => {
  const byApprover = new Map<string, MetRow[]>();
  for (const one of met) {
    const hex = toHex(one.row.approver);
    const list = byApprover.get(hex);
    if (list) list.push(one);
    else byApprover.set(hex, [one]);
  }
  for (const [hex, rows] of byApprover) {
    const approver = fromHex(hex);
    const [stored] = await session.all(
      'SELECT through_sequence, count, sum_micro FROM taken WHERE approver = ?',
      approver,
    );
    const before = stored
      ? {
          throughSequence: numberOf(stored, 'through_sequence'),
          count: numberOf(stored, 'count'),
          sumMicro: amountOf(stored, 'sum_micro'),
        }
      : NOTHING;
    const waiting = await readAhead(session, approver);
    const { taken, ahead } = advanceTaken(before, waiting, rows);
    await session.run(
      `INSERT INTO taken (approver, through_sequence, count, sum_micro) VALUES (?, ?, ?, ?)
       ON CONFLICT (approver) DO UPDATE SET through_sequence = excluded.through_sequence,
         count = excluded.count, sum_micro = excluded.sum_micro`,
      approver,
      BigInt(taken.throughSequence),
      BigInt(taken.count),
      taken.sumMicro.toString(),
    );
    await session.run(
      'DELETE FROM taken_ahead WHERE approver = ? AND sequence <= ?',
      approver,
      BigInt(taken.throughSequence),
    );
    const known = new Map(waiting.map((row) => [row.sequence, row]));
    for (const row of ahead) {
      const old = known.get(row.sequence);
      if (old?.count === row.count && old.sumMicro === row.sumMicro) continue;
      await session.run(
        `INSERT INTO taken_ahead (approver, sequence, count, sum_micro) VALUES (?, ?, ?, ?)
         ON CONFLICT (approver, sequence) ${row.count === 0 ? NOTHING_NEW : NEWER}`,
        approver,
        BigInt(row.sequence),
        BigInt(row.count),
        row.sumMicro.toString(),
      );
    }
  }
};

/** By approver id in hex. */
export const readTaken = async (session: SqlSession): Promise<Map<string, Taken>> => {
  const rows = await session.all(
    'SELECT approver, through_sequence, count, sum_micro FROM taken ORDER BY approver',
  );
  return new Map(
    rows.map((row) => [
      toHex(bytesOf(row, 'approver')),
      {
        throughSequence: numberOf(row, 'through_sequence'),
        count: numberOf(row, 'count'),
        sumMicro: amountOf(row, 'sum_micro'),
      },
    ]),
  );
};
