import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Trust } from '../../identity/core/chain.ts';
import { openDocument } from '../../identity/core/document.ts';
import {
  ERASE_AFTER_RETENTION,
  ERASE_ON_ORDER,
  ERASE_ON_REQUEST,
  ERASURE_REQUEST,
  type ErasureHolder,
} from '../../identity/core/documents/erasure.ts';
import { issueErasureRequest } from '../../identity/core/issue.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { periodOf } from '../../sync/ledger/content-keys.ts';
import { eraseKeys, parseHolds, type LegalHold } from '../../sync/ledger/erase-keys.ts';
import { parseShard } from '../../sync/ledger/core/shard.ts';
import { originFolder } from '../../sync/ledger/mirror-log.ts';
import { openedRecords } from '../../sync/ledger/opened-records.ts';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../command.ts';
import { readBytes, readPublicKey } from './config.ts';
import { policyIn } from './ledger-prove.ts';
import { finalSize, logAt, readAgreementKey } from './log-at.ts';

const REASONS: ReadonlyMap<string, number> = new Map([
  ['request', ERASE_ON_REQUEST],
  ['retention', ERASE_AFTER_RETENTION],
  ['order', ERASE_ON_ORDER],
]);

/** Lines told per content key; a party has few devices at one gateway. */
const MAX_LINES_TOLD = 1_000;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function wanted(value: string | undefined, option: string): string {
  if (value === undefined) throw new UsageError(`--${option} is needed`);
  return value;
}

function idOf(text: string, option: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new UsageError(`--${option} wants 32 hexadecimal digits`);
  return fromHex(text);
}

/** The issuer, whose signed requests erase. */
export function trustIn(issuerFile: string): Trust {
  return { issuerKey: readPublicKey(issuerFile), verifier: nodeVerifier() };
}

interface KeyRow {
  period: string;
  entries: number;
  readonly lines: Set<string>;
}

function lineOf(plain: Uint8Array): { readonly line: string; readonly atMs: number } | undefined {
  const evidence = EVIDENCE.decode(plain);
  const message = evidence.ok ? decodeSign1(evidence.value.payment) : undefined;
  const payment = message?.ok ? PAYMENT.decode(message.value.payload) : undefined;
  if (!evidence.ok || !payment?.ok) return undefined;
  return { line: toHex(payment.value.line), atMs: evidence.value.answeredAtMs };
}

/** `kiri ledger keys`: which content keys hold whose payments; only the issuer's key can tell. */
export async function runKeys(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      key: { type: 'string' },
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      line: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  const [log, ...more] = positionals;
  if (log === undefined || more.length > 0) throw new UsageError('one LOG is needed');
  const source = logAt(log);
  const key = readAgreementKey(wanted(values.key, 'key'));
  const size = await finalSize(source, policyIn(values.policy, values['issuer-key']));
  const rows = new Map<string, KeyRow>();
  for await (const { kid, plain } of openedRecords(source, size, key)) {
    const told = lineOf(plain);
    if (told === undefined) continue;
    const row = rows.get(kid) ?? { period: periodOf(told.atMs), entries: 0, lines: new Set() };
    row.entries += 1;
    if (row.lines.size < MAX_LINES_TOLD) row.lines.add(told.line);
    rows.set(kid, row);
  }
  for (const [kid, { period, entries, lines }] of rows) {
    if (values.line.length > 0 && !values.line.some((line) => lines.has(line))) continue;
    const row = { kid, period, entries, lines: [...lines] };
    print(values.json ? JSON.stringify(row) : `${kid}  ${period}  ${entries} entries`);
  }
  return EXIT_OK;
}

function holderOf(text: string): ErasureHolder {
  const [, name, file] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || file === undefined) throw new UsageError('--holder wants NAME=FILE');
  return { name, key: readPublicKey(file) };
}

/** `kiri issuer erasure-request`: the issuer signs which content keys are to be erased, and by whom. */
export function runErasureRequest(argv: readonly string[]): number {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      key: { type: 'string' },
      origin: { type: 'string' },
      period: { type: 'string' },
      kid: { type: 'string', multiple: true, default: [] },
      holder: { type: 'string', multiple: true, default: [] },
      reason: { type: 'string' },
      out: { type: 'string' },
    },
  });
  const reason = REASONS.get(values.reason ?? '');
  if (reason === undefined) throw new UsageError('--reason is request, retention or order');
  const out = wanted(values.out, 'out');
  const request = issueErasureRequest(loadSigner(wanted(values.key, 'key')), {
    issuedS: Math.floor(Date.now() / 1000),
    origin: wanted(values.origin, 'origin'),
    period: wanted(values.period, 'period'),
    kids: values.kid.map((kid) => idOf(kid, 'kid')),
    reason,
    holders: values.holder.map(holderOf),
  });
  writeFileSync(out, request, { flag: 'wx' });
  print(`${out}: to be carried out by ${values.holder.length} holders`);
  return EXIT_OK;
}

/** Legal holds of several lists. */
export function holdsIn(...paths: readonly (string | undefined)[]): readonly LegalHold[] {
  return paths.flatMap((path) => {
    if (path === undefined) return [];
    const holds = parseHolds(Buffer.from(readBytes(path)).toString('utf8'));
    if (!holds.ok) throw new KiriError('CONFIG_INVALID', `${path}: ${holds.reason}`);
    return holds.value;
  });
}

/** Where a holder's folder keeps its copy of a log: a mirror's below `logs`, a shard below its own name. */
function rootOf(folder: string, origin: string): string {
  const shard = join(folder, origin.slice(origin.lastIndexOf('/') + 1));
  const isShard = parseShard(origin) !== undefined && existsSync(shard);
  const copy = join(folder, 'logs', originFolder(origin));
  return existsSync(copy) ? copy : isShard ? shard : folder;
}

/** `kiri ledger erase`: one holder deletes its copies and signs for it. */
export async function runErase(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      folder: { type: 'string' },
      request: { type: 'string' },
      'issuer-key': { type: 'string' },
      'holder-key': { type: 'string' },
      holds: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const folder = resolve(wanted(values.folder, 'folder'));
  const request = readBytes(wanted(values.request, 'request'));
  const trust = trustIn(wanted(values['issuer-key'], 'issuer-key'));
  const holder = loadSigner(wanted(values['holder-key'], 'holder-key'));
  const opened = openDocument(trust.verifier, trust.issuerKey, ERASURE_REQUEST, request);
  const root = opened.ok ? rootOf(folder, opened.value.value.origin) : folder;
  const stated = [...new Set([folder, root, dirname(root)])].map((place) =>
    join(place, 'state/holds'),
  );
  const holds = holdsIn(values.holds, ...stated.filter((path) => existsSync(path)));
  // The lock of the program that keeps this copy: a mirror's own, or that of the log or shard.
  const state = join(dirname(root) === folder ? root : folder, 'state');
  mkdirSync(state, { recursive: true });
  // Also what a running program keeps in memory has to go: it must be stopped, and the lock says so.
  const unlock = lockFolder(state);
  try {
    const done = await eraseKeys({ root, request, trust, holder, holds, nowMs: Date.now() });
    if (values.json) print(JSON.stringify(done.ok ? { ok: true, erased: done.value } : done));
    else if (!done.ok) print(`refused: ${done.reason}`);
    else {
      for (const { kid, wrappedCopies, plainCopies, confirmation } of done.value) {
        print(`erased ${kid}: ${wrappedCopies} wrapped and ${plainCopies} plain copies`);
        print(`confirmed in ${join(root, confirmation)}`);
      }
    }
    return done.ok ? EXIT_OK : EXIT_REFUSED;
  } finally {
    unlock();
  }
}
