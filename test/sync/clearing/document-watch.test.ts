import { mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { issueStatusList } from '../../../identity/core/issue.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { packStatuses } from '../../../identity/edge/status-zlib.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { PRESENT } from '../../../protocol/messages/envelopes.ts';
import { CheckThreads } from '../../../sync/clearing/check-threads.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { DocumentWatch } from '../../../sync/clearing/document-watch.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { checkInLine } from '../../../sync/clearing/record-check.ts';
import { newPayer, type Payer } from '../../approval/kit.ts';
import { LIST, NOW_S, newWorld, yen } from '../../identity/fixture.ts';
import type { World } from '../../identity/fixture.ts';
import { documentsOf, LogInMemory, ORIGIN, purchase, worldPayer } from './purchases.ts';
import { inMemory } from './sample.ts';

const documentsOfPayer = (payer: Payer): readonly Uint8Array[] => {
  const present = PRESENT.decode(payer.present);
  if (!present.ok) throw new Error(present.reason);
  return present.value.documents;
};

/** A folder with the documents of a world, watched under a clock of the test. */
interface Folder {
  readonly world: World;
  readonly watch: DocumentWatch;
  readonly path: (name: string) => string;
  readonly put: (name: string, bytes: Uint8Array) => void;
  /** Whether there is something new, once it is time to look. */
  readonly looks: () => Promise<boolean>;
  readonly later: (ms: number) => number;
}

const folderOf = async (t: Test): Promise<Folder> => {
  const world = newWorld();
  const root = t.testdir({ documents: {}, lists: {} });
  const path = (name: string): string => join(root, name);
  // Long after the files were written, as far as their stamps say.
  let nowMs = Date.now() + 60_000;
  const put = (name: string, bytes: Uint8Array): void => {
    writeFileSync(`${path(name)}.tmp`, bytes);
    renameSync(`${path(name)}.tmp`, path(name));
  };
  for (const [at, cose] of documentsOf(world).entries()) put(`documents/${at}.cbor`, cose);
  const places = { documents: [path('documents')], statusLists: [path('lists')] };
  const watch = await DocumentWatch.open(places, world.trust, {
    intervalMs: 10_000,
    now: () => nowMs,
  });
  const later = (ms: number): number => (nowMs += ms);
  const looks = (): Promise<boolean> => {
    later(10_000);
    return watch.look();
  };
  return { world, watch, path, put, looks, later };
};

const lineHex = ({ line }: Payer): string => toHex(line);

t.test('what comes into the folder is in force when it is taken, and not before', async (t) => {
  const { world, watch, put, looks, later } = await folderOf(t);
  const payer = newPayer(world);
  t.equal(await looks(), false, 'nothing has changed');
  for (const [at, cose] of documentsOfPayer(payer).entries()) put(`documents/new-${at}.cbor`, cose);
  t.equal(await watch.look(), false, 'it is not time to look');
  later(9_999);
  t.equal(await watch.look(), false, 'not a millisecond early');
  later(1);
  const both = await Promise.all([watch.look(), watch.look()]);
  t.same(both, [true, false], 'one look at a time');
  t.equal(await watch.look(), true);
  const before = watch.registry;
  t.notOk(before.payers.has(lineHex(payer)), 'it waits');
  t.match(
    watch.take()?.change.payers.map(([line]) => line),
    [lineHex(payer)],
  );
  t.ok(watch.registry.payers.has(lineHex(payer)));
  t.notOk(before.payers.has(lineHex(payer)), 'what was handed out stays as it was');
  t.equal(watch.registry.payers.get(toHex(world.line)), before.payers.get(toHex(world.line)));
  t.equal(watch.take(), undefined, 'once');
  t.same(watch.alerts(NOW_S), []);
});

t.test('a document that is bad is an alert; the one that it replaced stays in force', async (t) => {
  const { world, watch, put, looks, path } = await folderOf(t);
  const payer = newPayer(world);
  const allowance = world.payer.allowance.slice();
  allowance[allowance.length - 1]! ^= 1;
  put('documents/3.cbor', allowance);
  put('documents/junk.cbor', new Uint8Array(300).fill(0xff));
  put('documents/huge.cbor', new Uint8Array(16_385));
  const [, , binding, fresh] = documentsOfPayer(payer);
  put('documents/fresh.cbor', fresh!);
  put('documents/bound.cbor', binding!);
  t.equal(await looks(), true);
  watch.take();
  t.equal(watch.registry.payers.get(toHex(world.line))?.length, 1, 'the old allowance counts');
  t.ok(watch.registry.payers.has(lineHex(payer)), 'a good one is not held up by a bad one');
  const open = watch.alerts(NOW_S).map(({ kind, reference, detail }) => [kind, reference, detail]);
  t.match(open, [
    ['DOCUMENT_REFUSED', path('documents/huge.cbor'), /more than 16384 bytes/],
    ['DOCUMENT_REFUSED', path('documents/3.cbor'), /signature does not fit/],
    ['DOCUMENT_REFUSED', path('documents/junk.cbor'), /neither COSE_Sign1/],
  ]);
  t.equal(await looks(), false);
  t.equal(watch.alerts(NOW_S).length, 3, 'as long as it lasts');
  put('documents/3.cbor', world.payer.allowance);
  rmSync(path('documents/junk.cbor'));
  rmSync(path('documents/huge.cbor'));
  t.equal(await looks(), false, 'nothing that was not in force');
  t.same(watch.alerts(NOW_S), []);
});

t.test('a chain whose parts come one by one is an alert until it is whole', async (t) => {
  const { world, watch, put, looks, path } = await folderOf(t);
  const other = newWorld();
  const payer = newPayer(world, {}, other.signers.party);
  const [party, , binding, allowance] = documentsOfPayer(payer);
  put('documents/b.cbor', binding!);
  t.equal(await looks(), false);
  t.same(watch.alerts(NOW_S), [], 'a binding without an allowance is nothing wrong');
  put('documents/c.cbor', allowance!);
  t.equal(await looks(), false);
  t.match(watch.alerts(NOW_S), [
    { kind: 'DOCUMENT_REFUSED', reference: path('documents/b.cbor'), detail: /no party/ },
  ]);
  put('documents/a.cbor', party!);
  t.equal(await looks(), true);
  watch.take();
  t.equal(watch.registry.payers.get(lineHex(payer))?.length, 1);
  t.same(watch.alerts(NOW_S), []);
});

t.test(
  'a file that is gone takes nothing back; it is an alert until it is there again',
  async (t) => {
    const { world, watch, looks, path } = await folderOf(t);
    const { registry } = watch;
    renameSync(path('documents/3.cbor'), path('lists/away.tmp'));
    renameSync(path('documents/0.cbor'), path('documents/renamed.cbor'));
    t.equal(await looks(), false);
    t.equal(watch.registry, registry);
    const sinceS = watch.alerts(NOW_S)[0]?.sinceS;
    t.match(watch.alerts((sinceS ?? 0) + 7), [
      { kind: 'DOCUMENT_GONE', reference: path('documents/3.cbor'), ageS: 7 },
    ]);
    t.equal(await looks(), false);
    t.equal(watch.alerts(NOW_S)[0]?.sinceS, sinceS, 'its age is that of the loss');
    mkdirSync(path('documents/below'));
    renameSync(path('lists/away.tmp'), path('documents/below/again.cbor'));
    t.equal(await looks(), false);
    t.same(watch.alerts(NOW_S), []);
    t.ok(watch.registry.payers.has(toHex(world.line)));
  },
);

t.test('a file overwritten in place within one stamp of the disk is read again', async (t) => {
  const { world, watch, looks, path, later } = await folderOf(t);
  const [first, second] = [newPayer(world), newPayer(world)];
  const [, , oneBinding, oneAllowance] = documentsOfPayer(first);
  const [, , binding, allowance] = documentsOfPayer(second);
  const file = path('documents/in-place.cbor');
  writeFileSync(path('documents/one.cbor'), oneBinding!);
  writeFileSync(path('documents/two.cbor'), binding!);
  writeFileSync(file, oneAllowance!);
  // Written in the very moment of the next look.
  const stampS = (later(0) + 10_000) / 1000;
  utimesSync(file, stampS, stampS);
  t.equal(await looks(), true);
  watch.take();
  t.equal(oneAllowance!.length, allowance!.length, 'the same length too');
  writeFileSync(file, allowance!);
  utimesSync(file, stampS, stampS);
  t.equal(await looks(), true);
  watch.take();
  t.ok(watch.registry.payers.has(lineHex(first)), 'what it said before still counts');
  t.ok(watch.registry.payers.has(lineHex(second)));
});

t.test('a newer status list ends a chain, and one after it that takes it back', async (t) => {
  const { world, watch, put, looks } = await folderOf(t);
  const { issuer } = world.signers;
  const list = (issuedS: number, revoked: readonly number[]): Uint8Array =>
    issueStatusList(issuer, {
      uri: LIST,
      version: issuedS - NOW_S,
      issuedS,
      expiresS: issuedS + 86_400,
      ttlS: 900,
      packed: packStatuses(64, revoked),
    });
  const revokedS = (): number | undefined =>
    watch.registry.payers.get(toHex(world.line))?.[0]?.revokedS;
  const step = async (name: string, cose: Uint8Array): Promise<number | undefined> => {
    put(`lists/${name}`, cose);
    if (await looks()) watch.take();
    return revokedS();
  };
  t.equal(await step('list', list(NOW_S + 10, [])), undefined);
  t.equal(await step('list', list(NOW_S + 20, [1])), NOW_S + 20);
  t.equal(await step('list', list(NOW_S + 30, [1, 9])), NOW_S + 20, 'since the first that said so');
  t.equal(await step('list', list(NOW_S + 40, [9])), undefined, 'taken back');
  t.equal(await step('list', list(NOW_S + 50, [1, 9])), NOW_S + 50, 'revoked anew');
  t.equal(await step('old', list(NOW_S + 45, [1, 9])), NOW_S + 45, 'an older one may come later');
  t.equal(await step('list', newWorld().payer.party), NOW_S + 45);
  t.match(watch.alerts(NOW_S), [{ kind: 'DOCUMENT_REFUSED', detail: /^status list: / }]);
});

t.test('what is wrong at the start is said by name, and nothing starts', async (t) => {
  const world = newWorld();
  const root = t.testdir({ junk: 'junk' });
  const open = (...names: string[]): Promise<DocumentWatch> =>
    DocumentWatch.open(
      { documents: names.map((name) => join(root, name)), statusLists: [] },
      world.trust,
    );
  await t.rejects(open('junk'), { code: 'DOCUMENT_INVALID', message: /junk: / });
  await t.rejects(open('none'), { code: 'DOCUMENT_INVALID', message: /none: is not there/ });
});

t.test(
  'a fresh allowance is heeded in mid log, and each record judged under one state',
  async (t) => {
    const { world, watch, put, looks } = await folderOf(t);
    const verifier = nodeVerifier();
    const rules = { registry: watch.registry, clearing: world.signers.clearing.key.id };
    const threads = new CheckThreads(rules, checkInLine(rules, verifier), 2);
    t.teardown(() => threads.close());
    const { service } = await inMemory({ directory: directoryOf(watch.registry) });
    t.teardown(() => service.close());
    const [known, fresh] = [worldPayer(world), newPayer(world)];
    const log = new LogInMemory();
    // A chunk of 16 bundles, then one more; what the first holds is quickly told to be wrong.
    const junk = { ...purchase(world, known), payment: new Uint8Array(100) };
    log.append([purchase(world, known), ...Array.from({ length: 4_095 }, () => junk)]);
    log.append([purchase(world, fresh), purchase(world, known)]);
    let [asked, underCheck, most, taken] = [0, 0, 0, 0];
    let documentsCame = (): void => {};
    const came = new Promise<void>((resolve) => (documentsCame = resolve));
    const checker = {
      check: async (batch: Parameters<CheckThreads['check']>[0]) => {
        const isLastOfChunk = batch.records.some(({ leafIndex }) => leafIndex === 4_095);
        underCheck += 1;
        try {
          const items = await threads.check(batch);
          // However quick the threads are, the end of the chunk is under check when the documents come.
          if (isLastOfChunk) await came;
          return items;
        } finally {
          underCheck -= 1;
        }
      },
    };
    const changes = {
      waits: async (): Promise<boolean> => {
        asked += 1;
        if (asked === 2) {
          most = underCheck;
          for (const [at, cose] of documentsOfPayer(fresh).entries())
            put(`documents/n${at}.cbor`, cose);
          documentsCame();
        }
        return asked < 2 ? false : looks();
      },
      take: (): void => {
        t.equal(underCheck, 0, 'nothing is under check');
        taken += 1;
        const step = watch.take();
        if (!step) return;
        threads.follow(step.registry, step.change);
        service.follow(directoryOf(step.registry));
      },
    };
    const puller = new LogPuller({
      ...rules,
      sources: [log.source],
      origin: ORIGIN,
      policy: log.policy,
      verifier,
      checker,
      changes,
      contentKey: log.pair.privateKey,
    });
    t.match(await puller.pull(service, NOW_S + 60), { faultCount: 4_095, ingested: 4_098 });
    t.ok(most > 0, 'they came while records were under check');
    t.equal(taken, 1);
    const { receipts, books } = await service.reconcile();
    t.equal(receipts, 3, 'threads that ran before judge by the new documents');
    t.equal(books[0]?.acceptedMicro, 3n * yen(100));
    const busy = threads.check({ origin: ORIGIN, cosignedAtS: NOW_S, records: [] });
    t.throws(() => threads.follow(watch.registry, { payers: [] }), { code: 'INVARIANT_BROKEN' });
    await busy;
  },
);

t.test('a pull that breaks off leaves no record under check behind it', async (t) => {
  const { world, watch } = await folderOf(t);
  const { service } = await inMemory({ directory: directoryOf(watch.registry) });
  t.teardown(() => service.close());
  let underCheck = 0;
  const checker = {
    check: async () => {
      underCheck += 1;
      for (let turns = underCheck * 20; turns > 0; turns -= 1) {
        await new Promise((resolve) => void setImmediate(resolve));
      }
      underCheck -= 1;
      return [];
    },
  };
  const log = new LogInMemory();
  const junk = { ...purchase(world, worldPayer(world)), payment: new Uint8Array(100) };
  log.append(Array.from({ length: 2_560 }, () => junk));
  const puller = new LogPuller({
    registry: watch.registry,
    clearing: world.signers.clearing.key.id,
    sources: [log.source],
    origin: ORIGIN,
    policy: log.policy,
    verifier: nodeVerifier(),
    checker,
    contentKey: log.pair.privateKey,
  });
  service.ingestBatch = () => Promise.reject(new Error('disk full'));
  await t.rejects(puller.pull(service, NOW_S + 60), { message: 'disk full' });
  t.equal(underCheck, 0, 'else documents that come into force with the next request are lost');
});
