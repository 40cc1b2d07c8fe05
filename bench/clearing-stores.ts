import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeSigner } from '../identity/edge/node-signatures.ts';
import { openStore } from '../sync/clearing/open-store.ts';
import type { SqlDatabase } from '../sync/clearing/sql.ts';
import { NOON_S, openClearing, VerifiedReceipts } from './clearing-samples.ts';
import { section, type Figure } from './figure.ts';

const figure = section('Clearing: stores side by side (wall time)');
const BATCH = 1_024;
const LINES = 1_000;
const RECEIPTS_PER_LINE_OF_FILE = 40;
/** Into the next day of Tokyo: every account is due. */
const NEXT_DAY_S: number = NOON_S + 86_400;

/** A server's address for the benchmark, or the one that test/integration/with-postgres.sh starts. */
const SERVER = process.env['KIRI_BENCH_POSTGRES'] ?? process.env['KIRI_TEST_POSTGRES'];

export const NO_SERVER: string | undefined =
  SERVER === undefined
    ? 'PostgreSQL was not measured: set KIRI_BENCH_POSTGRES, or run below test/integration/with-postgres.sh'
    : undefined;

interface Taken {
  readonly bookMs: number;
  readonly cutMs: number;
  readonly lines: number;
}

/** Books the receipts, cuts them, writes the file with its evidence. */
async function run(database: SqlDatabase, receipts: number): Promise<Taken> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
  const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);
  const service = await openClearing(database, signer, folder);
  const accounts = Math.max(1, Math.floor(receipts / RECEIPTS_PER_LINE_OF_FILE));
  const source = new VerifiedReceipts({ lines: Math.max(LINES, accounts), accounts });
  let bookMs = 0;
  for (let booked = 0; booked < receipts; booked += BATCH) {
    const items = source.take(Math.min(BATCH, receipts - booked));
    const start = performance.now();
    await service.ingestBatch(items, NOON_S);
    bookMs += performance.now() - start;
  }
  const start = performance.now();
  const { files } = await service.cut(NEXT_DAY_S, []);
  const cutMs = performance.now() - start;
  const lines = files.reduce((sum, file) => sum + file.presentments, 0);
  if (!(await service.reconcile()).reconciles || lines === 0) throw new Error('does not reconcile');
  await service.close();
  await rm(folder, { recursive: true, force: true });
  return { bookMs, cutMs, lines };
}

async function onSqlite(receipts: number): Promise<Taken> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-store-'));
  const taken = await run(await openStore(join(folder, 'clearing.sqlite')), receipts);
  await rm(folder, { recursive: true, force: true });
  return taken;
}

/** In a schema of its own, gone afterwards. */
async function onPostgres(server: string, receipts: number): Promise<Taken> {
  const { default: pg } = await import('pg');
  const schema = `kiri_bench_${randomBytes(8).toString('hex')}`;
  const ask = async (sql: string): Promise<void> => {
    const client = new pg.Client({ connectionString: server });
    await client.connect();
    await client.query(sql);
    await client.end();
  };
  await ask(`CREATE SCHEMA ${schema}`);
  const url = new URL(server);
  url.searchParams.set('options', `-c search_path=${schema}`);
  try {
    return await run(await openStore(url.href), receipts);
  } finally {
    await ask(`DROP SCHEMA ${schema} CASCADE`);
  }
}

const figuresOf = (name: string, receipts: number, { bookMs, cutMs, lines }: Taken): Figure[] => [
  figure(`${name}: booked`, (receipts / bookMs) * 1e3, '/s'),
  figure(`${name}: cut and written with evidence, lines`, (lines / cutMs) * 1e3, '/s'),
];

/** The same receipts through the same code on either store. */
export async function measureStores(receipts: number): Promise<readonly Figure[]> {
  const sqlite = await onSqlite(receipts);
  const figures = figuresOf('SQLite', receipts, sqlite);
  if (SERVER === undefined) return figures;
  const postgres = await onPostgres(SERVER, receipts);
  return [
    ...figures,
    ...figuresOf('PostgreSQL', receipts, postgres),
    figure('PostgreSQL ÷ SQLite, time to book', postgres.bookMs / sqlite.bookMs, '×'),
    figure('PostgreSQL ÷ SQLite, time to cut and write', postgres.cutMs / sqlite.cutMs, '×'),
  ];
}
