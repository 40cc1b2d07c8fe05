import { request, type IncomingMessage } from 'node:http';
import { KiriError } from '../protocol/kiri-error.ts';

export interface FetchOptions {
  readonly timeoutMs: number;
  /** Largest answer that is taken. */
  readonly maxBytes: number;
  readonly method?: string;
  readonly body?: Uint8Array;
  /** Bearer token for an admin interface. */
  readonly bearer?: string;
}

/**
 * One HTTP request; any status is an answer.
 * @throws KiriError HTTP_UNREACHABLE, HTTP_TIMEOUT (for the whole exchange), HTTP_TOO_LARGE
 */
export function fetchBytes(
  url: string,
  options: FetchOptions,
): Promise<{ status: number; body: Uint8Array }> {
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
    const { body, bearer } = options;
    const headers = {
      ...(body === undefined ? {} : { 'content-length': body.length }),
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    };
    const method = options.method ?? (body === undefined ? 'GET' : 'POST');
    const req = request(url, { method, headers, signal }, (res) => {
      readAnswer(res, url, options.maxBytes).then(resolve, fail);
    });
    req.setNoDelay(true);
    req.on('error', fail);
    req.end(body);
  });
}

async function readAnswer(
  res: IncomingMessage,
  url: string,
  maxBytes: number,
): Promise<{ status: number; body: Uint8Array }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of res as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) {
      throw new KiriError('HTTP_TOO_LARGE', `${url}: answer over ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return { status: res.statusCode ?? 0, body: Buffer.concat(chunks, length) };
}
