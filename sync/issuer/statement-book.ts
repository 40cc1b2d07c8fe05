/** What the issuer's desk remembers between two rounds of Statements: numbers, allowances held, who is declined. */
import { amountOf, bytesOf, numberOf, textOf, textOrNull } from '../clearing/sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from '../clearing/sql.ts';
import type { AllowanceTerms, HeldAllowance } from './core/holds.ts';

const TABLES: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS issuer_lines (
     line TEXT PRIMARY KEY, party TEXT NOT NULL, number BIGINT NOT NULL, settled_micro TEXT NOT NULL,
     clear_through BIGINT NOT NULL, terms TEXT NOT NULL, said TEXT NOT NULL, statement BLOB,
     handed_number BIGINT NOT NULL)`,
  'CREATE INDEX IF NOT EXISTS issuer_lines_by_party ON issuer_lines (party, line)',
  'CREATE INDEX IF NOT EXISTS issuer_lines_unhanded ON issuer_lines (line) WHERE number > handed_number',
  `CREATE TABLE IF NOT EXISTS held_allowances (
     line TEXT NOT NULL, generation BIGINT NOT NULL, hash BLOB NOT NULL, ceiling_micro TEXT NOT NULL,
     expires_s BIGINT NOT NULL, closed_micro TEXT, clear_through BIGINT NOT NULL,
     PRIMARY KEY (line, generation))`,
  `CREATE TABLE IF NOT EXISTS declined (
     kind TEXT NOT NULL, id TEXT NOT NULL, since_s BIGINT NOT NULL, reason TEXT NOT NULL,
     PRIMARY KEY (kind, id))`,
];

/** Who is refused credit: a liable party with all its lines, or one line. */
export type DeclinedKind = 'party' | 'line';

export interface Declined {
  readonly kind: DeclinedKind;
  /** In hex. */
  readonly id: string;
  readonly sinceS: number;
  readonly reason: string;
}

/** An allowance of a line, with the Statement that brought it. */
export interface BookedAllowance extends HeldAllowance {
  readonly hash: Uint8Array;
  /** Through which counter that Statement left nothing open; 0 where none brought it. */
  readonly clearThrough: number;
}

export interface BookedLine {
  readonly line: string;
  readonly party: string;
  /** Of the last Statement; 0 before the first. */
  readonly number: number;
  readonly settledMicro: bigint;
  readonly clearThrough: number;
  readonly terms: AllowanceTerms;
  /** SHA-256 in hex of what the last Statement said, without heads. */
  readonly said: string;
}

const termsText = (terms: AllowanceTerms): string =>
  JSON.stringify(terms, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );

const termsOf = (text: string): AllowanceTerms => {
  const terms = JSON.parse(text) as Record<keyof AllowanceTerms, string | number>;
  return {
    limitMicro: BigInt(terms.limitMicro),
    lowerMicro: BigInt(terms.lowerMicro),
    upperMicro: BigInt(terms.upperMicro),
    releaseMicro: BigInt(terms.releaseMicro),
    counters: Number(terms.counters),
    validityS: Number(terms.validityS),
  };
};

const lineOf = (row: SqlRow): BookedLine => ({
  line: textOf(row, 'line'),
  party: textOf(row, 'party'),
  number: numberOf(row, 'number'),
  settledMicro: amountOf(row, 'settled_micro'),
  clearThrough: numberOf(row, 'clear_through'),
  terms: termsOf(textOf(row, 'terms')),
  said: textOf(row, 'said'),
});

/** Makes the tables where they are not there yet. */
export const openStatementBook = async (database: SqlDatabase): Promise<void> =>
  database.transaction(async (session) => {
    for (const sql of TABLES) await session.run(sql);
  });

const ENTER = `INSERT INTO issuer_lines (line, party, number, settled_micro, clear_through, terms, said,
    handed_number) VALUES (?, ?, 0, '0', 0, ?, '', 0) ON CONFLICT DO NOTHING`;

/** The tables inside one transaction. */
export class StatementBook {
  readonly #session: SqlSession;

  constructor(session: SqlSession) {
    this.#session = session;
  }

  /** Enters a line once, with the terms that all its allowances repeat. */
  async enter(line: string, party: string, terms: AllowanceTerms): Promise<void> {
    await this.#session.run(ENTER, line, party, termsText(terms));
  }

  async line(line: string): Promise<BookedLine | undefined> {
    const [row] = await this.#session.all('SELECT * FROM issuer_lines WHERE line = ?', line);
    return row && lineOf(row);
  }

  /** Up to `limit` lines in the order of their ids, of one party or of all. */
  async lines(after: string, limit: number, party?: string): Promise<readonly BookedLine[]> {
    const rows = await this.#session.all(
      `SELECT * FROM issuer_lines WHERE line > ? ${party === undefined ? '' : 'AND party = ?'}
       ORDER BY line LIMIT ${limit}`,
      after,
      ...(party === undefined ? [] : [party]),
    );
    return rows.map(lineOf);
  }

  /** Writes what changed; the Statement stands beside its number. */
  async save(line: Omit<BookedLine, 'party' | 'terms'>, statement?: Uint8Array): Promise<void> {
    await this.#session.run(
      `UPDATE issuer_lines SET number = ?, settled_micro = ?, clear_through = ?, said = ?,
         statement = coalesce(?, statement) WHERE line = ?`,
      BigInt(line.number),
      line.settledMicro.toString(),
      BigInt(line.clearThrough),
      line.said,
      statement ?? null,
      line.line,
    );
  }

  /** Statements that were signed and perhaps not handed out. */
  async unhanded(
    limit: number,
  ): Promise<readonly { line: string; number: number; statement: Uint8Array }[]> {
    const rows = await this.#session.all(
      `SELECT line, number, statement FROM issuer_lines WHERE number > handed_number
       ORDER BY line LIMIT ${limit}`,
    );
    return rows.map((row) => ({
      line: textOf(row, 'line'),
      number: numberOf(row, 'number'),
      statement: bytesOf(row, 'statement'),
    }));
  }

  async handed(line: string, number: number): Promise<void> {
    const sql = 'UPDATE issuer_lines SET handed_number = ? WHERE line = ?';
    await this.#session.run(sql, BigInt(number), line);
  }

  async hold(line: string, allowance: BookedAllowance): Promise<void> {
    const { generation, hash, ceilingMicro, expiresS, clearThrough } = allowance;
    await this.#session.run(
      `INSERT INTO held_allowances (line, generation, hash, ceiling_micro, expires_s, clear_through)
       VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      line,
      BigInt(generation),
      hash,
      ceilingMicro.toString(),
      BigInt(expiresS),
      BigInt(clearThrough),
    );
  }

  /** A line's allowances, the newest last, without those that ended before `sinceS`; the newest is always there. */
  async allowances(line: string, sinceS: number): Promise<readonly BookedAllowance[]> {
    const rows = await this.#session.all(
      `SELECT * FROM held_allowances WHERE line = ? AND (expires_s >= ? OR generation =
         (SELECT max(generation) FROM held_allowances WHERE line = ?)) ORDER BY generation`,
      line,
      BigInt(sinceS),
      line,
    );
    return rows.map((row) => {
      const closed = textOrNull(row, 'closed_micro');
      return {
        generation: numberOf(row, 'generation'),
        hash: bytesOf(row, 'hash'),
        ceilingMicro: amountOf(row, 'ceiling_micro'),
        expiresS: numberOf(row, 'expires_s'),
        clearThrough: numberOf(row, 'clear_through'),
        ...(closed === undefined ? {} : { closedAtMicro: BigInt(closed) }),
      };
    });
  }

  /** False where no such allowance is held. A second Close of one allowance changes nothing. */
  async close(line: string, hash: Uint8Array, netMicro: bigint): Promise<boolean> {
    await this.#session.run(
      `UPDATE held_allowances SET closed_micro = ? WHERE line = ? AND hash = ? AND closed_micro IS NULL`,
      netMicro.toString(),
      line,
      hash,
    );
    const rows = await this.#session.all(
      'SELECT generation FROM held_allowances WHERE line = ? AND hash = ?',
      line,
      hash,
    );
    return rows.length > 0;
  }

  /** Returns false where it stood there already. */
  async decline({ kind, id, sinceS, reason }: Declined): Promise<boolean> {
    const added = await this.#session.run(
      'INSERT INTO declined (kind, id, since_s, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
      kind,
      id,
      BigInt(sinceS),
      reason,
    );
    return added > 0;
  }

  /** The debt is paid. Returns false where nothing stood there. */
  async recover(kind: DeclinedKind, id: string): Promise<boolean> {
    const sql = 'DELETE FROM declined WHERE kind = ? AND id = ?';
    return (await this.#session.run(sql, kind, id)) > 0;
  }

  async declined(): Promise<readonly Declined[]> {
    const rows = await this.#session.all('SELECT * FROM declined ORDER BY kind, id');
    return rows.map((row) => ({
      kind: textOf(row, 'kind') as DeclinedKind,
      id: textOf(row, 'id'),
      sinceS: numberOf(row, 'since_s'),
      reason: textOf(row, 'reason'),
    }));
  }
}
