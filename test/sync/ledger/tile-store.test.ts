import fsp, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import t from 'tap';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { writeLogFiles } from '../../../sync/ledger/tile-store.ts';
import { temporaryFolder, until } from './rig.ts';

const BYTES = utf8ToBytes('bytes');

/** Tells `before` of every write and sync of a handle; what it throws, the call throws. */
const watchDisk = (
  before: (what: 'write' | 'sync', path: string) => Promise<void> | void,
): (() => void) => {
  const real = fsp.open;
  const open: typeof fsp.open = async (path, flags, mode) =>
    new Proxy(await real(path, flags, mode), {
      get: (target: FileHandle, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]): Promise<unknown> => {
          if (name === 'writeFile') await before('write', String(path));
          if (name === 'sync' || name === 'datasync') await before('sync', String(path));
          return Reflect.apply(value, target, args);
        };
      },
    });
  Object.assign(fsp, { open });
  syncBuiltinESMExports();
  return () => {
    Object.assign(fsp, { open: real });
    syncBuiltinESMExports();
  };
};

const full = (): never => {
  throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
};

t.test('a batch that failed writes nothing any more when it says so', async (t) => {
  const root = await temporaryFolder(t);
  let release = (): void => {};
  const slow = new Promise<void>((resolve) => {
    release = resolve;
  });
  let isSlow = false;
  const mend = watchDisk(async (what, path) => {
    if (path.includes('/first')) full();
    if (what !== 'sync' || !path.includes('/slow')) return;
    isSlow = true;
    await slow;
  });
  t.teardown(mend);
  const files = ['first', 'payload/slow'].map((path) => ({ path, bytes: BYTES }));
  let verdict: unknown;
  const writing = writeLogFiles(root, { files, appends: [], obsolete: [] }).catch(
    (error: unknown) => {
      verdict = error;
    },
  );
  await until('the slow write is under way', () => isSlow);
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  t.equal(verdict, undefined, 'a late rename could replace what a later batch writes');
  release();
  await writing;
  t.match(verdict, { code: 'DISK_FULL' });
});

t.test('a folder whose batch failed is made durable by the batch that finds room', async (t) => {
  const root = await temporaryFolder(t);
  const synced = new Set<string>();
  let isFull = true;
  const mend = watchDisk((what, path) => {
    if (what === 'write' && isFull) full();
    if (what === 'sync') synced.add(path);
  });
  t.teardown(mend);
  const path = 'tlog/tile/0/x001/002';
  const batch = { files: [{ path, bytes: BYTES }], appends: [], obsolete: [] };
  await t.rejects(writeLogFiles(root, batch), { code: 'DISK_FULL' });
  isFull = false;
  await writeLogFiles(root, batch);
  for (let folder = dirname(join(root, path)); ; folder = dirname(folder)) {
    t.ok(synced.has(folder), `${folder.slice(root.length)}/ is synced`);
    if (folder === root) break;
  }
  synced.clear();
  await writeLogFiles(root, {
    files: [{ path: `${path}9`, bytes: BYTES }],
    appends: [],
    obsolete: [],
  });
  t.same(
    [...synced].filter((one) => !one.endsWith('.tmp')),
    [dirname(join(root, path))],
    'what is known to be durable is not synced again',
  );
});
