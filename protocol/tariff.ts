import { amountMicro, MAX_AMOUNT_MICRO, type AmountMicro } from './amount.ts';
import { CLAIM_SUBJECT, claims, ISSUED, type ClaimsCodec, type Issued } from './claims.ts';
import { currencyOf } from './currency.ts';
import { accepted, refused, type Checked } from './refusal.ts';
import { AMOUNT, listOf, record, text, U16, U32, uint } from './schema.ts';

/** What a component counts. The number is the one on the wire. */
export const TARIFF_UNITS = ['pass', 'minute', 'kWh', 'km', 'item'] as const;
export type TariffUnit = (typeof TARIFF_UNITS)[number];

/**
 * Quantities are whole steps of the meter: passes, minutes, items, watt-hours, metres. So 1 kWh
 * and 1 km are 1,000 steps, and a price for them must divide by 1,000 to stay exact.
 */
const STEPS_PER_UNIT: Readonly<Record<TariffUnit, bigint>> = {
  pass: 1n,
  minute: 1n,
  kWh: 1000n,
  km: 1000n,
  item: 1n,
};

/** From this minute of the local day on, one unit costs this. */
interface TariffStep {
  readonly fromMinute: number;
  readonly priceMicro: AmountMicro;
}

/** A part of the price. In this order: free part, first block, unit price for the rest, cap. */
export interface TariffComponent {
  /** Index into TARIFF_UNITS. */
  readonly unit: number;
  /** Ascending; before the first step of a day the last one still holds. */
  readonly steps: readonly TariffStep[];
  /** Meter steps that cost nothing. */
  readonly freeQuantity?: number;
  /** Meter steps that cost `firstPriceMicro` together as soon as one is used. */
  readonly firstQuantity?: number;
  readonly firstPriceMicro?: AmountMicro;
  readonly capMicro?: AmountMicro;
}

interface Named extends Issued {
  /** `sub`: the merchant's name for it. */
  readonly name: string;
}

/** A price list, signed by a payee key of the merchant; a change of price is a new version. */
export interface Tariff extends Named {
  readonly version: number;
  /** Seconds since 1970. */
  readonly effectiveFromS: number;
  /** ISO 4217 numeric. */
  readonly currency: number;
  readonly components: readonly TariffComponent[];
  /** Cap on the whole price of one use. */
  readonly capMicro?: AmountMicro;
  /** IANA name of the zone whose day the steps count. */
  readonly zone?: string;
}

const CLAIM_TARIFF = -70_014;
/** Longest step table: a price for every quarter of an hour. */
export const MAX_STEPS = 96;
/** Longest component list. */
const MAX_COMPONENTS = 8;

const STEP = record<TariffStep>('step', { fromMinute: [1, uint(1439)], priceMicro: [2, AMOUNT] });
const COMPONENT = record<TariffComponent>('component', {
  unit: [1, uint(TARIFF_UNITS.length - 1)],
  steps: [2, listOf(STEP, MAX_STEPS)],
  freeQuantity: [3, U32, 'optional'],
  firstQuantity: [4, U32, 'optional'],
  firstPriceMicro: [5, AMOUNT, 'optional'],
  capMicro: [6, AMOUNT, 'optional'],
});

function unitOf(component: TariffComponent): TariffUnit {
  return TARIFF_UNITS[component.unit]!;
}

function componentFault(component: TariffComponent): string | undefined {
  const { steps, firstQuantity, firstPriceMicro } = component;
  if (steps.length === 0) return 'a component without a price';
  if ((firstQuantity === undefined) !== (firstPriceMicro === undefined)) {
    return 'a first block needs both its quantity and its price';
  }
  for (const [i, step] of steps.entries()) {
    if (i > 0 && step.fromMinute <= steps[i - 1]!.fromMinute) return 'steps do not ascend';
    if (step.priceMicro % STEPS_PER_UNIT[unitOf(component)] !== 0n) {
      return `price per ${unitOf(component)} does not divide by 1,000: it would not be exact`;
    }
  }
  return undefined;
}

export const TARIFF: ClaimsCodec<Tariff> = claims<Named, Tariff>(
  'kiri/tariff',
  CLAIM_TARIFF,
  { ...ISSUED, name: [CLAIM_SUBJECT, text(64)] },
  {
    version: [1, U32],
    effectiveFromS: [2, U32],
    currency: [3, U16],
    components: [4, listOf(COMPONENT, MAX_COMPONENTS)],
    capMicro: [5, AMOUNT, 'optional'],
    zone: [6, text(40), 'optional'],
  },
  (tariff) => {
    if (!currencyOf(tariff.currency)) return 'currency is not on the ISO 4217 list';
    if (tariff.components.length === 0) return 'no component';
    for (const component of tariff.components) {
      const fault = componentFault(component);
      if (fault !== undefined) return fault;
    }
    return undefined;
  },
);

/** Meter steps by unit; an absent unit is 0. */
type Quantities = { readonly [unit in TariffUnit]?: bigint };

/** One use of a service. */
export interface Usage {
  /** Meter steps; a plain number of them where the tariff counts one unit only. */
  readonly quantity: bigint | Quantities;
  /** Local minute of the day at which the use begins; its steps hold for the whole use. */
  readonly localMinuteOfDay: number;
}

function stepAt(steps: readonly TariffStep[], minute: number): TariffStep {
  return steps.findLast((step) => step.fromMinute <= minute) ?? steps.at(-1)!;
}

function smaller(a: bigint, cap: bigint | undefined): bigint {
  return cap !== undefined && cap < a ? cap : a;
}

function componentPrice(component: TariffComponent, quantity: bigint, minute: number): bigint {
  let rest = quantity - BigInt(component.freeQuantity ?? 0);
  if (rest <= 0n) return 0n;
  let price = 0n;
  if (component.firstQuantity !== undefined) {
    price += component.firstPriceMicro ?? 0n;
    rest -= BigInt(component.firstQuantity);
  }
  if (rest > 0n) {
    const { priceMicro } = stepAt(component.steps, minute);
    price += (rest * priceMicro) / STEPS_PER_UNIT[unitOf(component)];
  }
  return smaller(price, component.capMicro);
}

/**
 * The exact price of one use, in micro-units: nothing is rounded here (DESIGN §3), 1,000 minutes at
 * 3.85 JPY are 3,850 JPY. Refuses usage that the tariff does not price and sums beyond u64.
 */
export function priceOf(tariff: Tariff, usage: Usage): Checked<AmountMicro> {
  const { quantity, localMinuteOfDay: minute } = usage;
  if (!Number.isInteger(minute) || minute < 0 || minute > 1439) {
    return refused('MALFORMED', `${minute} is not a minute of the day`);
  }
  const units = new Set(tariff.components.map(unitOf));
  if (typeof quantity === 'bigint' && units.size > 1) {
    return refused('MALFORMED', `tariff ${tariff.name} counts ${[...units].join(' and ')}`);
  }
  const given: Quantities =
    typeof quantity === 'bigint' ? { [unitOf(tariff.components[0]!)]: quantity } : quantity;
  for (const unit of TARIFF_UNITS) {
    const steps = given[unit] ?? 0n;
    if (steps < 0n) return refused('MALFORMED', `${steps} ${unit} is negative`);
    if (steps > 0n && !units.has(unit)) {
      return refused('OFFER_MISMATCH', `tariff ${tariff.name} has no price per ${unit}`);
    }
  }
  let price = 0n;
  for (const component of tariff.components) {
    price += componentPrice(component, given[unitOf(component)] ?? 0n, minute);
  }
  price = smaller(price, tariff.capMicro);
  return price > MAX_AMOUNT_MICRO
    ? refused('MALFORMED', 'the price is beyond 2^64-1 micro-units')
    : accepted(amountMicro(price));
}
