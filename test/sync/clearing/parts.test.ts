/** Two clearings that share the work: two files, or two schemas of one server (with-postgres.sh). */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { configuredPart, takenOf } from '../../../cli/programs/clearing-part.ts';
import { Config } from '../../../cli/programs/config.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { PRESENT } from '../../../protocol/messages/envelopes.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { programmesWith } from '../../../sync/clearing/core/programmes.ts';
import { partFault, partOfParty } from '../../../sync/clearing/core/part.ts';
import type { Part } from '../../../sync/clearing/core/part.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { takenOfParts } from '../../../sync/clearing/parted-taken.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { searchReceipts } from '../../../sync/clearing/search.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import type { Evidence } from '../../../protocol/messages/evidence.ts';
import { newPayer, type Payer } from '../../approval/kit.ts';
import { NOW_S, newSigner, newWorld, yen } from '../../identity/fixture.ts';
import { LogInMemory, ORIGIN, documentsOf, purchase, voidOf } from './purchases.ts';
import { inMemory, programme } from './sample.ts';
import { makeTestStore } from './store.ts';

const PULLED_S = NOW_S + 60;
const PARTIES = 12;
const PROGRAMMES = programmesWith([{ ...programme, name: 'onus-micro' }]);
const world = newWorld();

const documentsIn = ({ present }: Payer): readonly Uint8Array[] => {
  const opened = PRESENT.decode(present);
  if (!opened.ok) throw new Error(opened.reason);
  return opened.value.documents;
};

/** Twelve parties with two devices each, six of either part of two, and a log in which they take turns. */
const parties = [0, 1].flatMap((index) => {
  const found: Signer[] = [];
  while (found.length < PARTIES / 2) {
    const party = newSigner();
    if (partOfParty(party.key.id, 2) === index) found.push(party);
  }
  return found;
});
const payers = parties.flatMap((party) => [newPayer(world, {}, party), newPayer(world, {}, party)]);
/** One credential for each party: the devices of a party share it, and the registrar's is the world's. */
const registry = buildRegistry(world.trust, [
  ...documentsOf(world),
  ...payers.flatMap((payer, at) => {
    const [party, _registrar, ...own] = documentsIn(payer);
    return at % 2 === 0 && party ? [party, ...own] : own;
  }),
]);
const evidenceFrom = (first: number, count: number): Evidence[] =>
  Array.from({ length: count }, (_, at) => {
    const sequence = first + at;
    const bought = purchase(world, payers[sequence % payers.length] as Payer, { sequence });
    if (sequence % 20 === 7) {
      const { outcome: _outcome, ...rest } = bought;
      return { ...rest, outcome: voidOf(world, bought.payment, sequence) };
    }
    if (sequence === 9) return { ...bought, offer: bought.payment };
    return bought;
  });

type Worker = {
  readonly service: ClearingService;
  readonly database: SqlDatabase;
  readonly location: string;
  readonly files: Map<string, string>;
  readonly pull: (log: LogInMemory) => Promise<number>;
};

const worker = async (t: Test, part?: Part, known = registry): Promise<Worker> => {
  const store = await makeTestStore(t);
  const database = await store.open();
  const directory = directoryOf(known, PROGRAMMES);
  const made = await inMemory({ database, directory, ...(part && { part }) });
  t.teardown(() => made.service.close());
  return {
    ...made,
    location: store.location,
    pull: async (log) => {
      const puller = new LogPuller({
        clearing: world.signers.clearing.key.id,
        ...(part && { part }),
        sources: [log.source],
        origin: ORIGIN,
        policy: log.policy,
        registry: known,
        verifier: nodeVerifier(),
        contentKey: log.pair.privateKey,
      });
      return (await puller.pull(made.service, PULLED_S)).elsewhere ?? 0;
    },
  };
};

const rowsOf = async (database: SqlDatabase, sql: string): Promise<string[]> =>
  (await database.transaction((session) => session.all(sql))).map((row) => String(row['v']));

const hashesOf = async (database: SqlDatabase): Promise<string[]> => {
  const all: string[] = [];
  for await (const page of searchReceipts(database, {})) {
    all.push(...page.map(({ paymentHash }) => paymentHash));
  }
  return all.toSorted();
};

t.test('two parts over one log book everything once, and add up to one clearing', async (t) => {
  const log = new LogInMemory();
  log.append(evidenceFrom(1, 72));
  const whole = await worker(t);
  const parts = [await worker(t, { index: 0, of: 2 }), await worker(t, { index: 1, of: 2 })];
  const [left, right] = parts as [Worker, Worker];
  await whole.pull(log);
  const elsewhere = [await left.pull(log), await right.pull(log)];
  t.equal(elsewhere[0]! + elsewhere[1]!, 72, 'each record is another part’s once');
  t.ok(
    elsewhere.every((count) => count > 10),
    'both have their share',
  );

  const all = await hashesOf(whole.database);
  const own = await Promise.all(parts.map(({ database }) => hashesOf(database)));
  t.equal(all.length, 67, '72 less four Voids and a record that cannot be booked');
  t.same(own.flat().toSorted(), all, 'every receipt in exactly one part');
  t.equal(new Set(own.flat()).size, all.length);

  for (const { service } of [whole, ...parts]) {
    await service.cut(PULLED_S, [{ origin: ORIGIN, size: 72, root: 'ab'.repeat(32) }], true);
  }
  const reports = await Promise.all(parts.map(({ service }) => service.reconcile()));
  const total = await whole.service.reconcile();
  t.ok([...reports, total].every(({ reconciles }) => reconciles));
  const add = (pick: (report: typeof total) => bigint): bigint =>
    reports.reduce((sum, report) => sum + pick(report), 0n);
  t.equal(
    add(({ receipts }) => BigInt(receipts)),
    67n,
  );
  t.equal(
    add(({ books }) => books[0]?.acceptedMicro ?? 0n),
    total.books[0]?.acceptedMicro,
  );
  t.equal(
    add(({ books }) => books[0]?.presentedMicro ?? 0n),
    total.books[0]?.presentedMicro,
  );
  t.equal(
    add(({ findings }) => BigInt(findings.length)),
    BigInt(total.findings.length),
  );

  const both = async (sql: string): Promise<string[]> =>
    (await Promise.all(parts.map(({ database }) => rowsOf(database, sql)))).flat();
  const keys = await both('SELECT key_id AS v FROM keys');
  t.equal(new Set(keys).size, keys.length, 'no aggregation key is in both');
  t.same(keys.toSorted(), await rowsOf(whole.database, 'SELECT key_id AS v FROM keys ORDER BY 1'));
  for (const sql of ['SELECT file_id AS v FROM files', 'SELECT arn AS v FROM presentments']) {
    const ids = await both(sql);
    t.ok(ids.length > 1);
    t.equal(new Set(ids).size, ids.length, sql);
  }
  const names = parts.flatMap(({ files }) =>
    [...files.keys()].filter((path) => path.endsWith('.ipm')),
  );
  t.match(names, [/S00001\.T\.ipm$/, /S00002\.T\.ipm$/]);

  // A second cut of either takes the next number of its own.
  log.append(evidenceFrom(73, 24));
  for (const one of parts) {
    await one.pull(log);
    await one.service.cut(
      PULLED_S + 1,
      [{ origin: ORIGIN, size: 96, root: 'ab'.repeat(32) }],
      true,
    );
  }
  const numbers = await both('SELECT sequence AS v FROM files ORDER BY sequence');
  t.same(numbers.toSorted(), ['1', '2', '3', '4']);
  const arns = await both('SELECT arn AS v FROM presentments');
  t.equal(new Set(arns).size, arns.length);
});

t.test('a record that its own part cannot book is noted there, whatever others know', async (t) => {
  // The documents of one line come into force later in the part that it belongs to, or in the other one.
  const payer = payers[PARTIES] as Payer;
  const known = [...registry.payers].filter(([line]) => line !== toHex(payer.line));
  const behind = { ...registry, payers: new Map(known) };
  const log = new LogInMemory();
  log.append([purchase(world, payer, { sequence: 1 })]);
  for (const isOwner of [true, false]) {
    const left = await worker(t, { index: 0, of: 2 }, isOwner ? registry : behind);
    const right = await worker(t, { index: 1, of: 2 }, isOwner ? behind : registry);
    await left.pull(log);
    await right.pull(log);
    const [of0, of1] = [await left.service.reconcile(), await right.service.reconcile()];
    t.same([of0.receipts, of1.receipts], [0, isOwner ? 0 : 1]);
    t.match((isOwner ? of1 : of0).findings, [{ kind: 'UNKNOWN_LINE' }]);
    t.same((isOwner ? of0 : of1).findings, []);
  }
});

t.test(
  'an acknowledgement covers what all parts have taken, however far one is ahead',
  async (t) => {
    const log = new LogInMemory();
    log.append(evidenceFrom(1, 60));
    const whole = await worker(t);
    const left = await worker(t, { index: 0, of: 2 });
    const right = await worker(t, { index: 1, of: 2 });
    await left.pull(log);
    const stores = [left.database, right.database];
    t.same([...(await takenOfParts(stores))], [], 'one part has nothing of it yet');
    await whole.pull(log);
    await right.pull(log);
    const gateway = world.signers.gateway.key.hex;
    const at60 = (await whole.service.taken()).get(gateway);
    t.equal(at60?.throughSequence, 60);
    t.same((await takenOfParts(stores)).get(gateway), at60, 'as one clearing would say it');
    log.append(evidenceFrom(61, 30));
    await right.pull(log);
    t.same((await takenOfParts(stores)).get(gateway), at60, 'the other has not got further');
    await left.pull(log);
    await whole.pull(log);
    const at90 = (await whole.service.taken()).get(gateway);
    t.equal(at90?.throughSequence, 90);
    t.equal(at90?.sumMicro, BigInt(at90?.count ?? 0) * yen(100));
    t.same((await takenOfParts(stores.toReversed())).get(gateway), at90);
    const asked = (...locations: string[]): ReturnType<typeof takenOf> =>
      takenOf(left.service, {
        part: { index: 0, of: 2 },
        clearing: world.signers.clearing.key.id,
        others: locations.map((location) => ({ location, access: {} })),
      });
    t.same(
      (await asked(right.location)).get(gateway),
      at90,
      'as a running part asks beside the other',
    );
    await t.rejects(asked(), { code: 'PARTS_INCOMPLETE', message: /one part alone/ });
    for (const wrong of [
      [left.database],
      [left.database, left.database],
      [whole.database, right.database],
    ]) {
      await t.rejects(takenOfParts(wrong), { code: 'PARTS_INCOMPLETE' });
    }
  },
);

t.test('a store is of one part for good', async (t) => {
  const store = await makeTestStore(t);
  const open = async (part?: Part): Promise<void> => {
    const database = await store.open();
    try {
      await inMemory({ database, ...(part && { part }) });
    } finally {
      await database.close();
    }
  };
  await open();
  await open({ index: 1, of: 3 });
  await open({ index: 1, of: 3 });
  for (const wrong of [undefined, { index: 0, of: 3 }, { index: 1, of: 2 }]) {
    await t.rejects(open(wrong), { code: 'PART_MISMATCH', message: /is of part 1 of 3/ });
  }
  const used = await worker(t);
  await used.service.ingestBatch([], PULLED_S, { origin: 'a', nextIndex: 1 });
  await t.rejects(inMemory({ database: used.database, part: { index: 0, of: 2 } }), {
    code: 'PART_MISMATCH',
    message: /is of a whole clearing/,
  });
});

t.test('the part is SHA-256 of the party’s id modulo the number of parts', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.integer({ min: 2, max: 64 }),
      (id, of) => {
        const digest = BigInt(`0x${createHash('sha256').update(id).digest('hex')}`);
        return partOfParty(id, of) === Number(digest % BigInt(of));
      },
    ),
  );
  for (const wrong of [
    { index: 0, of: 1 },
    { index: 0, of: 65 },
    { index: 2, of: 2 },
    { index: -1, of: 2 },
    { index: 0.5, of: 2 },
    { index: 0, of: 2.5 },
  ]) {
    t.type(partFault(wrong), 'string', JSON.stringify(wrong));
  }
  t.equal(partFault({ index: 1, of: 2 }), undefined);
  t.end();
});

t.test('what is wrong with a configured part is said before any store is opened', (t) => {
  const own = new Uint8Array(16).fill(1);
  const read = (part: unknown): unknown =>
    configuredPart(new Config({ part }, '/etc/kiri/clearing.json'), own);
  t.equal(configuredPart(new Config({}, 'clearing.json'), own), undefined);
  t.same(read({ index: 1, of: 2 }), { part: { index: 1, of: 2 }, clearing: own, others: [] });
  t.match(read({ index: 0, of: 3, stores: ['postgres://a@b/c', 'other.sqlite'] }), {
    others: [{ location: 'postgres://a@b/c' }, { location: '/etc/kiri/other.sqlite' }],
  });
  for (const wrong of [
    1,
    {},
    { index: 0 },
    { index: '0', of: 2 },
    { index: 2, of: 2 },
    { index: 0, of: 1 },
    { index: 0, of: 3, stores: ['one'] },
    { index: 0, of: 2, stores: 'one' },
  ]) {
    t.throws(() => read(wrong), { code: 'CONFIG_INVALID', message: /part/ }, JSON.stringify(wrong));
  }
  t.end();
});
