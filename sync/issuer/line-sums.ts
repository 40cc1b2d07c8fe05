/** What the clearing's store has of every line and approver, read beside the clearing that writes it. */
import { toHex } from '../../protocol/bytes.ts';
import { amountOf, bytesOf } from '../clearing/sql.ts';
import type { SqlSession } from '../clearing/sql.ts';
import type { AcknowledgedSums } from './core/exposure-report.ts';

const PAGE = 4_096;
/** Lines times approvers that are held; beyond it the store is refused. */
export const MAX_SUMS = 4_000_000;

const RECEIPTS = `SELECT line, counter, payment_hash, approver, amount_micro FROM all_receipts
  WHERE (line, counter, payment_hash) > (?, ?, ?) ORDER BY line, counter, payment_hash LIMIT ${PAGE}`;

const nameOf = (line: string, approver: string): string => `${line} ${approver}`;

/** Sums of all receipts by line and approver. Undefined where there are more than {@link MAX_SUMS} of them. */
export const readLineSums = async (session: SqlSession): Promise<AcknowledgedSums | undefined> => {
  const sums = new Map<string, bigint>();
  let [line, counter, hash]: [Uint8Array, bigint, Uint8Array] = [
    new Uint8Array(0),
    -1n,
    new Uint8Array(0),
  ];
  for (;;) {
    const rows = await session.all(RECEIPTS, line, counter, hash);
    for (const row of rows) {
      const name = nameOf(toHex(bytesOf(row, 'line')), toHex(bytesOf(row, 'approver')));
      sums.set(name, (sums.get(name) ?? 0n) + amountOf(row, 'amount_micro'));
    }
    if (sums.size > MAX_SUMS) return undefined;
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) break;
    line = new Uint8Array(bytesOf(last, 'line'));
    counter = last['counter'] as bigint;
    hash = new Uint8Array(bytesOf(last, 'payment_hash'));
  }
  return (of, approver) => sums.get(nameOf(of, approver)) ?? 0n;
};
