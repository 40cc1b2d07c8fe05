/**
 * The reconciliation as one table: every line of every file, every balance of every key, every merchant's account, and
 * totals that are added up from those very rows. Read page by page; memory does not grow with the store.
 */
import { currencyOf } from '../../protocol/currency.ts';
import { csvRow } from './core/csv.ts';
import { pageOfReturns } from './returned-transfers.ts';
import { amountOf, numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Columns; amounts in micro-units (1,000,000 in one major unit). */
const RECONCILIATION_COLUMNS = [
  'row',
  'file',
  'arn',
  'arn_date',
  'aggregate',
  'issuer',
  'acquirer',
  'merchant',
  'programme',
  'account',
  'party',
  'mcc',
  'currency',
  'sign',
  'lane',
  'state',
  'amount_micro',
  'disputed_micro',
  'charged_back_micro',
  'reference',
] as const;

type Column = (typeof RECONCILIATION_COLUMNS)[number];
type Cells = Partial<Record<Column, string | bigint | undefined>>;

const PAGE = 1000;

const rowText = (cells: Cells): string =>
  csvRow(RECONCILIATION_COLUMNS.map((column) => cells[column]));

const alphaOf = (row: SqlRow): string => {
  const numeric = numberOf(row, 'currency');
  return currencyOf(numeric)?.alpha ?? String(numeric);
};

const keyCells = (row: SqlRow): Cells => ({
  issuer: textOf(row, 'issuer'),
  acquirer: textOf(row, 'acquirer'),
  merchant: textOf(row, 'merchant'),
  programme: textOf(row, 'programme'),
  account: textOf(row, 'account'),
  party: textOf(row, 'party'),
  mcc: textOf(row, 'mcc'),
  currency: alphaOf(row),
  sign: textOf(row, 'sign'),
});

/** Sums per kind of row, currency, sign and state: as many as there are of those, however long the table is. */
class Totals {
  readonly #sums = new Map<string, { cells: Cells; amount: bigint }>();

  add(cells: Cells, kind: string): Cells {
    const { currency, sign, state, amount_micro: amount } = cells;
    const name = JSON.stringify([kind, currency, sign, state]);
    const sum = this.#sums.get(name) ?? { cells: { row: kind, currency, sign, state }, amount: 0n };
    sum.amount += BigInt(amount ?? 0n);
    this.#sums.set(name, sum);
    return cells;
  }

  *rows(): Generator<string> {
    for (const name of [...this.#sums.keys()].toSorted()) {
      const sum = this.#sums.get(name);
      if (sum) yield rowText({ ...sum.cells, amount_micro: sum.amount });
    }
  }
}

async function* lines(session: SqlSession, totals: Totals): AsyncGenerator<string> {
  let [file, number] = ['', -1n];
  for (;;) {
    const rows = await session.all(
      `SELECT p.file_name, p.number, p.arn, p.arn_date, p.aggregate_id, p.state, p.amount_micro,
         p.disputed_micro, p.charged_back_micro, a.lane, k.*
       FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
       JOIN keys k ON k.key_id = a.key_id
       WHERE p.file_name > ? OR (p.file_name = ? AND p.number > ?)
       ORDER BY p.file_name, p.number LIMIT ${PAGE}`,
      file,
      file,
      number,
    );
    for (const row of rows) {
      const cells: Cells = {
        row: 'line',
        file: textOf(row, 'file_name'),
        arn: textOf(row, 'arn'),
        arn_date: textOf(row, 'arn_date'),
        aggregate: textOf(row, 'aggregate_id'),
        ...keyCells(row),
        lane: textOf(row, 'lane'),
        state: textOf(row, 'state'),
        amount_micro: amountOf(row, 'amount_micro'),
        disputed_micro: amountOf(row, 'disputed_micro'),
        charged_back_micro: amountOf(row, 'charged_back_micro'),
      };
      yield rowText(totals.add(cells, 'total-line'));
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || !last) return;
    [file, number] = [textOf(last, 'file_name'), BigInt(numberOf(last, 'number'))];
  }
}

/** What came into each key, and where it stands. */
async function* balances(session: SqlSession, totals: Totals): AsyncGenerator<string> {
  let after = '';
  for (;;) {
    const keys = await session.all(
      `SELECT * FROM keys WHERE key_id > ? ORDER BY key_id LIMIT ${PAGE}`,
      after,
    );
    for (const row of keys) {
      const key = keyCells(row);
      const source: Cells = { ...key, row: 'source', amount_micro: amountOf(row, 'source_micro') };
      yield rowText(totals.add(source, 'total-source'));
      const buckets = await session.all(
        "SELECT bucket, amount_micro FROM balances WHERE key_id = ? AND amount_micro <> '0' ORDER BY bucket",
        textOf(row, 'key_id'),
      );
      for (const bucket of buckets) {
        const cells: Cells = {
          ...key,
          row: 'balance',
          state: textOf(bucket, 'bucket'),
          amount_micro: amountOf(bucket, 'amount_micro'),
        };
        yield rowText(totals.add(cells, 'total-balance'));
      }
    }
    const last = keys.at(-1);
    if (keys.length < PAGE || !last) return;
    after = textOf(last, 'key_id');
  }
}

const POSITIONS = ['acknowledged', 'borne', 'charged_back', 'fees', 'paid', 'payable'] as const;

async function* merchants(session: SqlSession, totals: Totals): AsyncGenerator<string> {
  let after: readonly [string, string, bigint] = ['', '', -1n];
  for (;;) {
    const rows = await session.all(
      `SELECT * FROM merchant_accounts WHERE (acquirer, merchant, currency) > (?, ?, ?)
       ORDER BY acquirer, merchant, currency LIMIT ${PAGE}`,
      ...after,
    );
    for (const row of rows) {
      const [acquirer, merchant] = [textOf(row, 'acquirer'), textOf(row, 'merchant')];
      for (const state of POSITIONS) {
        const cells: Cells = {
          row: 'merchant',
          acquirer,
          merchant,
          currency: alphaOf(row),
          state,
          amount_micro: amountOf(row, `${state}_micro`),
        };
        yield rowText(totals.add(cells, 'total-merchant'));
      }
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || !last) return;
    const currency = BigInt(numberOf(last, 'currency'));
    after = [textOf(last, 'acquirer'), textOf(last, 'merchant'), currency];
  }
}

/** Transfers that a bank gave back, with the reason as reference. */
async function* returns(session: SqlSession, totals: Totals): AsyncGenerator<string> {
  let page = await pageOfReturns(session);
  for (;;) {
    for (const one of page) {
      const cells: Cells = {
        row: 'returned-transfer',
        file: one.fileName,
        acquirer: one.acquirer,
        merchant: one.merchant,
        currency: currencyOf(one.currency)?.alpha ?? String(one.currency),
        amount_micro: one.amountMicro,
        reference: one.reason,
      };
      yield rowText(totals.add(cells, 'total-returned-transfer'));
    }
    const last = page.at(-1);
    if (!last) return;
    page = await pageOfReturns(session, last);
  }
}

/** Fees of issuers (1740): `debit` was charged to the clearing, `credit` paid to it. */
async function* fees(session: SqlSession, totals: Totals): AsyncGenerator<string> {
  let after: readonly [string, string] = ['', ''];
  for (;;) {
    const rows = await session.all(
      `SELECT * FROM fees WHERE (issuer, reference) > (?, ?) ORDER BY issuer, reference LIMIT ${PAGE}`,
      ...after,
    );
    for (const row of rows) {
      const cells: Cells = {
        row: 'fee',
        arn: textOrNull(row, 'arn'),
        issuer: textOf(row, 'issuer'),
        currency: alphaOf(row),
        sign: textOf(row, 'direction') === 'charged' ? 'debit' : 'credit',
        state: textOf(row, 'state'),
        amount_micro: amountOf(row, 'amount_micro'),
        reference: textOf(row, 'reference'),
      };
      yield rowText(totals.add(cells, 'total-fee'));
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || !last) return;
    after = [textOf(last, 'issuer'), textOf(last, 'reference')];
  }
}

/** The table's text, row by row, of one committed state: it stays inside the caller's transaction. */
export async function* reconciliationCsv(session: SqlSession): AsyncGenerator<string> {
  const totals = new Totals();
  yield csvRow(RECONCILIATION_COLUMNS);
  yield* lines(session, totals);
  yield* balances(session, totals);
  yield* merchants(session, totals);
  yield* returns(session, totals);
  yield* fees(session, totals);
  yield* totals.rows();
}
