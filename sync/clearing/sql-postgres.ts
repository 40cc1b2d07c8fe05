/**
 * The store on a PostgreSQL server: one connection, transactions one after the other, the same promises as SQLite's.
 * A writer holds an advisory lock of its session, so what commits always commits under the lock: losing the
 * connection loses both.
 */
import { KiriError } from '../../protocol/kiri-error.ts';
import { parsePostgresUrl } from './postgres-url.ts';
import type { PostgresAddress } from './postgres-url.ts';
import { connectPostgres } from './postgres-connection.ts';
import type { PostgresConnection } from './postgres-connection.ts';
import { inTurn } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** What else is told to {@link openPostgres}. */
export type PostgresOptions = {
  /** Without it PGPASSWORD counts. */
  readonly password?: string;
  /** For looking only, beside a clearing that goes on writing. */
  readonly isReadOnly?: boolean;
  /** How long the outcome of a commit is asked for when the connection broke under it; 30 s by default. */
  readonly outcomeWaitMs?: number;
};

const OUTCOME_WAIT_MS = 30_000;
const OUTCOME_PAUSE_MS = 250;

/** READ COMMITTED would let a statement see what a person changes by hand in mid transaction. */
const BEGIN_WRITE = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE';
const BEGIN_READ = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

const pause = async (ms: number): Promise<void> => {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
};

/** What a transaction's work sees; nothing of it runs once the transaction has ended. */
const sessionOn = (connection: PostgresConnection): { session: SqlSession; end: () => void } => {
  let isOver = false;
  const open = (): PostgresConnection => {
    if (isOver) throw new KiriError('STORE_MISUSED', 'a statement came after its transaction');
    return connection;
  };
  const session: SqlSession = {
    all: async (sql, ...parameters) => (await open().query(sql, parameters)).rows,
    run: async (sql, ...parameters) => (await open().query(sql, parameters)).changes,
  };
  return {
    session,
    end: () => {
      isOver = true;
    },
  };
};

class PostgresStore {
  readonly #address: PostgresAddress;
  readonly #options: PostgresOptions;
  #connection: PostgresConnection | undefined;

  constructor(address: PostgresAddress, options: PostgresOptions) {
    this.#address = address;
    this.#options = options;
  }

  async connected(): Promise<PostgresConnection> {
    if (this.#connection?.isBroken) await this.close();
    this.#connection ??= await connectPostgres(this.#address, this.#options);
    return this.#connection;
  }

  /** A connection may have died while nobody used it; nothing was begun on it, so a new one takes its place. */
  async #begun(): Promise<PostgresConnection> {
    const begin = this.#options.isReadOnly ? BEGIN_READ : BEGIN_WRITE;
    const first = await this.connected();
    try {
      await first.begin(begin);
      return first;
    } catch (error) {
      if (!first.isBroken) throw error;
    }
    const second = await this.connected();
    await second.begin(begin);
    return second;
  }

  async run<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    const connection = await this.#begun();
    const { session, end } = sessionOn(connection);
    let result: T;
    let xid: string | undefined;
    try {
      result = await work(session);
      end();
      xid = await connection.transactionId();
    } catch (error) {
      end();
      await connection.rollback();
      throw error;
    }
    try {
      await connection.commit();
    } catch (error) {
      // Nothing was written: there is nothing that could be lost.
      if (connection.isBroken && xid !== undefined) await this.#settle(connection, xid, error);
      else if (!connection.isBroken) throw error;
    }
    return result;
  }

  /**
   * The answer to a COMMIT was lost. The server knows how it ended: the new session gets the lock only when the old
   * one is gone, and then asks. Returns if it was committed.
   */
  async #settle(old: PostgresConnection, xid: string, cause: unknown): Promise<void> {
    const deadlineMs = performance.now() + (this.#options.outcomeWaitMs ?? OUTCOME_WAIT_MS);
    for (;;) {
      const outcome = await this.#outcome(old, xid);
      if (outcome === 'committed') return;
      if (outcome === 'aborted') throw old.unavailable('the transaction was undone', cause);
      if (performance.now() > deadlineMs) break;
      await pause(OUTCOME_PAUSE_MS);
    }
    throw new KiriError(
      'STORE_OUTCOME_UNKNOWN',
      `${old.place}: the connection broke while transaction ${xid} was committed; whether it was is not known: ` +
        'read the store again before going on',
      { cause },
    );
  }

  async #outcome(old: PostgresConnection, xid: string): Promise<string | undefined> {
    try {
      const now = await this.connected();
      // After a failover the number could be another transaction's.
      if (now.history !== old.history) return undefined;
      return await now.outcomeOf(xid);
    } catch {
      return undefined;
    }
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close();
  }
}

/**
 * PostgreSQL 15 or later as the store. A committed transaction survives the loss of power (synchronous_commit and
 * fsync are seen to); transactions of one handle run one after the other, and no second handle writes.
 * @param url `postgres://USER@HOST:PORT/DATABASE`, without a password.
 * @throws KiriError STORE_URL_INVALID, STORE_UNAVAILABLE (not there, too old, not durable) or STORE_IN_USE; later
 *   transactions STORE_UNAVAILABLE (undone), STORE_FAILED (refused by the server, undone) or STORE_OUTCOME_UNKNOWN.
 */
export const openPostgres = async (
  url: string,
  options: PostgresOptions = {},
): Promise<SqlDatabase> => {
  const store = new PostgresStore(parsePostgresUrl(url), options);
  await store.connected();
  const turns = inTurn();
  return {
    transaction: (work) => turns.next(() => store.run(work)),
    close: async () => {
      await turns.end();
      await store.close();
    },
  };
};
