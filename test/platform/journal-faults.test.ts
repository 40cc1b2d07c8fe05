import * as fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BLOCK_OVERHEAD_BYTES } from '../../platform/core/journal-format.ts';
import { nodeJournalFs, type JournalFs } from '../../platform/journal-fs.ts';
import { openJournal } from '../../platform/journal.ts';
import type { Journal } from '../../platform/ports.ts';
import { indexes, record } from './journal-helper.ts';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: planted`), { code });
}

/** The k-th mutating operation fails; a failing write first puts down half of its bytes. */
function failing(k: number, code: string): { files: JournalFs; count: () => number } {
  let n = 0;
  const fails = (): boolean => {
    n += 1;
    return n === k;
  };
  const guard = <A extends unknown[], R>(f: (...args: A) => R): ((...args: A) => R) => {
    return (...args) => {
      if (fails()) throw systemError(code);
      return f(...args);
    };
  };
  const files: JournalFs = {
    ...nodeJournalFs,
    open: guard(nodeJournalFs.open),
    writeNow: guard(nodeJournalFs.writeNow),
    syncNow: guard(nodeJournalFs.syncNow),
    syncFolder: guard(nodeJournalFs.syncFolder),
    write: (fd, bytes, offset, length, position, done) => {
      if (!fails()) return nodeJournalFs.write(fd, bytes, offset, length, position, done);
      nodeJournalFs.write(fd, bytes, offset, length >> 1, position, () =>
        done(systemError(code), 0),
      );
    },
    fdatasync: (fd, done) => {
      if (fails()) setImmediate(done, systemError(code));
      else nodeJournalFs.fdatasync(fd, done);
    },
  };
  return { files, count: () => n };
}

for (const [errno, code] of [
  ['ENOSPC', 'DISK_FULL'],
  ['EIO', 'DISK_FAILED'],
] as const) {
  t.test(
    `${errno} at every operation: nothing acknowledged is lost, and it stays stopped`,
    async (t) => {
      const base = t.testdir();
      let k = 1;
      for (; ; k += 1) {
        const folder = join(base, `k${k}`);
        const { files, count } = failing(k, errno);
        const acked = await script(t, folder, files, code);
        const { journal } = await openJournal(folder);
        const found = indexes(journal);
        t.same(
          found,
          Array.from({ length: found.length }, (_, i) => i),
        );
        // Exactly: what was not acknowledged was cut, so that the page cache cannot pass it off as durable.
        t.equal(found.length, acked, `k=${k}`);
        await journal.close();
        if (count() < k) break;
      }
      t.ok(k > 20, `${k} operations`);
    },
  );
}

/** Remembers what each file held at its last sync, and which files their folder knew at its own: a power cut keeps that. */
function forgetful(inner: JournalFs): { files: JournalFs; cutPower: () => void } {
  const paths = new Map<number, string>();
  const synced = new Map<string, Buffer>();
  const entries = new Set<string>();
  const keep = (fd: number): void => {
    const path = paths.get(fd) ?? '';
    synced.set(path, fs.readFileSync(path));
  };
  const files: JournalFs = {
    ...inner,
    open: (path, flags) => {
      const fd = inner.open(path, flags);
      paths.set(fd, path);
      return fd;
    },
    syncNow: (fd) => {
      inner.syncNow(fd);
      keep(fd);
    },
    fdatasync: (fd, done) => {
      inner.fdatasync(fd, (error) => {
        if (error === null) keep(fd);
        done(error);
      });
    },
    syncFolder: (folder) => {
      inner.syncFolder(folder);
      for (const name of inner.list(folder)) entries.add(join(folder, name));
    },
  };
  const cutPower = (): void => {
    for (const path of new Set(paths.values())) {
      const content = entries.has(path) ? synced.get(path) : undefined;
      if (content === undefined) fs.rmSync(path, { force: true });
      else fs.writeFileSync(path, content);
    }
  };
  return { files, cutPower };
}

t.test(
  'a power cut at every operation: only what was synced is there, and it is enough',
  async (t) => {
    const base = t.testdir();
    let k = 1;
    for (; ; k += 1) {
      const folder = join(base, `k${k}`);
      const { files: planted, count } = failing(k, 'EIO');
      const { files, cutPower } = forgetful(planted);
      const acked = await script(t, folder, files, 'DISK_FAILED');
      cutPower();
      const { journal } = await openJournal(folder);
      t.equal(journal.nextIndex, acked, `k=${k}`);
      await journal.close();
      if (count() < k) break;
    }
  },
);

t.test(
  'the mark that ends a segment is durable before the next segment continues it',
  async (t) => {
    const folder = join(t.testdir(), 'j');
    const { files, cutPower } = forgetful(nodeJournalFs);
    let marks = 0;
    let marked = (): void => {};
    const hooked: JournalFs = {
      ...files,
      write: (fd, bytes, offset, length, position, done) =>
        files.write(fd, bytes, offset, length, position, (error, written) => {
          done(error, written);
          if (length === BLOCK_OVERHEAD_BYTES) marks += 1;
          if (marks === 2) marked();
        }),
    };
    const { journal } = await openJournal(folder, { files: hooked, maxSegmentBytes: 300 });
    journal.append(record(0));
    await journal.commit();
    // The journal's own timer does not keep a process alive.
    const alive = setInterval(() => {}, 1000);
    await new Promise<void>((resolve) => {
      marked = resolve;
    });
    clearInterval(alive);
    journal.append(record(1, 200));
    await journal.commit();
    await journal.close();
    cutPower();
    const again = await openJournal(folder);
    t.same(indexes(again.journal), [0, 1]);
    t.ok(fs.existsSync(join(folder, '0000000000000001.journal')));
    await again.journal.close();
  },
);

/** Appends and commits over several segments until something fails; returns how many records were acknowledged. */
async function script(t: Test, folder: string, files: JournalFs, code: string): Promise<number> {
  let acked = 0;
  let journal: Journal | undefined;
  let hasFailed = false;
  try {
    journal = (await openJournal(folder, { files, maxSegmentBytes: 400 })).journal;
    for (let batch = 0; batch < 8; batch += 1) {
      for (let i = 0; i < 3; i += 1) journal.append(record(journal.nextIndex));
      acked = (await journal.commit()) + 1;
    }
  } catch (error) {
    hasFailed = true;
    t.match(error, { code });
    if (journal !== undefined) {
      const stopped = journal;
      t.throws(() => stopped.append(record(0)), { code });
      await t.rejects(stopped.commit(), { code });
    }
  }
  await journal?.close().catch((error: unknown) => {
    t.notOk(hasFailed, 'a stopped journal closes quietly');
    t.match(error, { code });
  });
  return acked;
}

t.test('a short write is carried on', async (t) => {
  const files: JournalFs = {
    ...nodeJournalFs,
    write: (fd, bytes, offset, length, position, done) =>
      nodeJournalFs.write(fd, bytes, offset, Math.min(length, 7), position, done),
  };
  const folder = t.testdir();
  const { journal } = await openJournal(folder, { files });
  for (let i = 0; i < 5; i += 1) journal.append(record(i));
  await journal.commit();
  await journal.close();
  const again = await openJournal(folder);
  t.same(indexes(again.journal), [0, 1, 2, 3, 4]);
  await again.journal.close();
});
