import type { Now, TimeQuality } from '../../platform/ports.ts';
import type { Seed } from './seed.ts';
import type { TraceDigest } from './trace-digest.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What every machine of a world needs of it. */
export interface MachineWorld {
  readonly clock: VirtualClock;
  readonly trace: TraceDigest;
  readonly counts: Map<string, number>;
  /** Chance of a crash before any one effect of any one machine. */
  crashPerEffect: number;
  /** Time until a machine that has crashed is switched on again. */
  restartAfterMs(seed: Seed): number;
}

/** 2026-01-01T00:00:00Z: where the wall clocks of a world stand at its start. */
export const WORLD_START_MS = 1_767_225_600_000;

export function count(world: MachineWorld, what: string): void {
  world.counts.set(what, (world.counts.get(what) ?? 0) + 1);
}

/** What loses power with its machine. */
export interface Storage {
  crash(): void;
}

/**
 * A machine with a program on it: it can lose power between any two effects and comes back with what its disk kept. The
 * program is a real core; only this shell is of the simulation.
 */
export abstract class Machine<W extends MachineWorld = MachineWorld> {
  readonly name: string;
  protected readonly world: W;
  protected readonly seed: Seed;
  /** Own wall clock minus true time. */
  wallOffsetMs = 0;
  timeQuality: TimeQuality = 1;
  /** Rises at every crash; what was set off by an earlier life does nothing. */
  protected life = 0;
  #isUp = false;
  #bootMs = 0;

  constructor(world: W, seed: Seed, name: string) {
    this.world = world;
    this.seed = seed;
    this.name = name;
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
    if (this.#isUp || !this.mayStart()) return;
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
    for (const storage of this.storages()) storage.crash();
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

  /** Whether switching on does anything now. */
  protected mayStart(): boolean {
    return true;
  }

  protected abstract boot(): void;
  protected abstract storages(): readonly Storage[];
  /** After a crash: tell whoever would notice. */
  protected abstract fallen(): void;
}
