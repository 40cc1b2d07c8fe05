/** Ports of the clearing that break at a chosen point: the n-th boundary of transaction, statement or file since armed. */
import type { SqlDatabase, SqlSession } from '../../../sync/clearing/sql.ts';

export class Crash extends Error {}

/** Counts boundaries; at the chosen one the process "dies": nothing that was not committed or renamed is there. */
export class Fuse {
  /** Boundaries passed since it was last armed. */
  passed = 0;
  #at = Infinity;
  readonly #die: () => void;

  constructor(
    die: () => void = () => {
      throw new Crash(`at boundary ${this.passed}`);
    },
  ) {
    this.#die = die;
  }

  /** @param at boundary that breaks, from 1; Infinity for none */
  arm(at: number): void {
    this.passed = 0;
    this.#at = at;
  }

  here(): void {
    this.passed += 1;
    if (this.passed === this.#at) this.#die();
  }
}

export const failingDatabase = (database: SqlDatabase, fuse: Fuse): SqlDatabase => ({
  transaction: async (work) => {
    fuse.here();
    const result = await database.transaction(async (session) => {
      const watched: SqlSession = {
        all: async (sql, ...parameters) => {
          fuse.here();
          return session.all(sql, ...parameters);
        },
        run: async (sql, ...parameters) => {
          fuse.here();
          return session.run(sql, ...parameters);
        },
      };
      const done = await work(watched);
      fuse.here();
      return done;
    });
    fuse.here();
    return result;
  },
  close: () => database.close(),
});

export const failingWriter =
  (files: Map<string, Buffer>, fuse: Fuse) =>
  async (path: string, bytes: Uint8Array | string): Promise<void> => {
    fuse.here();
    files.set(path, Buffer.from(bytes));
    fuse.here();
  };
