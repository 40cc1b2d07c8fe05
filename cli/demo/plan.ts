import { amountMicro, parseMajor, type AmountMicro } from '../../protocol/amount.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import {
  MAX_STEPS,
  TARIFF_UNITS,
  type TariffComponent,
  type TariffUnit,
} from '../../protocol/tariff.ts';
import type { Trace, TraceEvent } from '../../firmware-sim/core/trace.ts';

/** One payee device: a toll gate, a drone pad, the controller of a charging site. */
export interface PayeePlan {
  readonly ref: string;
  readonly merchantId: string;
  readonly name: string;
  readonly place: string;
  readonly mcc: number;
  readonly components: readonly TariffComponent[];
}

/** One payer device with its own allowance. */
export interface PayerPlan {
  readonly ref: string;
  readonly party: number;
  readonly ceilingMicro: AmountMicro;
}

/** One thing to be paid for. */
export interface Purchase {
  readonly atMs: number;
  readonly payer: string;
  readonly payee: string;
  readonly item: string;
  readonly quantity: number;
  readonly localMinuteOfDay: number;
  readonly amountMicro: AmountMicro;
}

export interface Plan {
  readonly title: string;
  /** ISO 4217 numeric. */
  readonly currency: number;
  readonly parties: number;
  readonly payees: readonly PayeePlan[];
  readonly payers: readonly PayerPlan[];
  /** Ascending by atMs. */
  readonly purchases: readonly Purchase[];
  /** Largest single payment that the issuer allows. */
  readonly paymentLimitMicro: AmountMicro;
}

const PARTIES = 4;
/** Payee devices at most; a site controller serves several chargers, each named by the item. */
const MAX_PAYEES = 16;
/** Headroom that the issuer leaves above the expected use, in percent. */
const HEADROOM_PERCENT = 150n;
/** Retries after a restart and the attackers' honest payments need room too. */
const HEADROOM_MICRO = 1_000_000_000n;

const MCC_TOLLS = 4784;
const MCC_CHARGING = 5552;

function unitPrice(unit: TariffUnit, price: string): TariffComponent {
  const priceMicro = parseMajor(price)!;
  return { unit: TARIFF_UNITS.indexOf(unit), steps: [{ fromMinute: 0, priceMicro }] };
}

/** Devices of the story's attackers get the same headroom; one has no more than a single payment. */
export function withAttackers(plan: Plan, refs: Iterable<string>, scarce: string): Plan {
  const roomy = amountMicro(plan.paymentLimitMicro * 20n + HEADROOM_MICRO);
  const attackers = [...refs].map((ref, i) => ({
    ref,
    party: i % PARTIES,
    ceilingMicro: ref === scarce ? plan.paymentLimitMicro : roomy,
  }));
  return { ...plan, payers: [...plan.payers, ...attackers] };
}

function payersFor(refs: readonly string[], purchases: readonly Purchase[]): PayerPlan[] {
  const spent = new Map<string, bigint>();
  for (const { payer, amountMicro: amount } of purchases) {
    spent.set(payer, (spent.get(payer) ?? 0n) + amount);
  }
  return refs.map((ref, i) => ({
    ref,
    party: i % PARTIES,
    ceilingMicro: amountMicro(((spent.get(ref) ?? 0n) * HEADROOM_PERCENT) / 100n + HEADROOM_MICRO),
  }));
}

function largest(purchases: readonly Purchase[]): AmountMicro {
  return purchases.reduce(
    (most, { amountMicro: amount }) => (amount > most ? amount : most),
    amountMicro(1n),
  );
}

const CARS = 16;
const DRONES = 8;
const STORY_PASSAGES = 240;
const STORY_LANDINGS = 60;
/** Morning peak from 07:00 to 09:30, as the gate's tariff has it. */
const GATE_STEPS = [
  { fromMinute: 0, priceMicro: parseMajor('36.6')! },
  { fromMinute: 420, priceMicro: parseMajor('52.35')! },
  { fromMinute: 570, priceMicro: parseMajor('36.6')! },
];

/** The built-in story: a toll gate in the morning peak and a drone pad, in yen. */
export function storyPlan(): Plan {
  const gate: PayeePlan = {
    ref: 'toll-gate',
    merchantId: 'KIRITOLL0000001',
    name: 'Kiri Expressway',
    place: 'Minato JPN',
    mcc: MCC_TOLLS,
    components: [{ unit: TARIFF_UNITS.indexOf('pass'), steps: GATE_STEPS }],
  };
  const pad: PayeePlan = {
    ref: 'drone-pad',
    merchantId: 'KIRIPADS0000001',
    name: 'Kiri Sky Pads',
    place: 'Chiba JPN',
    mcc: MCC_CHARGING,
    components: [unitPrice('minute', '3.85')],
  };
  const purchases: Purchase[] = [];
  for (let i = 0; i < STORY_PASSAGES; i += 1) {
    const localMinuteOfDay = 400 + Math.floor(i / 2);
    const { priceMicro } = GATE_STEPS.findLast((step) => step.fromMinute <= localMinuteOfDay)!;
    // Five vehicles in one second, then a pause: the bursts of a real gate.
    const atMs = Math.floor(i / 5) * 5_000;
    const payer = `car-${(i % CARS) + 1}`;
    purchases.push({
      atMs,
      payer,
      payee: gate.ref,
      item: 'lane 1',
      quantity: 1,
      localMinuteOfDay,
      amountMicro: priceMicro,
    });
  }
  for (let i = 0; i < STORY_LANDINGS; i += 1) {
    const quantity = 3 + ((i * 7) % 40);
    purchases.push({
      atMs: 2_000 + i * 4_000,
      payer: `drone-${(i % DRONES) + 1}`,
      payee: pad.ref,
      item: `pad ${(i % 3) + 1}`,
      quantity,
      localMinuteOfDay: 400 + i * 2,
      amountMicro: amountMicro(BigInt(quantity) * 3_850_000n),
    });
  }
  purchases.sort((a, b) => a.atMs - b.atMs);
  const refs = [
    ...Array.from({ length: CARS }, (_, i) => `car-${i + 1}`),
    ...Array.from({ length: DRONES }, (_, i) => `drone-${i + 1}`),
  ];
  return {
    title: 'a toll gate and a drone pad',
    currency: 392,
    parties: PARTIES,
    payees: [gate, pad],
    payers: payersFor(refs, purchases),
    purchases,
    paymentLimitMicro: largest(purchases),
  };
}

/** Chargers share site controllers when there are more than {@link MAX_PAYEES}. */
function sitesOf(trace: Trace): ReadonlyMap<string, string> {
  const sites = new Map<string, string>();
  for (const [i, ref] of trace.payeeRefs.entries()) sites.set(ref, `site-${(i % MAX_PAYEES) + 1}`);
  return sites;
}

/** The tariff's steps, from the prices that the trace has at each minute of the day. */
function stepsOf(trace: Trace): TariffComponent['steps'] {
  const prices = new Map(
    trace.events.map((event) => [event.localMinuteOfDay, event.unitPriceMicro]),
  );
  const steps: { fromMinute: number; priceMicro: AmountMicro }[] = [];
  for (const [fromMinute, priceMicro] of [...prices].toSorted(([a], [b]) => a - b)) {
    if (steps.at(-1)?.priceMicro !== priceMicro) steps.push({ fromMinute, priceMicro });
  }
  if (steps.length > MAX_STEPS) {
    const why = `the price changes ${steps.length} times a day, a tariff has up to ${MAX_STEPS} steps`;
    throw new KiriError('TRACE_OPTIONS', why);
  }
  return steps;
}

/** Recorded traffic: passages through one gate, or sessions at charging sites. */
export function tracePlan(trace: Trace, payerRefs: readonly string[]): Plan {
  const sites = sitesOf(trace);
  const isGate = trace.kind === 'passages';
  const unit = TARIFF_UNITS.indexOf(isGate ? 'pass' : 'minute');
  const component: TariffComponent = { unit, steps: stepsOf(trace) };
  const payeeOf = (event: TraceEvent): string =>
    isGate ? 'toll-gate' : sites.get(event.payeeRef)!;
  const purchases = trace.events.map((event): Purchase => ({
    atMs: event.atMs,
    payer: event.payerRef,
    payee: payeeOf(event),
    item: isGate ? event.item : event.payeeRef,
    quantity: event.quantity,
    localMinuteOfDay: event.localMinuteOfDay,
    amountMicro: event.amountMicro,
  }));
  const refs = isGate ? ['toll-gate'] : [...new Set(sites.values())];
  const payees = refs.map((ref, i): PayeePlan => ({
    ref,
    merchantId: `KIRI${isGate ? 'TOLL' : 'SITE'}${String(i + 1).padStart(7, '0')}`,
    name: isGate ? 'Northbound express lane' : `Charging site ${i + 1}`,
    place: isGate ? 'Austin USA' : 'Hamburg DEU',
    mcc: isGate ? MCC_TOLLS : MCC_CHARGING,
    components: [component],
  }));
  const currency = currencyOf(trace.currency)!.numeric;
  return {
    title: `${trace.events.length} recorded ${trace.kind}`,
    currency,
    parties: PARTIES,
    payees,
    payers: payersFor(payerRefs, purchases),
    purchases,
    paymentLimitMicro: largest(purchases),
  };
}
