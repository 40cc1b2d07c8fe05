import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/**
 * A line that can be cut: a TCP relay on loopback between two programs. Cut, it drops what is
 * connected and refuses what is new, which is what a device sees of a broken uplink.
 */
export interface Uplink {
  readonly port: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  cut(): void;
  restore(): void;
  close(): Promise<void>;
}

class Relay implements Uplink {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: () => number;
  #isCut = false;
  bytesUp = 0;
  bytesDown = 0;
  port = 0;

  constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ noDelay: true }, (near) => this.#join(near));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    this.port = (this.#server.address() as AddressInfo).port;
  }

  #join(near: Socket): void {
    near.on('error', () => near.destroy());
    if (this.#isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port: this.#target(), noDelay: true });
    far.on('error', () => near.destroy());
    near.on('data', (chunk) => (this.bytesUp += chunk.length));
    far.on('data', (chunk) => (this.bytesDown += chunk.length));
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  restore(): void {
    this.#isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** @param target asked at each connection, because a restarted program has a new port */
export async function openUplink(target: () => number): Promise<Uplink> {
  const relay = new Relay(target);
  await relay.listen();
  return relay;
}
