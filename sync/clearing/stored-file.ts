/** A settlement file as the store holds it, read in pages: a file of a million lines is never held as a whole. */
import { MAX_FILES_IN_FLIGHT } from '../../platform/durable-file.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PresentmentRecord } from './core/ipm-record.ts';
import { decodeFileDocument, decodeRecord } from './file-document.ts';
import type { FileDocument } from './file-document.ts';
import { bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlValue } from './sql.ts';

/** Lines held at a time. */
const LINES_PAGE = 1_024;
/** Documents of evidence held and written at a time, each at most a megabyte. */
const EVIDENCE_PAGE: number = MAX_FILES_IN_FLIGHT;

/** One line as it stands in the file: its record number, from 2, its aggregate and its record. */
export type StoredLine = {
  readonly number: number;
  readonly aggregateId: string;
  readonly record: PresentmentRecord;
};

export type StoredEvidence = { readonly id: string; readonly document: Uint8Array };

export class StoredFile {
  readonly #database: SqlDatabase;
  readonly #fileName: string;
  readonly document: FileDocument;
  /** Aggregates of the cut without a line here (their whole sum was carried), by id. */
  readonly silent: readonly string[];

  private constructor(
    database: SqlDatabase,
    fileName: string,
    document: FileDocument,
    silent: readonly string[],
  ) {
    this.#database = database;
    this.#fileName = fileName;
    this.document = document;
    this.silent = silent;
  }

  /** @throws KiriError UNKNOWN_FILE */
  static async open(database: SqlDatabase, fileName: string): Promise<StoredFile> {
    return database.transaction(async (session) => {
      const [row] = await session.all(
        'SELECT document, first_name FROM files WHERE file_name = ?',
        fileName,
      );
      if (!row) throw new KiriError('UNKNOWN_FILE', `no settlement file ${fileName} in the store`);
      const silent = await session.all(
        `SELECT aggregate_id FROM aggregates a WHERE a.file_name = ? AND NOT EXISTS (
           SELECT 1 FROM file_lines l WHERE l.aggregate_id = a.aggregate_id AND l.file_name = ?)
         ORDER BY aggregate_id`,
        textOf(row, 'first_name'),
        fileName,
      );
      const ids = silent.map((one) => textOf(one, 'aggregate_id'));
      return new StoredFile(database, fileName, decodeFileDocument(textOf(row, 'document')), ids);
    });
  }

  /** In file order, a page at a time. */
  async *lines(): AsyncGenerator<readonly StoredLine[]> {
    const pages = this.#pages(
      `SELECT number, aggregate_id, record FROM file_lines WHERE file_name = ? AND number > ?
       ORDER BY number LIMIT ${LINES_PAGE}`,
    );
    for await (const rows of pages) {
      yield rows.map((row) => ({
        number: numberOf(row, 'number'),
        aggregateId: textOf(row, 'aggregate_id'),
        record: decodeRecord(textOf(row, 'record')),
      }));
    }
  }

  /** Of every line, also of one that came by another cut, then of the silent aggregates; a page at a time. */
  async *evidence(): AsyncGenerator<readonly StoredEvidence[]> {
    const pages = this.#pages(
      `SELECT l.number, a.aggregate_id, a.document FROM file_lines l
         JOIN aggregates a ON a.aggregate_id = l.aggregate_id
       WHERE l.file_name = ? AND l.number > ? ORDER BY l.number LIMIT ${EVIDENCE_PAGE}`,
    );
    for await (const rows of pages) yield rows.map(evidenceOf);
    for (const id of this.silent) {
      const sql = 'SELECT aggregate_id, document FROM aggregates WHERE aggregate_id = ?';
      yield (await this.#all(sql, id)).map(evidenceOf);
    }
  }

  /** Rows of a statement over the file's name and the record number behind which a page begins. */
  async *#pages(sql: string): AsyncGenerator<readonly SqlRow[]> {
    let through = 0;
    for (;;) {
      const rows = await this.#all(sql, this.#fileName, BigInt(through));
      const last = rows.at(-1);
      if (!last) return;
      yield rows;
      through = numberOf(last, 'number');
    }
  }

  #all(sql: string, ...parameters: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    return this.#database.transaction((session) => session.all(sql, ...parameters));
  }
}

const evidenceOf = (row: SqlRow): StoredEvidence => ({
  id: textOf(row, 'aggregate_id'),
  document: bytesOf(row, 'document'),
});
