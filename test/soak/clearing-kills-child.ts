/**
 * A clearing on a store in a file: finishes what the one before it left, books receipts, cuts, and dies by SIGKILL at a
 * boundary of transaction, statement or file operation counted from its start. Says `done` where it was not reached.
 */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { removeLeftovers } from '../../sync/clearing/leftovers.ts';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { numberOf, openSqlite } from '../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../sync/clearing/sql.ts';
import { directory } from '../sync/clearing/history-world.ts';
import { Fuse, failingDatabase } from '../sync/clearing/failing-store.ts';
import { NOON_S, anchors, policyHash, signer } from '../sync/clearing/sample.ts';
import { RECEIPTS_A_BATCH, itemsOf } from './clearing-kills-items.ts';

const [folder = '', batch = '', killAt = '', lie = ''] = process.argv.slice(2);

const fuse = new Fuse(() => process.kill(process.pid, 'SIGKILL'));
fuse.arm(Number(killAt));

// Every operation of the real durable writer is a boundary too: open, write, sync, close, rename.
const { open, rename } = fs;
fs.open = async (...parameters) => {
  fuse.here();
  const handle = await open(...parameters);
  fuse.here();
  return new Proxy(handle, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      return async (...values: unknown[]) => {
        fuse.here();
        const result: unknown = await member.apply(target, values);
        fuse.here();
        return result;
      };
    },
  });
};
fs.rename = async (from, to) => {
  fuse.here();
  await rename(from, to);
  fuse.here();
};
syncBuiltinESMExports();

/** Broken on purpose as well: the final name stands before all bytes do. */
const writeInPlace = async (path: string, bytes: Uint8Array | string): Promise<void> => {
  await fs.mkdir(dirname(path), { recursive: true });
  const whole = Buffer.from(bytes);
  const handle = await fs.open(path, 'w');
  await handle.writeFile(whole.subarray(0, whole.length / 2));
  await handle.writeFile(whole.subarray(whole.length / 2));
  await handle.close();
};

const number = Number(batch);
const nowS = NOON_S + number * 60;
const sqlite = openSqlite(join(folder, 'clearing.sqlite'));
// Broken on purpose, to see that the observer notices: every statement commits by itself.
const loose: SqlDatabase = {
  transaction: (work) =>
    work({
      all: (...query) => sqlite.transaction((session) => session.all(...query)),
      run: (...query) => sqlite.transaction((session) => session.run(...query)),
    }),
  close: () => sqlite.close(),
};
const database = lie === 'no-transaction' ? loose : sqlite;
await removeLeftovers(folder);
const clearing = await ClearingService.open(
  {
    database: failingDatabase(database, fuse),
    signer,
    outFolder: folder,
    directory,
    policyHash,
    mode: 'T',
    ...(lie === 'no-rename' ? { writeFile: writeInPlace } : {}),
  },
  nowS,
);
// Those before may have died before they booked theirs: a batch is booked whole, and in its turn.
const [row] = await database.transaction((session) =>
  session.all('SELECT count(*) AS receipts FROM receipts'),
);
const booked = numberOf(row ?? {}, 'receipts') / RECEIPTS_A_BATCH;
if (!Number.isInteger(booked)) throw new Error(`${booked} batches are booked`);
for (let one = booked + 1; one <= number; one += 1) {
  await clearing.ingestBatch(itemsOf(one), nowS);
}
await clearing.cut(nowS, anchors, true);
await clearing.close();
process.stdout.write('done\n');
