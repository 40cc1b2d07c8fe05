import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { systemCode } from './disk-error.ts';

/** Makes the entries of a folder durable: without it a synced file may be missing after a power cut. */
export function syncFolderNow(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a folder with all above it that are missing; nothing happens where it exists. Each is an entry of its parent and
 * would be lost with everything in it while that is not synced, so every parent of what was made is. Not by the
 * runtime's own recursive mkdir: that never returns where a file system makes no folders (/proc).
 * @param mode by default only its owner may enter
 */
export function makeFolder(path: string, mode = 0o700): void {
  const missing: string[] = [];
  for (let folder = resolve(path); !existsSync(folder); folder = dirname(folder)) {
    missing.unshift(folder);
  }
  for (const folder of missing) {
    try {
      mkdirSync(folder, mode);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error; // another process was quicker
    }
    syncFolderNow(dirname(folder));
  }
}
