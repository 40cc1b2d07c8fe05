/**
 * The door of the intake log over HTTP, on the loopback address: POST /hand-in with the bytes of a Hand-in. 200 says that
 * it is durable here, now or from before; nothing else does. Behind it the log writer follows the journal (intake-source.ts).
 */
import { openJournal } from '../../platform/journal.ts';
import {
  type HttpAnswer,
  type HttpRequest,
  type LoopbackServer,
  listenLoopback,
} from '../../platform/http-server.ts';
import type { JournalFs } from '../../platform/journal-fs.ts';
import type { Clock, Journal } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { HAND_IN, type HandIn } from '../../protocol/messages/envelopes.ts';
import { REFUSALS, type Checked, type RefusalCode } from '../../protocol/refusal.ts';
import { INTAKE_RECORD, MAX_HAND_IN_BYTES } from './core/intake-record.ts';
import {
  type IntakeAnswer,
  type IntakeCounts,
  type IntakeInput,
  type IntakePorts,
  type IntakeState,
  countsOf,
  initialIntake,
  recoverIntake,
  stepIntake,
} from './core/intake.ts';

/** A journal that stopped on a full disk is opened anew this often. */
const REOPEN_MS = 1_000;
/** What a refusal that may be over soon advises. */
const RETRY_AFTER_S = 1;

export interface IntakeOptions {
  /** The intake journal's own folder. */
  readonly folder: string;
  readonly ports: IntakePorts;
  /** The keys that make two Hand-ins the same, to be remembered again at a start. */
  readonly partsOf: (handIn: HandIn) => Checked<readonly Uint8Array[]>;
  /** 0 takes any free port. */
  readonly port: number;
  readonly clock: Clock;
  readonly files?: JournalFs;
}

interface IntakeStatus extends IntakeCounts {
  /** Hand-ins refused since the start. */
  readonly refused: number;
  /** Why nothing is taken at present. */
  readonly trouble?: string;
}

export interface IntakeService {
  readonly url: string;
  readonly port: number;
  status(): IntakeStatus;
  close(): Promise<void>;
}

const LATER: ReadonlySet<RefusalCode> = new Set(['BUSY', 'RATE_LIMITED', 'DISK_FULL']);

const statusOf = (answer: IntakeAnswer): number => {
  if (answer.ok) return 200;
  if (answer.code === 'RATE_LIMITED') return 429;
  if (LATER.has(answer.code)) return 503;
  if (answer.code === 'TOO_LARGE') return 413;
  return REFUSALS[answer.code].kind === 'stateless' ? 400 : 422;
};

const spoken = (answer: IntakeAnswer): HttpAnswer => {
  const body = answer.ok
    ? { taken: true, known: answer.known }
    : {
        taken: false,
        code: answer.code,
        reason: answer.reason,
        ...(LATER.has(answer.code) ? { retryAfterS: RETRY_AFTER_S } : {}),
      };
  return {
    status: statusOf(answer),
    body: `${JSON.stringify(body)}\n`,
    contentType: 'application/json',
  };
};

const recovered = (journal: Journal, partsOf: IntakeOptions['partsOf']): IntakeState => {
  const state = initialIntake();
  for (const { record, index } of journal.records()) {
    const kept = INTAKE_RECORD.decode(record);
    const handIn = kept.ok ? HAND_IN.decode(kept.value.handIn) : kept;
    const parts = handIn.ok ? partsOf(handIn.value) : handIn;
    if (!parts.ok) {
      throw new KiriError('JOURNAL_CORRUPT', `intake journal, record ${index}: ${parts.reason}`);
    }
    recoverIntake(state, parts.value);
  }
  return state;
};

class IntakeHost {
  readonly #options: IntakeOptions;
  readonly #responses = new Map<number, (answer: IntakeAnswer) => void>();
  #journal: Journal;
  #state: IntakeState;
  #lastRequest = 0;
  #commit: Promise<number> | undefined;
  #reopen: NodeJS.Timeout | undefined;
  #refused = 0;
  #trouble: string | undefined;
  #isClosed = false;

  constructor(options: IntakeOptions, journal: Journal) {
    this.#options = options;
    this.#journal = journal;
    this.#state = recovered(journal, options.partsOf);
  }

  status(): IntakeStatus {
    return {
      ...countsOf(this.#state),
      refused: this.#refused,
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
    };
  }

  async answer({ method, path, body, peer }: HttpRequest): Promise<HttpAnswer> {
    if (path !== '/hand-in') return { status: 404, body: 'not found\n' };
    if (method !== 'POST') return { status: 405, body: 'POST only\n' };
    const answer = await new Promise<IntakeAnswer>((resolve) => {
      this.#lastRequest += 1;
      const requestId = this.#lastRequest;
      this.#responses.set(requestId, resolve);
      this.#feed({ kind: 'handIn', requestId, deliverer: peer, bytes: body });
    });
    if (!answer.ok) this.#refused += 1;
    return spoken(answer);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#reopen);
    await this.#journal.close();
  }

  #feed(input: IntakeInput): void {
    const { clock, ports } = this.#options;
    try {
      for (const effect of stepIntake(this.#state, input, clock.now(), ports)) {
        if (effect.kind === 'append') {
          this.#journal.append(effect.record);
          this.#commitSoon();
        } else {
          this.#responses.get(effect.requestId)?.(effect.answer);
          this.#responses.delete(effect.requestId);
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** One continuation per group commit, however many records share it. */
  #commitSoon(): void {
    const commit = this.#journal.commit();
    if (commit === this.#commit) return;
    this.#commit = commit;
    const of = this.#state;
    commit.then(
      (through) => {
        if (this.#state === of) this.#feed({ kind: 'persisted', through });
      },
      (error: unknown) => {
        if (this.#state === of) this.#fail(error);
      },
    );
  }

  /** Everybody who waits is told to come again; then the journal is opened as after a crash. */
  #fail(error: unknown): void {
    if (this.#trouble !== undefined) return;
    const code = error instanceof KiriError ? error.code : 'INTAKE_FAILED';
    this.#trouble = `${code}: ${error instanceof Error ? error.message : String(error)}`;
    this.#feed({
      kind: 'storageFailed',
      code: code === 'DISK_FULL' ? 'DISK_FULL' : 'BUSY',
      reason: 'nothing can be stored at present; come again',
    });
    this.#reopen = setTimeout(() => void this.#tryReopen(), REOPEN_MS);
  }

  async #tryReopen(): Promise<void> {
    const { folder, files, partsOf } = this.#options;
    await this.#journal.close().catch(() => {});
    if (this.#isClosed) return;
    try {
      const { journal } = await openJournal(folder, files ? { files } : {});
      this.#journal = journal;
      this.#state = recovered(journal, partsOf);
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = error instanceof Error ? error.message : String(error);
      if (!this.#isClosed) this.#reopen = setTimeout(() => void this.#tryReopen(), REOPEN_MS);
    }
  }
}

/**
 * Opens the intake journal and the door.
 * @throws KiriError DISK_*, FOLDER_LOCKED, JOURNAL_CORRUPT, PORT_IN_USE, PORT_FAILED
 */
export const startIntakeService = async (options: IntakeOptions): Promise<IntakeService> => {
  const { folder, files, port } = options;
  const { journal } = await openJournal(folder, files ? { files } : {});
  try {
    const host = new IntakeHost(options, journal);
    const server: LoopbackServer = await listenLoopback((request) => host.answer(request), {
      port,
      maxBodyBytes: MAX_HAND_IN_BYTES,
    });
    return {
      url: server.url,
      port: server.port,
      status: () => host.status(),
      close: async () => {
        await server.close();
        await host.close();
      },
    };
  } catch (error) {
    await journal.close();
    throw error;
  }
};
