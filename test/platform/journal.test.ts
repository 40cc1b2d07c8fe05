import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeJournalFs, type JournalFs } from '../../platform/journal-fs.ts';
import { openJournal } from '../../platform/journal.ts';
import { crashed, indexes, lay, record, SEGMENT, write } from './journal-helper.ts';

t.test('records come back in order over reopening, from any index, as copies', async (t) => {
  const folder = t.testdir();
  await write(folder, [3, 1]);
  const { journal, cutBytes } = await openJournal(folder);
  t.equal(cutBytes, 0);
  t.equal(journal.nextIndex, 4);
  t.equal(journal.append(record(4)), 4);
  t.same(indexes(journal), [0, 1, 2, 3], 'an uncommitted record is not read back');
  t.equal(await journal.commit(), 4);
  t.same(indexes(journal, 2), [2, 3, 4]);
  const [first] = journal.records();
  t.same(first?.record, record(0));
  t.equal(await journal.commit(), 4, 'nothing to do');
  await journal.close();
  await journal.close();
  t.throws(() => journal.append(record(5)), { code: 'JOURNAL_CLOSED' });
  await t.rejects(journal.commit(), { code: 'JOURNAL_CLOSED' });
});

t.test('calls made while a batch gathers share one sync', async (t) => {
  let syncs = 0;
  const files: JournalFs = {
    ...nodeJournalFs,
    fdatasync: (fd, done) => {
      syncs += 1;
      nodeJournalFs.fdatasync(fd, done);
    },
  };
  const { journal } = await openJournal(t.testdir(), { files });
  const commits: Promise<number>[] = [];
  for (let i = 0; i < 50; i += 1) {
    journal.append(record(i));
    commits.push(journal.commit());
  }
  t.ok(journal.pendingBytes >= 50 * 22);
  t.same(new Set(await Promise.all(commits)), new Set([49]));
  t.equal(syncs, 1);
  t.equal(journal.pendingBytes, 0);
  await journal.close();
});

t.test('limits: record of 64 KiB, 4 MiB waiting for the disk', async (t) => {
  const { journal } = await openJournal(t.testdir());
  t.throws(() => journal.append(new Uint8Array(65_536)), { code: 'RECORD_TOO_LARGE' });
  const big = new Uint8Array(65_535);
  for (let i = 0; i < 63; i += 1) journal.append(big);
  t.throws(
    () => {
      journal.append(big);
      journal.append(big);
    },
    { code: 'JOURNAL_BUSY' },
  );
  const last = await journal.commit();
  t.equal(last, journal.nextIndex - 1);
  t.equal(indexes(journal).length, journal.nextIndex);
  await journal.close();
});

t.test('a tail torn at every length of the last batch is cut, nothing before it', async (t) => {
  const { folder, bytes, ends } = await crashed(t, [2, 1, 3]);
  const before = ends[1] ?? 0;
  for (let length = before; length <= bytes.length; length += 1) {
    for (const zeros of [0, 64]) {
      lay(folder, Buffer.concat([bytes.subarray(0, length), Buffer.alloc(zeros)]));
      const { journal, cutBytes } = await openJournal(folder);
      const whole = length === bytes.length;
      t.equal(journal.nextIndex, whole ? 6 : 3, `${length} bytes`);
      t.equal(cutBytes, (whole ? 0 : length - before) + zeros);
      await journal.close();
    }
  }
});

t.test('after a cut the journal goes on and a second opening finds all of it', async (t) => {
  const { folder, bytes } = await crashed(t, [2, 2]);
  lay(folder, bytes.subarray(0, bytes.length - 5));
  const { journal } = await openJournal(folder);
  t.equal(journal.append(record(99)), 2);
  await journal.commit();
  await journal.close();
  const again = await openJournal(folder);
  t.same(indexes(again.journal), [0, 1, 2]);
  t.same([...again.journal.records(2)][0]?.record, record(99));
  await again.journal.close();
});

t.test(
  'a flipped bit at any byte before the last mark stops with the offset; nothing is cut',
  async (t) => {
    const folder = join(t.testdir(), 'j');
    await write(folder, [2, 1]);
    const bytes = fs.readFileSync(join(folder, SEGMENT));
    const lastMark = bytes.length - 36;
    for (let at = 0; at < bytes.length; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      lay(folder, damaged);
      if (at < lastMark) {
        await t.rejects(openJournal(folder), {
          code: 'JOURNAL_CORRUPT',
          message: /0\.journal: .* at byte \d+/,
        });
        t.ok(fs.readFileSync(join(folder, SEGMENT)).equals(damaged), 'left as it was');
      } else {
        const { journal } = await openJournal(folder);
        t.same(indexes(journal), [0, 1, 2], 'the mark itself holds no record');
        await journal.close();
      }
    }
  },
);

t.test('a removed, swapped, repeated or foreign block is found', async (t) => {
  const { folder, bytes, ends } = await crashed(t, [1, 1, 1, 1]);
  const [a = 0, b = 0, c = 0, d = 0] = ends;
  const cut = (from: number, to: number): Buffer => bytes.subarray(from, to);
  const cases: Record<string, Buffer[]> = {
    removed: [cut(0, a), cut(b, d)],
    swapped: [cut(0, a), cut(b, c), cut(a, b), cut(c, d)],
    repeated: [cut(0, b), cut(a, b), cut(b, d)],
    foreign: [cut(0, a), (await crashed(t, [1, 1])).bytes.subarray(a), cut(b, d)],
  };
  for (const [name, parts] of Object.entries(cases)) {
    lay(folder, Buffer.concat(parts));
    await t.rejects(openJournal(folder), { code: 'JOURNAL_CORRUPT' }, name);
  }
  const tail = (await crashed(t, [1, 1, 1])).bytes.subarray(a);
  lay(folder, Buffer.concat([cut(0, a), tail]));
  const { journal } = await openJournal(folder);
  t.same(indexes(journal), [0], 'blocks of another journal are never taken for its own');
  await journal.close();
});

t.test('segments rotate, are read over, and a missing or exchanged one is found', async (t) => {
  const folder = join(t.testdir(), 'j');
  const { journal } = await openJournal(folder, { maxSegmentBytes: 300 });
  for (let i = 0; i < 30; i += 1) {
    journal.append(record(i));
    await journal.commit();
  }
  t.same(
    indexes(journal, 7),
    Array.from({ length: 23 }, (_, i) => i + 7),
  );
  await journal.close();
  const names = fs.readdirSync(folder).toSorted();
  t.ok(names.length > 4);
  for (const name of names) t.ok(fs.statSync(join(folder, name)).size <= 336);
  const again = await openJournal(folder);
  t.equal(again.journal.nextIndex, 30);
  await again.journal.close();
  const second = join(folder, names[1] ?? '');
  const content = fs.readFileSync(second);
  fs.rmSync(second);
  await t.rejects(openJournal(folder), { code: 'JOURNAL_CORRUPT', message: /are missing/ });
  fs.writeFileSync(second, content.subarray(0, 100));
  await t.rejects(openJournal(folder), { code: 'JOURNAL_CORRUPT', message: /byte 96/ });
  fs.writeFileSync(second, content);
  const last = join(folder, names.at(-1) ?? '');
  fs.truncateSync(last, 30);
  const torn = await openJournal(folder);
  t.ok(torn.journal.nextIndex > 0, 'a segment torn at its creation is made anew');
  await torn.journal.close();
});

t.test('two writers on one folder: the second is refused; a dead one is taken over', async (t) => {
  const folder = join(t.testdir(), 'j');
  const { journal } = await openJournal(folder);
  await t.rejects(openJournal(folder), {
    code: 'FOLDER_LOCKED',
    message: new RegExp(String(process.pid)),
  });
  await journal.close();
  fs.writeFileSync(join(folder, 'lock'), `${process.pid} another-boot/1 x\n`);
  await (await openJournal(folder)).journal.close();
  fs.writeFileSync(join(folder, 'lock'), 'garbage');
  await (await openJournal(folder)).journal.close();
  t.same(fs.readdirSync(folder), [SEGMENT], 'no lock is left behind');
});

t.test('a folder that cannot be made is a clear error', async (t) => {
  const folder = join(t.testdir({ file: 'x' }), 'file', 'j');
  await t.rejects(openJournal(folder), { code: 'DISK_FAILED', message: /open journal/ });
});
