import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode, toDiskError } from './disk-error.ts';
import { makeFolder } from './make-folder.ts';

type Content = Uint8Array | string | AsyncIterable<Uint8Array>;

/** Files of one folder that are written and synced at a time: more would only wait for the same few threads. */
export const MAX_FILES_IN_FLIGHT = 64;

/** A file that is to stand in a folder under its name. */
export interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array | string;
}

/**
 * Replaces a file as a whole: after a crash at any point it holds the old content or the new. The file is synced before the
 * rename and the folder after it; without the latter every power cut in the rig lost the newest file. Makes the folder.
 * Content that comes in pieces is written piece by piece; a source that throws leaves the old file.
 * @throws KiriError DISK_FULL, DISK_UNWRITABLE, DISK_FAILED
 */
export async function writeFileDurable(path: string, bytes: Content, mode = 0o600): Promise<void> {
  try {
    makeFolder(dirname(path));
    await replaceFile(path, bytes, mode);
    await syncFolder(dirname(path));
  } catch (error) {
    throw toDiskError(error, 'write', path);
  }
}

/**
 * The same for many files of one folder, each by itself, with one sync of the folder behind them: all of them are durable
 * when the promise resolves. Syncs that wait at the same time share a commit of the file system. Where one fails, the
 * others that were begun are whole, old or new, and nothing is under way any more.
 * @throws KiriError DISK_FULL, DISK_UNWRITABLE, DISK_FAILED
 */
export async function writeFilesDurable(
  folder: string,
  files: readonly NamedFile[],
  mode = 0o600,
): Promise<void> {
  try {
    makeFolder(folder);
    for (let from = 0; from < files.length; from += MAX_FILES_IN_FLIGHT) {
      const written = await Promise.allSettled(
        files
          .slice(from, from + MAX_FILES_IN_FLIGHT)
          .map(({ name, bytes }) => replaceNamed(join(folder, name), bytes, mode)),
      );
      const failed = written.find((one) => one.status === 'rejected');
      if (failed) throw failed.reason;
    }
    await syncFolder(folder);
  } catch (error) {
    throw toDiskError(error, 'write', folder);
  }
}

/** Says which file it was that failed. */
async function replaceNamed(path: string, bytes: Content, mode: number): Promise<void> {
  try {
    await replaceFile(path, bytes, mode);
  } catch (error) {
    throw toDiskError(error, 'write', path);
  }
}

/** Durable once its folder is synced. A failure leaves the old file and nothing beside it. */
async function replaceFile(path: string, bytes: Content, mode: number): Promise<void> {
  // A unique name: two writers never share a half-written file, and a leftover is never mistaken for content.
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      if (typeof bytes === 'string' || bytes instanceof Uint8Array) await file.writeFile(bytes);
      else for await (const piece of bytes) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}

/** The file's content, or undefined when there is no such file; any other failure is thrown as DISK_*. */
export async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw toDiskError(error, 'read', path);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
