import type { VerifiedReceipt } from '../../sync/clearing/core/ingest.ts';
import { LineOfReceipts, NOON_S, keyWith } from '../sync/clearing/sample.ts';

/** Receipts of one batch: two merchants paid in yen, one in US dollars. */
export const RECEIPTS_A_BATCH = 3;

/** What belongs to a batch is fixed by its number. */
export const itemsOf = (batch: number): VerifiedReceipt[] =>
  Array.from({ length: RECEIPTS_A_BATCH }, (_, at) => {
    const merchant = `merchant-${at + 1}`;
    const key = keyWith({ merchant, currency: at === 1 ? 840 : 392 });
    const businessTimeS = NOON_S + batch * 60;
    const part = { businessTimeS, key, sequence: batch * RECEIPTS_A_BATCH + at };
    return new LineOfReceipts(`${batch} ${merchant}`).next(BigInt(2_345_678 + at), part);
  });
