import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { JST, dayStartS } from '../../sync/clearing/core/civil-time.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import type { SqlSession } from '../../sync/clearing/sql.ts';
import { writeArchive, type Period } from '../archive/write.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import type { ArchivedFile } from '../verify/archive-statement.ts';
import { dayNumber } from './day-option.ts';
import { storePlace } from './store-place.ts';

const USAGE =
  'kiri clearing archive wants --store STORE, --folder DIR, --key FILE, --from DATE, --to DATE and --out FOLDER';

function readOptions(argv: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...argv],
      options: {
        store: text,
        'store-password-file': text,
        folder: text,
        key: text,
        from: text,
        to: text,
        out: text,
        trust: text,
        ledger: text,
        receipts: text,
        answers: text,
        json: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function periodOf(from: string, to: string): Period {
  const fromS = dayStartS(dayNumber('from', from), JST);
  const toS = dayStartS(dayNumber('to', to) + 1, JST);
  if (toS <= fromS) throw new UsageError('--to is before --from');
  return { from, to, fromS, toS };
}

/** Files cut in the period, in the order of their cuts. @throws KiriError ARCHIVE_FILE_OPEN, ARCHIVE_EMPTY */
async function filesOf(session: SqlSession, { fromS, toS }: Period): Promise<ArchivedFile[]> {
  const rows = await session.all(
    'SELECT file_name, sha256, cut_s FROM files WHERE cut_s >= ? AND cut_s < ? ORDER BY cut_s, file_name',
    BigInt(fromS),
    BigInt(toS),
  );
  if (rows.length === 0) throw new KiriError('ARCHIVE_EMPTY', 'no file was cut in this period');
  return rows.map(({ file_name: name, sha256, cut_s: cutS }) => {
    const fileName = String(name);
    if (sha256 instanceof Uint8Array) {
      return { fileName, sha256: toHex(sha256), cutS: Number(cutS) };
    }
    throw new KiriError('ARCHIVE_FILE_OPEN', `${fileName} is assigned and not written: cut again`);
  });
}

/** `kiri clearing archive …`: a period with everything it is checked against, beside a running clearing. */
export async function runArchive(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv);
  const { store, folder, key, from, to, out, json } = options;
  if (!store || !folder || !key || !from || !to || !out) throw new UsageError(USAGE);
  const period = periodOf(from, to);
  const signer = loadSigner(key);
  const place = storePlace(store, options['store-password-file']);
  const database = await openStoreReadOnly(place.location, place.access);
  let files;
  try {
    await checkVersion(database);
    files = await database.transaction((session) => filesOf(session, period));
  } finally {
    await database.close();
  }
  const part = (name: 'trust' | 'ledger' | 'receipts' | 'answers'): string =>
    options[name] ?? join(folder, name);
  const sources = {
    folder,
    trust: part('trust'),
    ledger: part('ledger'),
    receipts: part('receipts'),
    answers: part('answers'),
  };
  const nowS = Math.floor(Date.now() / 1000);
  const { checked } = await writeArchive({ sources, period, files, out, signer, nowS });
  process.stdout.write(
    json
      ? `${JSON.stringify({ archive: out, files: files.length, checked })}\n`
      : `${out}: ${files.length} settlement files; kiri verify ${out} holds\n`,
  );
  return EXIT_OK;
}
