import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { csvRow } from '../../../sync/clearing/core/csv.ts';
import { creditMerchant } from '../../../sync/clearing/merchant-accounts.ts';
import { LineOfReceipts, NOON_S, anchors, hashOf, history, inMemory, keyWith } from './sample.ts';
import { makeTestStore } from './store.ts';

const run = promisify(execFile);
const YEN = 1_000_000n;

/** A second reading of RFC 4180, character by character. */
const parseCsv = (text: string): string[][] => {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    if (isQuoted && character === '"' && text[at + 1] === '"') {
      cell += '"';
      at++;
    } else if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && character === ',') {
      row.push(cell);
      cell = '';
    } else if (!isQuoted && character === '\r' && text[at + 1] === '\n') {
      rows.push([...row, cell]);
      row = [];
      cell = '';
      at++;
    } else cell += character;
  }
  return rows;
};

t.test('cells are quoted where they must be, and no text begins a formula', (t) => {
  t.equal(csvRow(['a', 'b,c', 'd"e', 'f\r\ng', undefined]), 'a,"b,c","d""e","f\r\ng",\r\n');
  t.equal(csvRow(['=1+1', '+1', '-1', '@x', '\tx', '\rx']), `'=1+1,'+1,'-1,'@x,'\tx,"'\rx"\r\n`);
  t.equal(csvRow([-5n, 7, 10n ** 30n]), `-5,7,1${'0'.repeat(30)}\r\n`, 'numbers stay numbers');
  t.end();
});

t.test('the table adds up: lines, balances, merchants, and totals of each', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-csv-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const made = await makeTestStore(t);
  const database = await made.open();
  const { service } = await inMemory({ database });
  const line = new LineOfReceipts('car');
  const paid = line.next(500n * YEN, { key: keyWith({ account: '=HYPERLINK("x"),1' }) });
  const refund = {
    kind: 'credit' as const,
    origin: 'intake',
    leafIndex: 1,
    creditHash: hashOf('credit'),
    paymentHash: paid.paymentHash,
    refundedMicro: 200n * YEN,
    reason: 'shut',
    businessTimeS: NOON_S,
    isTimeFlagged: false,
  };
  await service.ingestBatch([...history(), paid, refund], NOON_S);
  await service.cut(NOON_S, anchors, true);
  await database.transaction(async (session) => {
    const [row] = await session.all(
      `SELECT p.aggregate_id FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
       JOIN keys k ON k.key_id = a.key_id WHERE k.sign = 'credit'`,
    );
    const aggregateId = String(row?.['aggregate_id']);
    const answer = { aggregateId, amountMicro: 200n * YEN, reference: 'ack', nowS: NOON_S };
    await creditMerchant(session, { ...answer, cause: 'acknowledged' });
  });
  const { books } = await service.reconcile();
  const out = join(folder, 'all.csv');
  const args = [
    'bin/kiri.js',
    'clearing',
    'reconciliation',
    '--store',
    made.location,
    '--out',
    out,
  ];
  const { stdout } = await run(process.execPath, [...args, '--json']);
  const [heading = [], ...rows] = parseCsv(await readFile(out, 'utf8'));
  t.same(JSON.parse(stdout), { file: out, rows: rows.length + 1 });
  t.same(await readdir(folder), ['all.csv'], 'no temporary is left');
  t.ok(rows.every((row) => row.length === heading.length));
  const column = (row: readonly string[], name: string): string =>
    row[heading.indexOf(name)] ?? 'no such column';
  const of = (kind: string): string[][] => rows.filter((row) => column(row, 'row') === kind);
  const sum = (some: readonly string[][], sign?: string): bigint =>
    some
      .filter((row) => sign === undefined || column(row, 'sign') === sign)
      .reduce((total, row) => total + BigInt(column(row, 'amount_micro')), 0n);
  for (const kind of ['line', 'source', 'balance', 'merchant']) {
    t.ok(of(kind).length > 0, kind);
    t.equal(sum(of(kind)), sum(of(`total-${kind}`)), `${kind}: rows and totals`);
  }
  for (const sign of ['debit', 'credit']) {
    t.equal(
      sum(of('source'), sign),
      sum(of('balance'), sign),
      `${sign}: what came in stands somewhere`,
    );
  }
  t.equal(sum(of('source'), 'debit'), books[0]?.acceptedMicro);
  t.equal(sum(of('line'), 'credit'), 200n * YEN);
  const payable = of('merchant').find((row) => column(row, 'state') === 'payable') ?? [];
  t.equal(column(payable, 'amount_micro'), '-200000000');
  const accounts = new Set(of('source').map((row) => column(row, 'account')));
  t.ok(accounts.has(`'=HYPERLINK("x"),1`), 'a formula in a reference is text');
  await t.rejects(run(process.execPath, args.slice(0, 5)), { code: 2 });
  await service.close();
});
