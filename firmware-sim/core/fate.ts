import type { PayeeNode } from './payee-node.ts';
import type { PayerNode } from './payer-node.ts';
import type { Seed } from './seed.ts';
import { count } from './machine.ts';
import { NO_DISK_FAULTS } from './virtual-disk.ts';
import { NO_NET_FAULTS } from './virtual-net.ts';
import type { VirtualWorld } from './world.ts';

const DAY_MS = 86_400_000;
/** Devices look after their connection this often. */
const CONNECT_EVERY_MS = 250;
/** In the liveness phase devices drive on after this, so that every gateway is met. */
const ROAM_EVERY_MS = 15_000;
/** What must have ended by then, in virtual time, once nothing fails any more. */
const LIVENESS_MS = 900_000;
/** After the last purchase has ended, everything is final within this. */
const FINALITY_MS = 60_000;

/** What an application wants, by its own name for it. */
interface Purchase {
  readonly ref: string;
  readonly payee: PayeeNode;
  readonly quantity: number;
}

/** Lets purchases, attacks and faults happen at random moments for a while, then takes the faults away. */
export class Fate {
  readonly #world: VirtualWorld;
  readonly #seed: Seed;
  readonly #wants = new Map<PayerNode, Purchase[]>();
  #isStormy = true;

  constructor(world: VirtualWorld) {
    this.#world = world;
    this.#seed = world.seed.fork();
  }

  /** Everybody is switched on and placed. */
  begin(): void {
    const world = this.#world;
    for (const node of world.nodes) {
      if (node !== world.clone) node.start();
    }
    for (const [i, payee] of world.payees.entries()) {
      payee.moveTo(world.gateways[i % world.gateways.length]!.name);
    }
    for (const node of [...world.payers, ...world.attackers]) this.#roam(node);
    for (const payer of world.payers) this.#buyAgain(payer);
    if (world.clone) this.#bornClone(world.clone);
    for (const attacker of world.attackers) {
      this.#every(
        () => this.#seed.between(300, 3_000),
        () => attacker.act(),
      );
    }
    this.#every(
      () => this.#seed.between(0, 2 * world.scenario.fateEveryMs),
      () => this.#strike(),
    );
    this.#every(
      () => CONNECT_EVERY_MS,
      () => this.#connect(),
      true,
    );
  }

  /** Faults stop: everything is on, connected and on time, and devices drive about. */
  calm(): void {
    const world = this.#world;
    this.#isStormy = false;
    world.crashPerEffect = 0;
    world.net.faults = NO_NET_FAULTS;
    world.disk.faults = NO_DISK_FAULTS;
    world.net.healAll();
    for (const node of world.nodes) {
      node.wallOffsetMs = 0;
      node.timeQuality = 1;
    }
    for (const gateway of world.gateways) gateway.hearCentre(true);
    this.#every(
      () => ROAM_EVERY_MS,
      () => this.#drive(),
      true,
    );
  }

  /** Runs on until nothing is open, or until it is clear that something never ends. */
  settle(isLedgerQuiet: () => boolean): void {
    const { clock } = this.#world;
    let untilMs = clock.nowMs + LIVENESS_MS;
    let isBought = false;
    while (clock.nowMs < untilMs) {
      const stopMs = clock.nowMs + ROAM_EVERY_MS;
      while (clock.step(stopMs));
      if (!this.#isQuiet()) continue;
      if (isLedgerQuiet()) return;
      if (!isBought) untilMs = clock.nowMs + FINALITY_MS;
      isBought = true;
    }
  }

  #isQuiet(): boolean {
    const { gateways, payers } = this.#world;
    if (!gateways.every((gateway) => gateway.isQuiet)) return false;
    return payers.every(
      (payer) => payer.isUp && payer.openPayments === 0 && this.#openWants(payer).length === 0,
    );
  }

  #every(pauseMs: () => number, act: () => void, inCalm = false): void {
    this.#world.clock.after(pauseMs(), () => {
      if (!this.#isStormy && !inCalm) return;
      act();
      this.#every(pauseMs, act, inCalm);
    });
  }

  #connect(): void {
    for (const node of this.#world.linkedNodes) node.tryLink();
  }

  #roam(node: { moveTo(gateway: string): void }): void {
    node.moveTo(this.#seed.pick(this.#world.gateways).name);
  }

  /** Each to the next gateway; applications ask again for what they were told is unknown. */
  #drive(): void {
    const { gateways, payers } = this.#world;
    for (const payer of payers) {
      const at = gateways.findIndex(({ name }) => name === payer.linkedTo);
      payer.moveTo(gateways[(at + 1) % gateways.length]!.name);
      for (const { ref, payee, quantity } of this.#openWants(payer)) {
        payer.want(this.#world.wantAt(ref, payee, quantity));
      }
    }
  }

  /** Purchases of which the application knows no end: told unknown, or told nothing because of a crash. */
  #openWants(payer: PayerNode): readonly Purchase[] {
    const { checker } = this.#world;
    const past = this.#wants.get(payer) ?? [];
    return past.filter(
      ({ ref }) => checker.watches(payer.name) && !checker.hasEnded(payer.name, ref),
    );
  }

  #buyAgain(payer: PayerNode): void {
    const { wantEveryMs } = this.#world.scenario;
    const past: Purchase[] = [];
    this.#wants.set(payer, past);
    this.#every(
      () => this.#seed.between(0, 2 * wantEveryMs),
      () => {
        const again = past.length > 0 && this.#seed.chance(0.1);
        const want = again ? this.#seed.pick(past) : this.#newWant(payer, past.length);
        if (!again) past.push(want);
        payer.want(this.#world.wantAt(want.ref, want.payee, want.quantity));
      },
    );
  }

  #newWant(payer: PayerNode, number: number): { ref: string; payee: PayeeNode; quantity: number } {
    const { payees, scenario } = this.#world;
    const here = payees.filter((payee) => payee.linkedTo === payer.linkedTo);
    const payee = this.#seed.pick(here.length > 0 && !this.#seed.chance(0.05) ? here : payees);
    return {
      ref: `${payer.name}-${number}`,
      payee,
      quantity: 1 + this.#seed.below(scenario.maxQuantity),
    };
  }

  #bornClone(clone: PayerNode): void {
    const world = this.#world;
    const original = world.payers.at(-1)!;
    world.clock.after(this.#seed.between(1_000, world.scenario.safetyMs / 2), () => {
      count(world, 'card copied');
      original.cloneCardTo(clone);
      clone.start();
      this.#roam(clone);
      this.#buyAgain(clone);
    });
  }

  #strike(): void {
    const world = this.#world;
    const { linkedNodes, gateways, payers, net } = world;
    const seed = this.#seed;
    const device = seed.pick(linkedNodes);
    const gateway = seed.pick(gateways);
    switch (seed.below(9)) {
      case 0:
      case 1:
        gateway.crash('at a random moment');
        return;
      case 2:
        device.crash('at a random moment');
        return;
      case 3: {
        const [from, to] = seed.chance(0.5)
          ? [device.name, gateway.name]
          : [gateway.name, device.name];
        net.cut(from, to);
        count(world, 'cut');
        world.clock.after(seed.between(200, 15_000), () => net.heal(from, to));
        return;
      }
      case 4:
        device.dropLink();
        return;
      case 5:
        this.#roam(seed.pick(payers));
        return;
      case 6:
        this.#bendClock();
        return;
      case 7: {
        const payer = seed.pick(payers);
        count(world, 'closed orderly');
        payer.close();
        world.clock.after(seed.between(100, 2_000), () => payer.crash('after an orderly end'));
        return;
      }
      default:
        gateway.hearCentre(seed.chance(0.5));
    }
  }

  #bendClock(): void {
    const world = this.#world;
    const seed = this.#seed;
    const node = seed.pick([...world.nodes]);
    count(world, 'clock jump');
    const to1970 = seed.chance(0.2);
    node.wallOffsetMs = to1970 ? -2e12 : seed.between(-DAY_MS, DAY_MS);
    node.timeQuality = seed.pick([0, 0, 1, 2, 3] as const);
  }
}
