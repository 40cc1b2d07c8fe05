import * as fs from 'node:fs';
import { makeFolder, syncFolderNow } from './make-folder.ts';

/**
 * The file operations that the journal uses, so that tests can make the k-th one fail. The two on the hot path take
 * callbacks (fs/promises costs more, one promise and several ticks each); the rest run at opening and rotation only.
 */
export interface JournalFs {
  readonly write: (
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null, written: number) => void,
  ) => void;
  readonly fdatasync: (fd: number, done: (error: Error | null) => void) => void;
  readonly open: (path: string, flags: string) => number;
  readonly close: (fd: number) => void;
  readonly size: (fd: number) => number;
  readonly read: (fd: number, bytes: Uint8Array, position: number) => number;
  readonly writeNow: (fd: number, bytes: Uint8Array, position: number) => void;
  readonly syncNow: (fd: number) => void;
  readonly truncate: (fd: number, length: number) => void;
  readonly list: (folder: string) => string[];
  readonly makeFolder: (folder: string) => void;
  /** Makes the folder's entries durable: without it a synced file may be missing after a power cut. */
  readonly syncFolder: (folder: string) => void;
}

export const nodeJournalFs: JournalFs = {
  write: fs.write,
  fdatasync: fs.fdatasync,
  open: (path, flags) => fs.openSync(path, flags, 0o600),
  close: fs.closeSync,
  size: (fd) => fs.fstatSync(fd).size,
  read: readFully,
  writeNow: writeFully,
  syncNow: fs.fsyncSync,
  truncate: fs.ftruncateSync,
  list: (folder) => fs.readdirSync(folder),
  makeFolder,
  syncFolder: syncFolderNow,
};

/** Reads until `bytes` is full or the file ends; returns the number of bytes read. */
function readFully(fd: number, bytes: Uint8Array, position: number): number {
  let done = 0;
  while (done < bytes.length) {
    const read = fs.readSync(fd, bytes, done, bytes.length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += fs.writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}
