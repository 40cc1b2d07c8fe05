/**
 * The broker at the centre that sites behind NAT connect to: MQTT 3.1.1 behind the guard, one client id per site, proved
 * by the site's token. A site reads one topic and writes one; nothing is routed from site to site, retained or stored.
 */
import { timingSafeEqual } from 'node:crypto';
import type { AuthenticateError, Aedes, Client } from 'aedes';
import { BAD_CREDENTIALS, openBrokerDoor } from '../../platform/mqtt-broker.ts';
import { startGuard } from '../../platform/mqtt-guard.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { SITE_NAME, tunnelTopics } from './core/tunnel.ts';
import { nativeHash } from './log-copy.ts';

/** Connections beside one per site: half-open ones of a line that broke, and strangers until they are refused. */
const SPARE_CONNECTIONS = 64;

export interface RelayBrokerOptions {
  readonly host?: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** By site: the SHA-256 of its token. */
  readonly tokens: ReadonlyMap<string, Uint8Array>;
  readonly onMessage: (site: string, payload: Uint8Array) => void;
}

export interface RelayBroker {
  readonly port: number;
  /** What was refused, by reason. */
  readonly counts: Readonly<Record<string, number>>;
  isConnected(site: string): boolean;
  /** QoS 1. Resolves when it was written. @throws KiriError LINK_LOST */
  send(site: string, payload: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** @throws KiriError PORT_IN_USE, PORT_FAILED */
export const startRelayBroker = async (options: RelayBrokerOptions): Promise<RelayBroker> => {
  const counts: Record<string, number> = {};
  const count = (reason: string): void => {
    counts[reason] = (counts[reason] ?? 0) + 1;
  };
  const aedes = await openBrokerDoor({ clientId: SITE_NAME, onFault: count });
  const listening = new Map<string, Client>();
  setRules(aedes, options, listening, count);
  const guard = await startGuard({
    ...(options.host === undefined ? {} : { host: options.host }),
    port: options.port,
    onConnection: (socket) => void aedes.handle(socket),
    maxConnections: options.tokens.size + SPARE_CONNECTIONS,
  });
  return {
    port: guard.port,
    get counts() {
      return { ...counts, ...guard.counts };
    },
    isConnected: (site) => listening.has(site),
    send: (site, payload) => {
      const client = listening.get(site);
      if (client === undefined) {
        return Promise.reject(new KiriError('LINK_LOST', `site ${site} is not connected`));
      }
      const packet = {
        cmd: 'publish' as const,
        topic: tunnelTopics(site).down,
        payload: Buffer.from(payload),
        qos: 1 as const,
        retain: false,
        dup: false,
      };
      return new Promise((resolve, reject) => {
        client.publish(packet, (error) => {
          if (error === undefined || error === null) resolve();
          else reject(new KiriError('LINK_LOST', `site ${site}: ${error.message}`));
        });
      });
    },
    close: async () => {
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      await guard.close();
    },
  };
};

/** Who may connect, read and write. `listening`: connections that read their topic. */
const setRules = (
  aedes: Aedes,
  { tokens, onMessage }: RelayBrokerOptions,
  listening: Map<string, Client>,
  count: (reason: string) => void,
): void => {
  const current = new Map<string, Client>();
  aedes.authorizeForward = (_client, packet) => packet;
  aedes.authenticate = (client, _username, password, done) => {
    const token = tokens.get(client.id);
    const given = nativeHash(password ?? new Uint8Array(0));
    // An unknown site takes as long as a wrong token.
    const isRight = timingSafeEqual(given, token ?? given) && token !== undefined;
    if (!isRight) count(token === undefined ? 'unknown-site' : 'wrong-token');
    const refused: AuthenticateError = Object.assign(new Error('refused'), {
      returnCode: BAD_CREDENTIALS,
    });
    done(isRight ? null : refused, isRight);
  };
  aedes.authorizeSubscribe = (client, subscription, done) => {
    const isOwn = subscription.topic === tunnelTopics(client.id).down;
    if (isOwn && current.get(client.id) === client) listening.set(client.id, client);
    else count('forbidden-subscribe');
    done(null, isOwn ? { ...subscription, qos: 1 } : null);
  };
  aedes.authorizePublish = (client, packet, done) => {
    const isOwn =
      client !== null &&
      current.get(client.id) === client &&
      packet.topic === tunnelTopics(client.id).up &&
      packet.qos === 1 &&
      !packet.retain;
    if (!isOwn) {
      // Closing the connection is MQTT 3.1.1's only answer to a forbidden PUBLISH.
      count('forbidden-publish');
      done(new Error('not allowed'));
      return;
    }
    done(null);
    onMessage(client.id, packet.payload as Buffer);
  };
  aedes.on('client', (client) => void current.set(client.id, client));
  aedes.on('clientDisconnect', (client) => {
    if (current.get(client.id) === client) current.delete(client.id);
    if (listening.get(client.id) === client) listening.delete(client.id);
  });
  aedes.on('clientError', () => count('client-error'));
  aedes.on('connectionError', () => count('connection-error'));
};
