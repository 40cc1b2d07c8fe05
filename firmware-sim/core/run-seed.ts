import { Fate } from './fate.ts';
import { LedgerFate } from './ledger/ledger-fate.ts';
import { VirtualWorld, type WorldOptions } from './world.ts';

/** What one world was and how it went. */
export interface SeedResult {
  readonly seed: number;
  readonly events: number;
  readonly virtualMs: number;
  /** SHA-256 of everything that happened, 64 hex digits. */
  readonly digest: string;
  readonly counts: ReadonlyMap<string, number>;
  readonly violation?: string;
  /** The end of the story, where it ended badly. */
  readonly lastEvents: readonly string[];
}

export interface RunOptions extends WorldOptions {
  /** Lines of the story to keep where an invariant broke. */
  readonly lastEvents?: number;
}

/** Runs the world of one seed: safety under faults first, then liveness without them. Same seed, same story. */
export function runSeed(seed: number, options: RunOptions): SeedResult {
  const world = new VirtualWorld(seed, options);
  let violation: string | undefined;
  try {
    const fate = new Fate(world);
    const ledgerFate = new LedgerFate(world.ledger);
    fate.begin();
    ledgerFate.begin();
    const { safetyMs } = world.scenario;
    while (world.clock.step(safetyMs));
    fate.calm();
    ledgerFate.calm();
    fate.settle(() => ledgerFate.isQuiet);
    for (const gateway of world.gateways) gateway.checkRecorded();
    ledgerFate.finish();
    world.checker.finish(new Map(world.payers.map((payer) => [payer.name, payer.openPayments])));
  } catch (error) {
    violation = error instanceof Error ? error.message : String(error);
  }
  world.trace.add(`end ${violation ?? 'well'}`);
  return {
    seed,
    events: world.trace.count,
    virtualMs: Math.round(world.clock.nowMs),
    digest: world.trace.digest(),
    counts: countsOf(world),
    ...(violation === undefined ? {} : { violation }),
    lastEvents: violation === undefined ? [] : world.trace.last(options.lastEvents ?? 40),
  };
}

function countsOf(world: VirtualWorld): ReadonlyMap<string, number> {
  const all = new Map(world.counts);
  for (const [part, counts] of [
    ['net', world.net.counts],
    ['disk', world.disk.counts],
    ['ledger net', world.ledger.net.counts],
    ['ledger disk', world.ledger.disk.counts],
  ] as const) {
    for (const [name, n] of Object.entries(counts)) all.set(`${part} ${name}`, n);
  }
  const add = (what: string, n: number): void => void all.set(what, (all.get(what) ?? 0) + n);
  for (const { book } of world.gateways) {
    add('acceptances', book.acceptedCount);
    add('proofs', book.accused.size);
    for (const [what, n] of book.voidCounts) add(`void ${what}`, n);
  }
  return all;
}
