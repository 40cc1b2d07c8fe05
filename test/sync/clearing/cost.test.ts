import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { centralMessages, perTenThousand, ratio, readCost } from '../../../sync/clearing/cost.ts';
import { kiri } from '../../system/command.ts';
import { NOON_S, anchors, history, inMemory } from './sample.ts';
import { makeTestStore, SERVER } from './store.ts';

t.test('shares keep two decimals and are cut off, also beyond 2^53', (t) => {
  t.equal(ratio(30, 4), '7.50');
  t.equal(ratio(2, 3), '0.66');
  t.equal(ratio(1, 0), undefined);
  t.equal(perTenThousand(3, 100_000), '0.30');
  t.equal(perTenThousand(1, 0), undefined);
  t.equal(perTenThousand(Number.MAX_SAFE_INTEGER, 1), `${2n ** 53n - 1n}0000.00`);
  t.end();
});

t.test('thirty payments of six keys cost six lines of one file, and no message each', async (t) => {
  const made = await makeTestStore(t);
  const database = await made.open();
  const { service } = await inMemory({ database });
  t.same(await database.transaction(readCost), {
    receipts: 0,
    aggregated: 0,
    presentments: 0,
    credits: 0,
    files: 0,
    answers: 0,
    payoutFiles: 0,
  });
  await service.ingestBatch(history(), NOON_S);
  const before = await database.transaction(readCost);
  t.match(before, { receipts: 30, aggregated: 0, presentments: 0, files: 0 });
  await service.cut(NOON_S + 6 * 86_400, anchors);
  const cost = await database.transaction(readCost);
  // Receipt n is of merchant n % 2 and account n % 3: six keys, five receipts each.
  t.match(cost, { receipts: 30, aggregated: 30, presentments: 6, credits: 0, files: 1 });
  t.equal(ratio(cost.aggregated, cost.presentments), '5.00');
  t.equal(centralMessages(cost), 1);
  await service.close();
  if (SERVER === undefined) await asCommand(t, made.location);
});

const asCommand = async (t: Test, store: string): Promise<void> => {
  const out = t.testdir();
  for (const [name, bytes] of Object.entries({
    'clearing/a.ipm': 300,
    'clearing/a.manifest': 60,
    'evidence/2026-11/x.cbor': 90,
  })) {
    mkdirSync(join(out, name, '..'), { recursive: true });
    writeFileSync(join(out, name), new Uint8Array(bytes));
  }
  const json = await kiri(['clearing', 'cost', '--store', store, '--out', out, '--json']);
  t.equal(json.code, 0, json.stderr);
  t.match(JSON.parse(json.stdout), {
    ok: true,
    receipts: 30,
    receiptsPerPresentment: '5.00',
    centralMessagesPer10000: '333.33',
    presentmentsPer10000: '2000.00',
    bytes: { settlement: 300, beside: 60, evidence: 90 },
  });
  const text = await kiri(['clearing', 'cost', '--store', store, '--out', out]);
  t.match(text.stdout, /^receipts per presentment: 5\.00$/m);
  t.match(text.stdout, /^bytes, settlement: 300 \(10\.00 per payment\)$/m);
  const none = await kiri(['clearing', 'cost', '--store', store, '--out', join(out, 'none')]);
  t.equal(none.code, 1);
  t.match(none.stderr, /FILE_UNREADABLE: .*none is no folder/);
};
