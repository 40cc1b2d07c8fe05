/**
 * The centre's end of the tunnels: sites behind NAT connect to its broker; whoever stands at the centre reads a site's log
 * at `http://127.0.0.1:<port>/<site>/…` as if it were there, and what a site posts goes to the addresses that stand in the
 * configuration and nowhere else. It holds no key and is not trusted: everything that travels is checked by signatures.
 */
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { fetchBytes } from '../../platform/http-client.ts';
import { type HttpAnswer, type HttpRequest, listenLoopback } from '../../platform/http-server.ts';
import type { Random } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { MAX_FAN_OUT_BYTES, MAX_FAN_OUT_WITNESSES, MAX_WITNESS_ANSWER } from './core/fan-out.ts';
import type { TunnelRequest } from './core/tunnel.ts';
import { MAX_FILE_BYTES } from './log-source.ts';
import { startRelayBroker } from './relay-broker.ts';
import { type TunnelCounts, TunnelEnd } from './tunnel-end.ts';

/** Below the 5 s after which a reader of a log gives up: it is told, and may come again. */
const SITE_TIMEOUT_MS = 4_500;
/** As long as a log writer waits for its hub. */
const TARGET_TIMEOUT_MS = 2_500;
const MAX_TARGET_ANSWER_BYTES: number = MAX_FAN_OUT_WITNESSES * (MAX_WITNESS_ANSWER + 128);
/** Of a request: method and path beside the largest body. */
const MAX_REQUEST_BYTES: number = MAX_FAN_OUT_BYTES + 512;
const MAX_SITES = 1_024;

export interface RelayOptions {
  /** By site: the SHA-256 of its token. */
  readonly tokens: ReadonlyMap<string, Uint8Array>;
  /** Witnesses, mirrors and hubs that sites may post to: submission prefixes by name. */
  readonly targets: ReadonlyMap<string, string>;
  /** Where sites connect; default loopback. */
  readonly mqttHost?: string;
  readonly mqttPort: number;
  readonly port: number;
  readonly random: Random;
  readonly siteTimeoutMs?: number;
}

export interface RelayService {
  readonly url: string;
  readonly port: number;
  readonly mqttPort: number;
  status(): {
    readonly sites: Readonly<Record<string, TunnelCounts & { readonly isConnected: boolean }>>;
    readonly refused: Readonly<Record<string, number>>;
  };
  close(): Promise<void>;
}

const TARGET_PATH = /^\/([A-Za-z0-9._-]{1,64})(\/add-checkpoint|\/enrol|\/fan-out)$/;

/** A site's POST to one of the targets; nothing else leaves. */
const forwardTo =
  (targets: ReadonlyMap<string, string>) =>
  async ({ method, path, body }: TunnelRequest): Promise<HttpAnswer> => {
    const [, name = '', below = ''] = TARGET_PATH.exec(path) ?? [];
    const url = targets.get(name);
    if (url === undefined) return { status: 404, body: 'not found\n' };
    if (method !== 'POST') return { status: 405, body: 'POST only\n' };
    const options = { body, timeoutMs: TARGET_TIMEOUT_MS, maxBytes: MAX_TARGET_ANSWER_BYTES };
    if (below === '/fan-out') return streamed(`${url}${below}`, options);
    const answer = await fetchBytes(`${url}${below}`, options);
    return { status: answer.status, body: answer.body };
  };

type PostOptions = Parameters<typeof fetchBytes>[1];

/** A hub answers as each witness does, and a slow witness holds up no other's cosignature. */
const streamed = async (url: string, options: PostOptions): Promise<HttpAnswer> => {
  const parts = new PassThrough();
  const whole = fetchBytes(url, { ...options, onPiece: (piece) => void parts.write(piece) });
  void whole.then(
    () => parts.end(),
    (error: Error) => parts.destroy(error),
  );
  const first = await Promise.race([once(parts, 'readable'), whole]);
  const isRefusal = 'status' in first && first.status !== 200;
  return isRefusal ? { status: first.status, body: first.body } : { status: 200, body: parts };
};

const statusOf = (error: unknown): HttpAnswer => {
  const code = error instanceof KiriError ? error.code : 'INTERNAL';
  const status = code === 'HTTP_TIMEOUT' ? 504 : code === 'HTTP_TOO_LARGE' ? 502 : 503;
  return { status, body: `${code}\n` };
};

/**
 * Starts the broker for sites and the HTTP interface for the centre.
 * @throws KiriError PORT_IN_USE, PORT_FAILED, CONFIG_INVALID
 */
export const startRelayService = async (options: RelayOptions): Promise<RelayService> => {
  const { tokens, targets, random } = options;
  if (tokens.size > MAX_SITES) {
    throw new KiriError('CONFIG_INVALID', `${tokens.size} sites; a relay takes ${MAX_SITES}`);
  }
  const ends = new Map<string, TunnelEnd>();
  const broker = await startRelayBroker({
    ...(options.mqttHost === undefined ? {} : { host: options.mqttHost }),
    port: options.mqttPort,
    tokens,
    onMessage: (site, payload) => ends.get(site)?.receive(payload),
  });
  for (const site of tokens.keys()) {
    ends.set(
      site,
      new TunnelEnd({
        send: (payload) => broker.send(site, payload),
        handler: forwardTo(targets),
        maxRequestBytes: MAX_REQUEST_BYTES,
        random,
      }),
    );
  }
  const answer = async ({ method, path }: HttpRequest): Promise<HttpAnswer> => {
    const [, site = '', below = ''] = /^\/([^/]+)(\/.+)$/.exec(path) ?? [];
    const end = ends.get(site);
    if (end === undefined) return { status: 404, body: 'not found\n' };
    if (method !== 'GET') return { status: 405, body: 'GET only\n' };
    if (!broker.isConnected(site)) return { status: 503, body: 'SITE_OFFLINE\n' };
    const timeoutMs = options.siteTimeoutMs ?? SITE_TIMEOUT_MS;
    return end.request(below, { timeoutMs, maxBytes: MAX_FILE_BYTES }).catch(statusOf);
  };
  const server = await listenLoopback(answer, { port: options.port, maxBodyBytes: 0 }).catch(
    async (error: unknown) => {
      await broker.close();
      throw error;
    },
  );
  return {
    url: server.url,
    port: server.port,
    mqttPort: broker.port,
    status: () => ({
      sites: Object.fromEntries(
        Array.from(ends, ([site, { counts }]) => [
          site,
          { ...counts, isConnected: broker.isConnected(site) },
        ]),
      ),
      refused: broker.counts,
    }),
    close: async () => {
      for (const end of ends.values()) end.close();
      await server.close();
      await broker.close();
    },
  };
};
