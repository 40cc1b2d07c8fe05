import fc from 'fast-check';
import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { pullLogs } from '../../../sync/clearing/pull-logs.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { encodeNoteLeaf } from '../../../sync/ledger/core/leaf.ts';
import { CHECKPOINT_PATH } from '../../../sync/ledger/core/log-batch.ts';
import type { LogSource } from '../../../sync/ledger/log-source.ts';
import type { Payer } from '../../approval/kit.ts';
import { NOW_S, newWorld, type World, yen } from '../../identity/fixture.ts';
import { documentsOf, LogInMemory, ORIGIN, purchase, voidOf, worldPayer } from './purchases.ts';
import { inMemory } from './sample.ts';
import { openTestStore } from './store.ts';

const INTAKE = 'intake.example/2026q4';
const PULLED_S = NOW_S + 60;

type Pulled = Pick<LogInMemory, 'origin' | 'policy' | 'pair' | 'source'>;

interface Scene {
  readonly world: World;
  readonly payer: Payer;
  readonly puller: (log: Pulled, ...mirrors: LogSource[]) => LogPuller;
  readonly service: (database?: SqlDatabase) => Promise<ClearingService>;
}

const scene = (): Scene => {
  const world = newWorld();
  const registry = buildRegistry(world.trust, documentsOf(world));
  return {
    world,
    payer: worldPayer(world),
    puller: (log, ...mirrors) =>
      new LogPuller({
        clearing: world.signers.clearing.key.id,
        sources: [log.source, ...mirrors],
        origin: log.origin,
        policy: log.policy,
        registry,
        verifier: nodeVerifier(),
        contentKey: log.pair.privateKey,
      }),
    service: async (database) => {
      const directory = directoryOf(registry);
      return (await inMemory({ directory, ...(database && { database }) })).service;
    },
  };
};

const takenBy = async (service: ClearingService, world: World): Promise<unknown> => {
  const taken = (await service.taken()).get(world.signers.gateway.key.hex);
  return taken && { through: taken.throughSequence, count: taken.count, sum: taken.sumMicro };
};

t.test('any order of one set of receipts over two logs books each once', async (t) => {
  const { world, payer, puller, service } = scene();
  const rows = 10;
  const bought = Array.from({ length: rows }, (_, at) =>
    purchase(world, payer, { sequence: at + 1 }),
  );
  const act = fc.record({
    log: fc.constantFrom<'gateway' | 'intake'>('gateway', 'intake'),
    at: fc.nat(rows - 1),
    pull: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 14 }), async (acts) => {
      const logs = { gateway: new LogInMemory(), intake: new LogInMemory(INTAKE) };
      const clearing = await service();
      const pullers = [puller(logs.gateway), puller(logs.intake)];
      const there = new Set<number>();
      let own = 0;
      for (const { log, at, pull } of acts) {
        // A gateway's log follows its journal: rows only ascend, and some may be left out.
        if (log === 'intake' || at + 1 > own) {
          logs[log].append([bought[at]!]);
          there.add(at + 1);
          if (log === 'gateway') own = at + 1;
        }
        if (pull) await pullLogs(pullers, clearing, PULLED_S);
      }
      await pullLogs(pullers, clearing, PULLED_S);
      let through = own;
      while (there.has(through + 1)) through += 1;
      const count = [...there].filter((row) => row <= through).length;
      const expected = { through, count, sum: BigInt(count) * yen(100) };
      const { receipts, reconciles } = await clearing.reconcile();
      const found = await takenBy(clearing, world);
      await clearing.close();
      if (receipts !== there.size || !reconciles) throw new Error(`${receipts} of ${there.size}`);
      if (there.size === 0) return;
      for (const key of ['through', 'count', 'sum'] as const) {
        const [a, b] = [(found as typeof expected)[key], expected[key]];
        if (a !== b) throw new Error(`${key}: ${a}, expected ${b}`);
      }
    }),
    { numRuns: 12 },
  );
  t.pass('each once, sums right');
});

t.test('a crash at any transaction of a pull is gone on from, in mid log', async (t) => {
  const { world, payer, puller, service } = scene();
  const log = new LogInMemory();
  log.append(Array.from({ length: 300 }, (_, at) => purchase(world, payer, { sequence: at + 1 })));
  for (const crashAt of [1, 2, 5, 6]) {
    let transactions = -Infinity;
    const database = await openTestStore();
    const failing: SqlDatabase = {
      transaction: async (work) => {
        transactions += 1;
        return database.transaction(async (session) => {
          const result = await work(session);
          if (transactions === crashAt) throw new KiriError('DISK_FAILED', 'pulled plug');
          return result;
        });
      },
      close: () => database.close(),
    };
    const clearing = await service(failing);
    transactions = 0;
    await t.rejects(puller(log).pull(clearing, PULLED_S), { code: 'DISK_FAILED' });
    const { nextIndex } = await clearing.cursor(ORIGIN);
    t.equal((await clearing.reconcile()).receipts, nextIndex, 'cursor and bookings move together');
    const again = await puller(log).pull(clearing, PULLED_S);
    t.match(again, { size: 300, ingested: 300 - nextIndex });
    t.match(await clearing.reconcile(), { receipts: 300, reconciles: true });
    const sum = 300n * yen(100);
    t.same(await takenBy(clearing, world), { through: 300, count: 300, sum });
    await clearing.close();
  }
});

t.test('nothing is booked that is not proven to lie under the final root', async (t) => {
  const { world, payer, puller, service } = scene();
  const log = new LogInMemory();
  const all = Array.from({ length: 262 }, () => purchase(world, payer));
  log.append(all);
  const other = new LogInMemory();
  other.append([...all.slice(0, 260), purchase(world, payer), ...all.slice(261)]);
  const honest = new Map(log.files);
  const clearing = await service();
  for (const [path, bytes] of other.files) {
    if (path.startsWith('tlog/tile/entries/001')) log.files.set(path, bytes);
    if (path.startsWith('payload/001')) log.files.set(path, bytes);
  }
  await t.rejects(puller(log).pull(clearing, PULLED_S), { code: 'LOG_FORKED' });
  t.match(await clearing.reconcile(), { receipts: 0 }, 'not even the part before it in its chunk');
  for (const [path, bytes] of honest) log.files.set(path, bytes);
  t.match(await puller(log).pull(clearing, PULLED_S), { size: 262, ingested: 262 });
  await clearing.close();
});

t.test('a mirror stands in: for a dead log, a missing record, a garbled key', async (t) => {
  const { world, payer, puller, service } = scene();
  const log = new LogInMemory();
  log.append(Array.from({ length: 20 }, () => purchase(world, payer)));
  const files = new Map(log.files);
  const mirror: LogSource = { place: 'mirror', read: async (path) => files.get(path) };
  const clearing = await service();
  const dead: LogSource = {
    place: 'dead',
    read: () => Promise.reject(new KiriError('HTTP_UNREACHABLE', 'dead')),
  };
  const payload = log.files.get('payload/000')!.slice();
  payload[100] = (payload[100] ?? 0) ^ 1;
  log.files.set('payload/000', payload);
  log.files.set(`keys/${toHex(log.key.kid)}`, new Uint8Array(40));
  t.match(await puller(log, mirror).pull(clearing, PULLED_S), { ingested: 20, faultCount: 0 });
  await clearing.close();
  const second = await service();
  const fallback = puller(
    { origin: ORIGIN, policy: log.policy, pair: log.pair, source: dead },
    mirror,
  );
  t.match(await fallback.pull(second, PULLED_S), { ingested: 20, faultCount: 0 });
  log.append([purchase(world, payer)]);
  t.match(await puller(log, mirror).pull(second, PULLED_S), { size: 21 }, 'who is ahead is read');
  t.match(await second.reconcile(), { receipts: 21, reconciles: true, findings: [] });
  await second.close();
});

t.test('a dead or forked log holds up no other', async (t) => {
  const { world, payer, puller, service } = scene();
  const [one, two] = [new LogInMemory(), new LogInMemory(INTAKE)];
  one.append([purchase(world, payer)]);
  two.append([purchase(world, payer)]);
  one.publish(new Uint8Array(32).fill(7));
  const clearing = await service();
  const round = await pullLogs([puller(one), puller(two)], clearing, PULLED_S);
  t.match(round, {
    ingested: 1,
    logs: [{ origin: ORIGIN, trouble: /do not lead to its root at 1$/ }, { size: 1 }],
  });
  await t.rejects(pullLogs([puller(one)], clearing, PULLED_S), { code: 'LOG_FORKED' });
  await clearing.close();
});

t.test('a chain of shards: the first entry is the end of the one before', async (t) => {
  const { world, payer, puller, service } = scene();
  const [first, second] = [new LogInMemory('gw1.example/2026q3'), new LogInMemory(ORIGIN)];
  first.append([purchase(world, payer), purchase(world, payer)]);
  const end = first.files.get(CHECKPOINT_PATH)!;
  const text = Buffer.from(end).toString();
  const leaf = encodeNoteLeaf('predecessor', text.slice(0, text.indexOf('\n\n') + 1));
  second.appendEntries([{ leaf, payload: end, acceptedAtMs: 0 }]);
  second.append([purchase(world, payer)]);
  const both: Pulled = {
    origin: ORIGIN,
    pair: second.pair,
    source: second.source,
    policy: { ...second.policy, logs: [...first.policy.logs, ...second.policy.logs] },
  };
  const clearing = await service();
  const early = await puller(both).pull(clearing, PULLED_S);
  t.match(early, { ingested: 2, faults: [/PREDECESSOR_INVALID: ends at 2, of which 0/] });
  const orderly = await service();
  const pullers = [puller(first), puller(both)];
  t.match(await pullLogs(pullers, orderly, PULLED_S), { ingested: 4, faultCount: 0 });
  t.match(await orderly.reconcile(), { receipts: 3, reconciles: true, findings: [] });
  const forged = new LogInMemory('gw1.example/2027q1');
  const stranger = utf8ToBytes(text.replace('2026q3', '2026q2'));
  const forgedText = text.replace('2026q3', '2026q2');
  const forgedLeaf = encodeNoteLeaf(
    'predecessor',
    forgedText.slice(0, forgedText.indexOf('\n\n') + 1),
  );
  forged.appendEntries([{ leaf: forgedLeaf, payload: stranger, acceptedAtMs: 0 }]);
  t.match(await puller(forged).pull(orderly, PULLED_S), { faults: [/PREDECESSOR_INVALID/] });
  await clearing.close();
  await orderly.close();
});

t.test('gaps in sequences and totals are money at risk, until they are filled', async (t) => {
  const { world, payer, puller, service: open } = scene();
  const log = new LogInMemory();
  const service = await open();
  // 100 yen each: rows 1 to 9 of one approver, totals 100, 200, … 900.
  const bought = Array.from({ length: 9 }, (_, at) => purchase(world, payer, { sequence: at + 1 }));
  const of = (...rows: number[]): typeof bought => rows.map((row) => bought[row - 1]!);
  log.append(of(2, 5, 6, 9));
  await puller(log).pull(service, NOW_S + 60);
  const approver = world.signers.gateway.key.hex;
  // Missing: 1, then 3 and 4, then 7 and 8: five rows, and as many payments.
  t.same((await service.reconcile()).atRisk, {
    approvers: 1,
    missingRows: 5,
    listedApprovers: [
      {
        approver,
        count: 5,
        ranges: [
          [1, 1],
          [3, 4],
          [7, 8],
        ],
        sinceS: NOW_S + 60,
      },
    ],
    lines: 1,
    lineGaps: 3,
    sumMicro: { 392: yen(500) },
    listedLines: [{ line: toHex(world.line), currency: 392, count: 3, sumMicro: yen(500) }],
  });
  // One that was missing was voided: nobody owes it. Two more come late.
  const [third] = of(3);
  log.append([...of(1, 8), { ...third!, outcome: voidOf(world, third!.payment, 3) }]);
  await puller(log).pull(service, NOW_S + 90);
  t.match((await service.reconcile()).atRisk, {
    missingRows: 2,
    listedApprovers: [
      {
        ranges: [
          [4, 4],
          [7, 7],
        ],
      },
    ],
    lineGaps: 2,
    sumMicro: { 392: yen(200) },
  });
  log.append(of(4, 7));
  await puller(log).pull(service, NOW_S + 90);
  t.match((await service.reconcile()).atRisk, { approvers: 0, missingRows: 0, lines: 0 });
  await service.close();
});
