/** What the store knows that bears on a run of receipts, asked for in one go and kept true while they are booked. */
import type { PaymentOnLine, VerifiedReceipt } from './core/ingest.ts';
import type { ReceiptFacts } from './core/ingest.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { manyRows, readRows, type ManyRows } from './many-rows.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession, SqlValue } from './sql.ts';

/** A Payment that was booked before. */
export type StoredReceipt = {
  readonly keyId: string;
  readonly receiptHash: Uint8Array;
  readonly chargeMicro: bigint;
  readonly state: string;
  readonly origin: string;
};

/** One Payment of a line, with the column that says whether it is held against others. */
type OnLine = PaymentOnLine & { readonly inConflict: number };

type Neighbours = Pick<ReceiptFacts, 'sameCounter' | 'below' | 'above'>;

/** Payments of all lines of a run that are looked at together; where there are more, each receipt asks for itself. */
const TOGETHER_MAX = 2_048;

const NOTHING: Uint8Array = new Uint8Array(0);

const storedIn = (table: string): ManyRows =>
  manyRows(
    '?',
    (
      hashes,
    ) => `SELECT payment_hash, receipt_hash, state, key_id, charge_micro, origin FROM ${table}
     WHERE payment_hash IN (${hashes})`,
  );
const STORED = storedIn('receipts');
const STORED_ANYWHERE = storedIn('all_receipts');

/** Through which counter lines are sealed, and the last sealed Payment of each that others are judged against. */
const SEALED = manyRows(
  '?',
  (
    lines,
  ) => `SELECT line, through_counter, payment_hash, counter, amount_micro, total_micro, 0 AS in_conflict
     FROM sealed_lines WHERE line IN (${lines})`,
);

const VOIDED = manyRows(
  '?',
  (hashes) => `SELECT payment_hash FROM voids WHERE payment_hash IN (${hashes})`,
);

const WAITED_FOR = manyRows(
  '?',
  (hashes) => `SELECT payment_hash FROM waiting_credits WHERE payment_hash IN (${hashes})`,
);

const CLOSED = manyRows(
  '?',
  (names) => `SELECT programme, closed_through_s FROM windows WHERE programme IN (${names})`,
);

const ENDED = manyRows('?', (lines) => `SELECT line FROM closed_lines WHERE line IN (${lines})`);

const COLUMNS = 'w.at, r.payment_hash, r.counter, r.amount_micro, r.total_micro, r.in_conflict';
const STANDING = 'SELECT b.id FROM receipts b WHERE b.line = w.line AND b.in_conflict = 0';
/** SQLite takes the tables of a CROSS JOIN in their order; else it may go through all receipts for a few lines. */
const LOOKED_FOR = `SELECT ${COLUMNS} FROM wanted w CROSS JOIN receipts r WHERE`;

/** Of each line: all between its lowest and highest counter of the run, and the nearest standing ones outside. */
const AROUND = manyRows(
  '(CAST(? AS BIGINT), CAST(? AS BLOB), CAST(? AS BIGINT), CAST(? AS BIGINT))',
  (ranges) => `WITH wanted (at, line, low, high) AS (VALUES ${ranges})
  SELECT * FROM (
    ${LOOKED_FOR} r.line = w.line AND r.counter BETWEEN w.low AND w.high
    UNION ALL ${LOOKED_FOR} r.id = (${STANDING} AND b.counter < w.low ORDER BY b.counter DESC LIMIT 1)
    UNION ALL ${LOOKED_FOR} r.id = (${STANDING} AND b.counter > w.high ORDER BY b.counter LIMIT 1)
  ) AS around LIMIT ${TOGETHER_MAX + 1}`,
);

/** The same of one receipt by itself, whatever its line holds. */
const neighboursIn = (table: string): string => {
  const one = `payment_hash, counter, amount_micro, total_micro, in_conflict FROM ${table} WHERE line = ?`;
  return `
  SELECT * FROM (SELECT ${one} AND counter = ? AND payment_hash <> ? ORDER BY in_conflict LIMIT 1) AS same
  UNION ALL SELECT * FROM (SELECT ${one} AND counter < ? AND in_conflict = 0
    ORDER BY counter DESC LIMIT 1) AS below
  UNION ALL SELECT * FROM (SELECT ${one} AND counter > ? AND in_conflict = 0
    ORDER BY counter LIMIT 1) AS above`;
};
const NEIGHBOURS = neighboursIn('receipts');
const NEIGHBOURS_ANYWHERE = neighboursIn('all_receipts');

/** Bytes as a name in a map. */
const nameOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

const onLineOf = (row: SqlRow): OnLine => ({
  paymentHash: bytesOf(row, 'payment_hash'),
  counter: numberOf(row, 'counter'),
  amountMicro: amountOf(row, 'amount_micro'),
  totalMicro: amountOf(row, 'total_micro'),
  inConflict: numberOf(row, 'in_conflict'),
});

/** Nearest Payments that were judged and are not in conflict themselves, and any other on the same counter. */
const nearest = (
  { counter, paymentHash }: VerifiedReceipt,
  payments: readonly OnLine[],
): Neighbours => {
  let sameCounter: OnLine | undefined;
  let below: OnLine | undefined;
  let above: OnLine | undefined;
  for (const one of payments) {
    if (one.counter === counter) {
      const isFirst = sameCounter === undefined || one.inConflict < sameCounter.inConflict;
      if (isFirst && !bytesEqual(one.paymentHash, paymentHash)) sameCounter = one;
    } else if (one.inConflict !== 0) continue;
    else if (one.counter < counter) {
      if (below === undefined || one.counter > below.counter) below = one;
    } else if (above === undefined || one.counter < above.counter) above = one;
  }
  return {
    ...(sameCounter ? { sameCounter } : {}),
    ...(below ? { below } : {}),
    ...(above ? { above } : {}),
  };
};

/** Lowest and highest counter of each line. */
const rangesOf = (
  receipts: readonly VerifiedReceipt[],
): Map<string, { readonly line: Uint8Array; low: number; high: number }> => {
  const ranges = new Map<string, { readonly line: Uint8Array; low: number; high: number }>();
  for (const { line, counter } of receipts) {
    const name = nameOf(line);
    const range = ranges.get(name);
    if (!range) ranges.set(name, { line, low: counter, high: counter });
    else if (counter < range.low) range.low = counter;
    else if (counter > range.high) range.high = counter;
  }
  return ranges;
};

const hashesIn = (rows: readonly SqlRow[]): Set<string> =>
  new Set(rows.map((row) => nameOf(bytesOf(row, 'payment_hash'))));

export class RunFacts {
  readonly #session: SqlSession;
  readonly #stored = new Map<string, StoredReceipt>();
  #voided: ReadonlySet<string> = new Set();
  #waitedFor: ReadonlySet<string> = new Set();
  #ended: ReadonlySet<string> = new Set();
  readonly #closed: Map<string, number>;
  /** By line, of lines that have receipts in sealed segments. */
  readonly #sealed = new Map<string, { readonly through: number; readonly head?: OnLine }>();
  /** By line; undefined where there is too much to hold. */
  #lines: Map<string, OnLine[]> | undefined = new Map();

  private constructor(session: SqlSession, closed: Map<string, number>) {
    this.#session = session;
    this.#closed = closed;
  }

  /**
   * @param closed ends of closed windows by programme, as far as the transaction has read them
   * @param areCreditsWaiting whether any refund waits for its Payment
   */
  static async read(
    session: SqlSession,
    receipts: readonly VerifiedReceipt[],
    closed: Map<string, number>,
    areCreditsWaiting: boolean,
  ): Promise<RunFacts> {
    const facts = new RunFacts(session, closed);
    const hashes = receipts.map(({ paymentHash }) => paymentHash);
    facts.#keepStored(await readRows(session, STORED, hashes, [NOTHING]));
    await facts.#readSealed(receipts);
    facts.#voided = hashesIn(await readRows(session, VOIDED, hashes, [NOTHING]));
    if (areCreditsWaiting) {
      facts.#waitedFor = hashesIn(await readRows(session, WAITED_FOR, hashes, [NOTHING]));
    }
    await facts.#readClosed(receipts);
    await facts.#readLines(receipts);
    return facts;
  }

  #keepStored(rows: readonly SqlRow[]): void {
    for (const row of rows) {
      this.#stored.set(nameOf(bytesOf(row, 'payment_hash')), {
        keyId: textOf(row, 'key_id'),
        receiptHash: bytesOf(row, 'receipt_hash'),
        chargeMicro: amountOf(row, 'charge_micro'),
        state: textOf(row, 'state'),
        origin: textOf(row, 'origin'),
      });
    }
  }

  /** A Payment has one line and one counter: segments are asked for it only up to the counter that its line is sealed through. */
  async #readSealed(receipts: readonly VerifiedReceipt[]): Promise<void> {
    const [any] = await this.#session.all('SELECT line FROM sealed_lines LIMIT 1');
    if (!any) return;
    const lines = [...rangesOf(receipts).values()].map(({ line }) => line);
    for (const row of await readRows(this.#session, SEALED, lines, [NOTHING])) {
      const through = numberOf(row, 'through_counter');
      const head = row['payment_hash'] === null ? {} : { head: onLineOf(row) };
      this.#sealed.set(nameOf(bytesOf(row, 'line')), { through, ...head });
    }
    const wanted = receipts
      .filter((receipt) => this.#isAmongSealed(receipt) && !this.stored(receipt))
      .map(({ paymentHash }) => paymentHash);
    if (wanted.length === 0) return;
    this.#keepStored(await readRows(this.#session, STORED_ANYWHERE, wanted, [NOTHING]));
  }

  #isAmongSealed({ line, counter }: VerifiedReceipt): boolean {
    return this.#sealed.size > 0 && counter <= (this.#sealed.get(nameOf(line))?.through ?? -1);
  }

  async #readClosed(receipts: readonly VerifiedReceipt[]): Promise<void> {
    const names = new Set<string>();
    for (const { key } of receipts) {
      if (!this.#closed.has(key.programme)) names.add(key.programme);
    }
    if (names.size === 0) return;
    for (const name of names) this.#closed.set(name, 0);
    for (const row of await readRows(this.#session, CLOSED, [...names], [''])) {
      this.#closed.set(textOf(row, 'programme'), numberOf(row, 'closed_through_s'));
    }
  }

  async #readLines(receipts: readonly VerifiedReceipt[]): Promise<void> {
    const lines = new Map<string, OnLine[]>();
    const wanted: SqlValue[] = [];
    const named: SqlValue[] = [];
    for (const [name, { line, low, high }] of rangesOf(receipts)) {
      wanted.push(BigInt(lines.size), line, BigInt(low), BigInt(high));
      named.push(line);
      lines.set(name, []);
    }
    const ended = await readRows(this.#session, ENDED, named, [NOTHING]);
    this.#ended = new Set(ended.map((row) => nameOf(bytesOf(row, 'line'))));
    const rows = await readRows(this.#session, AROUND, wanted, [0n, NOTHING, 0n, 0n]);
    if (rows.length > TOGETHER_MAX) {
      this.#lines = undefined;
      return;
    }
    const found = [...lines.values()];
    for (const row of rows) found[numberOf(row, 'at')]?.push(onLineOf(row));
    for (const [name, { head }] of this.#sealed) if (head) lines.get(name)?.push(head);
    this.#lines = lines;
  }

  stored({ paymentHash }: VerifiedReceipt): StoredReceipt | undefined {
    return this.#stored.get(nameOf(paymentHash));
  }

  isVoided({ paymentHash }: VerifiedReceipt): boolean {
    return this.#voided.size > 0 && this.#voided.has(nameOf(paymentHash));
  }

  /** Whether its line ended so long ago that its receipts were deleted (close-lines.ts). */
  isLineClosed({ line }: VerifiedReceipt): boolean {
    return this.#ended.size > 0 && this.#ended.has(nameOf(line));
  }

  /** Whether a refund waits for this Payment. */
  isWaitedFor({ paymentHash }: VerifiedReceipt): boolean {
    return this.#waitedFor.size > 0 && this.#waitedFor.has(nameOf(paymentHash));
  }

  /** Everything paid before this moment belongs to windows of the programme that are closed. */
  closedThroughS({ key }: VerifiedReceipt): number {
    return this.#closed.get(key.programme) ?? 0;
  }

  /** @param writeRows writes what was booked of this run and is not in the store yet */
  async neighbours(
    receipt: VerifiedReceipt,
    writeBooked: () => Promise<void>,
  ): Promise<Neighbours> {
    const { line, counter, paymentHash } = receipt;
    const isAmongSealed = this.#isAmongSealed(receipt);
    // What is in an aggregate is never judged again.
    if (isAmongSealed && this.stored(receipt)?.state === 'aggregated') return {};
    if (this.#lines && !isAmongSealed) return nearest(receipt, this.#lines.get(nameOf(line)) ?? []);
    await writeBooked();
    const at = BigInt(counter);
    const parameters = [line, at, paymentHash, line, at, line, at];
    const sql = isAmongSealed ? NEIGHBOURS_ANYWHERE : NEIGHBOURS;
    const found = (await this.#session.all(sql, ...parameters)).map(onLineOf);
    const head = isAmongSealed ? undefined : this.#sealed.get(nameOf(line))?.head;
    return nearest(receipt, head ? [...found, head] : found);
  }

  /** The receipt stands in the books now, for the first time or in another place. */
  booked(receipt: VerifiedReceipt, stored: StoredReceipt, inConflict: bigint): void {
    const { line, paymentHash, counter, amountMicro, totalMicro } = receipt;
    this.#stored.set(nameOf(paymentHash), stored);
    const payments = this.#lines?.get(nameOf(line));
    if (!payments) return;
    const at = payments.findIndex((one) => bytesEqual(one.paymentHash, paymentHash));
    const entry = { paymentHash, counter, amountMicro, totalMicro, inConflict: Number(inConflict) };
    if (at < 0) payments.push(entry);
    else payments[at] = entry;
  }
}
