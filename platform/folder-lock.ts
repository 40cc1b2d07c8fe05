import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { KiriError } from '../protocol/kiri-error.ts';
import { systemCode, toDiskError } from './disk-error.ts';

const LOCK_NAME = 'lock';
const MAX_ATTEMPTS = 8;

/**
 * Takes a folder for this process alone and returns the function that lets it go. Node has no flock: the lock is a file
 * that says who holds it, linked into place in one step. A lock whose process is gone is taken over.
 * @throws KiriError FOLDER_LOCKED (held by a living process), DISK_*
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, LOCK_NAME);
  const mine = `${process.pid} ${processStart(process.pid)} ${randomBytes(8).toString('hex')}\n`;
  const temporary = `${path}.${randomBytes(8).toString('hex')}`;
  try {
    fs.writeFileSync(temporary, mine, { mode: 0o600, flag: 'wx' });
    take(path, temporary);
  } catch (error) {
    throw toDiskError(error, 'lock', folder);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
  return () => {
    if (readLock(path) === mine) fs.rmSync(path, { force: true });
  };
}

function take(path: string, temporary: string): void {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    try {
      fs.linkSync(temporary, path);
      return;
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const holder = readLock(path);
    if (holder === undefined) continue;
    if (isAlive(holder)) {
      throw new KiriError('FOLDER_LOCKED', `${path} is held by process ${holder.split(' ')[0]}`);
    }
    removeStale(path, holder);
  }
  throw new KiriError('FOLDER_LOCKED', `${path} changes hands all the time`);
}

/** Moves the lock aside before deleting it: if another process was quicker, what moved is its new lock and goes back. */
function removeStale(path: string, holder: string): void {
  const aside = `${path}.${randomBytes(8).toString('hex')}`;
  try {
    fs.renameSync(path, aside);
    if (readLock(aside) !== holder) fs.linkSync(aside, path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'EEXIST') throw error;
  } finally {
    fs.rmSync(aside, { force: true });
  }
}

function readLock(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Start time is compared too: after a reboot, or in a container, the same pid is soon somebody else's. */
function isAlive(holder: string): boolean {
  const [pidText, start] = holder.split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false;
  }
  return start === processStart(pid);
}

/** Boot id and start tick of a process on Linux; '-' where /proc is absent (then the pid alone decides). */
function processStart(pid: number): string {
  try {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 22, counted behind the command name, which may itself contain blanks and parentheses (proc(5)).
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${boot}/${start}`;
  } catch {
    return '-';
  }
}
