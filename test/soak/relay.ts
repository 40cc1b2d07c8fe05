/**
 * A steady address before a process that dies and comes back at another one: an asker hears 502 while it is gone.
 * Everything signed that passes is told to the observer, whichever side it came from.
 */
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What passed: the request's body, and the answer where one came. */
export type Observe = (
  body: Buffer,
  answer?: { readonly status: number; readonly body: Buffer },
) => void;

const ANSWER_TIMEOUT_MS = 5_000;

async function read(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

export class Relay {
  readonly url: string;
  /** Where the process serves now; undefined while it is dead. */
  target: string | undefined;
  /** Called once, when the next request has been handed to the process. */
  onForwarded: (() => void) | undefined;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async open(observe: Observe): Promise<Relay> {
    let relay: Relay | undefined;
    const server = createServer((req, res) => {
      const answer = async (): Promise<void> => {
        const body = await read(req);
        observe(body);
        const answered = await relay?.forward(req.method ?? 'GET', req.url ?? '/', body);
        if (answered !== undefined) observe(body, answered);
        res.writeHead(answered?.status ?? 502).end(answered?.body ?? 'nobody there\n');
      };
      answer().catch(() => res.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    relay = new Relay(server);
    return relay;
  }

  forward(
    method: string,
    path: string,
    body: Buffer,
  ): Promise<{ status: number; body: Buffer } | undefined> {
    const { target } = this;
    if (target === undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const none = (): void => resolve(undefined);
      const req = request(`${target}${path}`, { method, timeout: ANSWER_TIMEOUT_MS }, (res) => {
        read(res).then((answer) => resolve({ status: res.statusCode ?? 0, body: answer }), none);
      });
      req.on('timeout', () => req.destroy()).on('error', none);
      req.end(body, () => {
        const forwarded = this.onForwarded;
        this.onForwarded = undefined;
        forwarded?.();
      });
    });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
