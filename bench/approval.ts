import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signSign1 } from '../protocol/cose.ts';
import { PAYMENT, TIME_SYNCHRONISED } from '../protocol/messages/payment.ts';
import { amountMicro } from '../protocol/amount.ts';
import { Child } from './child.ts';
import { Devices, type Paid } from './devices.ts';
import type { Figure } from './figure.ts';
import type { FloorStart } from './floor-child.ts';
import type { GatewayMark, GatewayStart } from './gateway-child.ts';
import { median } from './measure.ts';
import { CURRENCY, makeWorld, PRICE_MICRO, type BenchWorld } from './world.ts';

const SECTION = 'Gateway CPU per durable approval over MQTT';
const IN_FLIGHT = 64;
/** The goal of this stage; 1.4 is where it must end. */
const GOAL_RATIO = 2;
const JOURNALS = ['money', 'signed', 'offers'] as const;

/** A gateway process with its journals in a folder of its own. */
export class GatewayUnderTest {
  readonly folder: string;
  readonly child: Child;
  readonly world: BenchWorld;
  port = 0;

  constructor(world: BenchWorld, execArgv: readonly string[] = []) {
    this.world = world;
    this.folder = mkdtempSync(join(tmpdir(), 'kiri-bench-'));
    this.child = new Child('gateway-child.js', execArgv);
  }

  async start(): Promise<this> {
    const { gateway, issuer, mandate, statusList } = this.world;
    const order: GatewayStart = {
      kind: 'start',
      folder: this.folder,
      pem: gateway.pem,
      issuerAlg: issuer.key.alg,
      issuerPoint: issuer.key.point,
      mandate,
      statusList,
    };
    this.port = await this.child.ask<number>(order);
    return this;
  }

  mark(): Promise<GatewayMark> {
    return this.child.ask<GatewayMark>({ kind: 'mark' });
  }

  /** Bytes of each journal's segments. */
  journalBytes(): Record<(typeof JOURNALS)[number], number> {
    const sizes = { money: 0, signed: 0, offers: 0 };
    for (const name of JOURNALS) {
      const folder = join(this.folder, name);
      for (const file of readdirSync(folder)) sizes[name] += statSync(join(folder, file)).size;
    }
    return sizes;
  }

  async close(): Promise<void> {
    await this.child.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

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
function floorStart(world: BenchWorld, folder: string): FloorStart {
  const payments = world.payers.map((payer, i) =>
    signSign1(
      payer.signer,
      PAYMENT.encode({
        line: payer.line,
        approver: world.gateway.signer.key.id,
        payee: world.payee.key.id,
        counter: 1_000 + i,
        amountMicro: PRICE_MICRO,
        totalMicro: amountMicro(PRICE_MICRO * 1_000n),
        currency: CURRENCY,
        offerHash: new Uint8Array(20).fill(i),
        timeS: 1_790_000_000,
        timeQuality: TIME_SYNCHRONISED,
      }),
    ),
  );
  const points = world.payers.map(({ signer }) => signer.key.point);
  return { kind: 'start', file: join(folder, 'floor'), pem: world.gateway.pem, payments, points };
}

interface Plan {
  readonly payers: number;
  readonly rounds: number;
  readonly count: number;
  readonly execArgv?: readonly string[];
}

interface Measured {
  readonly stocked: readonly Round[];
  readonly relayed: readonly Round[];
  readonly floors: readonly number[];
}

/** Interleaves floor, stocked and relayed rounds; the first of each warms up and is not counted. */
async function rounds(gateway: GatewayUnderTest, devices: Devices, plan: Plan): Promise<Measured> {
  const floor = new Child('floor-child.js');
  await floor.ask(floorStart(gateway.world, gateway.folder));
  const stocked: Round[] = [];
  const relayed: Round[] = [];
  const floors: number[] = [];
  for (let round = -1; round < plan.rounds; round += 1) {
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

export async function measureApproval(plan: Plan): Promise<readonly Figure[]> {
  const world = makeWorld(plan.payers);
  const gateway = new GatewayUnderTest(world, plan.execArgv);
  try {
    await gateway.start();
    const devices = await Devices.connect(world, gateway.port);
    const { stocked, relayed, floors } = await rounds(gateway, devices, plan);
    devices.close();
    const figure = (name: string, value: number, unit: string, goal?: number): Figure => ({
      section: SECTION,
      name,
      value,
      unit,
      ...(goal === undefined ? {} : { goal }),
    });
    const floor = median(floors);
    const all = median(stocked.map(({ allMicros }) => allMicros));
    const pay = median(stocked.map(({ payMicros }) => payMicros));
    const asked = median(relayed.map(({ allMicros }) => allMicros));
    const ratios = stocked.map(({ allMicros }, i) => allMicros / floors[i]!);
    return [
      figure('floor: decode, verify, hash, encode, sign, append', floor, 'µs'),
      figure('gateway, Offers in stock', all, 'µs'),
      figure('  of which the Payments', pay, 'µs'),
      figure('gateway, each Offer asked for and relayed', asked, 'µs'),
      figure('gateway ÷ floor', median(ratios), '', GOAL_RATIO),
      figure('gateway ÷ floor, Payments alone', pay / floor, ''),
      figure('gateway ÷ floor, Offers relayed', asked / floor, ''),
      figure(
        'durable approvals per second (wall)',
        (plan.count * 1_000) / median(stocked.map(({ paid }) => paid.wallMs)),
        '/s',
      ),
      figure(
        'bytes on the wire per payment, both ways, payer and payee',
        median(stocked.map(({ paid }) => paid.wireBytes)) / plan.count,
        'B',
      ),
    ];
  } finally {
    await gateway.close();
  }
}
