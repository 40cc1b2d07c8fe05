/**
 * Writes a batch into a log folder. Tiles and entries: temporary file, fsync, rename. Payload records: at the offset that
 * the durable head implies, after what a crash left behind it was cut off, then fdatasync. Last an fsync of every folder
 * touched. When {@link writeLogFiles} returns, all of it is durable; only then are obsolete partial tiles removed.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toDiskError } from '../../platform/disk-error.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { BatchFiles, LogAppend, LogFile } from './core/log-batch.ts';

/** Files written at one time: enough to share disk syncs, few enough for the file limit. */
const PARALLEL_WRITES = 16;
/** Folders known to be durable with all above them; beyond it they are synced once more. */
const MAX_DURABLE = 4_096;
const durable = new Set<string>();
const TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;

const syncFolder = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Makes a folder and gives back every folder whose entries changed: the parents of what was made. */
const makeFolder = async (folder: string): Promise<string[]> => {
  const first = await mkdir(folder, { recursive: true, mode: 0o755 });
  const changed: string[] = [];
  if (first === undefined) return changed;
  for (let made = folder; ; made = dirname(made)) {
    changed.push(dirname(made));
    if (made === first) return changed;
  }
};

const writeOne = async (root: string, file: LogFile): Promise<void> => {
  const path = join(root, file.path);
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      await handle.writeFile(file.bytes);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw toDiskError(error, 'write', path);
  }
};

/**
 * Waits for all, also where one fails: a write that is still on its way could replace what the next attempt or a later
 * batch has written under the same name.
 */
const allOf = async <T>(tasks: readonly Promise<T>[]): Promise<readonly T[]> => {
  await Promise.allSettled(tasks);
  return Promise.all(tasks);
};

/**
 * Makes the folders of a batch. A folder that was made by an attempt that failed, or by a run that was killed, is there but
 * perhaps not durable: until it is known to be, everything above it is synced with it.
 */
const makeFolders = async (root: string, names: Iterable<string>): Promise<Set<string>> => {
  const unsynced = new Set<string>();
  for (const folder of names) {
    const changed = await makeFolder(folder);
    if (changed.length === 0 && durable.has(folder)) continue;
    durable.delete(folder);
    for (const one of changed) unsynced.add(one);
    for (let one = folder; one.length > root.length; one = dirname(one)) unsynced.add(dirname(one));
  }
  return unsynced;
};

/** Bytes below the offset are under a head and are never touched: readers see them whole at any moment. */
const appendOne = async (root: string, { path, offset, bytes }: LogAppend): Promise<void> => {
  const place = join(root, path);
  try {
    const handle = await open(place, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const { size } = await handle.stat();
      if (size < offset) {
        throw new KiriError('LOG_CORRUPT', `${place} ends before byte ${offset}: it was cut`);
      }
      if (size > offset) await handle.truncate(offset);
      for (let at = 0; at < bytes.length;) {
        const rest = bytes.length - at;
        at += (await handle.write(bytes, at, rest, offset + at)).bytesWritten;
      }
      await handle.datasync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof KiriError) throw error;
    throw toDiskError(error, 'write', place);
  }
};

/**
 * Makes a batch durable below `root`. May be called again with the same batch after it failed.
 * @throws KiriError LOG_CORRUPT, DISK_FULL, DISK_UNWRITABLE, DISK_FAILED; then some of the files may have been written, none is signed
 */
export const writeLogFiles = async (root: string, batch: BatchFiles): Promise<void> => {
  const all = [...batch.files, ...batch.appends];
  const written = new Set(all.map((file) => dirname(join(root, file.path))));
  try {
    const folders = await makeFolders(join(root), written);
    const writes = [
      ...batch.appends.map((append) => () => appendOne(root, append)),
      ...batch.files.map((file) => () => writeOne(root, file)),
    ];
    for (let at = 0; at < writes.length; at += PARALLEL_WRITES) {
      await allOf(writes.slice(at, at + PARALLEL_WRITES).map((write) => write()));
    }
    await allOf(Array.from(new Set([...folders, ...written]), syncFolder));
    if (durable.size > MAX_DURABLE) durable.clear();
    for (const folder of written) durable.add(folder);
    for (const folder of batch.obsolete) {
      await rm(join(root, folder), { recursive: true, force: true });
    }
  } catch (error) {
    throw toDiskError(error, 'write log files in', root);
  }
};

/**
 * Makes the folders of a log and removes the temporary files that a crash left. Called once, before the writer starts;
 * only the rightmost tiles can have left any, but the walk is cheap beside reading them.
 */
export const prepareLogFolder = async (root: string): Promise<void> => {
  try {
    const changed = new Set<string>([root]);
    for (const name of ['tlog', 'payload', 'keys', 'state']) {
      for (const folder of await makeFolder(join(root, name))) changed.add(folder);
    }
    await Promise.all(Array.from(changed, syncFolder));
    for (const name of await readdir(root, { recursive: true })) {
      if (TEMPORARY.test(name)) await rm(join(root, name), { force: true });
    }
  } catch (error) {
    throw toDiskError(error, 'open log folder', root);
  }
};
