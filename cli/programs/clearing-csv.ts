import { open, rename, rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { KiriError } from '../../protocol/kiri-error.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { reconciliationCsv } from '../../sync/clearing/reconciliation-csv.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { storePlace } from './store-place.ts';

/** Text that goes to the disk at a time. */
const CHUNK_CHARACTERS = 65_536;

/** Writes the table beside its place and puts it there when it is whole. @returns rows, the heading included */
async function writeCsv(path: string, rows: AsyncIterable<string>): Promise<number> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600).catch((cause: unknown) => {
    throw new KiriError('FILE_UNWRITABLE', `${temporary} cannot be written`, { cause });
  });
  let count = 0;
  try {
    let text = '';
    for await (const row of rows) {
      text += row;
      count += 1;
      if (text.length < CHUNK_CHARACTERS) continue;
      await file.write(text);
      text = '';
    }
    await file.write(text);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
  await file.close();
  await rename(temporary, path);
  return count;
}

/** `kiri clearing reconciliation --store STORE --out FILE.csv`, beside a running clearing. */
export async function runReconciliation(argv: readonly string[]): Promise<number> {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        store: { type: 'string' },
        'store-password-file': { type: 'string' },
        out: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { store, out, json } = values;
  if (store === undefined || out === undefined) {
    throw new UsageError('kiri clearing reconciliation wants --store STORE and --out FILE.csv');
  }
  const place = storePlace(store, values['store-password-file']);
  const database = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(database);
    const rows = await database.transaction((session) => writeCsv(out, reconciliationCsv(session)));
    process.stdout.write(
      json ? `${JSON.stringify({ file: out, rows })}\n` : `${out}: ${rows} rows\n`,
    );
  } finally {
    await database.close();
  }
  return EXIT_OK;
}
