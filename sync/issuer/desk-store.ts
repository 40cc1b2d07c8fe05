import { numberOf, textOf, bytesOf, amountOf } from '../clearing/sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from '../clearing/sql.ts';
import type { TakenLine } from './core/desk.ts';
import type { LineHistory } from './core/dispute.ts';

/** One document that goes to a clearing, with its running number; a file has bytes of its own. */
export type Outgoing = {
  readonly number: number;
  /** Without ending. */
  readonly name: string;
  /** The settlement file of the issuer; absent for an acknowledgement. */
  readonly file?: Uint8Array;
  /** The acknowledgement, or the manifest of the file: written last. */
  readonly signed: Uint8Array;
};

/** One file as it was answered. */
export type AnsweredFile = {
  readonly fileId: string;
  readonly fileSha256: Uint8Array;
  readonly clearing: string;
  readonly profile: string;
  readonly member: string;
  readonly sequence: number;
  readonly mode: string;
  readonly verdict: string;
  /** Number of the acknowledgement; the file of messages has the next one. */
  readonly number: number;
  readonly lines: number;
  readonly linesTaken: number;
};

const SCHEMA: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS files (
     file_id TEXT NOT NULL, file_sha256 BLOB NOT NULL, clearing TEXT NOT NULL, profile TEXT NOT NULL,
     member TEXT NOT NULL, sequence BIGINT NOT NULL, mode TEXT NOT NULL, verdict TEXT NOT NULL,
     number BIGINT NOT NULL, lines BIGINT NOT NULL, lines_taken BIGINT NOT NULL,
     PRIMARY KEY (file_id, file_sha256))`,
  `CREATE TABLE IF NOT EXISTS lines (
     arn TEXT NOT NULL, cycle BIGINT NOT NULL, file_id TEXT NOT NULL, clearing TEXT NOT NULL,
     mode TEXT NOT NULL, profile TEXT NOT NULL, record_number BIGINT NOT NULL,
     amount_minor TEXT NOT NULL, currency TEXT NOT NULL, sign TEXT NOT NULL, account TEXT NOT NULL,
     PRIMARY KEY (arn, cycle))`,
  `CREATE TABLE IF NOT EXISTS requests (
     clearing TEXT NOT NULL, number BIGINT NOT NULL, kind TEXT NOT NULL, arn TEXT NOT NULL,
     reason TEXT NOT NULL, amount_minor TEXT NOT NULL, PRIMARY KEY (clearing, number))`,
  'CREATE INDEX IF NOT EXISTS requests_by_arn ON requests (arn)',
  `CREATE TABLE IF NOT EXISTS fees (
     reference TEXT PRIMARY KEY, clearing TEXT NOT NULL, number BIGINT NOT NULL, direction TEXT NOT NULL,
     amount_minor TEXT NOT NULL, currency TEXT NOT NULL, reason TEXT NOT NULL, arn TEXT, returned BIGINT)`,
  `CREATE TABLE IF NOT EXISTS outgoing (
     clearing TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, sequence BIGINT NOT NULL,
     file BLOB, signed BLOB NOT NULL, is_written BIGINT NOT NULL, PRIMARY KEY (clearing, number))`,
];

/** @throws KiriError STORE_UNAVAILABLE */
export const prepareDeskStore = (database: SqlDatabase): Promise<void> =>
  database.transaction(async (session) => {
    for (const statement of SCHEMA) await session.run(statement);
  });

const answeredOf = (row: SqlRow): AnsweredFile => ({
  fileId: textOf(row, 'file_id'),
  fileSha256: bytesOf(row, 'file_sha256'),
  clearing: textOf(row, 'clearing'),
  profile: textOf(row, 'profile'),
  member: textOf(row, 'member'),
  sequence: numberOf(row, 'sequence'),
  mode: textOf(row, 'mode'),
  verdict: textOf(row, 'verdict'),
  number: numberOf(row, 'number'),
  lines: numberOf(row, 'lines'),
  linesTaken: numberOf(row, 'lines_taken'),
});

/** Every answer that this file id had, with whatever bytes. */
export const answersOf = async (session: SqlSession, fileId: string): Promise<AnsweredFile[]> => {
  const rows = await session.all('SELECT * FROM files WHERE file_id = ? ORDER BY number', fileId);
  return rows.map(answeredOf);
};

/** The mode of the files that were taken so far; undefined before the first. */
export const modeOfDesk = async (session: SqlSession): Promise<string | undefined> => {
  const [row] = await session.all('SELECT mode FROM lines ORDER BY arn LIMIT 1');
  return row && textOf(row, 'mode');
};

export const sequencesOf = async (
  session: SqlSession,
  file: Pick<AnsweredFile, 'profile' | 'member' | 'mode'>,
): Promise<number[]> => {
  const rows = await session.all(
    'SELECT sequence FROM files WHERE profile = ? AND member = ? AND mode = ? ORDER BY sequence',
    file.profile,
    file.member,
    file.mode,
  );
  return rows.map((row) => numberOf(row, 'sequence'));
};

export const saveAnswer = async (
  session: SqlSession,
  file: AnsweredFile,
  taken: readonly TakenLine[],
): Promise<void> => {
  await session.run(
    'INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    file.fileId,
    file.fileSha256,
    file.clearing,
    file.profile,
    file.member,
    BigInt(file.sequence),
    file.mode,
    file.verdict,
    BigInt(file.number),
    BigInt(file.lines),
    BigInt(file.linesTaken),
  );
  for (const line of taken) {
    await session.run(
      'INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      line.arn,
      BigInt(line.cycle),
      file.fileId,
      file.clearing,
      file.mode,
      file.profile,
      BigInt(line.recordNumber),
      line.amountMinor.toString(),
      line.currency,
      line.sign,
      line.account,
    );
  }
};

export const isLineTaken = async (
  session: SqlSession,
  arn: string,
  cycle: 1 | 2,
): Promise<boolean> => {
  const rows = await session.all(
    'SELECT arn FROM lines WHERE arn = ? AND cycle = ?',
    arn,
    BigInt(cycle),
  );
  return rows.length > 0;
};

/** One earlier request of the desk. */
export type SentRequest = {
  readonly kind: string;
  readonly arn: string;
  readonly reason: string;
  readonly amountMinor: bigint;
};

export const requestsOf = async (
  session: SqlSession,
  arn: string,
): Promise<(SentRequest & { readonly number: number })[]> => {
  const rows = await session.all('SELECT * FROM requests WHERE arn = ? ORDER BY number', arn);
  return rows.map((row) => ({
    kind: textOf(row, 'kind'),
    arn: textOf(row, 'arn'),
    reason: textOf(row, 'reason'),
    amountMinor: amountOf(row, 'amount_minor'),
    number: numberOf(row, 'number'),
  }));
};

export const saveRequest = (
  session: SqlSession,
  clearing: string,
  number: number,
  request: SentRequest,
): Promise<number> =>
  session.run(
    'INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)',
    clearing,
    BigInt(number),
    request.kind,
    request.arn,
    request.reason,
    request.amountMinor.toString(),
  );

/** What the desk has of a line, and where it came from; undefined where its first presentment was not taken. */
export const lineHistory = async (
  session: SqlSession,
  arn: string,
): Promise<
  | (LineHistory & {
      readonly clearing: string;
      readonly mode: 'P' | 'T';
      readonly profile: string;
    })
  | undefined
> => {
  const rows = await session.all('SELECT * FROM lines WHERE arn = ? ORDER BY cycle', arn);
  const [first, second] = [1, 2].map((cycle) => rows.find((row) => row['cycle'] === BigInt(cycle)));
  if (!first) return undefined;
  const requests = await requestsOf(session, arn);
  const sumOf = (kind: string): bigint =>
    requests
      .filter((one) => one.kind === kind)
      .reduce((sum, { amountMinor }) => sum + amountMinor, 0n);
  const sign = textOf(first, 'sign');
  return {
    amountMinor: amountOf(first, 'amount_minor'),
    currency: textOf(first, 'currency'),
    sign: sign === 'credit' ? 'credit' : 'debit',
    account: textOf(first, 'account'),
    presentedAgainMinor: second ? amountOf(second, 'amount_minor') : 0n,
    firstMinor: sumOf('first'),
    arbitrationMinor: sumOf('arbitration'),
    clearing: textOf(first, 'clearing'),
    mode: textOf(first, 'mode') === 'P' ? 'P' : 'T',
    profile: textOf(first, 'profile'),
  };
};

const last = (row: SqlRow | undefined): number => (row ? numberOf(row, 'last') : 0);

/** The numbers that come next for a clearing: of documents, and of files within the issuer's own sequence. */
export const nextNumbers = async (
  session: SqlSession,
  clearing: string,
): Promise<{ readonly number: number; readonly sequence: number }> => {
  const [own] = await session.all(
    'SELECT COALESCE(MAX(number), 0) AS last FROM outgoing WHERE clearing = ?',
    clearing,
  );
  const [all] = await session.all('SELECT COALESCE(MAX(sequence), 0) AS last FROM outgoing');
  return { number: last(own) + 1, sequence: last(all) + 1 };
};

export const saveOutgoing = (
  session: SqlSession,
  clearing: string,
  one: Outgoing,
  sequence: number,
): Promise<number> =>
  session.run(
    'INSERT INTO outgoing VALUES (?, ?, ?, ?, ?, ?, 0)',
    clearing,
    BigInt(one.number),
    one.name,
    BigInt(sequence),
    one.file ?? null,
    one.signed,
  );

const outgoingOf = (row: SqlRow): Outgoing & { readonly clearing: string } => {
  const base = {
    clearing: textOf(row, 'clearing'),
    number: numberOf(row, 'number'),
    name: textOf(row, 'name'),
    signed: bytesOf(row, 'signed'),
  };
  return row['file'] === null ? base : { ...base, file: bytesOf(row, 'file') };
};

/** Numbers whose documents are committed and perhaps not on the disk yet, oldest first. */
export const unwritten = async (
  session: SqlSession,
): Promise<readonly { readonly clearing: string; readonly number: number }[]> => {
  const rows = await session.all(
    'SELECT clearing, number FROM outgoing WHERE is_written = 0 ORDER BY clearing, number',
  );
  return rows.map((row) => ({
    clearing: textOf(row, 'clearing'),
    number: numberOf(row, 'number'),
  }));
};

export const loadOutgoing = async (
  session: SqlSession,
  clearing: string,
  number: number,
): Promise<Outgoing | undefined> => {
  const [row] = await session.all(
    'SELECT * FROM outgoing WHERE clearing = ? AND number = ?',
    clearing,
    BigInt(number),
  );
  return row && outgoingOf(row);
};

export const markWritten = (
  session: SqlSession,
  clearing: string,
  number: number,
): Promise<number> =>
  session.run(
    'UPDATE outgoing SET is_written = 1 WHERE clearing = ? AND number = ?',
    clearing,
    BigInt(number),
  );
