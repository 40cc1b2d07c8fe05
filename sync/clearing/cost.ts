/** What clearing costs per payment: lines at the issuer, files and answers, counted in the store. */
import { numberOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Payments that {@link perTenThousand} refers to. */
const PAYMENTS = 10_000n;
const HUNDRED = 100n;

/** Counts of one committed state. */
export interface ClearingCost {
  /** Receipts booked, whatever became of them. */
  readonly receipts: number;
  /** Of them in an aggregate; one without a line of its own is carried into the next line. */
  readonly aggregated: number;
  /** Lines that charge, first presentments only. */
  readonly presentments: number;
  /** Lines that give back. */
  readonly credits: number;
  /** Settlement files, resubmitted ones too; each has a manifest and a lines file beside it. */
  readonly files: number;
  /** Signed documents and files that issuers sent. */
  readonly answers: number;
  readonly payoutFiles: number;
}

const COUNTS: Readonly<Record<keyof ClearingCost, string>> = {
  receipts: 'SELECT count(*) AS n FROM all_receipts',
  aggregated: 'SELECT count(*) AS n FROM all_receipts WHERE aggregate_id IS NOT NULL',
  presentments: `SELECT count(*) AS n FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
    JOIN keys k ON k.key_id = a.key_id WHERE k.sign = 'debit'`,
  credits: `SELECT count(*) AS n FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
    JOIN keys k ON k.key_id = a.key_id WHERE k.sign <> 'debit'`,
  files: 'SELECT count(*) AS n FROM files',
  answers: 'SELECT count(*) AS n FROM inbound',
  payoutFiles: 'SELECT count(*) AS n FROM payouts',
};

/** Reads the counts in the transaction of `session`. @throws KiriError STORE_* */
export const readCost = async (session: SqlSession): Promise<ClearingCost> => {
  const counts: Partial<Record<keyof ClearingCost, number>> = {};
  for (const [name, sql] of Object.entries(COUNTS)) {
    const [row] = await session.all(sql);
    counts[name as keyof ClearingCost] = numberOf(row ?? {}, 'n');
  }
  return counts as ClearingCost;
};

const quotient = (part: bigint, whole: number): string | undefined => {
  if (whole === 0) return undefined;
  const hundredths = (part * HUNDRED) / BigInt(whole);
  return `${hundredths / HUNDRED}.${String(hundredths % HUNDRED).padStart(2, '0')}`;
};

/** `part / whole` with two decimals, cut off; undefined where there is no whole. */
export const ratio = (part: number, whole: number): string | undefined =>
  quotient(BigInt(part), whole);

/** How many of `count` fall on 10,000 of `payments`, with two decimals; undefined without payments. */
export const perTenThousand = (count: number, payments: number): string | undefined =>
  quotient(BigInt(count) * PAYMENTS, payments);

/** Messages between clearing and issuers: files out, documents and files back. None is sent per payment. */
export const centralMessages = ({ files, answers }: ClearingCost): number => files + answers;
