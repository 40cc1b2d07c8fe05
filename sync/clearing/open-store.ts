import { isPostgresUrl } from './postgres-url.ts';
import { openPostgres } from './sql-postgres.ts';
import { openSqlite, openSqliteReadOnly } from './sql.ts';
import type { SqlDatabase } from './sql.ts';

/** The password of a server that wants one; without it PGPASSWORD counts. */
type StoreAccess = { readonly password?: string };

/**
 * The one writer of a store.
 * @param location a file, or `postgres://USER@HOST:PORT/DATABASE`.
 * @throws KiriError STORE_UNAVAILABLE, STORE_IN_USE, STORE_URL_INVALID
 */
export const openStore = async (
  location: string,
  access: StoreAccess = {},
): Promise<SqlDatabase> =>
  isPostgresUrl(location) ? openPostgres(location, access) : openSqlite(location);

/**
 * A store for looking only, beside the clearing that writes it.
 * @throws KiriError STORE_UNAVAILABLE, STORE_URL_INVALID
 */
export const openStoreReadOnly = async (
  location: string,
  access: StoreAccess = {},
): Promise<SqlDatabase> =>
  isPostgresUrl(location)
    ? openPostgres(location, { ...access, isReadOnly: true })
    : openSqliteReadOnly(location);
