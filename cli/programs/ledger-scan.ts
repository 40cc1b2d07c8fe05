import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parseCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { parseNote } from '../../sync/ledger/core/note.ts';
import { readCheckpoint } from '../../sync/ledger/log-folder.ts';
import { folderSource } from '../../sync/ledger/log-source.ts';
import { needlesOf, scanLog, type Needle } from '../../sync/ledger/scan-log.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { readBytes } from './config.ts';

/** Finds printed; beyond it they are only counted. */
const MAX_FINDS_SHOWN = 100;
const WANTED_FILE = /\.(?:cbor|cosekey)$/;

/** The log's own name stands in its checkpoint, and documents may speak of it. */
async function originOf(folder: string): Promise<string> {
  const bytes = await readCheckpoint(folderSource(folder));
  const note = bytes && parseNote(bytes);
  const head = note?.ok ? parseCheckpoint(note.value.text) : undefined;
  if (!head?.ok) throw new KiriError('LOG_CORRUPT', `${folder}: no checkpoint that can be read`);
  return head.value.origin;
}

function needlesBelow(folder: string, known: readonly string[]): Needle[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => WANTED_FILE.test(name))
    .flatMap((name) => needlesOf(name, readBytes(join(folder, name)), known));
}

/** `kiri ledger scan`: exit code 1 where the log shows anything that the documents or receipts say. */
export async function runScan(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      trust: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  const [log, ...more] = positionals;
  if (log === undefined || more.length > 0) throw new UsageError('one log FOLDER is needed');
  if (values.trust.length === 0) throw new UsageError('--trust DIR is needed');
  const folder = resolve(log);
  const known = [await originOf(folder)];
  const needles = values.trust.flatMap((dir) => needlesBelow(resolve(dir), known));
  const { files, bytes, finds } = await scanLog(folder, needles);
  if (values.json) {
    const shown = finds.slice(0, MAX_FINDS_SHOWN);
    const report = { ok: finds.length === 0, files, bytes, needles: needles.length };
    process.stdout.write(`${JSON.stringify({ ...report, found: finds.length, finds: shown })}\n`);
  } else {
    for (const { path, offset, what } of finds.slice(0, MAX_FINDS_SHOWN)) {
      const where = offset < 0 ? 'in its name' : `at byte ${offset}`;
      process.stdout.write(`FOUND  ${path} ${where}: ${what}\n`);
    }
    const looked = `${needles.length} forms of what is known, in ${files} files (${bytes} bytes)`;
    process.stdout.write(`${finds.length === 0 ? 'nothing' : finds.length} found: ${looked}\n`);
  }
  return finds.length === 0 ? EXIT_OK : EXIT_FAILED;
}
