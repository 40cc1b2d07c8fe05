import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { systemCode } from './disk-error.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import { MAX_CONNECT_BYTES, PacketGuard } from './core/packet-guard.ts';

/** Connections in all and from one address; above it a new one is closed at once. */
const MAX_CONNECTIONS = 10_240;
const MAX_CONNECTIONS_PER_ADDRESS = 10_240;
/** Time for a whole CONNECT to arrive. */
const CONNECT_TIMEOUT_MS = 5_000;

const LOOPBACK = '127.0.0.1';

export interface GuardOptions {
  readonly host?: string;
  readonly port: number;
  /** Gets a socket with its CONNECT unread on it. */
  readonly onConnection: (socket: Socket) => void;
  readonly maxConnections?: number;
  readonly maxPerAddress?: number;
  readonly connectTimeoutMs?: number;
}

/** Connections closed by the guard, by reason. */
type GuardCounts = Record<string, number>;

export interface RunningGuard {
  readonly port: number;
  readonly counts: Readonly<GuardCounts>;
  close(): Promise<void>;
}

/**
 * Stands before the broker, which has no limit of its own: until a whole CONNECT of at most 1 KiB
 * is there the broker does not see the connection, and afterwards no chunk reaches its parser that
 * announces a packet over 16 KiB. noDelay: without it every exchange takes 44 ms.
 * @throws KiriError PORT_IN_USE, PORT_FAILED
 */
export async function startGuard(options: GuardOptions): Promise<RunningGuard> {
  const counts: GuardCounts = {};
  const sockets = new Set<Socket>();
  const perAddress = new Map<string, number>();
  const count = (reason: string): void => {
    counts[reason] = (counts[reason] ?? 0) + 1;
  };
  const server = createServer({ noDelay: true }, (socket) => {
    const address = socket.remoteAddress ?? '';
    const here = perAddress.get(address) ?? 0;
    const full = sockets.size >= (options.maxConnections ?? MAX_CONNECTIONS);
    if (full || here >= (options.maxPerAddress ?? MAX_CONNECTIONS_PER_ADDRESS)) {
      count(full ? 'too-many' : 'too-many-from-address');
      socket.destroy();
      return;
    }
    sockets.add(socket);
    perAddress.set(address, here + 1);
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      const left = (perAddress.get(address) ?? 1) - 1;
      if (left > 0) perAddress.set(address, left);
      else perAddress.delete(address);
    });
    awaitConnect(socket, options, count);
  });
  const port = await listen(server, options.host ?? LOOPBACK, options.port);
  return {
    port,
    counts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Holds the socket until its CONNECT is complete, then puts the bytes back and hands it on. */
function awaitConnect(
  socket: Socket,
  options: GuardOptions,
  count: (reason: string) => void,
): void {
  const guard = new PacketGuard();
  const chunks: Buffer[] = [];
  let length = 0;
  const end = (reason: string | undefined): void => {
    clearTimeout(timer);
    socket.removeListener('readable', onReadable);
    if (reason === undefined) return;
    count(reason);
    socket.destroy();
  };
  const onReadable = (): void => {
    for (let chunk = read(socket); chunk !== null; chunk = read(socket)) {
      const fault = guard.feed(chunk);
      if (fault) {
        end(fault);
        return;
      }
      chunks.push(chunk);
      length += chunk.length;
      if (guard.isConnected) {
        end(undefined);
        socket.unshift(Buffer.concat(chunks, length));
        guardReads(socket, guard, length, count);
        options.onConnection(socket);
        return;
      }
      if (length > MAX_CONNECT_BYTES) {
        end('connect-too-large');
        return;
      }
    }
  };
  const timer = setTimeout(
    () => end('connect-timeout'),
    options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
  ).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.on('readable', onReadable);
}

function read(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

/** Lets the broker's own `read` see only what has passed; the first bytes have passed already. */
function guardReads(
  socket: Socket,
  guard: PacketGuard,
  passed: number,
  count: (reason: string) => void,
): void {
  const original = socket.read.bind(socket);
  let skip = passed;
  socket.read = (size?: number): Buffer | null => {
    const chunk = original(size) as Buffer | null;
    if (chunk === null) return null;
    const known = Math.min(skip, chunk.length);
    skip -= known;
    const fault = guard.feed(known === 0 ? chunk : chunk.subarray(known));
    if (fault === undefined) return chunk;
    count(fault);
    socket.destroy();
    return null;
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const isUsed = systemCode(error) === 'EADDRINUSE';
      const message = isUsed
        ? `MQTT port ${port} is used by another program`
        : `cannot listen on MQTT port ${port}: ${error.message}`;
      reject(new KiriError(isUsed ? 'PORT_IN_USE' : 'PORT_FAILED', message, { cause: error }));
    });
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}
