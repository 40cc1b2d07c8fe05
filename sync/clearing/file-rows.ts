/** The rows that a cut writes for a file, many in one statement. */
import type { PresentmentRecord } from './core/ipm-record.ts';
import { encodeRecord } from './file-document.ts';
import { manyRows, ROWS_MAX, writeRows } from './many-rows.ts';
import type { SqlSession, SqlValue } from './sql.ts';
import type { StagedAggregate } from './stage-lane.ts';

const AGGREGATES = manyRows(
  '(?, ?, ?, ?, ?, ?, ?, ?)',
  (
    rows,
  ) => `INSERT INTO aggregates (aggregate_id, key_id, lane, number, document, reason, cut_s, file_name)
     VALUES ${rows}`,
);

const PRESENTMENTS = manyRows(
  "(?, ?, ?, ?, ?, ?, ?, 'inFile')",
  (
    rows,
  ) => `INSERT INTO presentments (aggregate_id, file_name, number, arn, arn_date, amount_micro, fee_due_e4, state)
     VALUES ${rows}`,
);

const FILE_LINES = manyRows(
  '(?, ?, ?, 1, ?, ?)',
  (rows) => `INSERT INTO file_lines (file_name, number, aggregate_id, cycle, amount_micro, record)
     VALUES ${rows}`,
);

/** Bytes of evidence in one statement, or one document more: a server gets them in one message. */
const DOCUMENT_BYTES = 1_048_576;

/** Gathers the rows of one file inside the transaction that cuts it. Whoever adds writes them out when they are full. */
export class FileRows {
  readonly #session: SqlSession;
  readonly fileName: string;
  readonly #cutS: bigint;
  #aggregates: SqlValue[] = [];
  #presentments: SqlValue[] = [];
  #lines: SqlValue[] = [];
  #documentBytes = 0;

  constructor(session: SqlSession, fileName: string, cutS: number) {
    this.#session = session;
    this.fileName = fileName;
    this.#cutS = BigInt(cutS);
  }

  addAggregate(aggregate: StagedAggregate): void {
    const { aggregateId, keyId, lane, number, document, reason } = aggregate;
    this.#documentBytes += document.length;
    this.#aggregates.push(
      aggregateId,
      keyId,
      lane,
      BigInt(number),
      document,
      reason,
      this.#cutS,
      this.fileName,
    );
  }

  /** The line of an aggregate that was added. @param number DE71 */
  addLine(
    { aggregateId, amountMicro }: StagedAggregate,
    number: number,
    line: {
      readonly record: PresentmentRecord;
      readonly arnDate: string;
      readonly feeDueE4: bigint;
    },
  ): void {
    const { record, arnDate, feeDueE4 } = line;
    const [place, amount] = [BigInt(number), amountMicro.toString()];
    this.#presentments.push(
      aggregateId,
      this.fileName,
      place,
      record.arn,
      arnDate,
      amount,
      feeDueE4.toString(),
    );
    this.#lines.push(this.fileName, place, aggregateId, amount, encodeRecord(record));
  }

  get isFull(): boolean {
    const rows = this.#aggregates.length / AGGREGATES.width;
    return rows >= ROWS_MAX || this.#documentBytes >= DOCUMENT_BYTES;
  }

  /** Aggregates first: the others refer to them. */
  async flush(): Promise<void> {
    await writeRows(this.#session, AGGREGATES, this.#aggregates);
    await writeRows(this.#session, PRESENTMENTS, this.#presentments);
    await writeRows(this.#session, FILE_LINES, this.#lines);
    this.#aggregates = [];
    this.#presentments = [];
    this.#lines = [];
    this.#documentBytes = 0;
  }
}
