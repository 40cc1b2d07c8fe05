import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { MAX_BATCHES, CheckThreads } from '../../../sync/clearing/check-threads.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import {
  checkInLine,
  type CheckRules,
  type RecordBatch,
  type SealedRecord,
} from '../../../sync/clearing/record-check.ts';
import { sealPayload } from '../../../sync/ledger/payload-record.ts';
import { hashOf, newPayer } from '../../approval/kit.ts';
import { NOW_S, newWorld, yen } from '../../identity/fixture.ts';
import type { World } from '../../identity/fixture.ts';
import { documentsOf, LogInMemory, ORIGIN, purchase, voidOf, worldPayer } from './purchases.ts';
import { inMemory } from './sample.ts';

const rulesOf = (world: World): CheckRules => ({
  registry: buildRegistry(world.trust, documentsOf(world)),
  clearing: world.signers.clearing.key.id,
});

const KEY = { kid: new Uint8Array(16), key: new Uint8Array(32).fill(2) };

/** As many records as asked for; every 16th one wrong in another way, or a Void. */
const mixed = (world: World, count: number): SealedRecord[] => {
  const payer = worldPayer(world);
  const stranger = newPayer(world);
  return Array.from({ length: count }, (_, leafIndex) => {
    const good = purchase(world, payer);
    const forged = (): typeof good =>
      purchase(world, payer, {}, { signer: world.signers.stranger });
    const strange: readonly (() => Omit<typeof good, 'offer'>)[] = [
      () => purchase(world, stranger),
      forged,
      () => ({ ...good, outcome: voidOf(world, good.payment) }),
      () => ({ ...good, payment: new Uint8Array(100) }),
    ];
    const evidence = leafIndex % 16 === 15 ? strange[(leafIndex >>> 4) % 4]!() : good;
    const plain = EVIDENCE.encode(evidence);
    const record = sealPayload(plain, hashOf(evidence.outcome), KEY);
    const key = leafIndex % 16 === 7 ? new Uint8Array(32) : KEY.key;
    return { leafIndex, record: leafIndex === 40 ? record.subarray(0, 50) : record, key };
  });
};

t.test('threads say of every record what one thread in line says, in its order', async (t) => {
  const world = newWorld();
  const rules = rulesOf(world);
  const inLine = checkInLine(rules, nodeVerifier());
  const records = mixed(world, 192);
  const batches = [0, 64, 128].map((from): RecordBatch => ({
    origin: ORIGIN,
    cosignedAtS: NOW_S + 30,
    records: records.slice(from, from + 64),
  }));
  const threads = new CheckThreads(rules, inLine, 2);
  t.teardown(() => threads.close());
  const answers = await Promise.all(batches.map((batch) => threads.check(batch)));
  for (const [at, batch] of batches.entries()) {
    t.same(answers[at], await inLine.check(batch), `batch ${at}`);
  }
  const kinds = answers.flat().map((item) => (item.kind === 'rejected' ? item.code : item.kind));
  t.equal(kinds.length, 192);
  for (const kind of ['receipt', 'void', 'UNKNOWN_LINE', 'BAD_SIGNATURE', 'PAYLOAD_SEALED']) {
    t.ok(kinds.includes(kind), kind);
  }
  t.same(await threads.check({ ...batches[0]!, records: [] }), [], 'an empty batch');
});

t.test('a thread that dies fails its own batch; the next ones are checked', async (t) => {
  const world = newWorld();
  const rules = rulesOf(world);
  const inLine = checkInLine(rules, nodeVerifier());
  const threads = new CheckThreads(rules, inLine, 2);
  const records = mixed(world, 64);
  const batch = { origin: ORIGIN, cosignedAtS: NOW_S + 30, records };
  const deadly = { ...batch, records: { length: 64 } as never };
  const [bad, good] = await Promise.allSettled([threads.check(deadly), threads.check(batch)]);
  t.match(bad, { status: 'rejected', reason: { code: 'CHECK_THREAD_FAILED' } });
  t.match(good, { status: 'fulfilled' });
  t.equal((await threads.check(batch)).length, 64, 'a new thread stands in');
  // Seconds of work: no thread is through with it before the next statement, whoever else has the cores.
  const long = Array.from({ length: 300 }, () => records).flat();
  const held = threads.check({ ...batch, records: long });
  await Promise.all([t.rejects(held, { code: 'CHECK_THREAD_FAILED' }), threads.close()]);
  t.throws(() => threads.check(batch), { code: 'INVARIANT_BROKEN' }, 'closed is closed');
});

t.test('more batches than the limit are the fault of whoever hands them in', async (t) => {
  const world = newWorld();
  const rules = rulesOf(world);
  const threads = new CheckThreads(rules, checkInLine(rules, nodeVerifier()), 1);
  const records = mixed(world, 64);
  const batch = { origin: ORIGIN, cosignedAtS: NOW_S + 30, records };
  const handedIn = Array.from({ length: MAX_BATCHES }, () => threads.check(batch));
  t.throws(() => threads.check(batch), { code: 'INVARIANT_BROKEN' });
  await Promise.all([Promise.allSettled(handedIn), threads.close()]);
});

t.test('a log is booked through threads, and goes on after one of them died', async (t) => {
  const world = newWorld();
  const rules = rulesOf(world);
  const log = new LogInMemory();
  const { service } = await inMemory({ directory: directoryOf(rules.registry) });
  t.teardown(() => service.close());
  const payer = worldPayer(world);
  log.append(Array.from({ length: 300 }, () => purchase(world, payer)));
  const verifier = nodeVerifier();
  const threads = new CheckThreads(rules, checkInLine(rules, verifier), 2);
  t.teardown(() => threads.close());
  let batches = 0;
  const options = {
    ...rules,
    sources: [log.source],
    origin: ORIGIN,
    policy: log.policy,
    verifier,
    contentKey: log.pair.privateKey,
    checker: {
      check: (batch: RecordBatch) =>
        threads.check(++batches === 2 ? { ...batch, records: { length: 64 } as never } : batch),
    },
  };
  const puller = new LogPuller(options);
  await t.rejects(puller.pull(service, NOW_S + 60), { code: 'CHECK_THREAD_FAILED' });
  t.match(await service.cursor(ORIGIN), { nextIndex: 256 }, 'what came before it is booked');
  t.match(await puller.pull(service, NOW_S + 60), { size: 300, ingested: 44, faultCount: 0 });
  const { receipts, reconciles, books } = await service.reconcile();
  t.match({ receipts, reconciles }, { receipts: 300, reconciles: true });
  t.equal(books[0]?.acceptedMicro, 300n * yen(100));
});

t.test('a chunk that cannot be read holds up nothing that was read before it', async (t) => {
  const world = newWorld();
  const rules = rulesOf(world);
  const log = new LogInMemory();
  const { service } = await inMemory({ directory: directoryOf(rules.registry) });
  t.teardown(() => service.close());
  const payer = worldPayer(world);
  const one = purchase(world, payer);
  // Sixteen bundles make a chunk; all but the first entry are the same receipt once more.
  log.append(Array.from({ length: 16 * 256 + 5 }, () => one));
  const source = {
    place: log.source.place,
    read: async (path: string) => (path === 'payload/016' ? undefined : log.source.read(path)),
  };
  const options = { ...rules, policy: log.policy, contentKey: log.pair.privateKey };
  const checker = {
    check: async ({ origin, records }: RecordBatch) =>
      records.map(({ leafIndex }) => ({
        kind: 'rejected' as const,
        origin,
        leafIndex,
        code: 'NOT_LOOKED_AT',
        detail: '',
      })),
  };
  const verifier = nodeVerifier();
  const puller = new LogPuller({
    ...options,
    verifier,
    sources: [source],
    origin: ORIGIN,
    checker,
  });
  await t.rejects(puller.pull(service, NOW_S + 60), { code: 'LOG_INCOMPLETE' });
  t.match(await service.cursor(ORIGIN), { nextIndex: 16 * 256 });
});
