import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** When the wire is cut: before a COMMIT reaches the server, or when its answer is on the way back. */
type Cut = 'before commit' | 'after commit';

/** A wire to a server that breaks where it is told to, and can change what the server says. */
export class CuttingProxy {
  /** Cuts once. */
  cut: Cut | undefined;
  /** New connections end at once. */
  isClosed = false;
  /** Bytes of the server's answers that are exchanged, of equal length. */
  exchange: readonly [string, string] | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: { readonly host: string; readonly port: number }) {
    this.#server = createServer((client) => {
      if (this.isClosed) client.destroy();
      else this.#join(client, connect(target));
    });
  }

  static async start(target: {
    readonly host: string;
    readonly port: number;
  }): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #join(client: Socket, server: Socket): void {
    const end = (): void => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', end);
    }
    client.on('data', (bytes) => {
      if (this.cut === 'before commit' && bytes.includes('COMMIT\0')) {
        this.cut = undefined;
        end();
      } else server.write(bytes);
    });
    server.on('data', (bytes) => {
      if (this.cut === 'after commit' && bytes.includes('COMMIT\0')) {
        this.cut = undefined;
        end();
      } else client.write(this.#exchanged(bytes));
    });
  }

  #exchanged(bytes: Buffer): Buffer {
    if (!this.exchange) return bytes;
    const [from, to] = this.exchange;
    return Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1');
  }

  /** What is open now breaks. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  async close(): Promise<void> {
    this.drop();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
