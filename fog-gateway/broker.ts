import type { Socket } from 'node:net';
import type { Aedes, AuthenticateError, Client, PublishPacket } from 'aedes';
import { toHex } from '../protocol/bytes.ts';
import { ASK } from '../protocol/messages/envelopes.ts';
import { checkConnectToken } from '../protocol/messages/connect.ts';
import type { Verifier } from '../protocol/public-key.ts';
import { downTopic, type DownVerb, type UpTopic } from '../protocol/topics.ts';
import { BAD_CREDENTIALS, openBrokerDoor } from '../platform/mqtt-broker.ts';
import type { Clock } from '../platform/ports.ts';
import { accessOf, type Access } from './core/access.ts';
import { Freshness } from './core/freshness.ts';
import { PUBACK_BYTES, publishFrameBytes, putAck, putPublishHead } from './core/publish-frame.ts';

/** A client that stops reading: above this much unsent its connection is closed. */
const MAX_BACKLOG_BYTES = 262_144;
/** Asks and Offers of strangers stop here, so that nobody can cut another's connection off by a flood. */
const MAX_RELAY_BACKLOG_BYTES = 16_384;
/** The largest Offer (protocol/messages/envelopes.ts). */
const MAX_RELAY_BYTES = 1_024;
/** Longest time that a PUBACK waits for the answer, to leave in one write with it. */
const MAX_ACK_DELAY_MS = 20;

export interface BrokerOptions {
  readonly approver: Uint8Array;
  readonly verifier: Verifier;
  readonly clock: Clock;
  /** A message of a device to this approver; `from` is proved by its connect token. */
  readonly onMessage: (from: string, verb: ForApprover, payload: Uint8Array) => void;
}

/** Verbs that the approver answers; `ask` and `offer` go to a peer. */
export type ForApprover = Exclude<UpTopic['verb'], 'ask' | 'offer'>;

/** Verbs that are always answered, or nearly: their PUBACK waits for the answer. */
const ANSWERED: ReadonlySet<string> = new Set<ForApprover>([
  'pay',
  'query',
  'present',
  'challenges',
]);

interface Session {
  readonly client: Client;
  readonly access: Access;
  readonly topics: Map<DownVerb, Buffer>;
  /** Packet identifiers of QoS 1 publishes that have arrived and wait for their PUBACK. */
  readonly toAcknowledge: number[];
  isListening: boolean;
}

type BrokerCounts = Record<string, number>;

export interface Broker {
  readonly counts: Readonly<BrokerCounts>;
  readonly connected: number;
  handle(socket: Socket): void;
  /** Sends now if the device is connected and reads its inbox; else it is dropped and counted. */
  send(to: string, verb: DownVerb, payload: Uint8Array): void;
  /** Whether a device with this id is connected and reads its inbox. */
  isListening(id: string): boolean;
  /** Lets what `send` gathered go out, one write per connection. */
  flush(): void;
  /** Ends every connection: devices come back and begin anew, as after a restart. */
  dropAll(): void;
  close(): Promise<void>;
}

/**
 * The door for devices, MQTT 3.1.1. A message ends in `onMessage`; the broker's PUBACK says that it
 * arrived, never that it was accepted.
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const counts: BrokerCounts = {};
  const onFault = (fault: string): void => count(counts, fault);
  const aedes = await openBrokerDoor({ clientId: /^[0-9a-f]{32}$/, onFault });
  return new DeviceBroker(aedes, options, counts);
}

class DeviceBroker implements Broker {
  readonly counts: BrokerCounts;
  readonly #aedes: Aedes;
  readonly #options: BrokerOptions;
  readonly #approverHex: string;
  readonly #sessions = new Map<string, Session>();
  readonly #corked = new Set<Socket>();
  /** Sessions whose PUBACKs wait, for an answer or for the end of the tick. */
  readonly #waiting = new Set<Session>();
  #waitTimer: NodeJS.Timeout | undefined;
  readonly #freshness = new Freshness();

  constructor(aedes: Aedes, options: BrokerOptions, counts: BrokerCounts) {
    this.counts = counts;
    this.#aedes = aedes;
    this.#options = options;
    this.#approverHex = toHex(options.approver);
    aedes.authenticate = (client, _username, password, done) => {
      const fault = this.#authenticate(client.id, password);
      done(fault ?? null, fault === undefined);
    };
    aedes.authorizeSubscribe = (client, subscription, done) => {
      done(null, this.#maySubscribe(client, subscription.topic) ? subscription : null);
    };
    aedes.authorizePublish = (client, packet, done) => {
      const session = client && this.#sessions.get(client.id);
      const topic = session?.client === client ? this.#mayPublish(session, packet) : undefined;
      if (!session || !topic) {
        done(new Error('not allowed'));
        return;
      }
      if (packet.qos === 1) {
        session.toAcknowledge.push((packet as { messageId?: number }).messageId ?? 0);
        // The PUBACK is written here, together with the answer: half the writes of a payment.
        packet.qos = 0;
      }
      done(null);
      this.#take(session, topic, packet.payload as Buffer);
    };
    aedes.on('client', (client) => {
      const access = accessOf(this.#approverHex, client.id);
      this.#sessions.set(client.id, {
        client,
        access,
        topics: new Map(),
        toAcknowledge: [],
        isListening: false,
      });
    });
    aedes.on('clientDisconnect', (client) => {
      if (this.#sessions.get(client.id)?.client === client) this.#sessions.delete(client.id);
    });
    aedes.on('clientError', () => this.#count('client-error'));
    aedes.on('connectionError', () => this.#count('connection-error'));
  }

  get connected(): number {
    return this.#sessions.size;
  }

  isListening(id: string): boolean {
    return this.#sessions.get(id)?.isListening === true;
  }

  handle(socket: Socket): void {
    this.#aedes.handle(socket);
  }

  send(to: string, verb: DownVerb, payload: Uint8Array): void {
    const session = this.#sessions.get(to);
    if (!session?.isListening) {
      this.#count('undelivered');
      return;
    }
    const socket = session.client.conn as Socket;
    if (!this.#isWritable(socket)) return;
    const topic = downTopicOf(session, this.#approverHex, verb);
    const acks = session.toAcknowledge.length * PUBACK_BYTES;
    const frame = Buffer.allocUnsafe(acks + publishFrameBytes(topic.length, payload.length));
    const head = putAcks(frame, session.toAcknowledge);
    frame.set(payload, putPublishHead(frame, topic, payload.length, head));
    this.#write(socket, frame);
  }

  #isWritable(socket: Socket): boolean {
    if (socket.destroyed) return false;
    if (socket.writableLength <= MAX_BACKLOG_BYTES) return true;
    this.#count('slow-reader');
    socket.destroy();
    return false;
  }

  #write(socket: Socket, frame: Buffer): void {
    if (!this.#corked.has(socket)) {
      this.#corked.add(socket);
      socket.cork();
    }
    socket.write(frame);
  }

  flush(): void {
    for (const socket of this.#corked) socket.uncork();
    this.#corked.clear();
  }

  dropAll(): void {
    for (const { client } of this.#sessions.values()) client.close();
  }

  close(): Promise<void> {
    clearTimeout(this.#waitTimer);
    return new Promise((resolve) => this.#aedes.close(() => resolve()));
  }

  /**
   * The password proves the key whose thumbprint is the client id; only then does a new connection
   * take the place of a living one with the same id.
   */
  #authenticate(
    clientHex: string,
    password: Uint8Array | undefined,
  ): AuthenticateError | undefined {
    const { verifier, approver, clock } = this.#options;
    const given = password ?? new Uint8Array();
    const token = checkConnectToken(verifier, given, { approver, clientHex });
    const { unixMs, timeQuality } = clock.now();
    const stale = token.ok
      ? this.#freshness.check(token.value, Math.floor(unixMs / 1_000), timeQuality)
      : token;
    if (stale === undefined) return undefined;
    this.#count(`connect-${stale.code}`);
    return Object.assign(new Error(stale.reason), { returnCode: BAD_CREDENTIALS });
  }

  #maySubscribe(client: Client, filter: string): boolean {
    const session = this.#sessions.get(client.id);
    if (session?.client === client && session.access.mayRead(filter)) {
      session.isListening = true;
      return true;
    }
    this.#count('forbidden-subscribe');
    return false;
  }

  /** Undefined: the connection is closed, which is MQTT 3.1.1's only answer to a forbidden PUBLISH. */
  #mayPublish(session: Session, packet: PublishPacket): UpTopic | undefined {
    const topic = session.access.up(packet.topic);
    if (topic && !packet.retain && packet.qos !== 2) return topic;
    this.#count(topic ? 'forbidden-retain-or-qos' : 'forbidden-topic');
    return undefined;
  }

  #take(session: Session, topic: UpTopic, payload: Buffer): void {
    this.#acknowledge(session, ANSWERED.has(topic.verb));
    if (topic.verb !== 'ask' && topic.verb !== 'offer') {
      this.#options.onMessage(topic.deviceHex, topic.verb, payload);
    } else if (topic.peerHex !== undefined && isFair(topic, payload)) {
      this.#relay(topic.peerHex, topic.verb, payload);
    } else this.#count('forbidden-relay');
  }

  /** Lossy by contract: a peer that reads slowly keeps its room for what the approver says. */
  #relay(to: string, verb: 'ask' | 'offer', payload: Uint8Array): void {
    const socket = this.#sessions.get(to)?.client.conn as Socket | undefined;
    if (socket && socket.writableLength > MAX_RELAY_BACKLOG_BYTES) {
      this.#count('relay-dropped');
      return;
    }
    this.send(to, verb, payload);
    this.flush();
  }

  /** PUBACKs leave with the next answer to the device, or when this tick or the longest delay ends. */
  #acknowledge(session: Session, isAnswered: boolean): void {
    if (session.toAcknowledge.length === 0) return;
    if (isAnswered) {
      this.#waiting.add(session);
      this.#waitTimer ??= setTimeout(() => this.#acknowledgeAll(), MAX_ACK_DELAY_MS).unref();
    } else process.nextTick(() => this.#acknowledgeNow(session));
  }

  #acknowledgeAll(): void {
    this.#waitTimer = undefined;
    for (const session of this.#waiting) this.#acknowledgeNow(session);
    this.#waiting.clear();
  }

  #acknowledgeNow({ client, toAcknowledge }: Session): void {
    const socket = client.conn as Socket;
    if (toAcknowledge.length === 0 || !this.#isWritable(socket)) return;
    const frame = Buffer.allocUnsafe(toAcknowledge.length * PUBACK_BYTES);
    putAcks(frame, toAcknowledge);
    socket.write(frame);
  }

  #count(what: string): void {
    count(this.counts, what);
  }
}

function count(counts: BrokerCounts, what: string): void {
  counts[what] = (counts[what] ?? 0) + 1;
}

/** Writes the PUBACKs and empties the list; returns where they end. */
function putAcks(frame: Buffer, packetIds: number[]): number {
  let at = 0;
  for (const packetId of packetIds) at = putAck(frame, at, packetId);
  packetIds.length = 0;
  return at;
}

/** A relayed ask names its own sender; the Offer is signed and speaks for itself. */
function isFair(topic: UpTopic, payload: Uint8Array): boolean {
  if (payload.length > MAX_RELAY_BYTES) return false;
  if (topic.verb !== 'ask') return true;
  const ask = ASK.decode(payload);
  return ask.ok && toHex(ask.value.payer) === topic.deviceHex;
}

function downTopicOf(session: Session, approverHex: string, verb: DownVerb): Buffer {
  let topic = session.topics.get(verb);
  if (!topic) {
    topic = Buffer.from(downTopic(approverHex, session.client.id, verb), 'latin1');
    session.topics.set(verb, topic);
  }
  return topic;
}
