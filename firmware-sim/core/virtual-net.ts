import type { Seed } from './seed.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Chances per message. The ranges are those of TigerBeetle's simulator: loss to 0.3, copies to 0.5. */
export interface NetFaults {
  readonly loss: number;
  /** A copy comes too, at a time of its own. */
  readonly duplication: number;
  /** An old message between the same two comes once more with a new one. */
  readonly replay: number;
  readonly minDelayMs: number;
  /** Delays are drawn apart for every message, so later ones overtake earlier ones. */
  readonly maxDelayMs: number;
}

export const NO_NET_FAULTS: NetFaults = {
  loss: 0,
  duplication: 0,
  replay: 0,
  minDelayMs: 0.2,
  maxDelayMs: 2,
};

export interface NetCounts {
  sent: number;
  delivered: number;
  lost: number;
  duplicated: number;
  replayed: number;
  cut: number;
}

/** Old messages kept for replay per direction. */
const REPLAY_MEMORY = 16;

/** A network between named nodes that loses, copies, delays, reorders, replays and is cut, each with its own chance. */
export class VirtualNet<Message> {
  faults: NetFaults;
  /** Hears every message that is sent, as an eavesdropper would. */
  tap: ((from: string, to: string, message: Message) => void) | undefined;
  readonly counts: NetCounts = {
    sent: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    replayed: 0,
    cut: 0,
  };
  readonly #clock: VirtualClock;
  readonly #seed: Seed;
  readonly #deliver: (from: string, to: string, message: Message) => void;
  /** Directed pairs that nothing passes: partitions may be one-sided. */
  readonly #cuts = new Set<string>();
  readonly #past = new Map<string, Message[]>();

  constructor(
    clock: VirtualClock,
    seed: Seed,
    faults: NetFaults,
    deliver: (from: string, to: string, message: Message) => void,
  ) {
    this.#clock = clock;
    this.#seed = seed;
    this.faults = faults;
    this.#deliver = deliver;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  healAll(): void {
    this.#cuts.clear();
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  send(from: string, to: string, message: Message): void {
    this.counts.sent += 1;
    this.tap?.(from, to, message);
    const lane = `${from}>${to}`;
    const past = this.#past.get(lane) ?? [];
    this.#past.set(lane, past);
    if (this.#seed.chance(this.faults.loss)) this.counts.lost += 1;
    else this.#fly(from, to, message);
    if (this.#seed.chance(this.faults.duplication)) {
      this.counts.duplicated += 1;
      this.#fly(from, to, message);
    }
    if (past.length > 0 && this.#seed.chance(this.faults.replay)) {
      this.counts.replayed += 1;
      this.#fly(from, to, this.#seed.pick(past));
    }
    if (past.length < REPLAY_MEMORY) past.push(message);
    else past[this.#seed.below(REPLAY_MEMORY)] = message;
  }

  /** What is under way when a lane is cut is lost with it. */
  #fly(from: string, to: string, message: Message): void {
    const delayMs = this.#seed.between(this.faults.minDelayMs, this.faults.maxDelayMs);
    this.#clock.after(delayMs, () => {
      if (this.isCut(from, to)) {
        this.counts.cut += 1;
        return;
      }
      this.counts.delivered += 1;
      this.#deliver(from, to, message);
    });
  }
}
