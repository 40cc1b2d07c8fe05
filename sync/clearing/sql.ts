import { DatabaseSync } from '@photostructure/sqlite';
import type { StatementSyncInstance } from '@photostructure/sqlite';
import { KiriError } from '../../protocol/kiri-error.ts';
import { lockStore } from './store-lock.ts';

/** What goes in and comes out of a column. Integers are BigInt both ways; amounts travel as decimal text. */
export type SqlValue = string | bigint | Uint8Array | null;
export type SqlRow = Readonly<Record<string, SqlValue>>;

/** Statements inside one transaction. `?` marks a parameter. */
export interface SqlSession {
  all(sql: string, ...parameters: readonly SqlValue[]): Promise<readonly SqlRow[]>;
  /** Returns the number of rows changed. */
  run(sql: string, ...parameters: readonly SqlValue[]): Promise<number>;
}

/**
 * The one way to the store: everything happens in a transaction that is durable when the promise resolves and
 * undone when `work` throws. Transactions of one handle run one after the other. Promises, because the larger
 * installation's server answers over a socket.
 */
export interface SqlDatabase {
  transaction<T>(work: (session: SqlSession) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Runs what it is handed one after the other. */
export type Turns = {
  next<T>(work: () => Promise<T>): Promise<T>;
  /** When the last one has ended, well or not. */
  end(): Promise<void>;
};

export const inTurn = (): Turns => {
  let last: Promise<unknown> = Promise.resolve();
  return {
    next: (work) => {
      const turn = last.then(work, work);
      last = turn;
      return turn;
    },
    end: async () => {
      await last.catch(() => undefined);
    },
  };
};

const UNKEPT = /\0|\p{Surrogate}/u;
/** Whether it has to be looked at closely: nearly no text has. */
const SUSPECT = /[\0\ud800-\udfff]/;

/** PostgreSQL keeps no NUL in a text, and neither server nor file a half of a surrogate pair. */
export const isStorable = (text: string): boolean => !SUSPECT.test(text) || !UNKEPT.test(text);

/**
 * Texts that one of the databases could not keep are refused alike on both.
 * @throws KiriError STORE_VALUE_INVALID
 */
export const checkValues = (values: readonly SqlValue[]): void => {
  for (const value of values) {
    if (typeof value === 'string' && !isStorable(value)) {
      throw new KiriError(
        'STORE_VALUE_INVALID',
        'a text with NUL or half a character for the store',
      );
    }
  }
};

/** Compiled statements kept; the clearing has fewer than this. */
const STATEMENTS_MAX = 512;
const BUSY_TIMEOUT_MS = 5000;
/** Pages held in memory: an insert touches a page of each index, and one that is gone has to be read again. */
const CACHE_KIB = 16_384;
/** Pages of 4 KiB in the write-ahead log before they go to their places: what is touched often is then written once. */
const CHECKPOINT_PAGES = 8_192;

const sessionOn = (database: InstanceType<typeof DatabaseSync>): SqlSession => {
  const statements = new Map<string, StatementSyncInstance>();
  const prepared = (sql: string): StatementSyncInstance => {
    const known = statements.get(sql);
    if (known) return known;
    const statement = database.prepare(sql);
    // Without this an amount or a rowid above 2⁵³ would come back rounded.
    statement.setReadBigInts(true);
    if (statements.size < STATEMENTS_MAX) statements.set(sql, statement);
    return statement;
  };
  return {
    all: async (sql, ...parameters) => {
      checkValues(parameters);
      return prepared(sql).all(...parameters) as SqlRow[];
    },
    run: async (sql, ...parameters) => {
      checkValues(parameters);
      // The built-in module of newer Node answers BigInt here, whatever the type says.
      const { changes } = prepared(sql).run(...parameters) as { changes: number | bigint };
      return Number(changes);
    },
  };
};

const handleOn = (
  database: InstanceType<typeof DatabaseSync>,
  begin: 'BEGIN' | 'BEGIN IMMEDIATE',
  unlock: () => void = () => {},
): SqlDatabase => {
  const session = sessionOn(database);
  const turns = inTurn();
  const runOne = async <T>(work: (session: SqlSession) => Promise<T>): Promise<T> => {
    database.exec(begin);
    try {
      const result = await work(session);
      database.exec('COMMIT');
      return result;
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw error;
    }
  };
  return {
    transaction: (work) => turns.next(() => runOne(work)),
    close: async () => {
      await turns.end();
      database.close();
      unlock();
    },
  };
};

/**
 * SQLite with write-ahead log and synchronous FULL: a committed transaction survives the loss of power. No second
 * handle or process can open the same file for writing.
 * @param path file, or `:memory:`.
 * @throws KiriError STORE_UNAVAILABLE if the file cannot be opened, STORE_IN_USE.
 */
export const openSqlite = (path: string): SqlDatabase => {
  const unlock = path === ':memory:' ? undefined : lockStore(path);
  let database: InstanceType<typeof DatabaseSync>;
  try {
    database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
    database.exec(
      `PRAGMA cache_size = ${-CACHE_KIB}; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`,
    );
  } catch (cause) {
    unlock?.();
    throw new KiriError('STORE_UNAVAILABLE', `clearing store ${path} cannot be opened`, { cause });
  }
  return handleOn(database, 'BEGIN IMMEDIATE', unlock);
};

/**
 * The same store for looking only, beside a clearing that goes on writing: each transaction sees one committed state.
 * @throws KiriError STORE_UNAVAILABLE if there is no such file or it cannot be opened.
 */
export const openSqliteReadOnly = (path: string): SqlDatabase => {
  try {
    const options = { timeout: BUSY_TIMEOUT_MS, readOnly: true };
    return handleOn(new DatabaseSync(path, options), 'BEGIN');
  } catch (cause) {
    throw new KiriError('STORE_UNAVAILABLE', `clearing store ${path} cannot be read`, { cause });
  }
};

/** Column readers: a missing or differently typed column is a bug of ours. */
const bad = (column: string, value: SqlValue | undefined): never => {
  throw new KiriError('STORE_CORRUPT', `clearing store: column ${column} holds ${typeof value}`);
};

export const textOf = (row: SqlRow, column: string): string => {
  const value = row[column];
  return typeof value === 'string' ? value : bad(column, value);
};

export const textOrNull = (row: SqlRow, column: string): string | undefined =>
  row[column] === null ? undefined : textOf(row, column);

export const amountOf = (row: SqlRow, column: string): bigint => BigInt(textOf(row, column));

export const numberOf = (row: SqlRow, column: string): number => {
  const value = row[column];
  const number = typeof value === 'bigint' ? Number(value) : Number.NaN;
  return Number.isSafeInteger(number) ? number : bad(column, value);
};

export const bytesOf = (row: SqlRow, column: string): Uint8Array => {
  const value = row[column];
  return value instanceof Uint8Array ? value : bad(column, value);
};
