import { join } from 'node:path';
import { Child } from './child.ts';
import type { Devices, Paid } from './devices.ts';
import { section, type Figure } from './figure.ts';
import type { FloorStart } from './floor-child.ts';
import type { GatewayUnderTest, JournalFolder } from './gateway-under-test.ts';
import { median, quantile } from './measure.ts';
import { sampleSale } from './samples.ts';
import { GOAL_PAIR_BYTES } from './sizes.ts';

const figure = section('Gateway CPU per durable approval over MQTT');
const IN_FLIGHT = 64;
/** The goal of this stage; 1.4 is where it must end. */
const GOAL_RATIO = 2;
const size = section('Bytes per payment');
/** 1.05 × Payment + Receipt. */
const GOAL_JOURNAL_BYTES = 1.05 * GOAL_PAIR_BYTES;

interface Round {
  /** CPU microseconds per payment: hand-in of Offers and Payments; Payments alone. */
  readonly allMicros: number;
  readonly payMicros: number;
  readonly paid: Paid;
}

async function payRound(
  gateway: GatewayUnderTest,
  devices: Devices,
  count: number,
  relayed: boolean,
): Promise<Round> {
  const before = await gateway.mark();
  const offers = await devices.offers(count, !relayed);
  const purchases = devices.purchases(offers);
  const ready = await gateway.mark();
  const paid = await devices.pay(purchases, IN_FLIGHT, relayed);
  const after = await gateway.mark();
  if (after.accepted - before.accepted !== count) throw new Error('not every Payment was accepted');
  return {
    allMicros: (after.cpuMicros - before.cpuMicros) / count,
    payMicros: (after.cpuMicros - ready.cpuMicros) / count,
    paid,
  };
}

/** Signed Payments and keys for the floor, of the same world. */
function floorStart({ world, folder }: GatewayUnderTest): FloorStart {
  return {
    kind: 'start',
    file: join(folder, 'floor'),
    pem: world.gateway.pem,
    payments: world.payers.map((_, i) => sampleSale(world, i, 1_000).payment),
    points: world.payers.map(({ signer }) => signer.key.point),
  };
}

export interface ApprovalPlan {
  readonly rounds: number;
  /** Rounds before, not counted: the compiler has to see the code first. */
  readonly warmUps: number;
  /** Payments of one round. */
  readonly count: number;
}

interface Measured {
  readonly stocked: readonly Round[];
  readonly relayed: readonly Round[];
  readonly floors: readonly number[];
}

/** Interleaves floor, stocked and relayed rounds; warm-ups first. */
async function interleave(
  gateway: GatewayUnderTest,
  devices: Devices,
  plan: ApprovalPlan,
): Promise<Measured> {
  const floor = new Child('floor-child.js');
  await floor.ask(floorStart(gateway));
  const stocked: Round[] = [];
  const relayed: Round[] = [];
  const floors: number[] = [];
  for (let round = -plan.warmUps; round < plan.rounds; round += 1) {
    const floorMicros = await floor.ask<number>({ kind: 'round', count: plan.count });
    const first = await payRound(gateway, devices, plan.count, false);
    const second = await payRound(gateway, devices, plan.count, true);
    if (round < 0) continue;
    floors.push(floorMicros);
    stocked.push(first);
    relayed.push(second);
  }
  await floor.close();
  return { stocked, relayed, floors };
}

/** Interleaved rounds against one gateway process, and what they left in its journals. */
export async function measureApproval(
  gateway: GatewayUnderTest,
  devices: Devices,
  plan: ApprovalPlan,
): Promise<readonly Figure[]> {
  const before = gateway.journalBytes();
  const { stocked, relayed, floors } = await interleave(gateway, devices, plan);
  const after = gateway.journalBytes();
  const payments = 2 * (plan.rounds + plan.warmUps) * plan.count;
  const perPayment = (name: JournalFolder): number => (after[name] - before[name]) / payments;
  const floor = median(floors);
  const all = stocked.map(({ allMicros }) => allMicros);
  const pay = stocked.map(({ payMicros }) => payMicros);
  const asked = relayed.map(({ allMicros }) => allMicros);
  const over = (micros: readonly number[]): number =>
    median(micros.map((value, i) => value / floors[i]!));
  const waits = stocked.flatMap(({ paid }) => paid.latenciesMs);
  const wall = median(stocked.map(({ paid }) => paid.wallMs));
  const wire = median(stocked.map(({ paid }) => paid.wireBytes)) / plan.count;
  return [
    figure('floor: decode, verify, hash, encode, sign, append', floor, 'µs'),
    figure('gateway, Offers in stock', median(all), 'µs'),
    figure('  of which the Payments', median(pay), 'µs'),
    figure('gateway, each Offer asked for and relayed', median(asked), 'µs'),
    figure('gateway ÷ floor', over(all), '', GOAL_RATIO),
    figure('gateway ÷ floor, Payments alone', over(pay), ''),
    figure('gateway ÷ floor, Offers asked for and relayed', over(asked), ''),
    figure('durable approvals per second (wall)', (plan.count * 1_000) / wall, '/s'),
    figure(`answer p50 with ${IN_FLIGHT} in flight (wall)`, quantile(waits, 0.5), 'ms'),
    figure(`answer p99 with ${IN_FLIGHT} in flight (wall)`, quantile(waits, 0.99), 'ms'),
    size('money + signed', perPayment('money') + perPayment('signed'), 'B', GOAL_JOURNAL_BYTES),
    size('  money', perPayment('money'), 'B'),
    size('  signed', perPayment('signed'), 'B'),
    size('offers', perPayment('offers'), 'B'),
    size('on the wire, payer and payee, both ways, Offer in stock', wire, 'B'),
  ];
}
