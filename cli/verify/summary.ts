import { policyAt } from '../../sync/ledger/core/policy-book.ts';
import { formatMajor, parseMajor } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { ReceiptBook } from './receipts.ts';
import type { SettlementFileView } from './settlement-file.ts';
import type { TrustStore } from './trust.ts';

export const SUMMARY_FILE = 'summary.json';

/**
 * The part of `summary.json` that is computed again from the artefacts. The rest of a summary are measurements, which
 * nobody can repeat: only the contents' hash covers them.
 */
export interface SummaryTotals {
  /** SHA-256 of the finality policy, hex. */
  readonly policy: { readonly hash: string };
  /** Sets in `receipts/`, and what they charge together, in micro-units. */
  readonly receipts: { readonly count: number; readonly sumMicro: string };
  /** By path; root in hex. */
  readonly ledger: readonly {
    readonly origin: string;
    readonly size: number;
    readonly root: string;
  }[];
  /** By name; `records` with header and trailer, the sum in minor units, SHA-256 in hex. */
  readonly files: readonly {
    readonly fileName: string;
    readonly records: number;
    readonly sumMinor: string;
    readonly sha256: string;
  }[];
  readonly presentedMicro: string;
  /** Receipts minus presented. */
  readonly carriedMicro: string;
  /** The same sums as decimals of the major unit, and where what is not presented stands. */
  readonly totals: {
    readonly deviceReceipts: string;
    readonly gatewayAccepted: string;
    readonly ledger: string;
    readonly presented: string;
    readonly carried: string;
    readonly otherStates: string;
  };
  readonly counts: {
    readonly deviceReceipts: number;
    readonly gatewayAccepted: number;
    readonly ledger: number;
  };
  readonly reconciles: boolean;
}

/** What was computed from the artefacts themselves. */
export interface Computed {
  readonly store: TrustStore;
  readonly receipts: ReceiptBook;
  /** Absent where a log does not hold. */
  readonly logs: readonly LogView[] | undefined;
  readonly files: readonly SettlementFileView[];
  readonly presentedMicro: bigint;
}

type Expected = Partial<Omit<SummaryTotals, 'totals'>> & {
  readonly totals: Partial<SummaryTotals['totals']>;
};

/** Anything but "reconciles" beside them is a fault. */
function expectedOf({ store, receipts, logs, files, presentedMicro }: Computed): Expected {
  let sumMicro = 0n;
  for (const { chargedMicro } of receipts.values()) sumMicro += chargedMicro;
  const [count, sum] = [receipts.size, formatMajor(sumMicro)];
  return {
    ...(store.policy ? { policy: { hash: toHex(policyAt(store.policy, Infinity).hash) } } : {}),
    receipts: { count, sumMicro: sumMicro.toString() },
    ...(logs ? { ledger: logs.map(({ origin, size, root }) => ({ origin, size, root })) } : {}),
    files: files.map(({ fileName, records, sumMinor, sha256 }) => ({
      fileName,
      records,
      sumMinor: sumMinor.toString(),
      sha256,
    })),
    presentedMicro: presentedMicro.toString(),
    carriedMicro: (sumMicro - presentedMicro).toString(),
    totals: {
      deviceReceipts: sum,
      gatewayAccepted: sum,
      ledger: sum,
      presented: formatMajor(presentedMicro),
    },
    counts: { deviceReceipts: count, gatewayAccepted: count, ledger: count },
    reconciles: true,
  };
}

/** The parts of a value that `like` has, in its order, so that both can be compared as text. */
function pick(value: unknown, like: unknown): unknown {
  if (typeof like !== 'object' || like === null) return value;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(like)) {
    if (!Array.isArray(value) || value.length !== like.length) return value;
    return like.map((one, at) => pick((value as unknown[])[at], one));
  }
  const from = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(like).map(([name, one]) => [name, pick(from[name], one)]),
  );
}

/** Everything received is presented, carried, or in another state that the books name. */
function addsUp(totals: Partial<SummaryTotals['totals']> | undefined): boolean {
  let sum = 0n;
  for (const part of [totals?.presented, totals?.carried, totals?.otherStates]) {
    const value = parseMajor(String(part));
    if (value === undefined) return false;
    sum += value;
  }
  return sum === parseMajor(String(totals?.deviceReceipts));
}

/** Compares the summary with what was just computed. */
export function checkSummary(files: Artefacts, computed: Computed, findings: Findings): void {
  const bytes = files.read(SUMMARY_FILE);
  if (!bytes) return;
  findings.count('summary');
  let stated: Partial<SummaryTotals> | undefined;
  try {
    stated = Object(JSON.parse(decodeUtf8(bytes) ?? '')) as Partial<SummaryTotals>;
  } catch {
    findings.fault(SUMMARY_FILE, 'is not JSON');
    return;
  }
  for (const [name, value] of Object.entries(expectedOf(computed))) {
    const own = JSON.stringify(pick(stated[name as keyof SummaryTotals], value));
    const expected = JSON.stringify(value);
    if (own !== expected) {
      findings.fault(SUMMARY_FILE, `${name} is ${own}, the artefacts give ${expected}`);
    }
  }
  if (!addsUp(stated.totals)) {
    findings.fault(SUMMARY_FILE, 'presented, carried and the rest are not what was received');
  }
}
