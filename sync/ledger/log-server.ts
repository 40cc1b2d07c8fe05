/**
 * Serves a log folder as static files on the loopback address: the tlog-tiles resources below `/tlog`, the ciphertexts
 * below `/payload`, the wrapped content keys below `/keys`, what stands in the place of erased ones below `/erased`, how
 * long contents stay: `/retention`, `/retired`, and a roll-up log's anchored notes with their evidence below `/anchors`. A
 * request is parsed into a resource and its canonical path written anew; nothing else of the request's text reaches the
 * file system.
 */
import {
  type HttpAnswer,
  type HttpRequest,
  type LoopbackServer,
  listenLoopback,
} from '../../platform/http-server.ts';
import { ANCHORS_FOLDER, parseAnchorPath } from './core/anchor-file.ts';
import { CHECKPOINT_PATH, payloadPath, tlogPath } from './core/log-batch.ts';
import { RETENTION_PATH, RETIRED_PATH } from './core/retention.ts';
import { parseTilePath } from './core/tile.ts';
import { wrappedKeyPath } from './content-keys.ts';
import { type LogSource, folderSource } from './log-source.ts';

const BYTES_TYPE = 'application/octet-stream';
const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** A shard's folder in front of a log's paths (core/shard.ts). */
const SHARD_PATH = /^\/([1-9][0-9]{3}q[1-4])(\/.+)$/;

/** The file below the log folder that a request path names; `undefined` for everything else. */
export const resourceOf = (path: string): { path: string; contentType: string } | undefined => {
  if (path === `/${CHECKPOINT_PATH}`) return { path: CHECKPOINT_PATH, contentType: TEXT_TYPE };
  if (path === `/${RETENTION_PATH}` || path === `/${RETIRED_PATH}`) {
    return { path: path.slice(1), contentType: TEXT_TYPE };
  }
  if (path.startsWith('/tlog/')) {
    const tile = parseTilePath(path.slice('/tlog/'.length));
    return tile.ok ? { path: tlogPath(tile.value), contentType: BYTES_TYPE } : undefined;
  }
  if (path.startsWith('/payload/')) {
    // A payload bundle's index has the form of a full entry bundle's.
    const tile = parseTilePath(`tile/entries/${path.slice('/payload/'.length)}`);
    if (!tile.ok || path.includes('.p')) return undefined;
    return { path: payloadPath(tile.value.index), contentType: BYTES_TYPE };
  }
  if (/^\/erased\/[0-9a-f]{32}(?:\.[0-9a-f]{32})?$/.test(path)) {
    return { path: path.slice(1), contentType: BYTES_TYPE };
  }
  if (path.startsWith(`/${ANCHORS_FOLDER}`)) {
    const isAnchors = parseAnchorPath(path.slice(1)) !== undefined;
    return isAnchors ? { path: path.slice(1), contentType: BYTES_TYPE } : undefined;
  }
  const kid = /^\/keys\/([0-9a-f]{32})$/.exec(path)?.[1];
  return kid === undefined ? undefined : { path: wrappedKeyPath(kid), contentType: BYTES_TYPE };
};

/**
 * Answers with one file of a log.
 * @param source the log's folder, or one above
 * @param place of the log below it, with its last slash
 */
export const fileAnswer = async (
  source: LogSource,
  place: string,
  below: string,
): Promise<HttpAnswer> => {
  const resource = resourceOf(below);
  const body = resource && (await source.read(place + resource.path));
  if (resource === undefined) return { status: 404, body: 'not found\n' };
  if (body !== undefined) return { status: 200, body, contentType: resource.contentType };
  // Contents that were here and are gone on purpose (RFC 9110: 410), and why.
  const isContents = /^(?:payload|keys)\//.test(resource.path);
  if (isContents && (await source.read(place + RETIRED_PATH)) !== undefined) {
    const why = await source.read(place + RETENTION_PATH);
    return { status: 410, body: why ?? 'retired\n', contentType: TEXT_TYPE };
  }
  return { status: 404, body: 'not found\n' };
};

interface LogFacts {
  readonly status?: () => object;
  /** The gateway's spent totals as it answers them. */
  readonly totals?: () => Promise<Uint8Array>;
}

/** Answers for one log folder: its files, and what `facts` say at GET /status and GET /totals. */
export const logHandler = (
  root: string,
  { status, totals }: LogFacts = {},
): ((request: Pick<HttpRequest, 'method' | 'path'>) => Promise<HttpAnswer>) => {
  const source = folderSource(root);
  return async ({ method, path }) => {
    if (method !== 'GET') return { status: 405, body: 'GET only\n' };
    if (path === '/status' && status !== undefined) {
      return { status: 200, body: `${JSON.stringify(status())}\n`, contentType: JSON_TYPE };
    }
    if (path === '/totals' && totals !== undefined) {
      return { status: 200, body: await totals(), contentType: JSON_TYPE };
    }
    const [, shard = '', below = path] = SHARD_PATH.exec(path) ?? [];
    return fileAnswer(source, shard === '' ? '' : `${shard}/`, below);
  };
};

/**
 * Starts serving a log folder. Port 0 takes any free one.
 * @throws KiriError PORT_IN_USE, PORT_FAILED
 */
export const serveLog = (root: string, port: number, facts?: LogFacts): Promise<LoopbackServer> =>
  listenLoopback(logHandler(root, facts), { port, maxBodyBytes: 0 });
