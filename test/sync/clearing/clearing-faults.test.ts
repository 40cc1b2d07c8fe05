import fc from 'fast-check';
import t from 'tap';
import type { ClearingOptions, ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { VerifiedItem, VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  anchors,
  hashOf,
  history,
  inMemory,
  keyWith,
} from './sample.ts';
import { openTestStore } from './store.ts';

class Crash extends Error {}

/** What the lines of all files ask for, less what they give back, in micro-units. */
const netOfFiles = async (database: SqlDatabase): Promise<bigint> => {
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT p.amount_micro, k.sign FROM presentments p JOIN aggregates a
         ON a.aggregate_id = p.aggregate_id JOIN keys k ON k.key_id = a.key_id`,
    ),
  );
  return rows.reduce((sum, row) => {
    const amount = BigInt(String(row['amount_micro']));
    return row['sign'] === 'credit' ? sum - amount : sum + amount;
  }, 0n);
};

/** Fails at the n-th step: before or after a commit, or before or after a file write. */
const crashing = (database: SqlDatabase, files: Map<string, string>, at: number) => {
  let step = 0;
  const here = (): void => {
    if (++step === at) throw new Crash();
  };
  const faulty: SqlDatabase = {
    transaction: async (work) => {
      here();
      const result = await database.transaction(async (session) => {
        const done = await work(session);
        here();
        return done;
      });
      here();
      return result;
    },
    close: () => database.close(),
  };
  const writeFile = async (path: string, bytes: Uint8Array | string): Promise<void> => {
    here();
    files.set(path, Buffer.from(bytes).toString('hex'));
    here();
  };
  const disarm = (): void => {
    step = Number.NEGATIVE_INFINITY;
  };
  return { database: faulty, writeFile, disarm };
};

t.test(
  'a crash between any two steps loses no receipt, doubles none and reuses no sequence',
  async (t) => {
    const run = async (at: number): Promise<{ files: Map<string, string>; crashed: boolean }> => {
      const files = new Map<string, string>();
      const real = await openTestStore();
      const faults = crashing(real, files, at);
      let crashed = false;
      const work = async (part: Partial<ClearingOptions>): Promise<ClearingService> => {
        const { service } = await inMemory(part);
        await service.ingestBatch(history(), NOON_S);
        await service.cut(NOON_S, anchors, true);
        return service;
      };
      let service: ClearingService;
      try {
        service = await work(faults);
        faults.disarm();
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        crashed = true;
        const writeFile = crashing(real, files, -1).writeFile;
        service = await work({ database: real, writeFile });
      }
      const report = await service.reconcile();
      t.ok(report.reconciles, `crash at step ${at}: books reconcile`);
      t.equal(report.receipts, 30);
      await service.close();
      return { files, crashed };
    };
    const calm = await run(-1);
    const names = [...calm.files.keys()].filter((path) => path.endsWith('.ipm'));
    t.equal(names.length, 1);
    for (let at = 1, crashed = true; crashed; at++) {
      const outcome = await run(at);
      crashed = outcome.crashed;
      t.same(outcome.files, calm.files, `step ${at}: the same bytes`);
    }
  },
);

t.test('a second run over the same receipts is all duplicates and cuts nothing', async (t) => {
  const { service, files } = await inMemory();
  await service.ingestBatch(history(), NOON_S);
  await service.cut(NOON_S, anchors, true);
  const before = new Map(files);
  t.match(await service.ingestBatch(history(), NOON_S + 5), { first: 0, duplicate: 30 });
  t.match(await service.cut(NOON_S + 5, anchors, true), { files: [] });
  t.same(files, before);
  await service.close();
});

t.test(
  'over random histories every step reconciles and files equal receipts minus remainder',
  async () => {
    const step = fc.record({
      kind: fc.constantFrom('pay', 'pay', 'pay', 'again', 'clone', 'void', 'cut', 'close'),
      who: fc.nat(3),
      amount: fc.bigInt(1n, 9_999_999n),
      late: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { service, database } = await inMemory();
        const lines = [0, 1, 2, 3].map((at) => new LineOfReceipts(`line ${at}`));
        const paid: VerifiedReceipt[] = [];
        let nowS = NOON_S;
        let presented = 0n;
        for (const { kind, who, amount, late } of steps) {
          nowS += 3600;
          const line = lines[who] as LineOfReceipts;
          const businessTimeS = late ? nowS - 2 * DAY_S : nowS;
          const old = paid[Number(amount) % Math.max(1, paid.length)];
          const key = keyWith({ account: `ACC-${who % 2}` });
          const items: VerifiedItem[] = [];
          if (kind === 'pay') paid.push(line.next(amount, { businessTimeS, key }));
          if (kind === 'pay') items.push(...paid.slice(-1));
          if (kind === 'again' && old) items.push(old);
          if (kind === 'void' && old) items.push({ ...old, kind: 'void' });
          if (kind === 'clone' && old) {
            items.push({ ...old, paymentHash: hashOf(`clone ${nowS}`), amountMicro: 1n });
          }
          await service.ingestBatch(items, nowS);
          if (kind === 'cut' || kind === 'close') {
            await service.cut(nowS, anchors, kind === 'close');
            presented = await netOfFiles(database);
          }
          const { reconciles, books } = await service.reconcile();
          if (!reconciles) throw new Error(`does not reconcile after ${kind}`);
          const inBooks = books[0]?.presentedMicro ?? 0n;
          if (inBooks !== presented)
            throw new Error(`${inBooks} presented, files say ${presented}`);
        }
        await service.close();
      }),
      { numRuns: 25 },
    );
  },
);

t.test('a changed balance or a lost line is a difference that reconciliation names', async (t) => {
  const { service, database } = await inMemory();
  await service.ingestBatch(history(), NOON_S);
  await service.cut(NOON_S, anchors, true);
  await database.transaction(async (session) => {
    await session.run("UPDATE receipts SET charge_micro = '1' WHERE id = 1");
    await session.run("UPDATE presentments SET amount_micro = '1' WHERE number = 2");
    await session.run("UPDATE books_journal SET amount_micro = '1' WHERE id = 1");
  });
  const report = await service.reconcile();
  t.notOk(report.reconciles);
  t.ok(report.differences.length >= 3);
  await service.close();
});
