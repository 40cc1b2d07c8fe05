import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode, toDiskError } from './disk-error.ts';
import { makeFolder } from './make-folder.ts';

/**
 * Replaces a file as a whole: after a crash at any point it holds the old content or the new. The file is synced before the
 * rename and the folder after it; without the latter every power cut in the rig lost the newest file. Makes the folder.
 * Content that comes in pieces is written piece by piece; a source that throws leaves the old file.
 * @throws KiriError DISK_FULL, DISK_UNWRITABLE, DISK_FAILED
 */
export async function writeFileDurable(
  path: string,
  bytes: Uint8Array | string | AsyncIterable<Uint8Array>,
  mode = 0o600,
): Promise<void> {
  // A unique name: two writers never share a half-written file, and a leftover is never mistaken for content.
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    makeFolder(dirname(path));
    const file = await open(temporary, 'wx', mode);
    try {
      if (typeof bytes === 'string' || bytes instanceof Uint8Array) await file.writeFile(bytes);
      else for await (const piece of bytes) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw toDiskError(error, 'write', path);
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
