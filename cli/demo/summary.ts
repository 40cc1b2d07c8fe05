import { formatMajor } from '../../protocol/amount.ts';
import type { Currency } from '../../protocol/currency.ts';
import type { LeafTimes } from '../../sync/ledger/finality-file.ts';
import type { Held } from './collect.ts';
import type { SummaryTotals } from '../verify/summary.ts';
import { percentile } from './percentile.ts';
import { bigIn, numberIn, textIn } from './json.ts';
import type { Json } from './processes.ts';
import type { Told } from './story.ts';

/**
 * What `summary.json` says: the totals that `kiri verify` computes again, and this run's
 * measurements. Sums in `totals` are decimal text in major units, times are milliseconds.
 */
export interface Summary extends SummaryTotals {
  readonly title: string;
  readonly currency: string;
  /** What "final" (L2) means in this run: the policy's name, what it is good for, SHA-256 of its text. */
  readonly policy: { readonly name: string; readonly purpose: string; readonly hash: string };
  readonly payments: {
    readonly offered: number;
    readonly accepted: number;
    readonly refused: Readonly<Record<string, number>>;
    /** Voided by a restart and bought once more; the Void stands under its code. */
    readonly paidAnew: number;
    readonly unknown: number;
  };
  readonly approvalMs: Quantiles;
  /** From acceptance to L2 under the policy above; `witnessGone`: with one witness killed. */
  readonly finalityMs: {
    readonly online: Quantiles;
    readonly witnessGone?: Quantiles;
    readonly backlogDrainedMs: number;
  };
  /** The log that was lost and came back from the mirror. */
  readonly restored?: {
    readonly entries: number;
    readonly finalEntries: number;
    readonly ms: number;
  };
  readonly files: readonly (SummaryTotals['files'][number] & {
    readonly presentments: number;
    readonly sha256: string;
  })[];
  readonly attacks: readonly {
    readonly name: string;
    readonly answer: string;
    readonly held: boolean;
  }[];
  readonly trace?: Json;
  readonly gatewayDownMs: number;
  /** What the issuer answered to the files, and what of the presented sum its acknowledgements cover. */
  readonly issuer: Told['answered'] & { readonly acknowledgedMicro: string };
  readonly findings: readonly string[];
}

interface Quantiles {
  readonly count: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

function round(value: number | undefined): number | null {
  return value === undefined ? null : Math.round(value * 10) / 10;
}

function quantiles(values: readonly number[]): Quantiles {
  return {
    count: values.length,
    p50: round(percentile(values, 50)),
    p99: round(percentile(values, 99)),
  };
}

/** What the summary is made from, each part as its own program stated it. */
export interface Seen {
  readonly title: string;
  readonly currency: Currency;
  readonly origin: string;
  readonly policy: Summary['policy'];
  readonly told: Told;
  readonly held: Held;
  readonly finality: readonly LeafTimes[];
  readonly trace?: Json;
}

interface Books {
  readonly acceptedMicro: bigint;
  readonly presentedMicro: bigint;
  /** Of it what an issuer has acknowledged. */
  readonly acknowledgedMicro: bigint;
  readonly carriedMicro: bigint;
  readonly otherMicro: bigint;
  readonly reconciles: boolean;
  readonly findings: readonly string[];
}

function booksOf({ books }: Told, currency: Currency): Books {
  const rows = books['books'] as readonly Json[];
  const row = rows.find((one) => one['currency'] === currency.numeric);
  const buckets = Object.entries((row?.['buckets'] ?? {}) as Record<string, string>);
  const sum = (wanted: (name: string) => boolean): bigint =>
    buckets
      .filter(([name]) => wanted(name))
      .reduce((total, [, value]) => total + BigInt(value), 0n);
  const presentedMicro = sum((name) => name.startsWith('presented'));
  const carriedMicro = sum((name) => name === 'carried');
  return {
    acceptedMicro: bigIn(row, 'acceptedMicro'),
    // What stands in a file that was written is presented once the issuer answers for it.
    acknowledgedMicro: presentedMicro,
    presentedMicro: presentedMicro + sum((name) => name === 'inFile'),
    carriedMicro,
    otherMicro: sum(
      (name) => !name.startsWith('presented') && !['carried', 'inFile'].includes(name),
    ),
    reconciles: books['reconciles'] === true,
    findings: ((books['findings'] ?? []) as readonly Json[]).map((finding) =>
      JSON.stringify(finding),
    ),
  };
}

/** Entries that were final before the uplink was cut, in two groups: before and after a witness was killed. */
function finalityOf(seen: Seen): Summary['finalityMs'] {
  const { cutAtMs, allFinalAtMs, restoredAtMs, witnessGoneAtMs = cutAtMs } = seen.told;
  const between = (fromMs: number, toMs: number): Quantiles =>
    quantiles(
      seen.finality.flatMap(({ acceptedAtMs, finalAtMs = cutAtMs }) =>
        finalAtMs >= fromMs && finalAtMs < toMs ? [finalAtMs - acceptedAtMs] : [],
      ),
    );
  return {
    online: between(0, witnessGoneAtMs),
    ...(witnessGoneAtMs < cutAtMs ? { witnessGone: between(witnessGoneAtMs, cutAtMs) } : {}),
    backlogDrainedMs: allFinalAtMs - restoredAtMs,
  };
}

function restoredOf({ lostLog }: Told): Pick<Summary, 'restored'> {
  if (!lostLog) return {};
  const { entries, finalEntries, restoreMs } = lostLog;
  return { restored: { entries, finalEntries, ms: Math.round(restoreMs) } };
}

function refusedByCode(told: Told): Record<string, number> {
  const codes: Record<string, number> = {};
  for (const { kind, code } of told.played) {
    if (kind === 'refused') codes[code ?? 'NONE'] = (codes[code ?? 'NONE'] ?? 0) + 1;
  }
  for (const { answer, expected } of told.attacks) {
    const code = /^[A-Z_]+/.exec(answer)?.[0];
    if (code !== undefined && expected !== '') codes[code] = (codes[code] ?? 0) + 1;
  }
  return codes;
}

function filesOf({ cut }: Told): Summary['files'] {
  return (cut['files'] as readonly Json[]).map((row) => ({
    fileName: textIn(row, 'fileName'),
    records: numberIn(row, 'records'),
    presentments: numberIn(row, 'presentments'),
    sumMinor: textIn(row, 'sumMinor'),
    sha256: textIn(row, 'sha256'),
  }));
}

/** Every figure is computed from what the programs of this run said; nothing is assumed. */
export function summarise(seen: Seen): Summary {
  const { told, held, currency } = seen;
  const books = booksOf(told, currency);
  const [taken] = Object.values((told.pulled['taken'] ?? {}) as Record<string, Json>);
  const ledgerMicro = bigIn(taken, 'sumMicro');
  const gatewayMicro = bigIn(told.gateway, 'unacknowledgedMicro');
  const counts = {
    deviceReceipts: held.count,
    gatewayAccepted: numberIn(told.gateway, 'accepted') - numberIn(told.gateway, 'reversed'),
    ledger: numberIn(taken, 'count'),
  };
  const kinds = (kind: string): number => told.played.filter((row) => row.kind === kind).length;
  const findings = [...books.findings, ...((told.pulled['faults'] ?? []) as readonly string[])];
  const isEqual =
    held.sumMicro === gatewayMicro &&
    gatewayMicro === ledgerMicro &&
    ledgerMicro === books.presentedMicro + books.carriedMicro + books.otherMicro &&
    books.acknowledgedMicro === books.presentedMicro &&
    new Set(Object.values(counts)).size === 1;
  const times = told.played
    .filter((row) => row.kind === 'accepted')
    .flatMap(({ approvalMs }) => approvalMs ?? []);
  return {
    title: seen.title,
    currency: currency.alpha,
    policy: seen.policy,
    payments: {
      offered: told.played.length + told.attacks.length,
      accepted: kinds('accepted') + told.honest.length,
      refused: refusedByCode(told),
      paidAnew: told.played.filter((row) => row.paidAnew).length,
      unknown: held.unknown,
    },
    approvalMs: quantiles(times),
    finalityMs: finalityOf(seen),
    ...restoredOf(told),
    receipts: { count: held.count, sumMicro: held.sumMicro.toString() },
    ledger: [
      {
        origin: seen.origin,
        size: numberIn(told.pulled, 'size'),
        root: textIn(told.pulled, 'rootHex'),
      },
    ],
    presentedMicro: books.presentedMicro.toString(),
    // Whatever was accepted and is not presented yet; `totals` tells its states apart.
    carriedMicro: (books.carriedMicro + books.otherMicro).toString(),
    files: filesOf(told),
    attacks: told.attacks.map(({ name, answer, holds }) => ({ name, answer, held: holds })),
    ...(seen.trace ? { trace: seen.trace } : {}),
    gatewayDownMs: Math.round(told.gatewayDownMs),
    issuer: { ...told.answered, acknowledgedMicro: books.acknowledgedMicro.toString() },
    totals: {
      deviceReceipts: formatMajor(held.sumMicro),
      gatewayAccepted: formatMajor(gatewayMicro),
      ledger: formatMajor(ledgerMicro),
      presented: formatMajor(books.presentedMicro),
      carried: formatMajor(books.carriedMicro),
      otherStates: formatMajor(books.otherMicro),
    },
    counts,
    findings,
    reconciles: isEqual && books.reconciles && findings.length === 0 && held.unknown === 0,
  };
}
