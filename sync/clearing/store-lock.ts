import { hostname } from 'node:os';
import { DatabaseSync } from '@photostructure/sqlite';
import { KiriError } from '../../protocol/kiri-error.ts';

/** Two that start at once wait this long for each other's look at the holder. */
const LOCK_TIMEOUT_MS = 500;

type Lock = InstanceType<typeof DatabaseSync>;

const holderOf = (lock: Lock): string => {
  try {
    const row = lock.prepare('SELECT name FROM holder').get() as { name: string } | undefined;
    return row?.name ?? 'another process';
  } catch {
    return 'another process';
  }
};

/** Whether the lock was taken; it is held from then on by an open transaction, beside which others can read. */
const take = (lock: Lock): boolean => {
  try {
    lock.exec('BEGIN IMMEDIATE');
    lock.exec('CREATE TABLE IF NOT EXISTS holder (name TEXT NOT NULL); DELETE FROM holder');
    lock
      .prepare('INSERT INTO holder VALUES (?)')
      .run(`process ${process.pid} on ${hostname()} since ${new Date().toISOString()}`);
    lock.exec('COMMIT');
    lock.exec('BEGIN IMMEDIATE');
    return true;
  } catch (error) {
    if (/locked|busy/i.test((error as Error).message)) return false;
    throw error;
  }
};

/**
 * One writer for a SQLite store, by a file lock on `<store>.lock`. The system lets go of it when the process ends, by
 * whatever cause: nothing is left over. Returns what ends it.
 * @throws KiriError STORE_IN_USE, or STORE_UNAVAILABLE if no lock can be made there.
 */
export const lockStore = (store: string): (() => void) => {
  const path = `${store}.lock`;
  let lock: Lock | undefined;
  try {
    lock = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS });
    if (take(lock)) {
      const held = lock;
      return () => {
        // A closed handle keeps what it holds until its statements are collected.
        held.exec('ROLLBACK');
        held.close();
      };
    }
  } catch (cause) {
    lock?.close();
    throw new KiriError('STORE_UNAVAILABLE', `clearing store ${store}: ${path} cannot be locked`, {
      cause,
    });
  }
  const who = holderOf(lock);
  lock.close();
  throw new KiriError(
    'STORE_IN_USE',
    `clearing store ${store} is written by ${who}: a store has one clearing; stop that one, or name another store`,
  );
};
