import { connect as connectSocket } from 'node:net';
import { MqttClient, type IClientOptions, type IPublishPacket } from 'mqtt';
import { KiriError } from '../protocol/kiri-error.ts';
import {
  connected,
  disconnected,
  RECONNECT_LIMITS,
  RECONNECT_START,
  type ReconnectLimits,
  type ReconnectState,
} from './core/reconnect.ts';
import { systemCode } from './disk-error.ts';
import type { Clock, Random } from './ports.ts';

/** Messages that may wait for their PUBACK; one more is refused (LINK_QUEUE_FULL) before anything is lost. */
const MAX_QUEUED = 1024;
/** Payloads above this are neither sent nor handed on; the largest message of the protocol is far smaller. */
const MAX_PAYLOAD_BYTES = 16 * 1024;
const CONNECT_TIMEOUT_MS = 5_000;
const KEEPALIVE_S = 30;
const END_TIMEOUT_MS = 1_000;

export type LinkState =
  | { readonly kind: 'connecting' }
  /** Connected, and every subscription granted. */
  | { readonly kind: 'up' }
  /** `error.code`: LINK_UNREACHABLE, LINK_REFUSED, LINK_TIMEOUT, LINK_PROTOCOL, LINK_SUBSCRIBE_REFUSED, LINK_LOST. */
  | { readonly kind: 'down'; readonly error: KiriError; readonly retryInMs: number }
  | { readonly kind: 'closed' };

export interface MqttLinkOptions {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Asked before every connection: a proof of key possession must be fresh. */
  readonly credentials?: () => { readonly username: string; readonly password: Uint8Array };
  readonly onMessage: (topic: string, payload: Uint8Array) => void;
  readonly onState?: (state: LinkState) => void;
  readonly maxQueued?: number;
  readonly connectTimeoutMs?: number;
  readonly reconnect?: ReconnectLimits;
}

export interface MqttLink {
  readonly isUp: boolean;
  /**
   * QoS 1. Resolves with the broker's PUBACK, which only says that the broker has it: never an acceptance. Waits through
   * reconnections and is sent again there; rejects with LINK_QUEUE_FULL, LINK_PAYLOAD_TOO_LARGE or LINK_CLOSED.
   */
  publish(topic: string, payload: Uint8Array): Promise<void>;
  /** Subscribes now and on every later connection. Returns at once; the state 'up' says that it is granted. */
  subscribe(filter: string): void;
  close(): Promise<void>;
}

interface Queued {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: KiriError) => void;
}

/** Starts an MQTT 3.1.1 link: a fresh client per connection, our own queue and our own reconnect schedule. */
export function openMqttLink(options: MqttLinkOptions): MqttLink {
  const link = new Link(options);
  link.connect();
  return link;
}

class Link implements MqttLink {
  readonly #options: MqttLinkOptions;
  readonly #filters = new Set<string>();
  /** In order of publishing; an entry leaves with its PUBACK, so a lost connection loses nothing. */
  readonly #queue = new Set<Queued>();
  #client: MqttClient | undefined;
  #schedule: ReconnectState = RECONNECT_START;
  #retryTimer: NodeJS.Timeout | undefined;
  #isUp = false;
  #isClosed = false;

  constructor(options: MqttLinkOptions) {
    this.#options = options;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  publish(topic: string, payload: Uint8Array): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    if (payload.length > MAX_PAYLOAD_BYTES) {
      const message = `${payload.length} bytes for ${topic} are over ${MAX_PAYLOAD_BYTES}`;
      return Promise.reject(new KiriError('LINK_PAYLOAD_TOO_LARGE', message));
    }
    if (this.#queue.size >= (this.#options.maxQueued ?? MAX_QUEUED)) {
      return Promise.reject(new KiriError('LINK_QUEUE_FULL', `${this.#queue.size} messages wait`));
    }
    return new Promise((resolve, reject) => {
      const queued: Queued = { topic, payload, resolve, reject };
      this.#queue.add(queued);
      if (this.#isUp && this.#client !== undefined) this.#send(this.#client, queued);
    });
  }

  subscribe(filter: string): void {
    if (this.#filters.has(filter)) return;
    this.#filters.add(filter);
    if (this.#client?.connected === true) this.#subscribe(this.#client, [filter]);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isUp = false;
    clearTimeout(this.#retryTimer);
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await end(client, this.#queue.size > 0);
    for (const queued of this.#queue) queued.reject(closedError());
    this.#queue.clear();
    this.#tell({ kind: 'closed' });
  }

  connect(): void {
    const { host, port, clientId, connectTimeoutMs } = this.#options;
    const settings: IClientOptions = {
      protocolVersion: 4,
      clientId,
      clean: true,
      keepalive: KEEPALIVE_S,
      connectTimeout: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      // The cache is 65,536 small buffers: 12 MB of a device's memory for two bytes per packet.
      writeCache: false,
    };
    const credentials = this.#options.credentials?.();
    if (credentials !== undefined) {
      settings.username = credentials.username;
      settings.password = Buffer.from(credentials.password);
    }
    this.#tell({ kind: 'connecting' });
    // Without noDelay Nagle and the delayed ACK make 44 ms of every QoS 1 exchange.
    const client = new MqttClient(() => connectSocket({ host, port, noDelay: true }), settings);
    this.#client = client;
    let reason: KiriError | undefined;
    client.on('error', (error) => {
      reason ??= this.#toLinkError(error);
      client.end(true);
    });
    client.on('close', () => this.#lost(client, reason));
    client.on('connect', () => this.#connected(client));
    client.on('message', (topic: string, payload: Buffer, packet: IPublishPacket) => {
      // A retained message is somebody's past, and nothing in the protocol is retained.
      if (payload.length > MAX_PAYLOAD_BYTES || packet.retain) return;
      this.#options.onMessage(topic, payload);
    });
  }

  #connected(client: MqttClient): void {
    this.#schedule = connected(this.#schedule, this.#options.clock.now().monotonicMs);
    if (this.#filters.size === 0) this.#up(client);
    else this.#subscribe(client, [...this.#filters]);
  }

  #subscribe(client: MqttClient, filters: string[]): void {
    client.subscribe(filters, { qos: 1 }, (error) => {
      if (client !== this.#client || !client.connected) return;
      if (error !== null) {
        const message = `the broker refuses ${filters.join(', ')}: ${error.message}`;
        client.emit('error', new KiriError('LINK_SUBSCRIBE_REFUSED', message));
      } else if (!this.#isUp) {
        this.#up(client);
      }
    });
  }

  #up(client: MqttClient): void {
    this.#isUp = true;
    this.#tell({ kind: 'up' });
    for (const queued of this.#queue) this.#send(client, queued);
  }

  #send(client: MqttClient, queued: Queued): void {
    client.publish(queued.topic, queued.payload as Buffer, { qos: 1 }, (error) => {
      // An error here means that the connection went away: the entry stays and goes out on the next one.
      if (error === undefined || error === null) {
        if (this.#queue.delete(queued)) queued.resolve();
      }
    });
  }

  #lost(client: MqttClient, reason: KiriError | undefined): void {
    if (client !== this.#client || this.#isClosed) return;
    this.#client = undefined;
    this.#isUp = false;
    client.end(true);
    const next = disconnected(
      this.#schedule,
      this.#options.clock.now().monotonicMs,
      randomUnit(this.#options.random),
      this.#options.reconnect ?? RECONNECT_LIMITS,
    );
    this.#schedule = next.state;
    this.#retryTimer = setTimeout(() => this.connect(), next.delayMs);
    const error = reason ?? new KiriError('LINK_LOST', `${this.#address()} closed the connection`);
    this.#tell({ kind: 'down', error, retryInMs: next.delayMs });
  }

  #toLinkError(error: Error): KiriError {
    if (error instanceof KiriError) return error;
    const message = `${this.#address()}: ${error.message}`;
    if ('code' in error && typeof error.code === 'number') {
      return new KiriError('LINK_REFUSED', message, { cause: error });
    }
    if (systemCode(error) !== undefined) {
      return new KiriError('LINK_UNREACHABLE', message, { cause: error });
    }
    const isTimeout = error.message.toLowerCase().includes('timeout');
    return new KiriError(isTimeout ? 'LINK_TIMEOUT' : 'LINK_PROTOCOL', message, { cause: error });
  }

  #address(): string {
    return `broker ${this.#options.host}:${this.#options.port}`;
  }

  #tell(state: LinkState): void {
    this.#options.onState?.(state);
  }
}

/** DISCONNECT and wait for the broker to close, but not for ever; at once when there is nothing to end in good order. */
function end(client: MqttClient, isForced: boolean): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => client.stream.destroy(), END_TIMEOUT_MS);
    client.end(isForced || !client.connected, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Uniform in [0, 1) with 48 bits. */
function randomUnit(random: Random): number {
  let value = 0;
  for (const byte of random.bytes(6)) value = (value + byte) / 256;
  return value;
}

function closedError(): KiriError {
  return new KiriError('LINK_CLOSED', 'the link is closed');
}
