import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readIfPresent, writeFileDurable, writeFilesDurable } from '../../platform/durable-file.ts';
import { openSettings } from '../../platform/settings.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { systemRandom } from '../../platform/system-random.ts';

interface Book {
  gateway: string;
  seen: number;
}

t.test(
  'a file is replaced as a whole, is for its owner only, and leaves nothing beside it',
  async (t) => {
    const path = join(t.testdir(), 'sub', 'file');
    t.equal(await readIfPresent(path), undefined);
    await writeFileDurable(path, Uint8Array.of(1, 2));
    await Promise.all([writeFileDurable(path, 'a'), writeFileDurable(path, 'b')]);
    t.match((await readIfPresent(path))?.toString(), /^[ab]$/);
    t.equal(fs.statSync(path).mode & 0o777, 0o600);
    t.same(fs.readdirSync(join(path, '..')), ['file']);
  },
);

t.test('a write that fails keeps the old content and says which file', async (t) => {
  const folder = t.testdir({ file: 'old', taken: {} });
  await t.rejects(writeFileDurable(join(folder, 'taken'), 'new'), {
    code: 'DISK_FAILED',
    message: /taken/,
  });
  await t.rejects(writeFileDurable(join(folder, 'file', 'x'), 'new'), { code: 'DISK_FAILED' });
  await t.rejects(readIfPresent(join(folder, 'taken')), { code: 'DISK_FAILED' });
  t.same(fs.readdirSync(folder).toSorted(), ['file', 'taken']);
});

t.test('many files of one folder: each whole, and none half written where one fails', async (t) => {
  const folder = join(t.testdir(), 'new');
  const files = Array.from({ length: 150 }, (_, at) => ({ name: `${at}`, bytes: `file ${at}` }));
  await writeFilesDurable(folder, files);
  await writeFilesDurable(folder, []);
  t.equal(fs.readdirSync(folder).length, 150);
  t.ok(files.every(({ name, bytes }) => fs.readFileSync(join(folder, name), 'utf8') === bytes));
  fs.mkdirSync(join(folder, 'taken'));
  const more = ['5', 'taken', 'more'].map((name) => ({ name, bytes: 'new' }));
  await t.rejects(writeFilesDurable(folder, more), { code: 'DISK_FAILED', message: /taken/ });
  t.equal(fs.readFileSync(join(folder, 'more'), 'utf8'), 'new', 'those that were begun are whole');
  t.same(
    fs.readdirSync(folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

t.test('settings: defaults only for an absent file, then what was written last', async (t) => {
  const path = join(t.testdir(), 'settings.json');
  const settings = await openSettings<Book>(path, { gateway: 'g', seen: 0 });
  t.same(settings.data, { gateway: 'g', seen: 0 });
  t.notOk(fs.existsSync(path));
  const writes = Array.from({ length: 20 }, (_, i) =>
    settings.update((data) => {
      data.seen = i + 1;
    }),
  );
  await Promise.all(writes);
  const again = await openSettings<Book>(path, { gateway: 'other', seen: -1 });
  t.same(again.data, { gateway: 'g', seen: 20 });
});

t.test('corrupt settings are an error that names the file, never defaults', async (t) => {
  const path = join(t.testdir(), 'settings.json');
  for (const content of [
    '',
    '\0\0\0',
    '{"a":',
    'null',
    '0',
    '""',
    '[]',
    Buffer.of(0x22, 0xff, 0x22),
  ]) {
    fs.writeFileSync(path, content);
    await t.rejects(openSettings(path, {}), {
      code: 'SETTINGS_CORRUPT',
      message: /settings\.json/,
    });
  }
  fs.writeFileSync(path, ' '.repeat(1024 * 1024 + 1));
  await t.rejects(openSettings(path, {}), { code: 'SETTINGS_CORRUPT' });
});

t.test('settings refuse BigInt and too much content; the file stays as it was', async (t) => {
  const path = join(t.testdir(), 'settings.json');
  const settings = await openSettings<Record<string, unknown>>(path, {});
  await settings.write();
  settings.data['amount'] = 5n;
  await t.rejects(settings.write(), { code: 'SETTINGS_BIGINT', message: /amount/ });
  settings.data['amount'] = 'x'.repeat(1024 * 1024);
  await t.rejects(settings.write(), { code: 'SETTINGS_TOO_LARGE' });
  t.equal(fs.readFileSync(path, 'utf8'), '{}\n');
});

t.test('the clock reads the machine; random bytes are fresh and owned by the caller', async (t) => {
  const before = Date.now();
  const clock = systemClock(2);
  const [a, b] = [clock.now(), clock.now()];
  t.ok(a.unixMs >= before && b.unixMs <= Date.now());
  t.ok(b.monotonicMs >= a.monotonicMs);
  t.equal(a.timeQuality, 2);
  t.equal(systemClock().now().timeQuality, 1);
  const random = systemRandom();
  const drawn = new Set<string>();
  for (let i = 0; i < 1000; i += 1) drawn.add(Buffer.from(random.bytes(16)).toString('hex'));
  t.equal(drawn.size, 1000);
  const first = random.bytes(8);
  const copy = first.slice();
  for (let i = 0; i < 1000; i += 1) random.bytes(8).fill(0);
  t.same(first, copy);
  t.equal(random.bytes(10_000).length, 10_000);
  t.equal(random.bytes(0).length, 0);
});
