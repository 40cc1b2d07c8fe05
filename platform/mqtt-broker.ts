import { Aedes, type ConnectPacket } from 'aedes';

const DRAIN_TIMEOUT_MS = 2_000;
/** Longest silence that a client may ask for. */
const MAX_KEEPALIVE_S = 300;
/** CONNACK return code 4 (MQTT 3.1.1 §3.2.2.3): what `authenticate` gives as its error's `returnCode`. */
export const BAD_CREDENTIALS = 4;

export interface BrokerDoorOptions {
  /** The form of every client id. */
  readonly clientId: RegExp;
  /** A connection was refused for this reason before anything else was looked at. */
  readonly onFault: (fault: string) => void;
}

/**
 * aedes as a door, MQTT 3.1.1: it speaks the protocol, and everything that it would do with a message (routing,
 * retaining, storing) is left out: messages are taken in `authorizePublish`. Behind a guard only (mqtt-guard.ts).
 */
export async function openBrokerDoor({ clientId, onFault }: BrokerDoorOptions): Promise<Aedes> {
  const aedes = await Aedes.createBroker({
    drainTimeout: DRAIN_TIMEOUT_MS,
    queueLimit: 64,
    maxTopicLevels: 8,
    authorizeForward: () => null,
  });
  // Nothing is ever routed inside the broker, its own `$SYS` news included. Later, because done at
  // once would have the parser read on in the middle of a packet.
  aedes.publish = (...given: unknown[]): void => {
    const done = given.at(-1);
    if (typeof done === 'function') process.nextTick(done);
  };
  aedes.preConnect = (_client, packet, done) => {
    const fault = connectFault(packet, clientId);
    if (fault !== undefined) onFault(fault);
    done(fault === undefined ? null : new Error(fault), fault === undefined);
  };
  return aedes;
}

/** What no client of ours says in CONNECT; the connection ends without an answer. */
function connectFault(packet: ConnectPacket, clientId: RegExp): string | undefined {
  if (packet.will !== undefined && packet.will !== null) return 'connect-will';
  if (!clientId.test(packet.clientId)) return 'connect-client-id';
  if (packet.clean !== true) return 'connect-session';
  const keepalive = packet.keepalive ?? 0;
  return keepalive > 0 && keepalive <= MAX_KEEPALIVE_S ? undefined : 'connect-keepalive';
}
