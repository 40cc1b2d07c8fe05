/**
 * A witness as an HTTP service on the loopback address: POST /add-checkpoint. One file per log below `state/witness/`
 * holds the last cosigned checkpoint; it is durable before the cosignature leaves, and read back by its own signature.
 */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toDiskError } from '../../platform/disk-error.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { type HttpAnswer, type HttpRequest, listenLoopback } from '../../platform/http-server.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import type { Clock } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { VerifierKey } from './core/note-key.ts';
import {
  MAX_REQUEST_BYTES,
  type WitnessInput,
  type WitnessPorts,
  type WitnessState,
  type WitnessedHead,
  restoreHead,
  stepWitness,
  witnessState,
} from './core/witness.ts';

export interface WitnessServiceOptions {
  /** The witness's own folder. */
  readonly root: string;
  readonly ports: WitnessPorts;
  /** Trusted keys per log origin. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
  /** 0 takes any free port. */
  readonly port: number;
  readonly clock: Clock;
  /** Asked before the witness's own checks; an answer refuses the request. A mirror checks contents here. */
  readonly admit?: (body: Uint8Array) => Promise<HttpAnswer | undefined>;
  /** Answers everything but add-checkpoint; 404 where absent. */
  readonly others?: (request: HttpRequest) => Promise<HttpAnswer>;
}

export interface WitnessService {
  /** The submission prefix of tlog-witness. */
  readonly url: string;
  readonly port: number;
  /** Sizes cosigned so far, by origin. */
  sizes(): ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** More waiting requests than this are answered 503 before anything is read from them. */
const MAX_WAITING = 256;

const headPath = (folder: string, origin: string): string =>
  join(folder, createHash('sha256').update(origin).digest('hex'));

const HEAD_NAME = /^[0-9a-f]{64}$/;

/** Reads every stored head. A damaged one stops the start: a witness must never begin anew at size 0. */
const readHeads = async (folder: string, ports: WitnessPorts): Promise<WitnessedHead[]> => {
  const heads: WitnessedHead[] = [];
  for (const name of await readdir(folder)) {
    if (!HEAD_NAME.test(name)) continue;
    const path = join(folder, name);
    const note = new Uint8Array((await readIfPresent(path)) ?? []);
    const head = restoreHead(note, ports.signer.key, ports.verify);
    if (!head.ok || headPath(folder, head.value.origin) !== path) {
      const why = head.ok ? 'it belongs to another log' : head.reason;
      throw new KiriError('STATE_CORRUPT', `${path}: ${why}; retire this witness key`);
    }
    heads.push(head.value);
  }
  return heads;
};

/** Runs the core: one request at a time goes through it, one head at a time to the disk. */
class WitnessHost {
  readonly #folder: string;
  readonly #options: WitnessServiceOptions;
  readonly #state: WitnessState;
  readonly #answers = new Map<number, (answer: HttpAnswer) => void>();
  #lastRequest = 0;
  #broken: string | undefined;
  #storing: Promise<void> = Promise.resolve();

  constructor(folder: string, options: WitnessServiceOptions, heads: readonly WitnessedHead[]) {
    this.#folder = folder;
    this.#options = options;
    this.#state = witnessState(options.logs, heads);
  }

  sizes(): ReadonlyMap<string, number> {
    return new Map(Array.from(this.#state.heads, ([origin, head]) => [origin, head.size]));
  }

  async answer(request: HttpRequest): Promise<HttpAnswer> {
    const { method, path, body } = request;
    const { admit, others } = this.#options;
    if (path !== '/add-checkpoint') {
      return (await others?.(request)) ?? { status: 404, body: 'not found\n' };
    }
    if (method !== 'POST') return { status: 405, body: 'POST only\n' };
    // What is in memory may be ahead of the disk after a failed write: no word leaves until a restart.
    if (this.#broken !== undefined || this.#answers.size >= MAX_WAITING) {
      return { status: 503, body: `${this.#broken ?? 'BUSY'}\n` };
    }
    const refusal = await admit?.(body);
    if (refusal !== undefined) return refusal;
    return new Promise((resolve) => {
      this.#lastRequest += 1;
      this.#answers.set(this.#lastRequest, resolve);
      this.#run({ kind: 'addCheckpoint', requestId: this.#lastRequest, body });
    });
  }

  /** Waits for the writes under way. */
  flush(): Promise<void> {
    return this.#storing;
  }

  #run(input: WitnessInput): void {
    const { clock, ports } = this.#options;
    for (const effect of stepWitness(this.#state, input, clock.now().unixMs, ports)) {
      if (effect.kind === 'respond') {
        this.#respond(effect.requestId, effect.answer);
      } else {
        // One after the other: the file must end up with the head that was checked last.
        this.#storing = this.#storing.then(() => this.#store(effect.requestId, effect.head));
      }
    }
  }

  async #store(requestId: number, head: WitnessedHead): Promise<void> {
    if (this.#broken === undefined) {
      try {
        await writeFileDurable(headPath(this.#folder, head.origin), head.note);
        this.#run({ kind: 'persisted', requestId });
        return;
      } catch (error) {
        this.#broken = error instanceof KiriError ? error.code : 'DISK_FAILED';
      }
    }
    this.#respond(requestId, { status: 503, body: `${this.#broken}\n` });
  }

  #respond(requestId: number, answer: HttpAnswer): void {
    this.#answers.get(requestId)?.(answer);
    this.#answers.delete(requestId);
  }
}

/**
 * Starts a witness.
 * @throws KiriError DISK_*, FOLDER_LOCKED, STATE_CORRUPT, PORT_IN_USE, PORT_FAILED
 */
export const startWitnessService = async (
  options: WitnessServiceOptions,
): Promise<WitnessService> => {
  const folder = join(options.root, 'state/witness');
  try {
    makeFolder(folder);
  } catch (error) {
    throw toDiskError(error, 'open witness folder', folder);
  }
  const unlock = lockFolder(folder);
  try {
    const host = new WitnessHost(folder, options, await readHeads(folder, options.ports));
    const server = await listenLoopback((request) => host.answer(request), {
      port: options.port,
      maxBodyBytes: MAX_REQUEST_BYTES,
    });
    return {
      url: server.url,
      port: server.port,
      sizes: () => host.sizes(),
      close: async () => {
        await server.close();
        await host.flush();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
};
