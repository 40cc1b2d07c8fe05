/**
 * What the parts of one clearing hold of each approver together: the substance of an acknowledgement. No part can say it
 * alone, because an approver's rows through a number are covered only when every part has booked its own of them.
 */
import { fromHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Taken } from './core/log-row.ts';
import { readPart } from './part-of-store.ts';
import { amountOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';
import { readTaken } from './taken-rows.ts';

const PAGE = 4_096;

/** @throws KiriError PARTS_INCOMPLETE unless the stores are all parts of one clearing, each once */
const checkParts = async (stores: readonly SqlDatabase[]): Promise<void> => {
  const seen = new Set<number>();
  for (const store of stores) {
    const part = await store.transaction(readPart);
    if (part?.of === stores.length) seen.add(part.index);
  }
  if (seen.size === stores.length && stores.length > 1) return;
  throw new KiriError(
    'PARTS_INCOMPLETE',
    `these ${stores.length} stores are not all parts of one clearing, each of them once`,
  );
};

/** Of one part, without the rows that it has taken beyond those that all have. */
const takenThrough = async (
  session: SqlSession,
  approver: string,
  throughSequence: number,
): Promise<Taken> => {
  const own = (await readTaken(session)).get(approver);
  let { count, sumMicro } = own ?? { count: 0, sumMicro: 0n };
  let after: readonly [bigint, bigint] = [BigInt(throughSequence), BigInt(Number.MAX_SAFE_INTEGER)];
  for (;;) {
    const rows = await session.all(
      `SELECT sequence, id, charge_micro FROM all_receipts
       WHERE approver = ? AND sequence <= ? AND (sequence, id) > (?, ?) ORDER BY sequence, id LIMIT ${PAGE}`,
      fromHex(approver),
      BigInt(own?.throughSequence ?? 0),
      ...after,
    );
    for (const row of rows) sumMicro -= amountOf(row, 'charge_micro');
    count -= rows.length;
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) return { throughSequence, count, sumMicro };
    after = [last['sequence'] as bigint, last['id'] as bigint];
  }
};

/**
 * By approver id in hex: through the lowest row that every part has got to, and what all of them booked up to it.
 * Approvers that one part has nothing of yet are left out.
 * @param stores of all parts, in any order; they may be read beside their writers
 * @throws KiriError PARTS_INCOMPLETE
 */
export const takenOfParts = async (
  stores: readonly SqlDatabase[],
): Promise<ReadonlyMap<string, Taken>> => {
  await checkParts(stores);
  const each = [];
  for (const store of stores) each.push(await store.transaction(readTaken));
  const all = new Map<string, Taken>();
  for (const approver of each[0]?.keys() ?? []) {
    const throughs = each.map((taken) => taken.get(approver)?.throughSequence ?? 0);
    const throughSequence = Math.min(...throughs);
    if (throughSequence === 0) continue;
    let [count, sumMicro] = [0, 0n];
    for (const store of stores) {
      // Rows only go on, so what this part has by now covers at least as many.
      const own = await store.transaction((session) =>
        takenThrough(session, approver, throughSequence),
      );
      count += own.count;
      sumMicro += own.sumMicro;
    }
    all.set(approver, { throughSequence, count, sumMicro });
  }
  return all;
};
