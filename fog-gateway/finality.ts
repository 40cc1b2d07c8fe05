import { stat } from 'node:fs/promises';
import { readIfPresent } from '../platform/durable-file.ts';
import type { Clock } from '../platform/ports.ts';
import { fromHex } from '../protocol/bytes.ts';
import { signSign1 } from '../protocol/cose.ts';
import { parseLevels, type LogLevels } from '../protocol/levels.ts';
import { FINAL_THROUGH } from '../protocol/messages/final-through.ts';
import type { Signer } from '../protocol/public-key.ts';
import type { DownVerb } from '../protocol/topics.ts';

/** How often the ledger's levels are looked at; also the shortest time between two tellings of one device. */
const POLL_INTERVAL_MS = 1_000;
const MAX_FILE_BYTES = 8_192;
/** Devices that have something not yet final and will be told; the one that waits longest is dropped. */
const MAX_WAITING = 65_536;
/** What a device was sent that will become final, or that says that it is there (again). */
const NEWS: ReadonlySet<DownVerb> = new Set<DownVerb>(['receipt', 'refusal', 'paid', 'presented']);

export interface FinalityOptions {
  /** `state/levels` of the log that the ledger writes beside this gateway. */
  readonly path: string;
  readonly signer: Signer;
  readonly clock: Clock;
  /** Last sequence that this approver has given out. */
  readonly lastSequence: () => number;
  readonly isListening: (device: string) => boolean;
  readonly send: (device: string, bytes: Uint8Array) => void;
}

interface Waiting {
  /** Told until this is final. */
  readonly sequence: number;
  /** The last sequence that it was told. */
  readonly told: number;
}

/**
 * Follows the ledger beside the gateway and tells devices "L2 through sequence n" (DESIGN §5): those that were sent
 * something since, once a second at most, and only what is new. The ledger's file is derived and local; what would be
 * impossible in it is not believed.
 */
export class Finality {
  readonly #options: FinalityOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #timer: NodeJS.Timeout;
  #levels: LogLevels | undefined;
  #message: { readonly sequence: number; readonly cose: Uint8Array } | undefined;
  #seen = '';
  #polling: Promise<void> | undefined;

  constructor(options: FinalityOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.poll(), POLL_INTERVAL_MS).unref();
  }

  /** The last levels that were believed. */
  get levels(): LogLevels | undefined {
    return this.#levels;
  }

  /** Something went to a device. */
  noteSent(device: string, verb: DownVerb): void {
    if (!NEWS.has(verb)) return;
    const told = verb === 'presented' ? 0 : (this.#waiting.get(device)?.told ?? 0);
    this.#waiting.delete(device);
    this.#waiting.set(device, { sequence: this.#options.lastSequence(), told });
    if (this.#waiting.size <= MAX_WAITING) return;
    for (const longest of this.#waiting.keys()) {
      this.#waiting.delete(longest);
      return;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#polling;
  }

  /** Looks at the file and tells what is new; also done every second. */
  poll(): Promise<void> {
    this.#polling ??= this.#look().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  async #look(): Promise<void> {
    const levels = await this.#read().catch(() => undefined);
    if (levels !== undefined) this.#take(levels);
    this.#tell();
  }

  async #read(): Promise<LogLevels | undefined> {
    const { path } = this.#options;
    const found = await stat(path);
    const seen = `${found.mtimeMs} ${found.size} ${found.ino}`;
    if (seen === this.#seen || found.size > MAX_FILE_BYTES) return undefined;
    const bytes = await readIfPresent(path);
    const levels = bytes && parseLevels(JSON.parse(bytes.toString('utf8')));
    if (levels !== undefined) this.#seen = seen;
    return levels;
  }

  #take(levels: LogLevels): void {
    const { signer, clock, lastSequence } = this.#options;
    const through = levels.final.throughSequence ?? 0;
    // Another gateway's log, or one of a later life of this gateway: nothing that happened here.
    if ((levels.recorded.throughSequence ?? 0) > lastSequence() || through > lastSequence()) return;
    this.#levels = levels;
    if (through <= (this.#message?.sequence ?? 0)) return;
    const payload = FINAL_THROUGH.encode({
      approver: signer.key.id,
      sequence: through,
      origin: levels.origin,
      size: levels.final.size,
      policyHash: fromHex(levels.policyHash),
      timeS: Math.max(0, Math.floor(clock.now().unixMs / 1_000)),
    });
    this.#message = { sequence: through, cose: signSign1(signer, payload) };
  }

  #tell(): void {
    const message = this.#message;
    if (message === undefined) return;
    for (const [device, { sequence, told }] of this.#waiting) {
      if (told >= message.sequence || !this.#options.isListening(device)) continue;
      this.#options.send(device, message.cose);
      if (message.sequence >= sequence) this.#waiting.delete(device);
      else this.#waiting.set(device, { sequence, told: message.sequence });
    }
  }
}
