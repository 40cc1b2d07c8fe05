/**
 * A gateway's site behind NAT: one MQTT connection outward to the centre's relay carries the checkpoints that the log
 * writer posts, and the reads of its log by mirrors and clearing the other way.
 */
import { type FetchBytes, fetchBytes } from '../../platform/http-client.ts';
import type { HttpAnswer } from '../../platform/http-server.ts';
import { openMqttLink } from '../../platform/mqtt-link.ts';
import type { Clock, Random } from '../../platform/ports.ts';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { HEAD_BYTES, type TunnelRequest, tunnelTopics } from './core/tunnel.ts';
import { TunnelEnd } from './tunnel-end.ts';

/** A read has no body; its path is short. */
const MAX_REQUEST_BYTES = 512;
/** PUBLISH: its type, length, topic length and packet id (MQTT 3.1.1 §3.3). */
const PUBLISH_HEAD_BYTES = 8;
/** Addresses of what stands behind the relay: `relay:<name>`. */
const SCHEME = 'relay:';

export interface SiteTunnelOptions {
  readonly host: string;
  readonly port: number;
  readonly site: string;
  readonly token: string;
  /** Answers reads of the log: the very handler that answers them over HTTP. */
  readonly handler: (request: TunnelRequest) => Promise<HttpAnswer>;
  readonly clock: Clock;
  readonly random: Random;
}

export interface SiteTunnel {
  readonly isUp: boolean;
  /** Asks `relay:<name>/…` through the tunnel, every other address over HTTP. */
  readonly fetch: FetchBytes;
  close(): Promise<void>;
}

export const openSiteTunnel = (options: SiteTunnelOptions): SiteTunnel => {
  const { host, port, site, token, handler, clock, random } = options;
  const { up, down } = tunnelTopics(site);
  const link = openMqttLink({
    host,
    port,
    clientId: site,
    clock,
    random,
    credentials: () => ({ username: site, password: utf8ToBytes(token) }),
    onMessage: (topic, payload) => {
      if (topic === down) end.receive(payload);
    },
  });
  const end = new TunnelEnd({
    send: (payload) => link.publish(up, payload),
    handler,
    maxRequestBytes: MAX_REQUEST_BYTES,
    random,
    overheadBytes: PUBLISH_HEAD_BYTES + up.length + HEAD_BYTES,
  });
  link.subscribe(down);
  return {
    get isUp() {
      return link.isUp;
    },
    fetch: (url, fetchOptions) => {
      if (!url.startsWith(SCHEME)) return fetchBytes(url, fetchOptions);
      // Nothing is queued for a line that is down: what is asked is stale by the time it is back.
      if (link.isUp) return end.request(`/${url.slice(SCHEME.length)}`, fetchOptions);
      const message = `the relay at ${host}:${port} is not connected`;
      return Promise.reject(new KiriError('HTTP_UNREACHABLE', message));
    },
    close: async () => {
      end.close();
      await link.close();
    },
  };
};
