import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import type { Evidence } from '../../../protocol/messages/evidence.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { EvidenceFolder } from '../../../sync/clearing/evidence-folder.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { pullLogs } from '../../../sync/clearing/pull-logs.ts';
import { encodeForkEvidence, readForkEvidence } from '../../../sync/ledger/core/fork-evidence.ts';
import type { ForkEvidence } from '../../../sync/ledger/core/fork-evidence.ts';
import { noteVerify } from '../../../sync/ledger/core/note-ports.ts';
import { parseSignedHead } from '../../../sync/ledger/core/signed-head.ts';
import { folderSource, type LogSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { showFork } from '../../../sync/ledger/show-fork.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { hashOf } from '../../approval/kit.ts';
import { NOW_S, newWorld, yen } from '../../identity/fixture.ts';
import { policyOf, realLog, realWitness } from '../ledger/keys.ts';
import { askPatiently } from '../ledger/rig.ts';
import { documentsOf, LogInMemory, ORIGIN, purchase, worldPayer } from './purchases.ts';
import { inMemory, programme } from './sample.ts';

const INTAKE = 'intake.example/2026q4';
const PULLED_S = NOW_S + 60;
/** Native: thousands of changed files are checked. */
const realVerify = noteVerify(nodeVerifier());

type Entries = Parameters<LogInMemory['appendEntries']>[0];

/** Sealed once: both branches of a fork hold the very same entries up to where they part. */
const sealed = (log: LogInMemory, plains: readonly Evidence[]): Entries =>
  plains.map((evidence) => {
    const payload = sealPayload(EVIDENCE.encode(evidence), hashOf(evidence.outcome), log.key);
    return { leaf: leafOfRecord(payload)!, payload, acceptedAtMs: evidence.answeredAtMs };
  });

/** The log's files in a folder, as its site would hold them. */
const onDisk = async (log: LogInMemory, folder: string): Promise<LogSource> => {
  await rm(folder, { recursive: true, force: true });
  for (const [path, bytes] of log.files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
  return folderSource(folder);
};

const keysOf = (origin: string) => [realLog(origin).key];
const signedOf = (log: LogInMemory) => {
  const head = parseSignedHead(utf8ToBytes(log.note()), keysOf(log.origin), realVerify);
  if (!head.ok) throw new Error(head.reason);
  return { head: head.value, source: log.source };
};

t.test(
  'evidence proves itself: any changed byte is found, and two true heads are none',
  async (t) => {
    const world = newWorld();
    const payer = worldPayer(world);
    const [a, b] = [new LogInMemory(), new LogInMemory()];
    const common = sealed(
      a,
      Array.from({ length: 5 }, () => purchase(world, payer)),
    );
    a.appendEntries(common);
    b.appendEntries(common);
    const old = signedOf(b);
    a.append([purchase(world, payer), purchase(world, payer)]);
    b.append([purchase(world, payer)]);
    const shown = await showFork(signedOf(a), signedOf(b));
    const bytes = utf8ToBytes(encodeForkEvidence(shown!));
    const proven = readForkEvidence(bytes, keysOf, realVerify);
    t.match(proven, {
      ok: true,
      value: { first: { size: 6 }, second: { size: 7 }, common: { size: 5 } },
    });
    t.same(proven.ok && proven.value.common?.root, old.head.root, 'the root that both had at 5');
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      if (readForkEvidence(changed, keysOf, realVerify).ok) t.fail(`byte ${at} can be changed`);
    }
    t.equal(await showFork(signedOf(a), old), undefined, 'a rollback: smaller, and true');
    const claims: readonly (readonly [string, Partial<ForkEvidence>])[] = [
      ['one head twice', { first: signedOf(b).head.note, second: signedOf(b).head.note }],
      ['a prefix', { first: old.head.note }],
      ['the larger first', { first: shown!.second, second: shown!.first }],
      ['a smaller common head', { common: { ...shown!.common!, size: 4 } }],
      ['another log', { origin: INTAKE }],
    ];
    for (const [name, claim] of claims) {
      const text = encodeForkEvidence({ ...shown!, ...claim });
      t.notOk(readForkEvidence(utf8ToBytes(text), keysOf, realVerify).ok, name);
    }
    const { common: _common, ...without } = shown!;
    const bare = readForkEvidence(utf8ToBytes(encodeForkEvidence(without)), keysOf, realVerify);
    t.match(
      bare,
      { ok: true, value: { common: undefined } },
      'a fork whose common head is not known',
    );
    t.notOk(readForkEvidence(bytes, () => [realLog(INTAKE).key], realVerify).ok, 'another key');
  },
);

t.test(
  'a fork at n, end to end over folders: paid below, withheld above, once through intake',
  async (t) => {
    const base = await mkdtemp(join(tmpdir(), 'kiri-fork-'));
    t.teardown(() => rm(base, { recursive: true }));
    const world = newWorld();
    const payer = worldPayer(world);
    const registry = buildRegistry(world.trust, documentsOf(world));
    const [a, b, intake] = [new LogInMemory(), new LogInMemory(), new LogInMemory(INTAKE)];
    const directory = {
      ...directoryOf(registry),
      // Presented as soon as a yen is there: a cut takes whatever is booked.
      programme: () => ({ ...programme, name: 'any', thresholdMicro: 1n }),
    };
    const { service } = await inMemory({ directory });
    let site = await onDisk(a, join(base, 'site'));
    const live: LogSource = { place: 'site', read: (path) => site.read(path) };
    const pullerOf = (log: LogInMemory, ...sources: LogSource[]): LogPuller =>
      new LogPuller({
        clearing: world.signers.clearing.key.id,
        sources,
        origin: log.origin,
        policy: policyOf(realLog(log.origin), [realWitness('witness.example/w1')], 'quorum w1'),
        registry,
        verifier: nodeVerifier(),
        contentKey: log.pair.privateKey,
      });
    const pullers = [pullerOf(a, live), pullerOf(intake, intake.source)];
    const buckets = async (of: ClearingService) => {
      const { books, reconciles } = await of.reconcile();
      t.ok(reconciles, 'totals reconcile');
      const { carried = 0n, late = 0n, withheld = 0n } = books[0]?.buckets ?? {};
      const pending = carried + late;
      const paid = books[0]?.presentedMicro;
      return { accepted: books[0]?.acceptedMicro, pending, withheld, paid };
    };

    // Two entries are presented before anything is wrong; the second of them turns out to be above the fork.
    const common = sealed(a, [purchase(world, payer)]);
    a.appendEntries(common);
    const presented = sealed(a, [purchase(world, payer)]);
    a.appendEntries(presented);
    site = await onDisk(a, join(base, 'site'));
    const mirror = await startMirrorService({
      root: join(base, 'mirror'),
      ports: { signer: realWitness('mirror.example/m1'), verify: realVerify },
      logs: new Map([[ORIGIN, { keys: keysOf(ORIGIN), source: live }]]),
      port: 0,
      clock: systemClock(),
    });
    t.teardown(() => mirror.close());
    await pullLogs(pullers, service, PULLED_S);
    await service.cut(PULLED_S, [], true);
    t.same(await buckets(service), {
      accepted: yen(200),
      pending: 0n,
      withheld: 0n,
      paid: yen(200),
    });

    // Then two more are booked; one of them is in the intake log as well, and one will be.
    const [elsewhere, later] = [purchase(world, payer), purchase(world, payer)];
    a.appendEntries(sealed(a, [elsewhere, later, purchase(world, payer)]));
    intake.append([elsewhere]);
    site = await onDisk(a, join(base, 'site'));
    await pullLogs(pullers, service, PULLED_S);
    t.same(await buckets(service), {
      accepted: yen(500),
      pending: yen(300),
      withheld: 0n,
      paid: yen(200),
    });
    const ask = async (log: LogInMemory): Promise<number> => {
      const body = encodeAddCheckpoint(0, [], log.note());
      return (
        await askPatiently(`${mirror.url}/add-checkpoint`, {
          body,
          timeoutMs: 5_000,
          maxBytes: 9_999,
        })
      ).status;
    };
    t.equal(await ask(a), 200);

    // The gateway signs another history from entry 1 on, and publishes it.
    b.appendEntries(common);
    b.append(Array.from({ length: 6 }, () => purchase(world, payer)));
    site = await onDisk(b, join(base, 'site'));
    t.equal(await ask(b), 422, 'the mirror keeps the evidence');
    const evidence = new EvidenceFolder(join(base, 'evidence'), a.policy, nodeVerifier());
    const file = join(base, 'mirror/state/evidence', `${originFolder(ORIGIN)}.json`);
    await writeFile(join(base, 'evidence/from-mirror.json'), await readFile(file));
    await writeFile(join(base, 'evidence/other.json'), '{}\n');
    t.match(await evidence.take(service, PULLED_S), [/other.json: not the text/]);
    t.match(await service.stoppedLogs(), [{ origin: ORIGIN, commonSize: 1 }]);
    t.same(
      await buckets(service),
      { accepted: yen(500), pending: yen(100), withheld: yen(200), paid: yen(200) },
      'what another log has stays payable, what is in a file stays there',
    );

    const round = await pullLogs(pullers, service, PULLED_S);
    t.match(round.logs, [{ origin: ORIGIN, stoppedAt: 1, ingested: 0 }, { size: 1 }]);
    intake.append([later]);
    await pullLogs(pullers, service, PULLED_S);
    await pullLogs(pullers, service, PULLED_S);
    t.same(await buckets(service), {
      accepted: yen(500),
      pending: yen(200),
      withheld: yen(100),
      paid: yen(200),
    });
    await service.cut(PULLED_S, [], true);
    t.same(
      await buckets(service),
      { accepted: yen(500), pending: 0n, withheld: yen(100), paid: yen(400) },
      'each presented once',
    );

    t.match(await evidence.keep(service), [{ origin: ORIGIN, commonSize: 1 }]);
    t.equal(await service.liftStop(ORIGIN, PULLED_S), true);
    t.equal(await service.liftStop(ORIGIN, PULLED_S), false);
    t.same(await evidence.take(service, PULLED_S), [
      'other.json: not the text of evidence of a fork',
    ]);
    t.same(await service.stoppedLogs(), [], 'what a person lifted is not stopped by the same file');
    t.match(await buckets(service), { pending: yen(100), withheld: 0n });
    await service.close();
  },
);

t.test('clearing finds a fork by itself, and reads on to the last common head', async (t) => {
  const world = newWorld();
  const payer = worldPayer(world);
  const registry = buildRegistry(world.trust, documentsOf(world));
  const [a, b] = [new LogInMemory(), new LogInMemory()];
  const common = sealed(
    a,
    Array.from({ length: 300 }, () => purchase(world, payer)),
  );
  for (const log of [a, b]) log.appendEntries(common);
  const only = purchase(world, payer);
  a.append([only, purchase(world, payer)]);
  b.append([purchase(world, payer)]);
  const pull = async (service: ClearingService, ...logs: LogInMemory[]) =>
    new LogPuller({
      clearing: world.signers.clearing.key.id,
      sources: logs.map(({ source }) => source),
      origin: ORIGIN,
      policy: a.policy,
      registry,
      verifier: nodeVerifier(),
      contentKey: a.pair.privateKey,
    }).pull(service, PULLED_S);
  const fresh = async () => (await inMemory({ directory: directoryOf(registry) })).service;

  const early = await fresh();
  t.match(await pull(early, a, b), { stoppedAt: 300, size: 300, ingested: 300 });
  t.match(await early.reconcile(), { receipts: 300, reconciles: true });
  t.match(await pull(early, a, b), { stoppedAt: 300, ingested: 0 });
  await early.close();

  const booked = await fresh();
  t.match(await pull(booked, a), { size: 302 });
  t.match(
    await pull(booked, b, a),
    { stoppedAt: 300, ingested: 0 },
    'the tree that was booked is at the mirror',
  );
  const { books } = await booked.reconcile();
  t.equal(books[0]?.buckets.withheld, yen(200));
  await booked.close();

  // Nobody has the booked tree any more: that it is another is proven, how much of it is not.
  const alone = await fresh();
  t.match(await pull(alone, b), { size: 301 });
  t.match(await pull(alone, a), { stoppedAt: 0, ingested: 0 });
  t.equal((await alone.reconcile()).books[0]?.buckets.withheld, yen(30_100));
  t.match((await alone.reconcile()).findings, [{ kind: 'LOG_FORKED', reference: ORIGIN }]);
  const shown = await showFork(signedOf(a), signedOf(b));
  const text = encodeForkEvidence(shown!);
  const proven = readForkEvidence(utf8ToBytes(text), keysOf, realVerify);
  if (!proven.ok) throw new Error(proven.reason);
  t.equal(
    await alone.stopLog(proven.value, text, PULLED_S),
    true,
    'a proven common head is better',
  );
  t.equal(
    (await alone.reconcile()).books[0]?.buckets.withheld,
    yen(100),
    'what is below is payable',
  );
  t.equal((await alone.reconcile()).reconciles, true);
  await alone.close();
});
