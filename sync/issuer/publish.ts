/** Brings what the issuer signed to gateways: each is asked at its admin interface, a few times where it does not answer. */
import { setTimeout } from 'node:timers/promises';
import { fetchBytes } from '../../platform/http-client.ts';
import { KiriError } from '../../protocol/kiri-error.ts';

export interface PublishTarget {
  /** Where the gateway's admin interface can be reached, without a path. */
  readonly url: string;
  readonly token: string;
}

export interface PublishOptions {
  readonly path: '/status-list' | '/statement';
  readonly body: Uint8Array;
  readonly targets: readonly PublishTarget[];
  readonly attempts?: number;
  readonly timeoutMs?: number;
  /** Before the second attempt; twice as long before each further one. */
  readonly pauseMs?: number;
  /** Waits between attempts. */
  readonly wait?: (ms: number) => Promise<unknown>;
}

/**
 * What one gateway said; `refused` is its own word and final. `unreachable` is not: nobody answered, or one that cannot keep
 * anything now (503, such as a full disk).
 */
export interface PublishOutcome {
  readonly url: string;
  readonly kind: 'taken' | 'refused' | 'unreachable';
  readonly reason: string;
  readonly attempts: number;
}

const ATTEMPTS = 4;
const TIMEOUT_MS = 5_000;
const PAUSE_MS = 500;
/** A gateway may ask for a longer pause, up to this. */
const RETRY_AFTER_MAX_MS = 30_000;
/** Asked at once. */
const LANES = 16;
const ANSWER_MAX_BYTES = 4_096;
const REASON_MAX = 200;

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** The token never goes over a network in the clear. @throws KiriError URL_INVALID */
export const publishUrl = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === 'https:' || LOOPBACK.has(url?.hostname ?? '');
  if (!url || !/^https?:$/.test(url.protocol) || !isSafe) {
    throw new KiriError('URL_INVALID', `${text}: https, or http on this machine, is needed`);
  }
  return url.origin;
};

const reasonIn = (body: Uint8Array): { taken: boolean; reason: string } => {
  try {
    const { taken, reason, error } = JSON.parse(Buffer.from(body).toString('utf8')) as Record<
      string,
      unknown
    >;
    const said = typeof reason === 'string' ? reason : error;
    const text = typeof said === 'string' ? said : '';
    return {
      taken: taken === true,
      reason: text.slice(0, REASON_MAX).replaceAll(/\p{Cc}/gu, '?'),
    };
  } catch {
    return { taken: false, reason: 'an answer that is no JSON' };
  }
};

type Said = Pick<PublishOutcome, 'kind' | 'reason'> & {
  /** As the gateway asked for it. */
  readonly pauseMs?: number;
};

const ask = async (
  { url, token }: PublishTarget,
  { path, body, timeoutMs = TIMEOUT_MS }: PublishOptions,
): Promise<Said> => {
  try {
    const answer = await fetchBytes(`${url}${path}`, {
      method: 'POST',
      body,
      bearer: token,
      contentType: 'application/cose',
      timeoutMs,
      maxBytes: ANSWER_MAX_BYTES,
    });
    const { taken, reason } = reasonIn(answer.body);
    if (answer.status === 200 && taken) return { kind: 'taken', reason };
    const kind = answer.status >= 500 ? 'unreachable' : 'refused';
    const wantsMs = Math.min((answer.retryAfterS ?? 0) * 1000, RETRY_AFTER_MAX_MS);
    return { kind, reason: `${answer.status} ${reason}`, pauseMs: wantsMs };
  } catch (error) {
    return { kind: 'unreachable', reason: error instanceof Error ? error.message : String(error) };
  }
};

const publishTo = async (
  target: PublishTarget,
  options: PublishOptions,
): Promise<PublishOutcome> => {
  const { attempts = ATTEMPTS, pauseMs = PAUSE_MS, wait = setTimeout } = options;
  for (let attempt = 1; ; attempt++) {
    const { pauseMs: wantsMs = 0, ...said } = await ask(target, options);
    if (said.kind !== 'unreachable' || attempt >= attempts) {
      return { url: target.url, ...said, attempts: attempt };
    }
    await wait(Math.max(wantsMs, pauseMs * 2 ** (attempt - 1)));
  }
};

/** Asks all gateways; the outcomes are in the order of the targets. A gateway that fails holds up no other. */
export const publish = async (options: PublishOptions): Promise<readonly PublishOutcome[]> => {
  const outcomes: PublishOutcome[] = [];
  const left = [...options.targets.entries()];
  const lane = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      outcomes[next[0]] = await publishTo(next[1], options);
    }
  };
  await Promise.all(Array.from({ length: Math.min(LANES, left.length) }, lane));
  return outcomes;
};
