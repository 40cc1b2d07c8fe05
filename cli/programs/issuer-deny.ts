import { parseArgs } from 'node:util';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import {
  publish,
  publishUrl,
  type PublishOutcome,
  type PublishTarget,
} from '../../sync/issuer/publish.ts';
import {
  openStatementBook,
  StatementBook,
  type Declined,
  type DeclinedKind,
} from '../../sync/issuer/statement-book.ts';
import { nextStatusList } from '../../sync/issuer/status-desk.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { readBytes } from './config.ts';
import { filesOf, openDesk, registryOf } from './issuer-statements.ts';
import { say, toolOptions, type ToolOptions } from './tool-options.ts';

const MODE = 0o644;
const ID = /^[0-9a-f]{32}$/;
const TOKEN = /^[0-9a-f]{64}$/;
const REASON_MAX = 200;
const TARGETS_MAX = 10_000;
/** Listed at most. */
const NOT_TAKEN_MAX = 1_000;

const nowS = (): number => Math.floor(Date.now() / 1000);

function idFrom(options: ToolOptions): { kind: DeclinedKind; id: string } {
  const [party, line] = [options.text('party'), options.text('line')];
  if ((party === undefined) === (line === undefined)) {
    throw new UsageError('one of --party ID and --line ID is needed');
  }
  const id = party ?? line ?? '';
  if (!ID.test(id)) throw new UsageError(`${id} is no id of 32 hex digits`);
  return { kind: party === undefined ? 'line' : 'party', id };
}

/** The parties of `reconcile`'s answer, as the clearing wrote it. @throws KiriError FILE_INVALID */
function declinedIn(path: string, sinceS: number): Declined[] {
  const text = Buffer.from(readBytes(path)).toString('utf8');
  const wrong = new KiriError('FILE_INVALID', `${path} is no answer of reconcile with "declined"`);
  let rows: unknown;
  try {
    rows = (JSON.parse(text) as Record<string, unknown>)['declined'];
  } catch {
    throw wrong;
  }
  if (!Array.isArray(rows)) throw wrong;
  return (rows as Record<string, unknown>[]).map(({ party, code, arn }) => {
    if (typeof party !== 'string' || !ID.test(party)) throw wrong;
    const reason = `${String(code)} ${String(arn)}`.slice(0, REASON_MAX);
    return { kind: 'party', id: party, sinceS, reason };
  });
}

/** `kiri issuer decline`: a party or a line gets no allowance and stands in the next status list. */
export async function runDecline(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['state', 'party', 'line', 'reason', 'from']);
  const state = options.need('state');
  const from = options.text('from');
  const sinceS = nowS();
  const reason = (options.text('reason') ?? '').slice(0, REASON_MAX);
  const all: Declined[] =
    from === undefined ? [{ ...idFrom(options), sinceS, reason }] : declinedIn(from, sinceS);
  const database = openDesk(state);
  try {
    await openStatementBook(database);
    const added = await database.transaction(async (session) => {
      const book = new StatementBook(session);
      let count = 0;
      for (const one of all) count += (await book.decline(one)) ? 1 : 0;
      return count;
    });
    const line = `${added} of ${all.length} declined now, the others were before; next: kiri issuer status-list`;
    say(options.json, { declined: all.map(({ kind, id }) => ({ kind, id })), added }, line);
  } finally {
    await database.close();
  }
  return EXIT_OK;
}

/** `kiri issuer recover`: the debt is paid. */
export async function runRecover(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['state', 'party', 'line']);
  const { kind, id } = idFrom(options);
  const database = openDesk(options.need('state'));
  try {
    await openStatementBook(database);
    const wasDeclined = await database.transaction((session) =>
      new StatementBook(session).recover(kind, id),
    );
    const line = `${kind} ${id} ${wasDeclined ? 'is declined no more' : 'was not declined'}; next: kiri issuer status-list`;
    say(options.json, { kind, id, wasDeclined }, line);
  } finally {
    await database.close();
  }
  return EXIT_OK;
}

/** `kiri issuer status-list`: signs the next version, with all that are declined. */
export async function runStatusList(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['key', 'documents', 'state', 'from', 'out']);
  const [out, state] = [options.need('out'), options.need('state')];
  const issuer = loadSigner(options.need('key'));
  const trust = { issuerKey: issuer.key, verifier: nodeVerifier() };
  const documents = filesOf(options.need('documents'));
  const registry = registryOf(trust, documents);
  const from = options.text('from');
  const base = from === undefined ? {} : { base: readBytes(from) };
  const database = openDesk(state);
  try {
    const request = { database, issuer, trust, registry, documents, nowS: nowS(), ...base };
    const { cose, uri, version, declined, faults } = await nextStatusList(request);
    await writeFileDurable(out, cose, MODE);
    const line = `${uri} version ${version}, ${declined} declined: ${out}`;
    say(
      options.json,
      { uri, version, declined, faults, file: out },
      [line, ...faults.map((fault) => `not refused by it: ${fault}`)].join('\n'),
    );
    return faults.length > 0 ? EXIT_FAILED : EXIT_OK;
  } finally {
    await database.close();
  }
}

interface PublishArguments {
  readonly list: string | undefined;
  readonly statements: string | undefined;
  readonly targets: readonly PublishTarget[];
  readonly json: boolean;
}

function tokenIn(path: string): string {
  const token = Buffer.from(readBytes(path)).toString('latin1').trim();
  if (TOKEN.test(token)) return token;
  throw new KiriError('TOKEN_INVALID', `${path} does not hold the 64 hex digits of a gateway`);
}

function publishArguments(argv: readonly string[]): PublishArguments {
  const texts = { type: 'string', multiple: true } as const;
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        list: { type: 'string' },
        statements: { type: 'string' },
        to: texts,
        'token-file': texts,
        json: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { list, statements, to = [], 'token-file': tokens = [], json } = values;
  if ((list === undefined) === (statements === undefined)) {
    throw new UsageError('one of --list FILE and --statements DIR is needed');
  }
  if (to.length === 0 || to.length !== tokens.length || to.length > TARGETS_MAX) {
    throw new UsageError('each --to URL wants a --token-file FILE, in the same order');
  }
  const targets = to.map((url, at) => ({ url: publishUrl(url), token: tokenIn(tokens[at] ?? '') }));
  return { list, statements, targets, json };
}

/** Each Statement to each gateway, as long as that answers; returns those with their last word. */
async function publishStatements(
  folder: string,
  targets: readonly PublishTarget[],
): Promise<{ said: number; notTaken: PublishOutcome[] }> {
  const notTaken: PublishOutcome[] = [];
  const bodies = filesOf(folder);
  let left = targets;
  for (const body of bodies) {
    const outcomes = await publish({ path: '/statement', body, targets: left });
    const away = new Set<number>();
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.kind === 'unreachable') away.add(at);
      if (outcome.kind !== 'taken' && notTaken.length < NOT_TAKEN_MAX) notTaken.push(outcome);
    }
    left = left.filter((_target, at) => !away.has(at));
  }
  return { said: bodies.length, notTaken };
}

/** `kiri issuer publish`: brings a status list or Statements to gateways and says which did not take them. */
export async function runPublish(argv: readonly string[]): Promise<number> {
  const { list, statements, targets, json } = publishArguments(argv);
  if (statements !== undefined) {
    const { said, notTaken } = await publishStatements(statements, targets);
    const faults = notTaken.map(({ url, kind, reason }) => `${url} ${kind}: ${reason}`);
    const last = `${said} statements to ${targets.length} gateways, ${notTaken.length} not taken`;
    const facts = { ok: notTaken.length === 0, statements: said, notTaken };
    say(json, facts, [...faults, last].join('\n'));
    return notTaken.length === 0 ? EXIT_OK : EXIT_FAILED;
  }
  const body = readBytes(list ?? '');
  const outcomes = await publish({ path: '/status-list', body, targets });
  const lines = outcomes.map(
    ({ url, kind, reason, attempts }) => `${url} ${kind} after ${attempts}: ${reason}`,
  );
  const missing = outcomes.filter(({ kind }) => kind !== 'taken').length;
  const last = `${outcomes.length - missing} of ${outcomes.length} gateways have it`;
  say(json, { ok: missing === 0, missing, outcomes }, [...lines, last].join('\n'));
  return missing === 0 ? EXIT_OK : EXIT_FAILED;
}
