import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { openSqlite, openSqliteReadOnly } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';

/** An empty store of its own, gone when it is closed. Every test of the store takes it from here. */
export const openTestStore = async (): Promise<SqlDatabase> => openSqlite(':memory:');

/** An empty store that outlives its handles: to be opened anew, or read beside its writer. */
export interface TestStore {
  /** What `--store` takes. */
  readonly location: string;
  /** The writer; one at a time. */
  open(): Promise<SqlDatabase>;
  openReadOnly(): Promise<SqlDatabase>;
}

/** Gone when the test ends; its handles are closed before. */
export const makeTestStore = async (t: Test): Promise<TestStore> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-store-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const location = join(folder, 'clearing.sqlite');
  return {
    location,
    open: async () => openSqlite(location),
    openReadOnly: async () => openSqliteReadOnly(location),
  };
};
