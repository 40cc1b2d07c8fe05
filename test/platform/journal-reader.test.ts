import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeJournalFs, type JournalFs } from '../../platform/journal-fs.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import { openJournal } from '../../platform/journal.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { crashed, indexes, lay, record } from './journal-helper.ts';

t.test(
  'a reader gets a record only after its sync, and resumes from a stored position',
  async (t) => {
    const folder = t.testdir();
    let release: (() => void) | undefined;
    let hold = false;
    const files: JournalFs = {
      ...nodeJournalFs,
      fdatasync: (fd, done) => {
        if (hold) release = () => nodeJournalFs.fdatasync(fd, done);
        else nodeJournalFs.fdatasync(fd, done);
      },
      write: (fd, bytes, offset, length, position, done) =>
        nodeJournalFs.write(fd, bytes, offset, length, position, (error, written) => {
          done(error, written);
          if (hold) written1();
        }),
    };
    let written1 = (): void => {};
    const isWritten = new Promise<void>((resolve) => {
      written1 = resolve;
    });
    const { journal } = await openJournal(folder, { files });
    const reader = journalReader(folder);
    journal.append(record(0));
    await journal.commit();
    hold = true;
    journal.append(record(1));
    const commit = journal.commit();
    await isWritten;
    const first = await reader.readFrom();
    t.same(first.records, [{ index: 0, record: record(0) }], 'record 1 is written, not synced');
    hold = false;
    release?.();
    await commit;
    await journal.close();
    const stored = JSON.parse(JSON.stringify(first.nextPosition)) as JournalPosition;
    const second = await journalReader(folder).readFrom(stored);
    t.same(second.records, [{ index: 1, record: record(1) }]);
    t.same((await reader.readFrom(second.nextPosition)).records, []);
  },
);

t.test(
  'a reader before the first write, over segments, and after a crash of the writer',
  async (t) => {
    const folder = join(t.testdir(), 'j');
    const reader = journalReader(folder);
    let { nextPosition } = await reader.readFrom();
    t.equal(nextPosition.nextIndex, 0);
    const { journal } = await openJournal(folder, { maxSegmentBytes: 300 });
    const seen: number[] = [];
    for (let i = 0; i < 40; i += 1) {
      journal.append(record(i));
      await journal.commit();
      const slice = await reader.readFrom(nextPosition);
      for (const r of slice.records) {
        t.same(r.record, record(r.index));
        seen.push(r.index);
      }
      nextPosition = slice.nextPosition;
    }
    await journal.close();
    seen.push(...(await reader.readFrom(nextPosition)).records.map((r) => r.index));
    t.same(
      seen,
      Array.from({ length: 40 }, (_, i) => i),
    );
    const files = fs.readdirSync(folder).toSorted();
    fs.rmSync(join(folder, files[2] ?? ''));
    await t.rejects(reader.readFrom(), { code: 'JOURNAL_CORRUPT' });
  },
);

t.test(
  'a reader waits at a torn tail and stops at a corrupt middle or a shortened journal',
  async (t) => {
    const { folder, bytes, ends } = await crashed(t, [1, 1, 1]);
    lay(folder, bytes.subarray(0, bytes.length - 3));
    const reader = journalReader(folder);
    const slice = await reader.readFrom();
    t.same(
      slice.records.map((r) => r.index),
      [0],
      'the block before the torn one is not announced',
    );
    await (await openJournal(folder)).journal.close();
    const rest = await reader.readFrom(slice.nextPosition);
    t.same(
      rest.records.map((r) => r.index),
      [1],
      'recovery announces it',
    );
    const damaged = Buffer.from(bytes);
    const middle = (ends[0] ?? 0) + 10;
    damaged[middle] = (damaged[middle] ?? 0) ^ 1;
    lay(folder, damaged);
    await t.rejects(reader.readFrom(), {
      code: 'JOURNAL_CORRUPT',
      message: new RegExp(`byte ${ends[0]}`),
    });
    lay(folder, bytes.subarray(0, ends[0]));
    await t.rejects(reader.readFrom(rest.nextPosition), {
      code: 'JOURNAL_CORRUPT',
      message: /shorter/,
    });
  },
);

t.test('a large journal is read in slices', async (t) => {
  const folder = t.testdir();
  const { journal } = await openJournal(folder);
  for (let batch = 0; batch < 60; batch += 1) {
    journal.append(record(batch, 60_000));
    await journal.commit();
  }
  for (let i = 0; i < 60; i += 1) journal.append(record(60 + i, 60_000));
  await journal.commit();
  t.equal(indexes(journal).length, 120);
  await journal.close();
  const reader = journalReader(folder);
  let position: JournalPosition | undefined;
  let calls = 0;
  let count = 0;
  for (;;) {
    const slice = await reader.readFrom(position);
    if (slice.records.length === 0) break;
    calls += 1;
    count += slice.records.length;
    position = slice.nextPosition;
  }
  t.equal(count, 120);
  t.ok(calls > 3);
});
