import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import type { SeedResult } from './run-seed.ts';

/** Failed seeds that are listed by name; all are counted. */
const MAX_LISTED = 20;

/** What many worlds have in common: what happened in them, and one digest over all their stories. */
export class SimSummary {
  readonly failed: { readonly seed: number; readonly violation: string }[] = [];
  readonly #digests = sha256.create();
  readonly #counts = new Map<string, number>();
  #failures = 0;
  #seeds = 0;
  #realSeeds = 0;
  #events = 0;
  #virtualMs = 0;
  #only: SeedResult | undefined;

  add(result: SeedResult, hasRealSignatures: boolean): void {
    this.#seeds += 1;
    if (hasRealSignatures) this.#realSeeds += 1;
    this.#events += result.events;
    this.#virtualMs += result.virtualMs;
    this.#digests.update(utf8ToBytes(`${result.seed} ${result.digest}\n`));
    this.#only = result;
    for (const [what, n] of result.counts) {
      this.#counts.set(what, (this.#counts.get(what) ?? 0) + n);
    }
    if (result.violation === undefined) return;
    this.#failures += 1;
    const { seed, violation } = result;
    if (this.failed.length < MAX_LISTED) this.failed.push({ seed, violation });
  }

  /** SHA-256 over seed numbers and their digests; of a single seed its own. */
  get digest(): string {
    if (this.#seeds === 1 && this.#only) return this.#only.digest;
    return toHex(this.#digests.clone().digest());
  }

  json(realMs: number): string {
    return JSON.stringify({
      seeds: this.#seeds,
      realSignatureSeeds: this.#realSeeds,
      failures: this.#failures,
      failed: this.failed,
      events: this.#events,
      virtualMs: this.#virtualMs,
      realMs: Math.round(realMs),
      digest: this.digest,
      counts: Object.fromEntries(this.#sortedCounts()),
    });
  }

  text(realMs: number): string {
    const virtualS = Math.round(this.#virtualMs / 1_000);
    const ratio = Math.round(this.#virtualMs / Math.max(1, realMs));
    const rows = this.#sortedCounts().map(([what, n]) => `  ${what.padEnd(40)} ${n}`);
    const listed = this.failed.map(({ seed, violation }) => `  seed ${seed}: ${violation}`);
    return [
      `${this.#seeds} seeds (${this.#realSeeds} with true Ed25519), ${this.#events} events, ` +
        `${virtualS} s of virtual time in ${(realMs / 1_000).toFixed(1)} s (${ratio} times real time)`,
      'what happened:',
      ...rows,
      `digest ${this.digest}`,
      this.#failures === 0
        ? 'every invariant held in every world'
        : `invariants broken in ${this.#failures} worlds:`,
      ...listed,
      '',
    ].join('\n');
  }

  #sortedCounts(): (readonly [string, number])[] {
    return [...this.#counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}
