import { sha256 } from '@noble/hashes/sha2.js';
import { amountMicro } from '../../protocol/amount.ts';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { PRESENT } from '../../protocol/messages/envelopes.ts';
import type { Want } from '../../agent/core/payer.ts';
import { Checker } from './checkers.ts';
import { buildCity, ITEM_PRICE_MICRO, type City, type Signatures } from './city.ts';
import { GatewayNode, type GatewayHooks } from './gateway-node.ts';
import type { LedgerEvent } from './ledger/ledger-scenario.ts';
import { expectedAnswers } from './ledger/expected-answers.ts';
import { LedgerWorld, type LedgerHooks, type LogSource } from './ledger/ledger-world.ts';
import { GatewayFeed } from './ledger/log-feed.ts';
import { LiarNode } from './liar-node.ts';
import { LinkedNode } from './linked-node.ts';
import { PayeeNode } from './payee-node.ts';
import { PayerNode, type PayerHooks } from './payer-node.ts';
import { drawScenario, type Scenario } from './scenario.ts';
import { seedOf, type Seed } from './seed.ts';
import { WORLD_START_MS } from './machine.ts';
import type { Mail, SimNode, World } from './sim-node.ts';
import { ThiefNode } from './thief-node.ts';
import { TraceDigest } from './trace-digest.ts';
import { VirtualClock } from './virtual-clock.ts';
import { VirtualDisk } from './virtual-disk.ts';
import { VirtualNet } from './virtual-net.ts';

/** Bugs planted on purpose. */
export interface Hooks {
  readonly gateway?: GatewayHooks;
  readonly payer?: PayerHooks;
  readonly ledger?: LedgerHooks;
}

export interface WorldOptions {
  readonly signatures: Signatures;
  readonly hooks?: Hooks;
  /** What befalls the first gateway's log; drawn from the seed where absent. */
  readonly ledgerEvent?: LedgerEvent;
}

function logSource(gateway: GatewayNode): LogSource {
  const journals = () => gateway.durableJournals;
  return {
    name: gateway.name,
    feed: (before) => new GatewayFeed(gateway.alg, before, journals),
    expected: () => expectedAnswers(journals()),
  };
}

/** A whole world of one seed, ready to run. Everything in it follows from the seed alone. */
export class VirtualWorld implements World {
  readonly clock: VirtualClock = new VirtualClock();
  readonly trace: TraceDigest = new TraceDigest();
  readonly checker: Checker = new Checker();
  readonly counts: Map<string, number> = new Map<string, number>();
  readonly net: VirtualNet<Mail>;
  readonly disk: VirtualDisk;
  readonly scenario: Scenario;
  readonly seed: Seed;
  readonly city: City;
  readonly ledger: LedgerWorld;
  readonly gateways: GatewayNode[] = [];
  readonly payers: PayerNode[] = [];
  readonly payees: PayeeNode[] = [];
  readonly attackers: (ThiefNode | LiarNode)[] = [];
  /** The copy of a payer's card, switched on later. */
  clone: PayerNode | undefined;
  crashPerEffect: number;
  readonly #nodes = new Map<string, SimNode>();
  readonly #linked: LinkedNode[] = [];

  constructor(seedNumber: number, options: WorldOptions) {
    const seed = seedOf(seedNumber);
    this.seed = seed;
    this.scenario = drawScenario(seed.fork());
    const { scenario } = this;
    // The same keys in every world: making them costs much, and no rule depends on which they are.
    let number = 0;
    const secret = (): Uint8Array => sha256(utf8ToBytes(`kiri/sim/key/${(number += 1)}`));
    this.net = new VirtualNet<Mail>(this.clock, seed.fork(), scenario.net, (from, to, mail) =>
      this.#nodes.get(to)?.receive(from, mail),
    );
    this.disk = new VirtualDisk(this.clock, seed.fork(), scenario.disk);
    this.crashPerEffect = scenario.crashPerEffect;
    this.city = buildCity({
      payers: scenario.payers + (scenario.hasClone ? 1 : 0) + (scenario.hasLiar ? 1 : 0),
      payees: scenario.payees,
      approvers: scenario.gateways,
      limits: scenario.limits,
      startS: WORLD_START_MS / 1_000,
      secret,
      signatures: options.signatures,
    });
    this.#people(options.hooks ?? {});
    this.#crooks(options.signatures.signer(secret()));
    // Streams of their own: what happens to the logs does not change who buys what.
    this.ledger = new LedgerWorld(
      this,
      seedOf(seedNumber, 'ledger'),
      this.gateways.map(logSource),
      {
        signatures: options.signatures,
        secret,
        safetyMs: scenario.safetyMs,
        ...(options.hooks?.ledger ? { hooks: options.hooks.ledger } : {}),
        ...(options.ledgerEvent ? { event: options.ledgerEvent } : {}),
      },
    );
  }

  #people(hooks: Hooks): void {
    const { city, scenario } = this;
    for (const [i, papers] of city.approvers.entries()) {
      const node = new GatewayNode(
        this,
        this.seed.fork(),
        `gateway-${i}`,
        city,
        papers,
        hooks.gateway,
      );
      this.gateways.push(this.#add(node));
    }
    for (const [i, papers] of city.payees.entries()) {
      this.payees.push(
        this.#link(new PayeeNode(this, this.seed.fork(), `payee-${i}`, city, papers)),
      );
    }
    const honestOrCloned = scenario.payers + (scenario.hasClone ? 1 : 0);
    for (const [i, papers] of city.payers.slice(0, honestOrCloned).entries()) {
      const node = new PayerNode(this, this.seed.fork(), `payer-${i}`, city, papers, hooks.payer);
      this.payers.push(this.#link(node));
      if (i >= scenario.payers) continue;
      const { ceilingMicro } = scenario.limits;
      this.checker.addHonest({ payer: node.name, lineHex: node.lineHex, ceilingMicro });
    }
  }

  #crooks(thiefKey: ReturnType<Signatures['signer']>): void {
    const { city, scenario } = this;
    const payeeIds = this.payees.map((payee) => payee.id);
    if (scenario.hasClone) {
      const papers = city.payers[scenario.payers]!;
      this.clone = this.#link(new PayerNode(this, this.seed.fork(), 'clone', city, papers));
    }
    if (scenario.hasLiar) {
      const { signer, line, present } = city.payers.at(-1)!;
      const papers = { signer, line, present: PRESENT.encode({ documents: present }) };
      this.attackers.push(this.#link(new LiarNode(this, this.seed.fork(), papers, payeeIds)));
    }
    if (!scenario.hasThief) return;
    const keys = new Map(
      this.payers.map((payer, i) => [payer.lineHex, city.payers[i]!.signer.key]),
    );
    const thief = new ThiefNode(this, this.seed.fork(), thiefKey, keys, payeeIds);
    this.attackers.push(this.#link(thief));
    this.net.tap = (_from, _to, mail) => thief.overhear(mail);
  }

  #add<Node extends SimNode>(node: Node): Node {
    this.#nodes.set(node.name, node);
    return node;
  }

  #link<Node extends LinkedNode>(node: Node): Node {
    this.#linked.push(node);
    return this.#add(node);
  }

  get nodes(): Iterable<SimNode> {
    return this.#nodes.values();
  }

  get linkedNodes(): readonly LinkedNode[] {
    return this.#linked;
  }

  nodeOf(name: string): SimNode | undefined {
    return this.#nodes.get(name);
  }

  nameOf(idHex: string, gateway: string): string | undefined {
    return this.#linked.find((node) => node.idHex === idHex && node.linkedTo === gateway)?.name;
  }

  restartAfterMs(seed: Seed): number {
    return seed.between(10, seed.chance(0.2) ? 10_000 : 1_000);
  }

  gatewayFell(gateway: string): void {
    this.ledger.powerLost(gateway);
    for (const node of this.#linked) {
      if (node.linkedTo !== gateway) continue;
      this.clock.after(this.seed.between(0, 1_500), () => {
        if (node.linkedTo === gateway) node.dropLink();
      });
    }
  }

  /** A purchase at a payee: `ref` is the application's name for it. */
  wantAt(ref: string, payee: PayeeNode, quantity: number): Want {
    return {
      ref,
      payee: payee.id,
      item: 'item',
      quantity,
      maxAmountMicro: amountMicro(ITEM_PRICE_MICRO * 100n),
    };
  }
}
