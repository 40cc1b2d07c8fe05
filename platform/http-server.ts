import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { KiriError } from '../protocol/kiri-error.ts';
import { systemCode } from './disk-error.ts';

const LOOPBACK = '127.0.0.1';
/** A request must be complete within this time; a connection on which nothing moves for twice as long is closed. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How often late requests are looked for; the runtime's own 30 s would let a slow sender have four times as long. */
const CHECK_INTERVAL_MS = 1_000;
const MAX_CONNECTIONS = 256;

export interface HttpRequest {
  readonly method: string;
  /** Path and query as sent, beginning with '/'. */
  readonly path: string;
  readonly body: Uint8Array;
  /** The other end's address; proves nothing behind a proxy. */
  readonly peer: string;
  /** The Authorization header as sent. */
  readonly authorization?: string;
}

export interface HttpAnswer {
  readonly status: number;
  /** A stream's parts leave as they come; whoever asked may be gone before its end. */
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>;
  readonly contentType?: string;
  /** Seconds after which the same request may do better. */
  readonly retryAfterS?: number;
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer;

export interface LoopbackServer {
  /** The port that is listened on, also when 0 was asked for. */
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

export interface ServerOptions {
  /** 0 takes any free one. */
  readonly port: number;
  readonly maxBodyBytes: number;
  readonly requestTimeoutMs?: number;
  /** Open at once; default 256. */
  readonly maxConnections?: number;
}

/**
 * Serves HTTP on the loopback address only. A body over `maxBodyBytes` is answered with 413 and never handed on; an error
 * thrown by the handler is answered with 500, a KiriError with its code as text.
 * @throws KiriError PORT_IN_USE, PORT_FAILED
 */
export async function listenLoopback(
  handler: HttpHandler,
  options: ServerOptions,
): Promise<LoopbackServer> {
  const requestTimeout = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const limits = {
    noDelay: true,
    requestTimeout,
    headersTimeout: requestTimeout,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, requestTimeout),
  };
  const server = createServer(limits, (req, res) => {
    void serve(handler, options.maxBodyBytes, req, res);
  });
  server.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
  // Whoever asks and does not read would hold the whole answer in memory for ever. Later than the 408 of a late request.
  server.timeout = 2 * requestTimeout;
  const port = await listen(server, options.port);
  return { port, url: `http://${LOOPBACK}:${port}`, close: () => close(server) };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const isUsed = systemCode(error) === 'EADDRINUSE';
      const message = isUsed
        ? `port ${port} is used by another program`
        : `cannot listen on port ${port}: ${error.message}`;
      reject(new KiriError(isUsed ? 'PORT_IN_USE' : 'PORT_FAILED', message, { cause: error }));
    });
    server.listen(port, LOOPBACK, () => resolve((server.address() as AddressInfo).port));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function serve(
  handler: HttpHandler,
  maxBodyBytes: number,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  let answer: HttpAnswer;
  try {
    const body = await readBody(req, maxBodyBytes);
    if (body === undefined) {
      // The rest of the body is not waited for.
      res.setHeader('connection', 'close');
      answer = { status: 413, body: `body over ${maxBodyBytes} bytes\n` };
    } else {
      const { authorization } = req.headers;
      answer = await handler({
        method: req.method ?? 'GET',
        path: req.url ?? '/',
        body,
        peer: req.socket.remoteAddress ?? '',
        ...(authorization === undefined ? {} : { authorization }),
      });
    }
  } catch (error) {
    if (req.destroyed && !req.complete) return;
    answer = { status: 500, body: `${error instanceof KiriError ? error.code : 'INTERNAL'}\n` };
  }
  const type =
    typeof answer.body === 'string' ? 'text/plain; charset=utf-8' : 'application/octet-stream';
  const { retryAfterS } = answer;
  if (retryAfterS !== undefined) res.setHeader('retry-after', retryAfterS);
  res.writeHead(answer.status, { 'content-type': answer.contentType ?? type });
  if (typeof answer.body === 'object' && Symbol.asyncIterator in answer.body) {
    await pipeline(answer.body, res).catch(() => {});
  } else {
    res.end(answer.body);
  }
}

/** The whole body, or undefined when it is over the limit. */
async function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}
