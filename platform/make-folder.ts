import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

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
 * Makes a folder that only its owner may enter, with all above it that are missing. Each is an entry of its parent and
 * would be lost with everything in it while that is not synced, so every parent of what was made is.
 */
export function makeFolder(path: string): void {
  const folder = resolve(path);
  const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = folder; made !== dirname(made); made = dirname(made)) {
    syncFolderNow(dirname(made));
    if (made === first) return;
  }
}
