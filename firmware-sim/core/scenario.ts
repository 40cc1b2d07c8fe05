import { amountMicro } from '../../protocol/amount.ts';
import { ITEM_PRICE_MICRO, type CityLimits } from './city.ts';
import type { Seed } from './seed.ts';
import type { DiskFaults } from './virtual-disk.ts';
import type { NetFaults } from './virtual-net.ts';

/** One world's people and its weather, drawn from its seed. */
export interface Scenario {
  readonly payers: number;
  readonly payees: number;
  readonly gateways: number;
  /** One payer's card is copied, and the copy is used elsewhere. */
  readonly hasClone: boolean;
  readonly hasLiar: boolean;
  readonly hasThief: boolean;
  readonly limits: CityLimits;
  readonly net: NetFaults;
  readonly disk: DiskFaults;
  readonly crashPerEffect: number;
  /** Mean pause between two purchases of one payer. */
  readonly wantEveryMs: number;
  /** Mean pause between two blows of fate. */
  readonly fateEveryMs: number;
  readonly safetyMs: number;
  /** Purchases are of 1 … so many items. */
  readonly maxQuantity: number;
}

/** Most of the time one kind of fault is away, so that the others go deeper. */
function sometimes(seed: Seed, max: number): number {
  return seed.chance(0.3) ? 0 : seed.between(0, max);
}

function items(n: number): bigint {
  return BigInt(n) * ITEM_PRICE_MICRO;
}

export function drawScenario(seed: Seed): Scenario {
  const isTight = seed.chance(0.25);
  return {
    payers: 2 + seed.below(3),
    payees: 2,
    gateways: 1 + seed.below(2),
    hasClone: seed.chance(0.4),
    hasLiar: seed.chance(0.4),
    hasThief: seed.chance(0.6),
    limits: {
      ceilingMicro: amountMicro(items(isTight ? 60 : 5_000)),
      perPaymentMicro: amountMicro(items(10)),
      deviceLimitMicro: amountMicro(items(isTight ? 20 : 2_000)),
      unacknowledgedLimitMicro: amountMicro(items(isTight ? 45 : 4_000)),
    },
    net: {
      loss: sometimes(seed, 0.3),
      duplication: sometimes(seed, 0.5),
      replay: sometimes(seed, 0.2),
      minDelayMs: 0.2,
      maxDelayMs: seed.chance(0.5) ? 5 : seed.between(5, 2_000),
    },
    disk: {
      minSyncMs: 0.1,
      maxSyncMs: seed.chance(0.7) ? 2 : 50,
      slow: sometimes(seed, 0.05),
      slowSyncMs: seed.between(100, 70_000),
      failure: sometimes(seed, 0.01),
    },
    crashPerEffect: sometimes(seed, 0.01),
    // Now and then so many that the approver's memory is not enough and its journal has to be searched.
    wantEveryMs: seed.chance(0.06) ? seed.between(60, 200) : seed.between(300, 3_000),
    fateEveryMs: seed.between(300, 4_000),
    safetyMs: seed.between(10_000, 40_000),
    maxQuantity: seed.chance(0.5) ? 1 : 4,
  };
}
