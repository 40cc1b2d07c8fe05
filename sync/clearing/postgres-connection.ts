import { hostname } from 'node:os';
import type { Client, ClientConfig, CustomTypesConfig, QueryResult } from 'pg';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PostgresAddress } from './postgres-url.ts';
import { toPostgres } from './sql-dialect.ts';
import { checkValues } from './sql.ts';
import type { SqlRow, SqlValue } from './sql.ts';

const SERVER_MIN = 150_000;

const CONNECT_TIMEOUT_MS = 10_000;
/** The longest statement, a reconciliation's scan, is bounded by it. */
const STATEMENT_TIMEOUT_MS = 600_000;
/** Beyond it the server or the way to it is gone. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 30_000;
/** A cut computes between two statements; one that stands longer hangs. */
const IDLE_IN_TRANSACTION_MS = 600_000;
/** A killed holder's session is gone within this; one that works on keeps the lock. */
const LOCK_TIMEOUT_MS = 3000;
/** Statements that the server keeps parsed; the clearing has fewer. */
const STATEMENTS_MAX = 512;

/**
 * A holder whose machine lost its power answers no probe: its session, and the lock with it, ends after 10 + 3 × 5
 * seconds. A server that runs a long statement for a process that was killed notices within 2. Booking looks single rows
 * up; at the cost that turning disks have for it, a table is read whole as long as it is small.
 */
const SETTINGS = `
  SET client_encoding = 'UTF8'; SET jit = off; SET datestyle = 'ISO';
  SET bytea_output = 'hex'; SET standard_conforming_strings = on;
  SET statement_timeout = ${STATEMENT_TIMEOUT_MS}; SET random_page_cost = 1.1;
  SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS};
  SET lock_timeout = ${LOCK_TIMEOUT_MS}; SET client_connection_check_interval = '2s';
  SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`;

const FACTS = `SELECT current_setting('server_version_num') AS number,
  current_setting('server_version') AS version, current_setting('server_encoding') AS encoding,
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
  current_setting('synchronous_commit') AS durable, pg_is_in_recovery()::text AS standby,
  pg_backend_pid()::text AS backend, current_schema()::text AS schema`;

/** System and timeline: a transaction's number means something within them only. */
const HISTORY = `SELECT (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
  substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS history`;

const LOCK_KEY = "hashtextextended('kiri clearing ' || current_schema(), 0)";

const HOLDER = `SELECT a.application_name AS name, coalesce(a.client_addr::text, 'this machine') AS address,
  a.pid::text AS pid, date_trunc('second', a.backend_start)::text AS since
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = ${LOCK_KEY}`;

/** The session is over with these: shut down, crashed, starting, idle too long. */
const SESSION_OVER: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03', '57P05', '25P03']);
const LOCK_NOT_AVAILABLE = '55P03';

const INTEGERS: ReadonlySet<number> = new Set([20, 21, 23, 26]);
const NUMERIC = 1700;
const BOOLEAN = 16;
const BYTEA = 17;

const integerOf = (text: string): bigint => {
  if (/^-?\d+$/.test(text)) return BigInt(text);
  throw new KiriError('STORE_CORRUPT', 'clearing store: a number with a fraction was read');
};

/** Values come back as SQLite gives them: integers as BigInt, truth as 1 and 0, bytes as bytes. */
const readerOf = (oid: number): ((text: string) => SqlValue) => {
  if (INTEGERS.has(oid) || oid === NUMERIC) return integerOf;
  if (oid === BOOLEAN) return (text) => (text === 't' ? 1n : 0n);
  if (oid === BYTEA) return (text) => new Uint8Array(Buffer.from(text.slice(2), 'hex'));
  return (text) => text;
};
const types: CustomTypesConfig = { getTypeParser: readerOf };

type Answer = { readonly rows: readonly SqlRow[]; readonly changes: number };

/** The SQLSTATE of the server's own refusal; undefined for anything else, such as a broken socket. */
const sqlStateOf = (error: unknown): string | undefined => {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return typeof code === 'string' && typeof severity === 'string' ? code : undefined;
};

/** Before anything else is known of a server: its own words, or the system's. */
const wordsOf = (error: unknown): string => {
  const { message, code } = error as { message?: string; code?: string };
  return message === undefined || message === '' ? (code ?? 'no answer') : message;
};

/** One session of the server. Once it is broken it is not used again: whatever was open in it is undone. */
export class PostgresConnection {
  readonly #client: Client;
  /** Host and database, for messages. */
  readonly place: string;
  readonly #names = new Map<string, { readonly text: string; readonly name?: string }>();
  #isBroken = false;
  #failure: KiriError | undefined;
  #backend = '';
  history = '';

  constructor(client: Client, place: string) {
    this.#client = client;
    this.place = place;
    // A session that ends while nobody asks for anything.
    client.on('error', () => {
      this.#isBroken = true;
    });
    client.on('end', () => {
      this.#isBroken = true;
    });
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  unavailable(what: string, cause?: unknown): KiriError {
    return new KiriError('STORE_UNAVAILABLE', `${this.place}: ${what}`, { cause });
  }

  #fault(error: unknown): KiriError {
    if (error instanceof KiriError) return error;
    const state = sqlStateOf(error);
    if (state === undefined || SESSION_OVER.has(state) || state.startsWith('08')) {
      this.#isBroken = true;
      return this.unavailable(
        `the server went away (${wordsOf(error)}); nothing was booked`,
        error,
      );
    }
    return new KiriError('STORE_FAILED', `${this.place}: ${wordsOf(error)} (${state})`, {
      cause: error,
    });
  }

  async #ask(text: string, values?: readonly SqlValue[], name?: string): Promise<QueryResult> {
    if (this.#isBroken) throw this.unavailable('the connection is broken; nothing was booked');
    try {
      return await this.#client.query({
        text,
        types,
        ...(values && { values: [...values] }),
        ...(name === undefined ? {} : { name }),
      });
    } catch (error) {
      throw this.#fault(error);
    }
  }

  #statement(sql: string): { readonly text: string; readonly name?: string } {
    const known = this.#names.get(sql);
    if (known) return known;
    const text = toPostgres(sql);
    // A parsed statement would stand in the way of the tables' changes.
    const isKept =
      this.#names.size < STATEMENTS_MAX && /^\s*(?:SELECT|INSERT|UPDATE|DELETE)\b/.test(text);
    if (!isKept) return { text };
    const statement = { text, name: `kiri${this.#names.size}` };
    this.#names.set(sql, statement);
    return statement;
  }

  /** One statement in the store's own SQL. A failed one undoes its transaction, whoever catches the error. */
  async query(sql: string, values: readonly SqlValue[]): Promise<Answer> {
    checkValues(values);
    const { text, name } = this.#statement(sql);
    try {
      const { rows, rowCount } = await this.#ask(text, values, name);
      return { rows: rows as SqlRow[], changes: rowCount ?? 0 };
    } catch (error) {
      if (error instanceof KiriError) this.#failure ??= error;
      throw error;
    }
  }

  async #row(
    text: string,
    values?: readonly SqlValue[],
  ): Promise<Readonly<Record<string, string>>> {
    const { rows } = await this.#ask(text, values);
    return (rows[0] ?? {}) as Record<string, string>;
  }

  /** @param text one of the forms of BEGIN. */
  async begin(text: string): Promise<void> {
    this.#failure = undefined;
    // Two results of one round trip, which the types of the library do not know.
    const [, { rows } = { rows: [] }] = (await this.#ask(
      `${text}; SELECT pg_backend_pid()::text AS backend`,
    )) as unknown as QueryResult<{ backend: string }>[];
    if (rows[0]?.backend === this.#backend) return;
    this.#isBroken = true;
    throw this.unavailable(
      'statements reach different sessions: connect to the server itself, not to a pool of transactions',
    );
  }

  /** The number of the open transaction; undefined if it wrote nothing. */
  async transactionId(): Promise<string | undefined> {
    if (this.#failure) throw this.#failure;
    const { xid } = await this.#row('SELECT pg_current_xact_id_if_assigned()::text AS xid');
    return xid ?? undefined;
  }

  async commit(): Promise<void> {
    const { command } = await this.#ask('COMMIT');
    if (command !== 'COMMIT') throw this.unavailable('the server undid the transaction');
  }

  async rollback(): Promise<void> {
    // A session that cannot undo is left, and the server undoes with it.
    await this.#ask('ROLLBACK').catch(() => {
      this.#isBroken = true;
    });
  }

  /** How an earlier transaction ended: committed, aborted, in progress. */
  async outcomeOf(xid: string): Promise<string | undefined> {
    return (await this.#row('SELECT pg_xact_status($1::text::xid8) AS outcome', [xid]))['outcome'];
  }

  /** Settings of the session, and what the server must be for a store. */
  async prepare(isReadOnly: boolean): Promise<void> {
    const facts = await this.#row(FACTS);
    if (Number(facts['number']) < SERVER_MIN) {
      throw this.unavailable(`PostgreSQL ${facts['version']} is too old, 15 or later is needed`);
    }
    if (facts['encoding'] !== 'UTF8') {
      throw this.unavailable(`the database is in ${facts['encoding']}, UTF8 is needed`);
    }
    this.#backend = facts['backend'] ?? '';
    await this.#ask(SETTINGS);
    if (isReadOnly) return;
    if (facts['schema'] === null) throw this.unavailable('no schema of the search_path exists');
    if (facts['standby'] === 'true') {
      throw this.unavailable('the server is a standby: name the primary');
    }
    if (facts['fsync'] !== 'on' || facts['pages'] !== 'on') {
      throw this.unavailable(
        `fsync is ${facts['fsync']} and full_page_writes ${facts['pages']}: ` +
          'what is booked would not survive a loss of power; both must be on',
      );
    }
    // remote_apply waits for still more.
    if (facts['durable'] !== 'remote_apply') await this.#ask('SET synchronous_commit = on');
    await this.#lock();
    this.history = (await this.#row(HISTORY))['history'] ?? '';
  }

  /** The session's lock on its schema: there is one writer. */
  async #lock(): Promise<void> {
    try {
      await this.#ask(`SELECT pg_advisory_lock(${LOCK_KEY})`);
    } catch (error) {
      const cause = (error as KiriError).cause;
      if (sqlStateOf(cause) !== LOCK_NOT_AVAILABLE) throw error;
      const holder = await this.#row(HOLDER);
      const who = holder['name']
        ? `${holder['name']} from ${holder['address']} since ${holder['since']} (session ${holder['pid']})`
        : 'another session';
      throw new KiriError(
        'STORE_IN_USE',
        `${this.place} is written by ${who}: a store has one clearing; stop that one, or name another store`,
      );
    }
  }

  async close(): Promise<void> {
    // An orderly goodbye where there is still somebody to say it to.
    await this.#client.end().catch(() => undefined);
    this.#isBroken = true;
  }
}

/**
 * Connects, and checks what the store needs of its server.
 * @throws KiriError STORE_UNAVAILABLE or STORE_IN_USE.
 */
export const connectPostgres = async (
  { host, port, user, database, options, ssl }: PostgresAddress,
  { password, isReadOnly = false }: { readonly password?: string; readonly isReadOnly?: boolean },
): Promise<PostgresConnection> => {
  // Only who has such a store loads the driver.
  const { default: pg } = await import('pg');
  const config: ClientConfig = {
    host,
    port,
    database,
    ssl,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    application_name: `kiri clearing ${hostname()} ${process.pid}`,
    ...(user === undefined ? {} : { user }),
    ...(options === undefined ? {} : { options }),
    ...(password === undefined ? {} : { password }),
  };
  const client = new pg.Client(config);
  const connection = new PostgresConnection(client, `store ${database} at ${host}:${port}`);
  try {
    await client.connect();
  } catch (error) {
    await connection.close();
    throw connection.unavailable(`cannot be opened (${wordsOf(error)})`, error);
  }
  try {
    await connection.prepare(isReadOnly);
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
};
