import { LedgerChecker } from './ledger-checker.ts';
import { count, type MachineWorld } from '../machine.ts';
import type { Signatures } from '../city.ts';
import type { Seed } from '../seed.ts';
import type { TraceDigest } from '../trace-digest.ts';
import type { VirtualClock } from '../virtual-clock.ts';
import { VirtualDisk } from '../virtual-disk.ts';
import { VirtualNet } from '../virtual-net.ts';
import { buildConsortium, MIRROR, WITNESSES, type Consortium } from './consortium.ts';
import { ForgerNode } from './forger-node.ts';
import type { LedgerMail, LedgerNode, LedgerSite } from './ledger-node.ts';
import type { LedgerEvent, LedgerScenario } from './ledger-scenario.ts';
import { drawLedgerScenario } from './ledger-scenario.ts';
import { past, type FeedEntry, type LogFeed } from './log-feed.ts';
import { MirrorNode } from './mirror-node.ts';
import { WitnessNode, type WitnessHooks } from './witness-node.ts';
import { WriterNode, type WriterHooks } from './writer-node.ts';

/** Bugs planted on purpose. */
export interface LedgerHooks {
  readonly writer?: WriterHooks;
  readonly witness?: WitnessHooks;
  readonly mirror?: WitnessHooks;
}

/** A gateway as its log sees it. */
export interface LogSource {
  /** Of the gateway; its log has an origin made of it. */
  readonly name: string;
  /** @param before rows of a time before the world, which the journal starts with */
  readonly feed: (before: readonly (readonly FeedEntry[])[]) => LogFeed;
  /** SHA-256 of every answer in the journal, in order, hex; without the rows before. */
  readonly expected: () => readonly string[];
}

/** One log with its writer, as the world's fate and its end see it. */
export interface WorldLog {
  readonly source: LogSource;
  readonly writer: WriterNode;
  readonly before: readonly (readonly FeedEntry[])[];
}

export interface LedgerOptions {
  readonly signatures: Signatures;
  readonly secret: () => Uint8Array;
  readonly hooks?: LedgerHooks;
  /** What befalls the log; drawn from the seed where absent. */
  readonly event?: LedgerEvent;
  readonly safetyMs: number;
}

/** The machines around the logs of one world: a writer beside each gateway, four witnesses, a mirror, perhaps a forger. */
export class LedgerWorld implements LedgerSite {
  readonly clock: VirtualClock;
  readonly trace: TraceDigest;
  readonly counts: Map<string, number>;
  readonly net: VirtualNet<LedgerMail>;
  readonly disk: VirtualDisk;
  readonly checker: LedgerChecker = new LedgerChecker();
  readonly consortium: Consortium;
  readonly scenario: LedgerScenario;
  readonly seed: Seed;
  readonly safetyMs: number;
  readonly logs: readonly WorldLog[];
  readonly witnesses: readonly WitnessNode[];
  readonly mirror: MirrorNode;
  readonly forger: ForgerNode;
  crashPerEffect: number;
  readonly #nodes = new Map<string, LedgerNode>();
  readonly #host: MachineWorld;

  constructor(
    host: MachineWorld,
    seed: Seed,
    sources: readonly LogSource[],
    { signatures, secret, hooks = {}, event, safetyMs }: LedgerOptions,
  ) {
    this.#host = host;
    this.clock = host.clock;
    this.trace = host.trace;
    this.counts = host.counts;
    this.seed = seed;
    this.safetyMs = safetyMs;
    this.scenario = drawLedgerScenario(seed.fork(), event);
    const { scenario } = this;
    this.crashPerEffect = scenario.crashPerEffect;
    this.net = new VirtualNet(this.clock, seed.fork(), scenario.net, (from, to, mail) =>
      this.#nodes.get(to)?.receive(from, mail),
    );
    this.disk = new VirtualDisk(this.clock, seed.fork(), scenario.disk);
    const origins = sources.map(({ name }) => `log.example/${name}`);
    this.consortium = buildConsortium(origins, signatures, secret);
    this.logs = sources.map((source, i) => this.#log(source, origins[i]!, hooks.writer));
    this.witnesses = WITNESSES.map((name) =>
      this.#add(new WitnessNode(this, seed.fork(), name, hooks.witness)),
    );
    this.mirror = this.#add(new MirrorNode(this, seed.fork(), MIRROR, hooks.mirror));
    this.forger = this.#add(new ForgerNode(this, seed.fork(), 'forger', origins[0]!));
    if (scenario.hasLiar) seed.pick(this.witnesses).isLiar = true;
    count(this, `ledger event ${scenario.event}`);
  }

  #log(source: LogSource, origin: string, hooks: WriterHooks = {}): WorldLog {
    const before = past(this.seed, this.scenario.pastEntries);
    const feed = source.feed(before);
    const writer = new WriterNode(this, this.seed.fork(), { name: origin, origin, feed }, hooks);
    this.checker.addLog(origin);
    return { source, writer: this.#add(writer), before };
  }

  #add<Node extends LedgerNode>(node: Node): Node {
    this.#nodes.set(node.name, node);
    return node;
  }

  restartAfterMs(seed: Seed): number {
    return this.#host.restartAfterMs(seed);
  }

  /** A gateway's machine fell; its log writer runs on it. */
  powerLost(gateway: string): void {
    const log = this.logs.find(({ source }) => source.name === gateway);
    if (log && this.seed.chance(0.5)) log.writer.crash('with its gateway');
  }
}
