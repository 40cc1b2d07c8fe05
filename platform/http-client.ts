import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { KiriError } from '../protocol/kiri-error.ts';

export interface FetchOptions {
  readonly timeoutMs: number;
  /** Largest answer that is taken. */
  readonly maxBytes: number;
  readonly method?: string;
  readonly body?: Uint8Array;
  readonly contentType?: string;
  /** Bearer token for an admin interface. */
  readonly bearer?: string;
  /** Gets a 200's body piece by piece as it comes; the answer's body is then empty. */
  readonly onPiece?: (piece: Uint8Array) => void;
}

/** `bytesUp` and `bytesDown`: what the exchange took on its connection, headers included, TCP and TLS not. */
export interface FetchAnswer {
  readonly status: number;
  readonly body: Uint8Array;
  /** Seconds of a Retry-After header; absent where there is none, or a date. */
  readonly retryAfterS?: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** How a request is made: {@link fetchBytes}, or the same over another transport. */
export type FetchBytes = (url: string, options: FetchOptions) => Promise<FetchAnswer>;

/**
 * One HTTP or HTTPS request; any status is an answer. Redirects are not followed.
 * @throws KiriError HTTP_UNREACHABLE, HTTP_TIMEOUT (for the whole exchange), HTTP_TOO_LARGE
 */
export function fetchBytes(url: string, options: FetchOptions): Promise<FetchAnswer> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(options.timeoutMs);
    const fail = (error: Error): void => {
      if (error instanceof KiriError) reject(error);
      else if (signal.aborted) {
        reject(new KiriError('HTTP_TIMEOUT', `${url}: no answer in ${options.timeoutMs} ms`));
      } else {
        reject(new KiriError('HTTP_UNREACHABLE', `${url}: ${error.message}`, { cause: error }));
      }
    };
    const { body, bearer, contentType } = options;
    const headers = {
      ...(contentType === undefined ? {} : { 'content-type': contentType }),
      ...(body === undefined ? {} : { 'content-length': body.length }),
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    };
    const method = options.method ?? (body === undefined ? 'GET' : 'POST');
    let before = { read: 0, written: 0 };
    const request = url.startsWith('https:') ? requestHttps : requestHttp;
    const req = request(url, { method, headers, signal }, (res) => {
      const { socket } = res;
      readAnswer(res, url, options).then(({ status, body: answer }) => {
        const bytesUp = socket.bytesWritten - before.written;
        const bytesDown = socket.bytesRead - before.read;
        const after = /^\d{1,6}$/.exec(res.headers['retry-after'] ?? '')?.[0];
        const retryAfter = after === undefined ? {} : { retryAfterS: Number(after) };
        resolve({ status, body: answer, bytesUp, bytesDown, ...retryAfter });
      }, fail);
    });
    req.once('socket', (socket) => {
      // A kept connection has carried others before.
      before = { read: socket.bytesRead, written: socket.bytesWritten };
    });
    req.setNoDelay(true);
    req.on('error', fail);
    req.end(body);
  });
}

async function readAnswer(
  res: IncomingMessage,
  url: string,
  { maxBytes, onPiece }: FetchOptions,
): Promise<{ status: number; body: Uint8Array }> {
  const isStreamed = onPiece !== undefined && res.statusCode === 200;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of res as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) {
      throw new KiriError('HTTP_TOO_LARGE', `${url}: answer over ${maxBytes} bytes`);
    }
    if (isStreamed) onPiece(chunk);
    else chunks.push(chunk);
  }
  return { status: res.statusCode ?? 0, body: Buffer.concat(chunks) };
}
