import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { ReceiptBook } from './receipts.ts';
import type { SettlementFileView } from './settlement-file.ts';

export const SUMMARY_FILE = 'summary.json';

/**
 * The part of `summary.json` that is computed again from the artefacts. Sums are decimal texts in micro-units (of the
 * file: minor units); the rest of a summary are measurements, which nobody can repeat.
 */
export interface SummaryTotals {
  /** Sets in `receipts/`, and what they charge together. */
  readonly receipts: { readonly count: number; readonly sumMicro: string };
  /** Root in hex. */
  readonly ledger: readonly {
    readonly origin: string;
    readonly size: number;
    readonly root: string;
  }[];
  /** By name; `records` with header and trailer. */
  readonly files: readonly {
    readonly fileName: string;
    readonly records: number;
    readonly sumMinor: string;
  }[];
  readonly presentedMicro: string;
  /** Receipts minus presented. */
  readonly carriedMicro: string;
  readonly reconciles: boolean;
}

/** What the artefacts themselves say; anything but "reconciles" beside them is a fault. */
export function totalsFrom(
  receipts: ReceiptBook,
  logs: readonly LogView[] | undefined,
  files: readonly SettlementFileView[],
  presentedMicro: bigint,
): Partial<SummaryTotals> {
  let sumMicro = 0n;
  for (const { chargedMicro } of receipts.values()) sumMicro += chargedMicro;
  return {
    receipts: { count: receipts.size, sumMicro: sumMicro.toString() },
    ...(logs ? { ledger: logs.map(({ origin, size, root }) => ({ origin, size, root })) } : {}),
    files: files.map(({ fileName, records, sumMinor }) => ({
      fileName,
      records,
      sumMinor: sumMinor.toString(),
    })),
    presentedMicro: presentedMicro.toString(),
    carriedMicro: (sumMicro - presentedMicro).toString(),
    reconciles: true,
  };
}

/** The parts of a value that `like` has, in its order; lists by their length. Compared as text. */
function pick(value: unknown, like: unknown): unknown {
  if (Array.isArray(like)) {
    if (!Array.isArray(value) || value.length !== like.length) return value;
    return like.map((one, at) => pick((value as unknown[])[at], one));
  }
  if (typeof like !== 'object' || like === null) return value;
  if (typeof value !== 'object' || value === null) return value;
  const from = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(like).map(([name, one]) => [name, pick(from[name], one)]),
  );
}

/** Compares the summary with what was just computed. */
export function checkSummary(
  files: Artefacts,
  expected: Partial<SummaryTotals>,
  findings: Findings,
): void {
  const bytes = files.read(SUMMARY_FILE);
  if (!bytes) return;
  findings.count('summary');
  let stated: unknown;
  try {
    stated = JSON.parse(decodeUtf8(bytes) ?? '');
  } catch {
    stated = undefined;
  }
  if (typeof stated !== 'object' || stated === null) {
    findings.fault(SUMMARY_FILE, 'is not a JSON object');
    return;
  }
  for (const [name, value] of Object.entries(expected)) {
    const own = pick((stated as Record<string, unknown>)[name], value);
    if (JSON.stringify(own) !== JSON.stringify(value)) {
      findings.fault(
        SUMMARY_FILE,
        `${name} is ${JSON.stringify(own)}, the artefacts give ${JSON.stringify(value)}`,
      );
    }
  }
}
