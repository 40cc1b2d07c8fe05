import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { openStore } from '../../../sync/clearing/open-store.ts';
import { bytesOf, numberOf, textOf } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { makeTestStore, openTestStore } from './store.ts';

const run = (database: SqlDatabase, sql: string, ...values: (string | bigint | Uint8Array)[]) =>
  database.transaction((session) => session.run(sql, ...values));
const all = (database: SqlDatabase, sql: string, ...values: (string | bigint | Uint8Array)[]) =>
  database.transaction(async (session) =>
    (await session.all(sql, ...values)).map((row) => ({ ...row })),
  );

t.test('integers, bytes and texts come back as they went in', async (t) => {
  const database = await openTestStore();
  await run(database, 'CREATE TABLE v (id INTEGER PRIMARY KEY, n BIGINT, b BLOB, s TEXT)');
  const insert = 'INSERT INTO v (n, b, s) VALUES (?, ?, ?)';
  const value = fc.record(
    {
      n: fc.oneof(
        fc.bigInt(-(1n << 63n), (1n << 63n) - 1n),
        fc.constantFrom(0n, -(1n << 63n), (1n << 63n) - 1n, (1n << 53n) + 1n),
      ),
      b: fc.uint8Array({ maxLength: 300 }),
      s: fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => !text.includes('\0')),
    },
    { noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(value, { maxLength: 8 }), async (rows) => {
      await run(database, 'DELETE FROM v');
      await database.transaction(async (session) => {
        for (const { n, b, s } of rows) {
          if ((await session.run(insert, n, b, s)) !== 1) throw new Error('not one row');
        }
      });
      const read = await all(database, 'SELECT n, b, s FROM v ORDER BY id');
      t.strictSame(
        read.map((row) => ({
          n: row['n'],
          b: new Uint8Array(bytesOf(row, 'b')),
          s: textOf(row, 's'),
        })),
        rows,
      );
    }),
    { numRuns: 15 },
  );
  await run(database, 'DELETE FROM v');
  await run(database, insert, 1n, new Uint8Array(0), '');
  const [sums] = await all(
    database,
    'SELECT count(*) AS c, sum(n) AS s, max(n) = 1 AS yes, NULL AS none FROM v',
  );
  t.strictSame({ ...sums }, { c: 1n, s: 1n, yes: 1n, none: null }, 'one type for each');
  await database.close();
});

t.test('texts and bytes stand in the order of their bytes, whatever the language', async (t) => {
  const database = await openTestStore();
  await run(database, 'CREATE TABLE v (s TEXT PRIMARY KEY, b BLOB NOT NULL)');
  const texts = [
    'b',
    'B',
    'a',
    'ab',
    'a b',
    'a-b',
    'Z',
    'é',
    'e',
    'Ä',
    '霧',
    '😀',
    '',
    '１',
    '10',
    '9',
  ];
  for (const text of texts)
    await run(database, 'INSERT INTO v VALUES (?, ?)', text, Buffer.from(text));
  const wanted = texts.toSorted((one, other) =>
    Buffer.compare(Buffer.from(one), Buffer.from(other)),
  );
  for (const order of ['s', 'b', "'x' || s"]) {
    const rows = await all(database, `SELECT s FROM v ORDER BY ${order}`);
    t.same(
      rows.map((row) => textOf(row, 's')),
      wanted,
      order,
    );
  }
  const above = await all(database, 'SELECT s FROM v WHERE s > ? ORDER BY s', 'Z');
  t.equal(textOf(above[0] ?? {}, 's'), 'a');
  await database.close();
});

t.test('a transaction is whole or nothing, and one follows the other', async (t) => {
  const database = await openTestStore();
  await run(database, 'CREATE TABLE v (n BIGINT PRIMARY KEY)');
  await t.rejects(
    database.transaction(async (session) => {
      await session.run('INSERT INTO v VALUES (1)');
      throw new Error('pulled plug');
    }),
    { message: 'pulled plug' },
  );
  await t.rejects(
    database.transaction(async (session) => {
      await session.run('INSERT INTO v VALUES (2)');
      await session.run('INSERT INTO v VALUES (2)');
    }),
  );
  t.same(await all(database, 'SELECT n FROM v'), []);
  for (const text of ['a\0b', '\uD800', 'x\uDC00y']) {
    await t.rejects(all(database, 'SELECT n FROM v WHERE ? = ?', text, ''), {
      code: 'STORE_VALUE_INVALID',
    });
  }
  // Twenty at once: each reads what the one before it wrote.
  const next = async (): Promise<number> =>
    database.transaction(async (session) => {
      const [row] = await session.all('SELECT count(*) AS c FROM v');
      const n = numberOf(row ?? {}, 'c');
      await session.run('INSERT INTO v VALUES (?)', BigInt(n));
      return n;
    });
  const numbers = await Promise.all(Array.from({ length: 20 }, next));
  t.same(numbers, [...numbers.keys()]);
  await database.close();
});

const child = join(import.meta.dirname, 'store-holder-child.js');

t.test(
  'a store has one writer, among processes too; who only reads stands beside it',
  async (t) => {
    const { location, open, openReadOnly } = await makeTestStore(t);
    const first = await open();
    await run(first, 'CREATE TABLE v (n BIGINT)');
    await t.rejects(open(), { code: 'STORE_IN_USE', message: new RegExp(`\\b${process.pid}\\b`) });
    const reader = await openReadOnly();
    await run(first, 'INSERT INTO v VALUES (7)');
    t.same(await all(reader, 'SELECT n FROM v'), [{ n: 7n }], 'what was committed is seen');
    await t.rejects(run(reader, 'INSERT INTO v VALUES (8)'), 'who reads cannot write');
    await reader.close();
    await first.close();

    const holder = spawn(process.execPath, [child, location], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');
    await t.rejects(open(), { code: 'STORE_IN_USE', message: new RegExp(`\\b${holder.pid}\\b`) });
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const second = await open();
    t.strictSame(
      await all(second, 'SELECT n FROM v'),
      [{ n: 7n }],
      'a killed holder holds nothing',
    );
    await second.close();

    const other = await makeTestStore(t);
    const [here, there] = [await open(), await other.open()];
    t.ok(here && there, 'each store has its own writer');
    await Promise.all([here.close(), there.close()]);
  },
);

t.test('what is no store says so', async (t) => {
  const folder = t.testdir({ text: 'not a database, but long enough to look at it'.repeat(100) });
  for (const path of [join(folder, 'no', 'such', 'folder.sqlite'), join(folder, 'text')]) {
    await t.rejects(openStore(path), { code: 'STORE_UNAVAILABLE' });
  }
  await t.rejects(openStore('postgres://u:p@127.0.0.1/x'), { code: 'STORE_URL_INVALID' });
  await t.rejects(openStore('postgres://nobody@127.0.0.1:1/x'), {
    code: 'STORE_UNAVAILABLE',
    message: /^store x at 127\.0\.0\.1:1: cannot be opened/,
  });
});
