/** Exit codes that scripts may rely on (DESIGN §9). */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_REFUSED = 3;

/** One `kiri` command: what --help prints, and what it does with the words behind its name. */
export interface Command {
  readonly summary: string;
  readonly usage: string;
  /** Loaded on use, so that `kiri --help` and the agent do not pay for every part. */
  load(): Promise<(argv: readonly string[]) => Promise<number>>;
}

/** A wrong option or argument; the message says what would be right. */
export class UsageError extends Error {}
