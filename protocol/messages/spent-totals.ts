import { amountMicro, type AmountMicro } from '../amount.ts';
import { ID_BYTES } from '../ids.ts';
import { bytes, bytesBetween, message, U32, type Codec } from '../schema.ts';
import { TYPE_SPENT_TOTALS } from './types.ts';

/** Line id 16, counter 4, total 8, unacknowledged sum 8; numbers big-endian. */
const ROW_BYTES = 36;
/** Lines of one message. */
export const MAX_SPENT_ROWS = 400;

/** What an approver has seen of one line. */
export interface SpentRow {
  readonly line: Uint8Array;
  /** Highest counter, and the gross total that the device stated with it. */
  readonly counter: number;
  readonly totalMicro: AmountMicro;
  /** Accepted here and not yet acknowledged by the centre. */
  readonly unacknowledgedMicro: AmountMicro;
}

/**
 * The newest totals of lines, signed by the approver: what goes up first after an outage (DESIGN §5), so that the issuer
 * knows its exposure before the receipts have come. It is news and no evidence: only Receipts settle.
 */
export interface SpentTotals {
  readonly approver: Uint8Array;
  /** Last sequence that the approver had given out. */
  readonly throughSequence: number;
  readonly timeS: number;
  /** Rows one behind the other; see {@link spentRows}. */
  readonly rows: Uint8Array;
}

export const SPENT_TOTALS: Codec<SpentTotals> = message<SpentTotals>(TYPE_SPENT_TOTALS, {
  approver: [1, bytes(ID_BYTES)],
  throughSequence: [2, U32],
  timeS: [3, U32],
  rows: [4, bytesBetween(0, MAX_SPENT_ROWS * ROW_BYTES)],
});

/** The bytes of at most MAX_SPENT_ROWS rows. */
export function packSpentRows(rows: readonly SpentRow[]): Uint8Array {
  const packed = new Uint8Array(rows.length * ROW_BYTES);
  const view = new DataView(packed.buffer);
  for (const [at, { line, counter, totalMicro, unacknowledgedMicro }] of rows.entries()) {
    const from = at * ROW_BYTES;
    packed.set(line.subarray(0, ID_BYTES), from);
    view.setUint32(from + 16, counter);
    view.setBigUint64(from + 20, totalMicro);
    view.setBigUint64(from + 28, unacknowledgedMicro);
  }
  return packed;
}

/** The rows again; undefined where their bytes are no whole number of rows. */
export function spentRows({ rows }: SpentTotals): readonly SpentRow[] | undefined {
  if (rows.length % ROW_BYTES !== 0) return undefined;
  const view = new DataView(rows.buffer, rows.byteOffset, rows.length);
  const read: SpentRow[] = [];
  for (let from = 0; from < rows.length; from += ROW_BYTES) {
    read.push({
      line: rows.slice(from, from + ID_BYTES),
      counter: view.getUint32(from + 16),
      totalMicro: amountMicro(view.getBigUint64(from + 20)),
      unacknowledgedMicro: amountMicro(view.getBigUint64(from + 28)),
    });
  }
  return read;
}
