import { chmodSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Config } from '../../cli/programs/config.ts';
import { configuredStore } from '../../cli/programs/store-place.ts';

const place = (folder: string, values: Record<string, unknown>) =>
  configuredStore(new Config(values, join(folder, 'clearing.config.json')), join(folder, 'data'));

t.test('a store is a file in the folder, a file of its own, or an address', async (t) => {
  const folder = t.testdir();
  t.same(place(folder, {}), { location: join(folder, 'data', 'clearing.sqlite'), access: {} });
  t.equal(place(folder, { store: 'books.sqlite' }).location, join(folder, 'books.sqlite'));
  const url = 'postgres://clearing@db.example/books';
  t.equal(place(folder, { store: url }).location, url);
  t.throws(() => place(folder, { store: 5 }), { code: 'CONFIG_INVALID' });
});

t.test('a password comes from a file that only its owner reads', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'password');
  const given = { store: 'postgres://clearing@db.example/books', storePasswordFile: 'password' };
  t.throws(() => place(folder, given), { code: 'FILE_UNREADABLE' });
  for (const text of ['s3cret \n', 's3cret \r\n', 's3cret ']) {
    writeFileSync(file, text, { mode: 0o600 });
    t.equal(place(folder, given).access.password, 's3cret ', 'one end of line is not part of it');
  }
  for (const text of ['', '\n', 's3cret\ns3cret\n', 's3\0cret', 's'.repeat(1025)]) {
    writeFileSync(file, text);
    t.throws(() => place(folder, given), { code: 'PASSWORD_FILE_INVALID', message: /^(?!.*s3)/s });
  }
  writeFileSync(file, 's3cret');
  for (const mode of [0o640, 0o604, 0o644]) {
    chmodSync(file, mode);
    t.throws(() => place(folder, given), { code: 'PASSWORD_FILE_INVALID', message: /0600/ });
  }
  chmodSync(file, 0o600);
  symlinkSync(file, join(folder, 'link'));
  t.equal(place(folder, { ...given, storePasswordFile: 'link' }).access.password, 's3cret');
});
