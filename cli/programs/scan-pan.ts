import { lstat, open, opendir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemCode } from '../../platform/disk-error.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { PanScanner } from '../../sync/clearing/core/pan-scan.ts';
import type { PanHit } from '../../sync/clearing/core/pan-scan.ts';
import { readIpmMessages, type LocatedMessage } from '../../sync/clearing/core/ipm-file.ts';
import { IPM_PROFILE_NAMES, ipmProfile } from '../../sync/clearing/core/ipm-profile.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { scanStore } from './scan-store.ts';
import { storePlace, type StorePlace } from './store-place.ts';

const CHUNK_BYTES = 65_536;
/** Finds printed of one file; they are counted all the same. */
const PRINTED_MAX = 100;

async function* filesOf(path: string): AsyncGenerator<string> {
  const stats = await lstat(path);
  if (stats.isFile()) yield path;
  if (!stats.isDirectory()) return;
  for await (const entry of await opendir(path)) yield* filesOf(join(path, entry.name));
}

async function scanFile(path: string, found: (hit: PanHit) => void): Promise<void> {
  const scanner = new PanScanner();
  const file = await open(path);
  try {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES);
      if (bytesRead === 0) break;
      for (const hit of scanner.push(buffer.subarray(0, bytesRead))) found(hit);
    }
  } finally {
    await file.close();
  }
  for (const hit of scanner.end()) found(hit);
}

/** Settlement files are read whole by their verifier too; a larger one is scanned as bytes. */
const IPM_BYTES_MAX = 64 * 1024 * 1024;

/** A settlement file in a form that we read; undefined for every other file. */
async function ipmMessages(path: string): Promise<readonly LocatedMessage[] | undefined> {
  if (!path.endsWith('.ipm') || (await lstat(path)).size > IPM_BYTES_MAX) return undefined;
  const bytes = new Uint8Array(await readFile(path));
  for (const name of IPM_PROFILE_NAMES) {
    const profile = ipmProfile(name);
    const messages = profile && readIpmMessages(bytes, profile);
    if (messages?.ok) return messages.value;
  }
  return undefined;
}

/**
 * A settlement file field by field: its fields stand without anything between them, and the end of
 * one with the beginning of the next would read as a number that is in neither.
 */
function scanMessages(
  messages: readonly LocatedMessage[],
  found: (place: string, hit: PanHit) => void,
): void {
  for (const { record, message } of messages) {
    const values = [
      ...[...message.fields].map(([field, value]) => [`DE${field}`, String(value)] as const),
      ...[...message.pds].map(([tag, value]) => [`PDS${tag}`, value] as const),
    ];
    for (const [place, value] of values) {
      const scanner = new PanScanner();
      for (const hit of [...scanner.push(Buffer.from(value)), ...scanner.end()]) {
        found(`record ${record}/${place}`, hit);
      }
    }
  }
}

const SQLITE_MAGIC = 'SQLite format 3\0';

async function isStore(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(SQLITE_MAGIC.length);
    await file.read(head, 0, head.length, 0);
    return head.toString('latin1') === SQLITE_MAGIC;
  } finally {
    await file.close();
  }
}

/** What belongs to a store and is read with it: its write-ahead log and the index of that. */
async function isPartOfStore(path: string): Promise<boolean> {
  const store = /^(.+)-(?:wal|shm)$/.exec(path)?.[1];
  return store !== undefined && (await isStore(store).catch(() => false));
}

async function scanPath(path: string, found: (place: string, hit: PanHit) => void): Promise<void> {
  if (await isPartOfStore(path)) return;
  const messages = await ipmMessages(path);
  if (messages) scanMessages(messages, found);
  else if (await isStore(path)) await scanStore(storePlace(path), found);
  else await scanFile(path, (hit) => found('', hit));
}

interface ScanOptions {
  readonly paths: readonly string[];
  readonly store: StorePlace | undefined;
}

function readOptions(argv: readonly string[]): ScanOptions {
  let parsed;
  try {
    const text = { type: 'string' } as const;
    const options = { store: text, 'store-password-file': text };
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { store, 'store-password-file': passwordFile } = parsed.values;
  const paths = parsed.positionals;
  if (paths.length === 0 && store === undefined) {
    throw new UsageError('kiri scan-pan wants PATH... or --store URL');
  }
  return { paths, store: store === undefined ? undefined : storePlace(store, passwordFile) };
}

/** Prints the first finds of one file or store; counts them all. */
function printer(name: string): { found: (place: string, hit: PanHit) => void; finds: number } {
  const plain = name.replaceAll(/\p{Cc}/gu, '?');
  const state = {
    finds: 0,
    found: (place: string, { offset, digits, charset }: PanHit): void => {
      if (++state.finds > PRINTED_MAX) return;
      const where = place === '' ? String(offset) : `${place}:${offset}`;
      process.stdout.write(`${plain}:${where}: ${'*'.repeat(digits)} (${charset})\n`);
    },
  };
  return state;
}

/**
 * `kiri scan-pan PATH...`: 0 when nothing in the files, or in the store on a server, reads as a card number, 1 when
 * something does.
 */
export async function runScanPan(argv: readonly string[]): Promise<number> {
  const { paths, store } = readOptions(argv);
  let files = 0;
  let finds = 0;
  try {
    for (const path of paths) {
      for await (const name of filesOf(path)) {
        files++;
        const printed = printer(name);
        await scanPath(name, printed.found);
        finds += printed.finds;
      }
    }
  } catch (cause) {
    if (cause instanceof KiriError) throw cause;
    const code = systemCode(cause) ?? 'read error';
    throw new KiriError('FILE_UNREADABLE', `a path cannot be read: ${code}`, { cause });
  }
  if (store) {
    const printed = printer(store.location);
    await scanStore(store, printed.found);
    finds += printed.finds;
  }
  process.stdout.write(`${files} files${store ? ' and a store' : ''}, ${finds} finds\n`);
  return finds === 0 ? EXIT_OK : EXIT_FAILED;
}
