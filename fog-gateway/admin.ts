import { randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../platform/durable-file.ts';
import {
  listenLoopback,
  type HttpAnswer,
  type HttpRequest,
  type LoopbackServer,
} from '../platform/http-server.ts';
import { toHex } from '../protocol/bytes.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import type { Level } from '../protocol/levels.ts';
import type { CentreAnswer } from './approver-shell.ts';

const MAX_BODY_BYTES = 65_536;
const TOKEN_FILE = 'admin-token';
const HASH_BYTES = 32;
/** A gateway with room again takes documents within a second. */
const RETRY_AFTER_S = 5;
/** Hashes of one POST /lookup. */
const MAX_LOOKUP = MAX_BODY_BYTES / HASH_BYTES;

/** What is told with the token, by path. */
const DOCUMENT_AT: Readonly<Record<string, 'acknowledgement' | 'statusList' | 'statement'>> = {
  '/acknowledgement': 'acknowledgement',
  '/status-list': 'statusList',
  '/statement': 'statement',
};

/** What became of a Payment as far as this approver's durable journal knows. */
export interface Held {
  readonly held: 'accepted' | 'void' | 'none';
  /** Its number in this approver's row; absent for `none`, as is what follows. */
  readonly sequence?: number;
  /** L0 … L3 as the ledger beside the gateway tells; L0 where none was heard of. */
  readonly level?: Level;
  /** SHA-256 of the policy text, without which "L2" says nothing. */
  readonly policyHash?: string;
}

export interface AdminActions {
  isHealthy(): boolean;
  /** BigInts are written as decimal text. */
  status(): object;
  /** These throw KiriError DISK_* where nothing can be kept now. */
  acknowledgement(bytes: Uint8Array): Promise<CentreAnswer>;
  statusList(bytes: Uint8Array): Promise<CentreAnswer>;
  statement(bytes: Uint8Array): Promise<CentreAnswer>;
  /** The newest totals of lines, signed (protocol/messages/spent-totals.ts). */
  totals(): readonly Uint8Array[];
  lookUp(hashes: readonly Uint8Array[]): Promise<readonly Held[]>;
}

/**
 * The operator's door, HTTP on loopback only. Reading is open to everybody on the machine; what
 * changes something wants the token from the 0600 file `admin-token` as a bearer token.
 */
export async function startAdmin(
  folder: string,
  port: number,
  actions: AdminActions,
): Promise<LoopbackServer> {
  const token = await adminToken(folder);
  return listenLoopback((request) => route(actions, token, request), {
    port,
    maxBodyBytes: MAX_BODY_BYTES,
  });
}

/** Made once per folder; nobody knows a default. */
async function adminToken(folder: string): Promise<Buffer> {
  const path = join(folder, TOKEN_FILE);
  const held = await readIfPresent(path);
  if (held !== undefined) {
    const text = held.toString('latin1').trim();
    if (/^[0-9a-f]{64}$/.test(text)) return Buffer.from(text, 'latin1');
    throw new KiriError('ADMIN_TOKEN_CORRUPT', `${path} is not 64 hex digits: delete it`);
  }
  const made = randomBytes(32).toString('hex');
  await writeFileDurable(path, `${made}\n`, 0o600);
  return Buffer.from(made, 'latin1');
}

function isAuthorised(request: HttpRequest, token: Buffer): boolean {
  const given = Buffer.from(
    /^Bearer (\S+)$/.exec(request.authorization ?? '')?.[1] ?? '',
    'latin1',
  );
  return given.length === token.length && timingSafeEqual(given, token);
}

async function route(
  actions: AdminActions,
  token: Buffer,
  request: HttpRequest,
): Promise<HttpAnswer> {
  const { pathname, searchParams } = new URL(request.path, 'http://localhost');
  const name = `${request.method} ${pathname}`;
  switch (name) {
    case 'GET /healthz':
      return actions.isHealthy() ? { status: 200, body: 'ok\n' } : { status: 503, body: 'no\n' };
    case 'GET /status':
      return json(200, actions.status());
    case 'GET /totals':
      return json(200, { totals: actions.totals().map(toHex) });
    case 'GET /lookup': {
      const hash = Buffer.from(searchParams.get('hash') ?? '', 'hex');
      if (hash.length !== HASH_BYTES) return json(400, { error: 'hash is not 64 hex digits' });
      const [found] = await actions.lookUp([hash]);
      return json(200, { ...found });
    }
    case 'POST /lookup':
      return lookUpMany(actions, request.body);
    case 'POST /acknowledgement':
    case 'POST /status-list':
    case 'POST /statement': {
      if (!isAuthorised(request, token)) return json(401, { error: 'bearer token is wrong' });
      return tell(() => actions[DOCUMENT_AT[pathname]!](request.body));
    }
    default:
      return json(404, { error: 'no such thing here' });
  }
}

/** 422 is final; what only cannot be kept now (a full or read-only disk, a gateway that is starting) is 503: come again. */
async function tell(take: () => Promise<CentreAnswer>): Promise<HttpAnswer> {
  let answer: CentreAnswer;
  try {
    answer = await take();
  } catch (error) {
    if (!(error instanceof KiriError) || !error.code.startsWith('DISK_')) throw error;
    answer = { taken: false, reason: error.code, isForNow: true };
  }
  const { taken, reason, isForNow } = answer;
  if (isForNow) return { ...json(503, { taken, reason }), retryAfterS: RETRY_AFTER_S };
  return json(taken ? 200 : 422, { taken, reason });
}

/** Body: hashes one behind the other; answer: one word each, in their order. */
async function lookUpMany(actions: AdminActions, body: Uint8Array): Promise<HttpAnswer> {
  if (body.length % HASH_BYTES !== 0 || body.length > MAX_LOOKUP * HASH_BYTES) {
    return json(400, { error: 'the body is not a row of 32-byte hashes' });
  }
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += HASH_BYTES) hashes.push(body.slice(at, at + HASH_BYTES));
  const found = await actions.lookUp(hashes);
  return json(200, { held: found.map(({ held }) => held) });
}

function json(status: number, value: object): HttpAnswer {
  const text = JSON.stringify(value, (_key, entry: unknown) =>
    typeof entry === 'bigint' ? entry.toString() : entry,
  );
  return { status, body: `${text}\n`, contentType: 'application/json' };
}
