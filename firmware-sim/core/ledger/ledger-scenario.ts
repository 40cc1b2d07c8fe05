import type { Seed } from '../seed.ts';
import type { DiskFaults } from '../virtual-disk.ts';
import type { NetFaults } from '../virtual-net.ts';

/** What befalls one log of a world beside the weather; rows of docs/ledger.md "Failure rules". */
export const LEDGER_EVENTS = [
  'weather',
  'fork',
  'older-copy',
  'lost-disk',
  'lost-disk-and-journals',
  'lost-witness',
  'restarted-witness',
  'erased-payload',
  'dead-mirror',
  'two-dead-witnesses',
] as const;
export type LedgerEvent = (typeof LEDGER_EVENTS)[number];

export interface LedgerScenario {
  readonly event: LedgerEvent;
  /** One witness cosigns whatever a log signs: what 3 of 4 allow for. */
  readonly hasLiar: boolean;
  /** When the event begins and when its second half comes, as parts of the stormy time. */
  readonly firstAt: number;
  readonly secondAt: number;
  /** Entries that each log has from before, so that some worlds pass the end of a tile. */
  readonly pastEntries: number;
  readonly net: NetFaults;
  readonly disk: DiskFaults;
  readonly crashPerEffect: number;
  /** Mean pause between two blows of fate. */
  readonly fateEveryMs: number;
}

function sometimes(seed: Seed, max: number): number {
  return seed.chance(0.3) ? 0 : seed.between(0, max);
}

/** Events in which one witness more may misbehave without leaving what the policy allows for. */
const WITH_LIAR: ReadonlySet<LedgerEvent> = new Set(['weather', 'fork', 'older-copy', 'lost-disk']);

export function drawLedgerScenario(seed: Seed, forced: LedgerEvent | undefined): LedgerScenario {
  const drawn = seed.chance(0.25) ? 'weather' : seed.pick(LEDGER_EVENTS);
  const event = forced ?? drawn;
  return {
    event,
    hasLiar: seed.chance(0.3) && WITH_LIAR.has(event),
    firstAt: seed.between(0.1, 0.5),
    secondAt: seed.between(0.55, 0.95),
    pastEntries: seed.chance(0.25) ? 236 + seed.below(24) : seed.below(4),
    net: {
      loss: sometimes(seed, 0.2),
      duplication: sometimes(seed, 0.3),
      replay: sometimes(seed, 0.1),
      minDelayMs: 0.2,
      maxDelayMs: seed.chance(0.5) ? 50 : seed.between(50, 1_500),
    },
    disk: {
      minSyncMs: 0.1,
      maxSyncMs: seed.chance(0.7) ? 5 : 80,
      slow: sometimes(seed, 0.03),
      slowSyncMs: seed.between(100, 20_000),
      failure: sometimes(seed, 0.01),
    },
    crashPerEffect: sometimes(seed, 0.01),
    fateEveryMs: seed.between(500, 5_000),
  };
}
