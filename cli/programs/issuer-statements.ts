import { readdirSync, readFileSync, type Dirent } from 'node:fs';
import { join } from 'node:path';
import { verifyClearing } from '../../identity/core/centre.ts';
import { STATEMENT } from '../../identity/core/documents/statement.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';
import { buildRegistry, type Registry } from '../../sync/clearing/core/registry.ts';
import { checkLineAccounts, lineAccountsIn } from '../../sync/clearing/line-accounts-file.ts';
import { openSqlite, type SqlDatabase } from '../../sync/clearing/sql.ts';
import { runStatementRound, type IssuedDocument } from '../../sync/issuer/statement-desk.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { EXIT_OK } from '../command.ts';
import { readBytes } from './config.ts';
import { say, toolOptions } from './tool-options.ts';

/** Documents are for everybody to read. */
const MODE = 0o644;
/** Documents of one folder; a larger book of devices is given in parts. */
const FILES_MAX = 1_000_000;

/** Every file of a folder and of those below it, in the order of names. */
export function filesOf(folder: string): Uint8Array[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch (cause) {
    throw new KiriError('FILE_UNREADABLE', `${folder} is no folder that can be read`, { cause });
  }
  const paths = entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.tmp'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  if (paths.length > FILES_MAX) {
    throw new KiriError('TOO_MANY_FILES', `${folder} holds more than ${FILES_MAX} files`);
  }
  return paths.map((path) => new Uint8Array(readFileSync(path)));
}

/** The desk's own store below its state folder. */
export function openDesk(folder: string): SqlDatabase {
  makeFolder(folder);
  return openSqlite(join(folder, 'issuer.sqlite'));
}

/** Chains of all devices. @throws KiriError DOCUMENT_INVALID */
export function registryOf(trust: Trust, documents: readonly Uint8Array[]): Registry {
  const registry = buildRegistry(trust, documents);
  if (registry.faults.length > 0) {
    throw new KiriError('DOCUMENT_INVALID', registry.faults.slice(0, 5).join('; '));
  }
  return registry;
}

async function writeIssued(
  out: string,
  { line, number, statement }: IssuedDocument,
): Promise<void> {
  const signed = decodeSign1(statement);
  const read = signed.ok ? STATEMENT.decode(signed.value.payload) : signed;
  invariant(read.ok, 'a Statement of this desk can be read');
  const { allowance } = read.value;
  if (allowance) {
    await writeFileDurable(join(out, 'allowances', `${line}.${number}.cbor`), allowance, MODE);
  }
  await writeFileDurable(join(out, 'statements', `${line}.cbor`), statement, MODE);
}

/** `kiri issuer statements`: from the clearing's line accounts to Statements and fresh allowances. */
export async function runStatements(argv: readonly string[]): Promise<number> {
  const names = ['key', 'clearing', 'documents', 'accounts', 'closes', 'state', 'out'];
  const options = toolOptions(argv, names);
  const [accounts, out] = [options.need('accounts'), options.need('out')];
  const state = options.need('state');
  const issuer = loadSigner(options.need('key'));
  const verifier = nodeVerifier();
  const trust = { issuerKey: issuer.key, verifier };
  const nowS = Math.floor(Date.now() / 1000);
  const clearing = verifyClearing(trust, readBytes(options.need('clearing')), nowS);
  if (!clearing.ok) throw new KiriError('DOCUMENT_INVALID', `clearing: ${clearing.reason}`);
  const registry = registryOf(trust, filesOf(options.need('documents')));
  const closes = options.text('closes');
  await checkLineAccounts(accounts, clearing.value.value.key, verifier);
  const database = openDesk(state);
  try {
    const result = await runStatementRound({
      database,
      issuer,
      verifier,
      registry,
      accounts: lineAccountsIn(accounts),
      closes: closes === undefined ? [] : filesOf(closes),
      nowS,
      hand: (document) => writeIssued(out, document),
    });
    const { statements, allowances, lines } = result;
    const line = `${statements} statements with ${allowances} fresh allowances for ${lines} lines: ${out}`;
    say(options.json, { ...result, out }, [line, ...result.faults].join('\n'));
  } finally {
    await database.close();
  }
  return EXIT_OK;
}
