/** Takes enrolments at a witness or mirror (core/enrol.ts), one after the other, each durable before it is answered. */
import type { HttpAnswer } from '../../platform/http-server.ts';
import type { Clock } from '../../platform/ports.ts';
import { type EnrolledLog, type EnrolmentRules, judgeEnrolment } from './core/enrol.ts';
import type { VerifierKey } from './core/note-key.ts';

/** Where enrolments are kept; see witness-journal.ts. */
interface EnrolmentStore {
  enrolled(): readonly EnrolledLog[];
  /** @throws KiriError DISK_* */
  storeEnrolment(log: EnrolledLog): Promise<void>;
}

interface DeskOptions {
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
  readonly enrolment?: EnrolmentRules;
  readonly onEnrolled?: (log: EnrolledLog) => void;
  readonly clock: Clock;
}

export class EnrolmentDesk {
  /** Keys by origin or prefix, configured or enrolled; the configuration wins. Grows with each enrolment. */
  readonly keys: ReadonlyMap<string, readonly VerifierKey[]>;
  readonly #keys: Map<string, readonly VerifierKey[]>;
  readonly #enrolled = new Map<string, EnrolledLog>();
  readonly #options: DeskOptions;
  readonly #store: EnrolmentStore;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: DeskOptions, store: EnrolmentStore) {
    this.#options = options;
    this.#store = store;
    this.#keys = new Map(options.logs);
    this.keys = this.#keys;
    for (const log of store.enrolled()) this.#take(log);
  }

  /** @throws KiriError DISK_* where the enrolment could not be stored */
  answer(request: Uint8Array): Promise<HttpAnswer> {
    const task = this.#last.then(() => this.#judge(request));
    this.#last = task.catch(() => {});
    return task;
  }

  async #judge(request: Uint8Array): Promise<HttpAnswer> {
    const { enrolment, clock } = this.#options;
    if (enrolment === undefined) return { status: 404, body: 'not found\n' };
    const nowS = Math.floor(clock.now().unixMs / 1000);
    const known = { keys: this.#keys, enrolled: this.#enrolled };
    const { answer, log } = judgeEnrolment(request, known, enrolment, nowS);
    if (log === undefined) return answer;
    await this.#store.storeEnrolment(log);
    this.#take(log);
    return answer;
  }

  #take(log: EnrolledLog): void {
    const { origin, key } = log;
    if (this.#options.logs.has(origin)) return;
    this.#keys.set(origin, [key]);
    this.#enrolled.set(origin, log);
    this.#options.onEnrolled?.(log);
  }
}
