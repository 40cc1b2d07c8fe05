/**
 * A witness as an HTTP service on the loopback address: POST /add-checkpoint, and POST /enrol where it knows an issuer.
 * One journal for all logs (witness-journal.ts) holds what was cosigned and enrolled; each is durable in it before the
 * answer leaves.
 */
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { toDiskError } from '../../platform/disk-error.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { type HttpAnswer, type HttpRequest, listenLoopback } from '../../platform/http-server.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import type { Clock } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { type EnrolledLog, type EnrolmentRules, MAX_ENROLMENT_BYTES } from './core/enrol.ts';
import type { Sha256 } from './core/merkle.ts';
import type { VerifierKey } from './core/note-key.ts';
import {
  MAX_REQUEST_BYTES,
  MAX_WITNESSED_LOGS,
  type WitnessInput,
  type WitnessPorts,
  type WitnessState,
  type WitnessedHead,
  stepWitness,
  witnessState,
} from './core/witness.ts';
import { EnrolmentDesk } from './enrol-desk.ts';
import { WitnessJournal, type WitnessJournalOptions } from './witness-journal.ts';

export interface WitnessServiceOptions extends Pick<
  WitnessJournalOptions,
  'keyMark' | 'compactBytes' | 'files'
> {
  /** The witness's own folder. */
  readonly root: string;
  readonly ports: WitnessPorts;
  /** Trusted keys per log origin. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
  /** Logs may enrol under these rules (POST /enrol); absent: only `logs` are known. */
  readonly enrolment?: EnrolmentRules;
  /** Told of every enrolled log at the start, and of each when it is durable. */
  readonly onEnrolled?: (log: EnrolledLog) => void;
  /** 0 takes any free port. */
  readonly port: number;
  readonly clock: Clock;
  /** Asked before the witness's own checks; an answer refuses the request. A mirror checks contents here. */
  readonly admit?: (body: Uint8Array) => Promise<HttpAnswer | undefined>;
  /** Answers everything but add-checkpoint and enrol; 404 where absent. */
  readonly others?: (request: HttpRequest) => Promise<HttpAnswer>;
}

const nativeSha256: Sha256 = (bytes) => hash('sha256', bytes, 'buffer');

export interface WitnessService {
  /** The submission prefix of tlog-witness. */
  readonly url: string;
  readonly port: number;
  /** Sizes cosigned so far, by origin. */
  sizes(): ReadonlyMap<string, number>;
  /** Group commits of this run: one fdatasync for all heads that were waiting. */
  commits(): number;
  close(): Promise<void>;
}

/** More requests than this under way are answered 503 before anything is read from them. */
const MAX_WAITING = 2_048;
/** One kept open per gateway, and some. */
const MAX_CONNECTIONS = 2_048;

/** Runs the core: one request at a time goes through it; the heads of many go to the disk together. */
class WitnessHost {
  readonly #journal: WitnessJournal;
  readonly #options: WitnessServiceOptions;
  readonly #ports: WitnessPorts;
  readonly #state: WitnessState;
  readonly #desk: EnrolmentDesk;
  readonly #answers = new Map<number, (answer: HttpAnswer) => void>();
  #underWay = 0;
  #lastRequest = 0;
  #broken: string | undefined;

  constructor(options: WitnessServiceOptions, journal: WitnessJournal) {
    this.#options = options;
    // Half of what a check costs beside its signatures is hashing; the runtime's own is several times faster.
    this.#ports = { hash: nativeSha256, ...options.ports };
    this.#journal = journal;
    this.#desk = new EnrolmentDesk(options, journal);
    this.#state = witnessState(this.#desk.keys, journal.heads());
  }

  sizes(): ReadonlyMap<string, number> {
    return new Map(Array.from(this.#state.heads, ([origin, head]) => [origin, head.size]));
  }

  async answer(request: HttpRequest): Promise<HttpAnswer> {
    const { method, path, body } = request;
    const { admit, others } = this.#options;
    const isEnrolment = path === '/enrol' && this.#options.enrolment !== undefined;
    if (path !== '/add-checkpoint' && !isEnrolment) {
      return (await others?.(request)) ?? { status: 404, body: 'not found\n' };
    }
    if (method !== 'POST') return { status: 405, body: 'POST only\n' };
    if (isEnrolment && body.length > MAX_ENROLMENT_BYTES) {
      return { status: 413, body: `body over ${MAX_ENROLMENT_BYTES} bytes\n` };
    }
    // What is in memory may be ahead of the disk after a failed write: no word leaves until a restart.
    if (this.#broken !== undefined || this.#underWay >= MAX_WAITING) {
      return { status: 503, body: `${this.#broken ?? 'BUSY'}\n` };
    }
    this.#underWay += 1;
    try {
      if (isEnrolment) return await this.#enrol(body);
      const refusal = await admit?.(body);
      if (refusal !== undefined) return refusal;
      return await this.#add(body);
    } finally {
      this.#underWay -= 1;
    }
  }

  async #enrol(body: Uint8Array): Promise<HttpAnswer> {
    try {
      return await this.#desk.answer(body);
    } catch (error) {
      return this.#breakOff(error);
    }
  }

  /** A failed write: nothing leaves any more. */
  #breakOff(error: unknown): HttpAnswer {
    this.#broken ??= error instanceof KiriError ? error.code : 'DISK_FAILED';
    return { status: 503, body: `${this.#broken}\n` };
  }

  #add(body: Uint8Array): Promise<HttpAnswer> {
    return new Promise((resolve) => {
      this.#lastRequest += 1;
      this.#answers.set(this.#lastRequest, resolve);
      this.#run({ kind: 'addCheckpoint', requestId: this.#lastRequest, body });
    });
  }

  #run(input: WitnessInput): void {
    const nowMs = this.#options.clock.now().unixMs;
    for (const effect of stepWitness(this.#state, input, nowMs, this.#ports)) {
      if (effect.kind === 'respond') this.#respond(effect.requestId, effect.answer);
      else void this.#store(effect.requestId, effect.head);
    }
  }

  async #store(requestId: number, head: WitnessedHead): Promise<void> {
    try {
      await this.#journal.store(head);
    } catch (error) {
      this.#breakOff(error);
    }
    if (this.#broken === undefined) this.#run({ kind: 'persisted', requestId });
    else this.#respond(requestId, { status: 503, body: `${this.#broken}\n` });
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
  let journal: WitnessJournal | undefined;
  try {
    const { logs } = options;
    if (logs.size > MAX_WITNESSED_LOGS) {
      throw new KiriError('CONFIG_INVALID', `a witness has at most ${MAX_WITNESSED_LOGS} logs`);
    }
    const trust = options.enrolment?.trust;
    const heads = await WitnessJournal.open({ ...options, folder, ...(trust && { trust }) });
    journal = heads;
    const host = new WitnessHost(options, heads);
    const server = await listenLoopback((request) => host.answer(request), {
      port: options.port,
      maxBodyBytes: MAX_REQUEST_BYTES,
      maxConnections: MAX_CONNECTIONS,
    });
    return {
      url: server.url,
      port: server.port,
      sizes: () => host.sizes(),
      commits: () => heads.commits,
      close: async () => {
        await server.close();
        await heads.close();
        unlock();
      },
    };
  } catch (error) {
    await journal?.close();
    unlock();
    throw error;
  }
};
