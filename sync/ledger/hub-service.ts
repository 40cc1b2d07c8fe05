/**
 * A hub: one upload of a checkpoint over a narrow uplink becomes one add-checkpoint request to each witness (DESIGN
 * section 5). It holds no key and no state; who is dead, slow or lying behind it is the writer's to see.
 */
import { fetchBytes } from '../../platform/http-client.ts';
import {
  type HttpAnswer,
  type LoopbackServer,
  listenLoopback,
} from '../../platform/http-server.ts';
import {
  type FanOutAnswer,
  MAX_FAN_OUT_BYTES,
  MAX_WITNESS_ANSWER,
  encodeFanOutAnswer,
  parseFanOut,
} from './core/fan-out.ts';
import { encodeBase64 } from './core/text.ts';
import { encodeAddCheckpoint } from './core/witness.ts';

/** A witness that takes longer has not answered; below the time that the writer waits for its hub. */
const WITNESS_TIMEOUT_MS = 2_000;
/** Requests to witnesses under way; above it uploads are answered 503. */
const MAX_UNDER_WAY = 1_024;

export interface HubOptions {
  /** Submission prefix (tlog-witness) by the witness's name in the policy. */
  readonly witnesses: ReadonlyMap<string, string>;
  /** 0 takes any free port. */
  readonly port: number;
  readonly witnessTimeoutMs?: number;
}

export interface HubService {
  readonly url: string;
  readonly port: number;
  /** Uploads taken, requests made of witnesses, and how many of those had no answer. */
  counts(): { readonly uploads: number; readonly requests: number; readonly unanswered: number };
  close(): Promise<void>;
}

class Hub {
  readonly #options: HubOptions;
  #underWay = 0;
  readonly counts = { uploads: 0, requests: 0, unanswered: 0 };

  constructor(options: HubOptions) {
    this.#options = options;
  }

  answer(method: string, path: string, body: Uint8Array): HttpAnswer {
    if (path !== '/fan-out') return { status: 404, body: 'not found\n' };
    if (method !== 'POST') return { status: 405, body: 'POST only\n' };
    const parsed = parseFanOut(body);
    if (!parsed.ok) return { status: 400, body: `${parsed.reason}\n` };
    const { asks, proofs, checkpoint } = parsed.value;
    if (this.#underWay + asks.length > MAX_UNDER_WAY) return { status: 503, body: 'BUSY\n' };
    this.counts.uploads += 1;
    const answers = asks.map(({ witness, oldSize }) => {
      const path64 = (proofs.get(oldSize) ?? []).map(encodeBase64);
      return this.#ask(witness, encodeAddCheckpoint(oldSize, path64, checkpoint));
    });
    return { status: 200, body: inOrderOfArrival(answers) };
  }

  /** Always answers. */
  async #ask(witness: string, body: Uint8Array): Promise<FanOutAnswer> {
    const url = this.#options.witnesses.get(witness);
    if (url === undefined) return { witness, status: 0, body: 'the hub does not know it\n' };
    this.#underWay += 1;
    this.counts.requests += 1;
    try {
      const answer = await fetchBytes(`${url}/add-checkpoint`, {
        body,
        timeoutMs: this.#options.witnessTimeoutMs ?? WITNESS_TIMEOUT_MS,
        maxBytes: MAX_WITNESS_ANSWER,
      });
      return { witness, status: answer.status, body: new TextDecoder().decode(answer.body) };
    } catch (error) {
      this.counts.unanswered += 1;
      const why = error instanceof Error ? error.message : String(error);
      return { witness, status: 0, body: `${why}\n` };
    } finally {
      this.#underWay -= 1;
    }
  }
}

/** A slow witness holds up no other's cosignature. */
async function* inOrderOfArrival(
  answers: readonly Promise<FanOutAnswer>[],
): AsyncIterable<Uint8Array> {
  const waiting = new Map(
    answers.map((answer, at) => [at, answer.then((value) => ({ at, value }))] as const),
  );
  while (waiting.size > 0) {
    const { at, value } = await Promise.race(waiting.values());
    waiting.delete(at);
    yield encodeFanOutAnswer(value);
  }
}

/**
 * Starts a hub on the loopback address: POST /fan-out (core/fan-out.ts).
 * @throws KiriError PORT_IN_USE, PORT_FAILED
 */
export const startHubService = async (options: HubOptions): Promise<HubService> => {
  const hub = new Hub(options);
  const server: LoopbackServer = await listenLoopback(
    ({ method, path, body }) => hub.answer(method, path, body),
    { port: options.port, maxBodyBytes: MAX_FAN_OUT_BYTES },
  );
  return {
    url: server.url,
    port: server.port,
    counts: () => ({ ...hub.counts }),
    close: () => server.close(),
  };
};
