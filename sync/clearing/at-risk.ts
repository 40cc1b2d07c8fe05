/**
 * Money at risk: what signed numbers say exists and no log has brought. Rows missing between an approver's sequences, and
 * payments missing between a line's totals. A gap proves nothing by itself (an acceptance taken back, a total reserved
 * ahead before an unclean start): it is what somebody should ask for.
 */
import { toHex } from '../../protocol/bytes.ts';
import { readPart } from './part-of-store.ts';
import { amountOf, bytesOf, numberOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Approvers and lines listed at most, the worst first; all are counted. */
const LISTED_MAX = 100;
/** Ranges listed per approver, the first ones. */
const RANGES_MAX = 16;
const PAGE = 4_096;

/** One approver's rows that are not here. */
interface MissingRows {
  readonly approver: string;
  count: number;
  /** First and last sequence of each gap. */
  readonly ranges: (readonly [number, number])[];
  /** When a row beyond the oldest listed gap was first booked; absent if only a Void stands there. */
  sinceS?: number;
}

/** What a line's device signed for that is not here: Σ (total − amount − total seen before it). */
interface LineGap {
  readonly line: string;
  readonly currency: number;
  count: number;
  sumMicro: bigint;
}

export interface AtRisk {
  readonly approvers: number;
  readonly missingRows: number;
  readonly listedApprovers: readonly MissingRows[];
  readonly lines: number;
  readonly lineGaps: number;
  /** By ISO 4217 number. */
  readonly sumMicro: Readonly<Record<string, bigint>>;
  readonly listedLines: readonly LineGap[];
}

/** What was deleted with its lines counts as here, and nothing below it is asked for. */
const GAPS = `SELECT approver, sequence, previous, ingested_s FROM (
    SELECT approver, sequence, ingested_s,
      coalesce(lag(sequence) OVER (PARTITION BY approver ORDER BY sequence), 0) AS previous
    FROM (SELECT approver, sequence, ingested_s FROM all_receipts
      UNION ALL SELECT approver, sequence, NULL FROM voids WHERE sequence IS NOT NULL
      UNION ALL SELECT approver, through_sequence, NULL FROM closed_approvers) AS known
  ) AS ordered WHERE sequence > previous + 1 AND sequence > coalesce((SELECT c.through_sequence
    FROM closed_approvers c WHERE c.approver = ordered.approver), 0) ORDER BY approver, sequence`;

/** In a part of a clearing: receipts of other parts are not here, but their rows were met (taken-rows.ts). */
const PART_GAPS = `SELECT approver, sequence, previous, NULL AS ingested_s FROM (
    SELECT approver, sequence,
      coalesce(lag(sequence) OVER (PARTITION BY approver ORDER BY sequence), sequence) AS previous
    FROM (SELECT approver, through_sequence AS sequence FROM taken
      UNION ALL SELECT approver, sequence FROM taken_ahead) AS known
  ) AS ordered WHERE sequence > previous + 1 ORDER BY approver, sequence`;

const missingRows = async (session: SqlSession): Promise<MissingRows[]> => {
  const found = new Map<string, MissingRows>();
  const gaps = (await readPart(session)) ? PART_GAPS : GAPS;
  for (const row of await session.all(gaps)) {
    const approver = toHex(bytesOf(row, 'approver'));
    const [after, next] = [numberOf(row, 'previous'), numberOf(row, 'sequence')];
    const one = found.get(approver) ?? { approver, count: 0, ranges: [] };
    if (!found.has(approver) && row['ingested_s'] !== null) {
      one.sinceS = numberOf(row, 'ingested_s');
    }
    one.count += next - after - 1;
    if (one.ranges.length < RANGES_MAX) one.ranges.push([after + 1, next - 1]);
    found.set(approver, one);
  }
  return [...found.values()];
};

/** Voids that explain a part of a gap: their amounts count into the totals, and nobody is charged. */
const voidedBetween = async (
  session: SqlSession,
  line: Uint8Array,
  after: bigint,
  before: bigint,
): Promise<bigint> => {
  const rows = await session.all(
    'SELECT amount_micro FROM voids WHERE line = ? AND counter > ? AND counter < ?',
    line,
    after,
    before,
  );
  return rows.reduce((sum, row) => sum + amountOf(row, 'amount_micro'), 0n);
};

const lineGaps = async (session: SqlSession): Promise<LineGap[]> => {
  const found = new Map<string, LineGap>();
  let last: { line: Uint8Array; hex: string; counter: bigint; totalMicro: bigint } | undefined;
  let rows: readonly SqlRow[] = [];
  do {
    rows = await session.all(
      `SELECT r.line, r.counter, r.amount_micro, r.total_micro, k.currency FROM all_receipts r
       JOIN keys k ON k.key_id = r.key_id
       WHERE r.in_conflict <> 1 AND (r.line, r.counter) > (?, ?) ORDER BY r.line, r.counter LIMIT ${PAGE}`,
      last?.line ?? new Uint8Array(0),
      last?.counter ?? -1n,
    );
    for (const row of rows) {
      const line = bytesOf(row, 'line');
      const hex = toHex(line);
      const counter = row['counter'] as bigint;
      const totalMicro = amountOf(row, 'total_micro');
      const before = last?.hex === hex ? last : { counter: -1n, totalMicro: 0n };
      last = { line, hex, counter, totalMicro };
      const gap = totalMicro - amountOf(row, 'amount_micro') - before.totalMicro;
      if (gap <= 0n) continue;
      const open = gap - (await voidedBetween(session, line, before.counter, counter));
      if (open <= 0n) continue;
      const currency = numberOf(row, 'currency');
      const one = found.get(hex) ?? { line: hex, currency, count: 0, sumMicro: 0n };
      one.count += 1;
      one.sumMicro += open;
      found.set(hex, one);
    }
  } while (rows.length > 0);
  return [...found.values()];
};

/** Reads the whole store once; bounded in what it lists, not in what it counts. */
export const readAtRisk = async (session: SqlSession): Promise<AtRisk> => {
  const rows = await missingRows(session);
  const gaps = await lineGaps(session);
  const sumMicro: Record<string, bigint> = {};
  for (const gap of gaps) {
    sumMicro[gap.currency] = (sumMicro[gap.currency] ?? 0n) + gap.sumMicro;
  }
  return {
    approvers: rows.length,
    missingRows: rows.reduce((sum, { count }) => sum + count, 0),
    listedApprovers: rows.toSorted((a, b) => b.count - a.count).slice(0, LISTED_MAX),
    lines: gaps.length,
    lineGaps: gaps.reduce((sum, { count }) => sum + count, 0),
    sumMicro,
    listedLines: gaps
      .toSorted((a, b) => (a.sumMicro < b.sumMicro ? 1 : a.sumMicro > b.sumMicro ? -1 : 0))
      .slice(0, LISTED_MAX),
  };
};
