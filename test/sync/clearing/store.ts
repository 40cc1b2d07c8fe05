import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { openStore, openStoreReadOnly } from '../../../sync/clearing/open-store.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';

/** With it the store tests run on that server, each in a schema of its own; else on SQLite. */
export const SERVER: string | undefined = process.env['KIRI_TEST_POSTGRES'];

type Schema = {
  readonly url: string;
  readonly dropSql: string;
  readonly drop: () => Promise<void>;
};

/** An empty schema, as an address, and what drops it. */
const makeSchema = async (server: string): Promise<Schema> => {
  const { default: pg } = await import('pg');
  const schema = `kiri_${randomBytes(8).toString('hex')}`;
  const ask = async (sql: string): Promise<void> => {
    const client = new pg.Client({ connectionString: server });
    await client.connect();
    await client.query(sql);
    await client.end();
  };
  await ask(`CREATE SCHEMA ${schema}`);
  const url = new URL(server);
  url.searchParams.set('options', `-c search_path=${schema}`);
  const dropSql = `DROP SCHEMA ${schema} CASCADE`;
  return { url: url.href, dropSql, drop: () => ask(dropSql) };
};

/** An empty store of its own, gone when it is closed. Every test of the store takes it from here. */
export const openTestStore = async (): Promise<SqlDatabase> => {
  if (SERVER === undefined) return openSqlite(':memory:');
  const { url, dropSql } = await makeSchema(SERVER);
  const database = await openStore(url);
  return {
    ...database,
    close: async () => {
      await database.transaction((session) => session.run(dropSql));
      await database.close();
    },
  };
};

/** An empty store that outlives its handles: to be opened anew, or read beside its writer. */
export interface TestStore {
  /** What `--store` takes. */
  readonly location: string;
  /** The writer; one at a time. */
  readonly open: () => Promise<SqlDatabase>;
  readonly openReadOnly: () => Promise<SqlDatabase>;
}

/** Gone when the test ends; its handles are closed before. */
export const makeTestStore = async (t: Test): Promise<TestStore> => {
  let location: string;
  if (SERVER === undefined) {
    const folder = await mkdtemp(join(tmpdir(), 'kiri-store-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    location = join(folder, 'clearing.sqlite');
  } else {
    const { url, drop } = await makeSchema(SERVER);
    t.teardown(drop);
    location = url;
  }
  return {
    location,
    open: () => openStore(location),
    openReadOnly: () => openStoreReadOnly(location),
  };
};
