import { readFile } from 'node:fs/promises';
import t from 'tap';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { textOf } from '../../../sync/clearing/sql.ts';
import { LineOfReceipts, NOON_S, anchors, inMemory } from './sample.ts';

const EVENTS = ['L1', 'L2', 'L2 elsewhere', 'void', 'stop', 'lift', 'cut'] as const;
const HEAD = { origin: 'gateway.example/2026q4', size: 1, root: new Uint8Array(32) };
type Event = (typeof EVENTS)[number];

type World = {
  readonly service: ClearingService;
  readonly database: SqlDatabase;
  readonly receipt: VerifiedReceipt;
};

const open = async (): Promise<World> => {
  const { service, database } = await inMemory();
  return { service, database, receipt: new LineOfReceipts('car').next(3_000_000n) };
};

const happen = async ({ service, receipt }: World, event: Event): Promise<void> => {
  const { origin } = receipt;
  switch (event) {
    case 'L1':
    case 'L2':
      await service.ingestBatch([{ ...receipt, level: event }], NOON_S);
      return;
    case 'L2 elsewhere':
      await service.ingestBatch([{ ...receipt, origin: 'intake', leafIndex: 7 }], NOON_S);
      return;
    case 'void':
      await service.ingestBatch([{ ...receipt, kind: 'void', leafIndex: 900 }], NOON_S);
      return;
    case 'stop':
      await service.stopLog({ origin, first: HEAD, second: HEAD }, 'evidence', NOON_S);
      return;
    case 'lift':
      await service.liftStop(origin, NOON_S);
      return;
    case 'cut':
      await service.cut(NOON_S, anchors, true);
      return;
  }
};

const stateOf = async ({ database }: World): Promise<string> => {
  const [row] = await database.transaction((session) => session.all('SELECT state FROM receipts'));
  if (row) return textOf(row, 'state');
  const voids = await database.transaction((session) => session.all('SELECT counter FROM voids'));
  return voids.length > 0 ? 'voided' : 'unknown';
};

/** The way into each state; a log that has to be lifted is stopped first. */
const WAYS: Readonly<Record<string, readonly Event[]>> = {
  unknown: [],
  voided: ['void'],
  awaitingL2: ['L1'],
  pending: ['L2'],
  withheld: ['L2', 'void'],
  forked: ['L2', 'stop'],
  aggregated: ['L2', 'cut'],
};

t.test('the table of receipts in docs/clearing.md says what happens to one', async (t) => {
  const page = (await readFile('docs/clearing.md', 'utf8')).replaceAll(/ +/g, ' ');
  for (const [state, way] of Object.entries(WAYS)) {
    const moves: string[] = [];
    for (const event of EVENTS) {
      const world = await open();
      for (const one of way) await happen(world, one);
      t.equal(await stateOf(world), state);
      await happen(world, event);
      const after = await stateOf(world);
      if (after !== state) moves.push(`${event} → ${after}`);
      const { reconciles } = await world.service.reconcile();
      t.ok(reconciles, `${state} ${event}`);
      await world.service.close();
    }
    const row = `| ${state} | ${moves.join(', ') || '–'} |`;
    t.ok(page.includes(row), row);
  }
});

t.test('a Payment that is not final yet hides no contradiction of two that are', async (t) => {
  const { service } = await inMemory();
  const line = new LineOfReceipts('car');
  const first = line.next(100_000_000n);
  // Its total fell below the first one's, and the third goes on from there.
  const second = { ...line.next(10_000_000n), totalMicro: 20_000_000n, level: 'L1' as const };
  const third = { ...line.next(10_000_000n), totalMicro: 30_000_000n };
  await service.ingestBatch([first, second], NOON_S);
  t.match(await service.ingestBatch([third], NOON_S), { first: 1, conflict: 1 });
  await service.close();
});
