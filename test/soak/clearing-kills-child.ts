/**
 * A clearing on a store in a file: finishes what the one before it left, books receipts, cuts, and dies by SIGKILL at a
 * boundary of transaction, statement or file operation counted from its start. Says `done` where it was not reached.
 */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { directory } from '../sync/clearing/history-world.ts';
import { Fuse, failingDatabase } from '../sync/clearing/failing-store.ts';
import {
  LineOfReceipts,
  NOON_S,
  anchors,
  keyWith,
  policyHash,
  signer,
} from '../sync/clearing/sample.ts';

const [folder = '', batch = '', killAt = ''] = process.argv.slice(2);

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

const nowS = NOON_S + Number(batch) * 60;
const database = openSqlite(join(folder, 'clearing.sqlite'));
const clearing = await ClearingService.open(
  {
    database: failingDatabase(database, fuse),
    signer,
    outFolder: folder,
    directory,
    policyHash,
    mode: 'T',
  },
  nowS,
);
// What belongs to a batch is fixed by its number: whoever repeats it books duplicates.
const items = ['merchant-1', 'merchant-2', 'merchant-3'].map((merchant, at) =>
  new LineOfReceipts(`${batch} ${merchant}`).next(BigInt(2_345_678 + at), {
    businessTimeS: nowS,
    key: keyWith({ merchant, currency: at === 1 ? 840 : 392 }),
  }),
);
await clearing.ingestBatch(items, nowS);
await clearing.cut(nowS, anchors, true);
await clearing.close();
process.stdout.write('done\n');
