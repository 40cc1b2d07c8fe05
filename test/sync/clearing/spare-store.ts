/** Empty stores for histories: opening one and compiling its statements costs more than a history does. */
import { openSqlite } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';

let spare: SqlDatabase | undefined;

/** An empty store; one that was given back where there is one. */
export const takeStore = (): SqlDatabase => {
  const taken = spare ?? openSqlite(':memory:');
  spare = undefined;
  return taken;
};

/** Empties a store for the next one; one with tables of its own (sealed months) is closed. */
export const giveBack = async (database: SqlDatabase): Promise<void> => {
  const isAsMade = await database.transaction(async (session) => {
    // What refers to a table was made after it. A pragma that defers the check would have every statement compiled anew.
    const tables = await session.all(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid DESC",
    );
    const names = tables.map((table) => String(table['name']));
    if (names.some((name) => /^receipts_\d/.test(name))) return false;
    for (const name of names) {
      if (name !== 'schema_version') await session.run(`DELETE FROM ${name}`);
    }
    return true;
  });
  if (isAsMade) spare = database;
  else await database.close();
};
