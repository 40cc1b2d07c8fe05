import type { Now, TimeQuality } from '../../platform/ports.ts';
import type { Checker } from './checkers.ts';
import type { Seed } from './seed.ts';
import type { TraceDigest } from './trace-digest.ts';
import type { VirtualClock } from './virtual-clock.ts';
import type { VirtualDisk, VirtualJournal } from './virtual-disk.ts';
import type { VirtualNet } from './virtual-net.ts';

/** A message on the virtual network: what the transport would show beside the payload. */
export interface Mail {
  /** Key id of the sender, as the transport proves it. */
  readonly senderHex: string;
  readonly verb: string;
  readonly payload: Uint8Array;
  /** Present on relayed verbs: whose inbox it is for. */
  readonly peerHex?: string;
}

/** Everything the nodes of one world share. */
export interface World {
  readonly clock: VirtualClock;
  readonly net: VirtualNet<Mail>;
  readonly disk: VirtualDisk;
  readonly trace: TraceDigest;
  readonly checker: Checker;
  readonly counts: Map<string, number>;
  /** Chance of a crash before any one effect of any one node. */
  crashPerEffect: number;
  /** The node with this key id that is connected to this gateway. */
  nameOf(idHex: string, gateway: string): string | undefined;
  /** Time until a node that has crashed is switched on again. */
  restartAfterMs(seed: Seed): number;
  /** A gateway fell: its connections break. */
  gatewayFell(gateway: string): void;
  nodeOf(name: string): SimNode | undefined;
}

/** 2026-01-01T00:00:00Z: where the wall clocks of a world stand at its start. */
export const WORLD_START_MS = 1_767_225_600_000;

export function count(world: World, what: string): void {
  world.counts.set(what, (world.counts.get(what) ?? 0) + 1);
}

/**
 * A machine with a program on it: it can lose power between any two effects and comes back with what its disk kept. The
 * program is a real core; only this shell is of the simulation.
 */
export abstract class SimNode {
  readonly name: string;
  readonly idHex: string;
  protected readonly world: World;
  protected readonly seed: Seed;
  /** Own wall clock minus true time. */
  wallOffsetMs = 0;
  timeQuality: TimeQuality = 1;
  /** Rises at every crash; what was set off by an earlier life does nothing. */
  protected life = 0;
  #isUp = false;
  #bootMs = 0;

  constructor(world: World, seed: Seed, name: string, idHex: string) {
    this.world = world;
    this.seed = seed;
    this.name = name;
    this.idHex = idHex;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  now(): Now {
    const { nowMs } = this.world.clock;
    return {
      unixMs: Math.max(0, Math.floor(WORLD_START_MS + nowMs + this.wallOffsetMs)),
      monotonicMs: nowMs - this.#bootMs,
      timeQuality: this.timeQuality,
    };
  }

  start(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    // Monotonic clocks do not run over a restart; a different zero each time shows who relies on it.
    this.#bootMs = this.world.clock.nowMs - this.seed.between(0, 5_000);
    this.log('start');
    this.boot();
  }

  crash(why: string): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.life += 1;
    count(this.world, `crash ${why}`);
    this.log(`crash ${why}`);
    for (const journal of this.journals()) journal.crash();
    this.fallen();
    this.world.clock.after(this.world.restartAfterMs(this.seed), () => this.start());
  }

  /** Runs `run` later, unless the node has crashed in between. */
  protected later(delayMs: number, run: () => void): void {
    const { life } = this;
    this.world.clock.after(delayMs, () => {
      if (this.life === life && this.#isUp) run();
    });
  }

  /** Does each effect in turn; the power may fail before any of them. */
  protected perform<Effect>(effects: readonly Effect[], act: (effect: Effect) => void): void {
    const { life } = this;
    for (const effect of effects) {
      if (this.seed.chance(this.world.crashPerEffect)) this.crash('between two effects');
      if (this.life !== life) return;
      act(effect);
    }
  }

  protected log(what: string): void {
    this.world.trace.add(`${this.world.clock.nowMs.toFixed(3)} ${this.name} ${what}`);
  }

  abstract receive(from: string, mail: Mail): void;
  protected abstract boot(): void;
  protected abstract journals(): readonly VirtualJournal[];
  /** After a crash: tell whoever would notice. */
  protected abstract fallen(): void;
}
