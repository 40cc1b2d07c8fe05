import { formatMajor } from '../../protocol/amount.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { UsageError } from '../command.ts';

/** One thing that is wrong: where (path below what was checked), and why in words. */
export interface Fault {
  readonly path: string;
  readonly reason: string;
}

/** Who answers for the devices of some receipts (帰責者), as the bindings resolve it. */
export interface LiableParty {
  /** Id of the party's key. */
  readonly party: string;
  /** Its opaque reference at the issuer. */
  readonly reference: string;
  readonly receipts: number;
  readonly amountMicro: bigint;
  /** ISO 4217 numeric. */
  readonly currency: number;
}

export interface VerifyReport {
  readonly ok: boolean;
  /** How many of each kind were looked at. */
  readonly checked: Readonly<Record<string, number>>;
  readonly faults: readonly Fault[];
  readonly liable: readonly LiableParty[];
  /** What single proofs say, in words; absent where none was looked at. */
  readonly proven?: readonly string[];
}

/** Faults kept; a folder with more is broken throughout. */
const MAX_FAULTS = 5_000;
/** Sentences on what is proven; more are only counted. */
const MAX_PROVEN = 1_000;

/** Gathers what the checks find. */
export class Findings {
  readonly #faults: Fault[] = [];
  readonly #seen = new Set<string>();
  readonly #checked = new Map<string, number>();
  readonly #liable = new Map<string, LiableParty>();
  readonly #proven: string[] = [];
  #dropped = 0;

  fault(path: string, reason: string): void {
    const key = `${path}\n${reason}`;
    if (this.#seen.has(key)) return;
    if (this.#faults.length >= MAX_FAULTS) {
      this.#dropped += 1;
      return;
    }
    this.#seen.add(key);
    this.#faults.push({ path, reason });
  }

  count(kind: string, more = 1): void {
    this.#checked.set(kind, (this.#checked.get(kind) ?? 0) + more);
  }

  /** Says what a proof proves, for people. */
  proven(sentence: string): void {
    if (this.#proven.length < MAX_PROVEN) this.#proven.push(sentence);
  }

  /** Adds one receipt to its liable party. */
  liable(of: Omit<LiableParty, 'receipts'>): void {
    const key = `${of.party} ${of.currency}`;
    const known = this.#liable.get(key);
    const amountMicro = of.amountMicro + (known?.amountMicro ?? 0n);
    this.#liable.set(key, { ...of, amountMicro, receipts: (known?.receipts ?? 0) + 1 });
  }

  /** Runs one check; a parser's throw is a fault of the artefact and never ends the whole. */
  guard<T>(path: string, check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      return this.#caught(path, error);
    }
  }

  /** {@link guard} for a check that waits for the disk. */
  async guardAsync<T>(path: string, check: () => Promise<T>): Promise<T | undefined> {
    try {
      return await check();
    } catch (error) {
      return this.#caught(path, error);
    }
  }

  #caught(path: string, error: unknown): undefined {
    if (error instanceof UsageError) throw error;
    this.fault(path, `unreadable: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }

  report(): VerifyReport {
    const more = `${this.#dropped} more faults are not listed`;
    const faults =
      this.#dropped > 0 ? [...this.#faults, { path: '.', reason: more }] : this.#faults;
    return {
      ok: faults.length === 0,
      checked: Object.fromEntries(this.#checked),
      faults,
      liable: [...this.#liable.values()],
      ...(this.#proven.length === 0 ? {} : { proven: this.#proven }),
    };
  }
}

const SHOWN_FAULTS = 50;
const KIND_WIDTH = 24;

/** One line per kind of artefact, one per liable party, one per fault, and the verdict. */
export function reportText(report: VerifyReport): string {
  const { checked, liable, faults, proven = [] } = report;
  const lines = Object.entries(checked).map(([kind, n]) => `${kind.padEnd(KIND_WIDTH)} ${n}`);
  for (const { reference, receipts, amountMicro, currency } of liable) {
    const alpha = currencyOf(currency)?.alpha ?? String(currency);
    const sum = `${formatMajor(amountMicro)} ${alpha}`;
    lines.push(`${'liable party'.padEnd(KIND_WIDTH)} ${reference}: ${receipts} receipts, ${sum}`);
  }
  for (const sentence of proven) lines.push(`${'proven'.padEnd(KIND_WIDTH)} ${sentence}`);
  for (const { path, reason } of faults.slice(0, SHOWN_FAULTS))
    lines.push(`FAULT ${path}: ${reason}`);
  if (faults.length > SHOWN_FAULTS) {
    lines.push(`… and ${faults.length - SHOWN_FAULTS} more faults; --json lists all`);
  }
  const verdict = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
  lines.push(report.ok ? 'everything holds' : verdict);
  return `${lines.join('\n')}\n`;
}
