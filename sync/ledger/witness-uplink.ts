/**
 * How a log writer reaches its witnesses: each directly, or all through one hub that fans an upload out. A hub is not
 * trusted: cosignatures are checked by the writer in any case, and an answer that would stop the log counts only from
 * the witness itself. A witness whose last request failed is asked directly where its address is known, so that a
 * dead or lying hub costs one retry.
 */
import { type FetchBytes, fetchBytes } from '../../platform/http-client.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import {
  type FanOutAnswer,
  FanOutAnswers,
  type FanOutAsk,
  MAX_FAN_OUT_WITNESSES,
  MAX_WITNESS_ANSWER,
  encodeFanOut,
} from './core/fan-out.ts';
import type { LogInput } from './core/log-writer-types.ts';
import {
  type ExchangeBytes,
  UNKNOWN_LOG,
  requestCosignature,
  requestEnrolment,
  witnessInput,
} from './witness-client.ts';

/** A hub waits 2 s for its witnesses at most; what has not come by then does not come. */
const HUB_TIMEOUT_MS = 2_500;
/** A hub that failed as a whole is left alone for this long, where every witness can be asked directly. */
const HUB_PAUSE_MS = 10_000;
/** Witness names, lengths and bodies. */
const MAX_HUB_ANSWER_BYTES: number = MAX_FAN_OUT_WITNESSES * (MAX_WITNESS_ANSWER + 128);

/** One witness to be asked for one checkpoint. */
export interface WitnessAsk extends FanOutAsk {
  /** Failed requests in a row before this one. */
  readonly failures: number;
  /** The largest size that it cosigned in this run. */
  readonly cosignedSize: number;
}

/** A checkpoint of `size` leaves with a proof from every size that is asked. */
export interface WitnessRound {
  readonly size: number;
  readonly checkpoint: string;
  readonly asks: readonly WitnessAsk[];
  readonly proofs: ReadonlyMap<number, readonly Uint8Array[]>;
}

export interface UplinkOptions {
  /** Submission prefix (tlog-witness) of each witness, by its name in the policy. */
  readonly witnessUrls: ReadonlyMap<string, string>;
  readonly hubUrl?: string;
  /** Default: HTTP. */
  readonly fetch?: FetchBytes;
  /** Sent to a witness that does not know the log, see encodeEnrolment; at its own address, never through a hub. */
  readonly enrolment?: Uint8Array;
}

/** What went over the uplink to witnesses and back, headers included. */
export interface UplinkCounts extends ExchangeBytes {
  readonly requests: number;
  /** Of these, uploads to the hub. */
  readonly viaHub: number;
}

type Give = (input: LogInput) => void;

export class WitnessUplink {
  readonly #options: UplinkOptions;
  readonly #fetch: FetchBytes;
  #counts: UplinkCounts = { requests: 0, viaHub: 0, bytesUp: 0, bytesDown: 0 };
  #hubFromMs = -Infinity;

  constructor(options: UplinkOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? fetchBytes;
  }

  counts(): UplinkCounts {
    return this.#counts;
  }

  /** Asks all of them; `give` gets exactly one input for each, as it comes. Never throws. */
  async request(round: WitnessRound, nowMs: number, give: Give): Promise<void> {
    const { witnessUrls, hubUrl } = this.#options;
    const mayDirect = ({ witness }: WitnessAsk): boolean => witnessUrls.has(witness);
    const isPaused = nowMs < this.#hubFromMs;
    const viaHub = round.asks.filter(
      (ask) => hubUrl !== undefined && !(mayDirect(ask) && (isPaused || ask.failures > 0)),
    );
    const direct = round.asks.filter((ask) => !viaHub.includes(ask));
    const tasks = direct.map((ask) => this.#askDirectly(round, ask, give));
    if (hubUrl !== undefined) {
      for (let at = 0; at < viaHub.length; at += MAX_FAN_OUT_WITNESSES) {
        const asks = viaHub.slice(at, at + MAX_FAN_OUT_WITNESSES);
        tasks.push(this.#askHub(hubUrl, { ...round, asks }, nowMs, give));
      }
    }
    await Promise.all(tasks);
  }

  async #askDirectly(round: WitnessRound, ask: WitnessAsk, give: Give): Promise<void> {
    const { witness, oldSize } = ask;
    const url = this.#options.witnessUrls.get(witness);
    if (url === undefined) {
      give({ kind: 'witnessFailed', witness, trouble: 'no address is known' });
      return;
    }
    const path = round.proofs.get(oldSize) ?? [];
    const request = { oldSize, path, checkpoint: round.checkpoint };
    const first = await this.#exchange(requestCosignature(witness, url, request, this.#fetch));
    const { enrolment } = this.#options;
    if (first.status !== UNKNOWN_LOG || enrolment === undefined) return give(inputOf(first));
    // One try in each request, and requests that fail are ever further apart.
    const { trouble } = await this.#exchange(requestEnrolment(url, enrolment, this.#fetch));
    if (trouble !== undefined) return give({ kind: 'witnessFailed', witness, trouble });
    give(inputOf(await this.#exchange(requestCosignature(witness, url, request, this.#fetch))));
  }

  async #exchange<T extends ExchangeBytes>(exchange: Promise<T>): Promise<T> {
    const done = await exchange;
    this.#count(0, done);
    return done;
  }

  async #askHub(url: string, round: WitnessRound, nowMs: number, give: Give): Promise<void> {
    const waiting = new Map(round.asks.map((ask) => [ask.witness, ask]));
    const answers = new FanOutAnswers();
    const take = (answer: FanOutAnswer): void => {
      const ask = waiting.get(answer.witness);
      // A second answer of one witness, or one of nobody asked.
      if (ask === undefined) return;
      waiting.delete(answer.witness);
      give(hubInput(round.size, ask, answer));
    };
    let trouble = 'the hub has no answer from it';
    try {
      const oldSizes = new Set(round.asks.map(({ oldSize }) => oldSize));
      const proofs = new Map([...round.proofs].filter(([oldSize]) => oldSizes.has(oldSize)));
      const answer = await this.#fetch(`${url}/fan-out`, {
        body: encodeFanOut({ asks: round.asks, proofs, checkpoint: round.checkpoint }),
        timeoutMs: HUB_TIMEOUT_MS,
        maxBytes: MAX_HUB_ANSWER_BYTES,
        onPiece: (piece) => {
          const taken = answers.take(piece);
          if (!taken.ok) throw new KiriError('HUB_ANSWER_INVALID', taken.reason);
          for (const one of taken.value) take(one);
        },
      });
      this.#count(1, answer);
      if (answer.status !== 200) throw new KiriError('HUB_REFUSED', `answers ${answer.status}`);
    } catch (error) {
      trouble = `hub: ${error instanceof Error ? error.message : String(error)}`;
      this.#hubFromMs = nowMs + HUB_PAUSE_MS;
    }
    for (const witness of waiting.keys()) give({ kind: 'witnessFailed', witness, trouble });
  }

  #count(viaHub: number, { bytesUp, bytesDown }: ExchangeBytes): void {
    const counts = this.#counts;
    this.#counts = {
      requests: counts.requests + 1,
      viaHub: counts.viaHub + viaHub,
      bytesUp: counts.bytesUp + bytesUp,
      bytesDown: counts.bytesDown + bytesDown,
    };
  }
}

const inputOf = ({
  bytesUp: _up,
  bytesDown: _down,
  status: _status,
  ...input
}: Awaited<ReturnType<typeof requestCosignature>>): LogInput => input;

/** What a hub says that a witness said: a cosignature proves itself, a refusal that stops the log does not. */
const hubInput = (size: number, ask: WitnessAsk, { status, body }: FanOutAnswer): LogInput => {
  const { witness, oldSize, cosignedSize } = ask;
  const input = witnessInput(witness, status, body);
  const isHarmless =
    input.kind === 'cosigned' ||
    input.kind === 'witnessFailed' ||
    (input.kind === 'witnessConflict' &&
      input.theirSize < size &&
      input.theirSize >= cosignedSize &&
      input.theirSize !== oldSize);
  if (isHarmless) return input;
  const trouble = `the hub says that it answered ${status}: ${body.slice(0, 40).trim()}`;
  return { kind: 'witnessFailed', witness, trouble };
};
