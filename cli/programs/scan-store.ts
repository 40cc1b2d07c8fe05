import { PanScanner } from '../../sync/clearing/core/pan-scan.ts';
import type { PanHit } from '../../sync/clearing/core/pan-scan.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { isPostgresUrl } from '../../sync/clearing/postgres-url.ts';
import type { SqlDatabase, SqlRow, SqlSession } from '../../sync/clearing/sql.ts';
import type { StorePlace } from './store-place.ts';

/** Rows of a store in memory at a time. */
const PAGE_ROWS = 200;

type OneRow = { readonly table: string; readonly id: bigint; readonly row: SqlRow };
type EachRow = (row: OneRow) => void;

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

async function eachSqliteRow(database: SqlDatabase, each: EachRow): Promise<void> {
  const all = (sql: string, ...values: readonly bigint[]): Promise<readonly SqlRow[]> =>
    database.transaction((session) => session.all(sql, ...values));
  for (const { name } of await all("SELECT name FROM sqlite_master WHERE type = 'table'")) {
    const table = String(name);
    const sql = `SELECT rowid AS "row id", * FROM ${quoted(table)}
      WHERE rowid > ? ORDER BY rowid LIMIT ${PAGE_ROWS}`;
    let id = -1n;
    for (;;) {
      const rows = await all(sql, id);
      for (const row of rows) {
        id = row['row id'] as bigint;
        each({ table, id, row });
      }
      if (rows.length < PAGE_ROWS) break;
    }
  }
}

/** A server's tables have no row number to page by: the rows come through a cursor and are counted. */
async function eachCursorRow(session: SqlSession, each: EachRow): Promise<void> {
  const tables = await session.all(
    'SELECT tablename::text AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1',
  );
  for (const { name } of tables) {
    const table = String(name);
    await session.run(`DECLARE scan NO SCROLL CURSOR FOR SELECT * FROM ${quoted(table)}`);
    let id = 0n;
    for (;;) {
      const rows = await session.all(`FETCH ${PAGE_ROWS} FROM scan`);
      for (const row of rows) {
        id += 1n;
        each({ table, id, row });
      }
      if (rows.length < PAGE_ROWS) break;
    }
    await session.run('CLOSE scan');
  }
}

/**
 * A store value by value: in a file's pages the texts of a row stand without anything between them, and two
 * amounts side by side would read as one number.
 */
export async function scanStore(
  { location, access }: StorePlace,
  found: (place: string, hit: PanHit) => void,
): Promise<void> {
  const database = await openStoreReadOnly(location, access);
  const scanRow: EachRow = ({ table, id, row }) => {
    for (const [column, value] of Object.entries(row)) {
      const scanner = new PanScanner();
      const bytes = value instanceof Uint8Array ? value : Buffer.from(String(value));
      for (const hit of [...scanner.push(bytes), ...scanner.end()]) {
        found(`${table}/${id}/${column}`, hit);
      }
    }
  };
  try {
    if (isPostgresUrl(location)) {
      await database.transaction((session) => eachCursorRow(session, scanRow));
    } else {
      await eachSqliteRow(database, scanRow);
    }
  } finally {
    await database.close();
  }
}
