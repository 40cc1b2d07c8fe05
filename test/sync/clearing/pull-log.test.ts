import t from 'tap';
import type { Test } from 'tap';
import * as issue from '../../../identity/core/issue.ts';
import { ERASE_ON_REQUEST } from '../../../identity/core/documents/erasure.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import type { Taken } from '../../../sync/clearing/core/log-row.ts';
import type { Registry } from '../../../sync/clearing/core/registry.ts';
import { LogPuller, type PullOptions } from '../../../sync/clearing/pull-log.ts';
import { tombstonePath } from '../../../sync/ledger/erasure.ts';
import { CHECKPOINT_PATH } from '../../../sync/ledger/core/log-batch.ts';
import { wrappedKeyPath } from '../../../sync/ledger/content-keys.ts';
import { newPayer, pay, signOffer } from '../../approval/kit.ts';
import type { Payer } from '../../approval/kit.ts';
import {
  ALLOWANCE_FACTS,
  MERCHANT_FACTS,
  NOW_S,
  VALID,
  newWorld,
  yen,
} from '../../identity/fixture.ts';
import type { World } from '../../identity/fixture.ts';
import {
  challenge,
  documentsOf,
  LogInMemory,
  ORIGIN,
  purchase,
  voidOf,
  worldPayer,
} from './purchases.ts';
import { inMemory } from './sample.ts';

type Scene = {
  readonly world: World;
  readonly payer: Payer;
  readonly log: LogInMemory;
  readonly service: ClearingService;
  readonly puller: (clearing?: Uint8Array, more?: Partial<PullOptions>) => LogPuller;
  readonly taken: () => Promise<Taken | undefined>;
};

const scene = async (
  test: Test,
  more: (world: World) => Uint8Array[] = () => [],
): Promise<Scene> => {
  const world = newWorld();
  const registry: Registry = buildRegistry(world.trust, [...documentsOf(world), ...more(world)]);
  test.same(registry.faults, []);
  const log = new LogInMemory();
  const { service } = await inMemory({ directory: directoryOf(registry) });
  test.teardown(() => service.close());
  const puller: Scene['puller'] = (clearing = world.signers.clearing.key.id, given = {}) =>
    new LogPuller({
      clearing,
      sources: [log.source],
      origin: ORIGIN,
      policy: log.policy,
      registry,
      verifier: nodeVerifier(),
      contentKey: log.pair.privateKey,
      ...given,
    });
  return {
    world,
    payer: worldPayer(world),
    log,
    service,
    puller,
    taken: async () => (await service.taken()).get(world.signers.gateway.key.hex),
  };
};

t.test('a log is taken in once: verified, booked, gone on with after a restart', async (t) => {
  const { world, payer, log, service, puller, taken } = await scene(t);
  const first = puller();
  t.match(await first.pull(service, NOW_S + 60), { size: 0, ingested: 0 }, 'no checkpoint yet');
  log.append(Array.from({ length: 300 }, () => purchase(world, payer)));
  t.match(await first.pull(service, NOW_S + 60), { size: 300, ingested: 300, faultCount: 0 });
  t.match(await first.pull(service, NOW_S + 60), { ingested: 0 });
  log.append(Array.from({ length: 20 }, () => purchase(world, payer)));
  const restarted = puller();
  const result = await restarted.pull(service, NOW_S + 90);
  t.match(result, { size: 320, ingested: 20, faultCount: 0 });
  t.match(await taken(), { count: 320, sumMicro: 320n * yen(100) });
  const report = await service.reconcile();
  t.match(report, { receipts: 320, reconciles: true, findings: [] });
  t.equal(report.books[0]?.acceptedMicro, 320n * yen(100));
});

t.test(
  'a Void charges nobody, a record that is wrong is noted and holds up no other',
  async (t) => {
    const { world, payer, log, service, puller } = await scene(t);
    const stranger = newPayer(world);
    const good = purchase(world, payer);
    const voided = pay(payer, signOffer(world, challenge));
    const theVoid = {
      payment: voided,
      outcome: voidOf(world, voided),
      answeredAtMs: NOW_S * 1000,
    };
    const { offer: _offer, ...withoutOffer } = purchase(world, payer);
    const otherOffer = signOffer(world, challenge, { amountMicro: yen(50) });
    const forged = { offer: signOffer(world, challenge, {}, world.signers.stranger) };
    const last = purchase(world, payer);
    log.append([
      good,
      theVoid,
      purchase(world, stranger),
      purchase(world, payer, {}, { signer: world.signers.stranger }),
      { ...purchase(world, payer), outcome: good.outcome },
      withoutOffer,
      { ...purchase(world, payer), offer: otherOffer },
      purchase(world, payer, {}, forged),
      last,
    ]);
    const result = await puller().pull(service, NOW_S + 60);
    t.match(result, { size: 9, faultCount: 6 });
    const { receipts, findings, reconciles } = await service.reconcile();
    t.equal(receipts, 2);
    t.ok(reconciles);
    t.same(
      findings.map((one) => `${one.kind} ${one.reference.split('#')[1]}`),
      [
        'UNKNOWN_LINE 2',
        'BAD_SIGNATURE 3',
        'MALFORMED 4',
        'OFFER_UNKNOWN 5',
        'OFFER_MISMATCH 6',
        'BAD_SIGNATURE 7',
      ],
    );
  },
);

t.test(
  'a leaf that commits to another Receipt, or a payload that was changed, is not booked',
  async (t) => {
    const { world, payer, log, service, puller } = await scene(t);
    log.append([purchase(world, payer), purchase(world, payer)], [new Uint8Array(32).fill(9)]);
    const path = [...log.files.keys()].find((name) => name.startsWith('payload/'))!;
    const payload = log.files.get(path)!.slice();
    payload[payload.length - 1] = payload.at(-1)! ^ 1;
    log.files.set(path, payload);
    const result = await puller().pull(service, NOW_S + 60);
    t.equal(result.faultCount, 2);
    const { findings, receipts } = await service.reconcile();
    t.equal(receipts, 0);
    t.match(
      findings.map((one) => one.kind).toSorted((a, b) => a.localeCompare(b)),
      ['MALFORMED', 'PAYLOAD_MISMATCH'],
    );
  },
);

t.test('a content key that cannot be opened costs its own records only', async (t) => {
  const { world, payer, log, service, puller } = await scene(t);
  log.append([purchase(world, payer)]);
  const path = wrappedKeyPath(toHex(log.key.kid));
  const wrapped = log.files.get(path)!;
  log.files.set(path, wrapped.slice(0, -1));
  t.match(await puller().pull(service, NOW_S + 60), { ingested: 1, faultCount: 1 });
  t.match((await service.reconcile()).findings, [{ kind: 'PAYLOAD_SEALED' }]);
});

t.test('an erased payload is reported as erased, and as nobody’s fault', async (t) => {
  const { world, payer, log, service, puller } = await scene(t);
  log.append([purchase(world, payer)]);
  const kid = toHex(log.key.kid);
  log.files.delete(wrappedKeyPath(kid));
  const order = (signer: World['signers']['issuer']): Uint8Array =>
    issue.issueErasureRequest(signer, {
      issuedS: NOW_S,
      origin: ORIGIN,
      period: '2026-09',
      kids: [log.key.kid],
      reason: ERASE_ON_REQUEST,
      holders: [{ name: 'gateway', key: world.signers.gateway.key }],
    });
  const erasure = world.trust;
  log.files.set(tombstonePath(kid), order(world.signers.party));
  await puller(undefined, { erasure }).pull(service, NOW_S + 60);
  log.append([purchase(world, payer)]);
  log.files.set(tombstonePath(kid), order(world.signers.issuer));
  await puller(undefined, { erasure }).pull(service, NOW_S + 60);
  const { findings, receipts, reconciles } = await service.reconcile();
  t.match({ receipts, reconciles }, { receipts: 0, reconciles: true });
  t.match(findings, [
    { kind: 'PAYLOAD_SEALED' },
    { kind: 'PAYLOAD_ERASED', detail: /of 2026-09 was erased on the issuer's request/ },
  ]);
});

t.test(
  'a receipt is settled by the clearing that its allowance names and by no other',
  async (t) => {
    const { world, payer, log, service, puller } = await scene(t);
    log.append([purchase(world, payer)]);
    const stranger = puller(world.signers.registrar.key.id);
    const result = await stranger.pull(service, NOW_S + 60);
    t.match(result, { faultCount: 1, faults: [/names another clearing/] });
    t.match(await service.reconcile(), { receipts: 0 });
  },
);

t.test('a log that holds one receipt twice is acknowledged for it once', async (t) => {
  const { world, payer, log, service, puller, taken } = await scene(t);
  const [one, two] = [purchase(world, payer), purchase(world, payer)];
  log.append([one, two, one]);
  await puller().pull(service, NOW_S + 60);
  t.match(await taken(), { count: 2, sumMicro: 2n * yen(100) });
  t.match(await service.reconcile(), { receipts: 2, reconciles: true });
});

t.test('only what the policy makes final settles, and a forked or cut log stops', async (t) => {
  const { world, payer, log, service, puller } = await scene(t);
  log.append([purchase(world, payer), purchase(world, payer)]);
  const follower = puller();
  await follower.pull(service, NOW_S + 60);
  const published = log.files.get(CHECKPOINT_PATH)!;
  log.publish(new Uint8Array(32).fill(7), false);
  await t.rejects(follower.pull(service, NOW_S + 60), { code: 'LOG_NOT_FINAL' });
  log.fork([purchase(world, payer)]);
  await t.rejects(follower.pull(service, NOW_S + 60), { code: 'LOG_BEHIND' }, 'shorter');
  log.fork([purchase(world, payer), purchase(world, payer), purchase(world, payer)]);
  const isStopped = { ingested: 0, stoppedAt: 0 };
  t.match(await follower.pull(service, NOW_S + 60), isStopped, 'other history');
  t.equal(await service.liftStop(ORIGIN, NOW_S + 60), true);
  log.publish(new Uint8Array(32).fill(8));
  await t.rejects(puller().pull(service, NOW_S + 60), { code: 'LOG_FORKED' }, 'a root of no tree');
  log.files.set(CHECKPOINT_PATH, published);
  t.match(await service.reconcile(), { receipts: 2, reconciles: true });
});

t.test(
  'a receipt stays payable after allowance and merchant credential were renewed',
  async (t) => {
    const renewals = (world: World): Uint8Array[] => {
      const later = { ...VALID, issuedS: NOW_S + 20, notBeforeS: NOW_S + 20 };
      return [
        issue.issueAllowance(world.signers.issuer, {
          ...ALLOWANCE_FACTS,
          ...later,
          generation: 2,
          line: world.line,
          policyHash: world.policyHash,
          clearing: world.signers.clearing.key.id,
        }),
        issue.issueMerchant(world.signers.acquirer, {
          ...MERCHANT_FACTS,
          ...later,
          payeeKeys: [world.signers.payee.key],
        }),
      ];
    };
    const { world, payer, log, service, puller } = await scene(t, renewals);
    log.append([
      purchase(world, payer, { timeS: NOW_S }),
      purchase(world, payer, { timeS: NOW_S + 25 }),
      purchase(world, payer, { timeS: NOW_S - 3600 }),
      purchase(world, payer, { timeS: NOW_S + 3600 }),
      purchase(world, payer, { timeS: NOW_S, flags: 0 }),
    ]);
    t.match(await puller().pull(service, NOW_S + 60), { faultCount: 1 });
    const { receipts, findings } = await service.reconcile();
    t.equal(
      receipts,
      4,
      'a time after its cosignature, or of unknown quality, is that cosignature',
    );
    t.match(findings, [{ kind: 'CREDENTIAL_INVALID', reference: `${ORIGIN}#2` }]);
  },
);

t.test('a first cosignature after the hand-in delay puts a receipt on a late line', async (t) => {
  const short = (world: World): Uint8Array[] => [
    issue.issueAllowance(world.signers.issuer, {
      ...ALLOWANCE_FACTS,
      ...VALID,
      generation: 2,
      handInDelayS: 20,
      line: world.line,
      policyHash: world.policyHash,
      clearing: world.signers.clearing.key.id,
    }),
  ];
  const { world, payer, log, service, puller } = await scene(t, short);
  // The log's witness cosigns at NOW_S + 30: 20 s after the first, 21 s after the second; the third names no time.
  log.append([
    purchase(world, payer, { timeS: NOW_S + 10 }),
    purchase(world, payer, { timeS: NOW_S + 9 }),
    purchase(world, payer, { timeS: NOW_S - 3600, flags: 0 }),
  ]);
  t.match(await puller().pull(service, NOW_S + 60), { ingested: 3, faultCount: 0 });
  const { books, reconciles } = await service.reconcile();
  t.equal(reconciles, true);
  t.match(books[0]?.buckets, { carried: yen(200), late: yen(100) });
});

t.test('what an approver signed above its closing waits for somebody to look at it', async (t) => {
  const closed = (world: World): Uint8Array[] =>
    [
      { throughSequence: 1, issuedS: NOW_S - 10 },
      { throughSequence: 2, issuedS: NOW_S },
    ].map((facts) =>
      issue.issueApproverClosing(world.signers.issuer, {
        approver: world.signers.gateway.key.id,
        reason: 'stolen',
        ...facts,
      }),
    );
  const { world, payer, log, service, puller } = await scene(t, closed);
  const [first, second, third, fourth] = [1, 2, 3, 4].map((sequence) =>
    purchase(world, payer, { sequence }),
  );
  const outcome = voidOf(world, second!.payment, 5);
  log.append([first!, second!, third!, fourth!, { ...second!, outcome }]);
  await puller().pull(service, NOW_S + 60);
  const { receipts, books, findings, reconciles } = await service.reconcile();
  t.equal(receipts, 4, 'nothing is lost');
  t.ok(reconciles);
  t.match(books, [{ buckets: { carried: yen(200), withheld: yen(200) } }]);
  t.same(
    findings.map(({ kind }) => kind).toSorted(),
    ['APPROVER_CLOSED', 'APPROVER_CLOSED', 'GATEWAY_UNTRUSTED'],
    'a Void from beyond takes nothing back',
  );
});

t.test('what was pulled is presented from the acquirer’s own documents', async (t) => {
  const bilateral = (world: World): Uint8Array[] => [
    issue.issueMerchant(world.signers.acquirer, {
      ...MERCHANT_FACTS,
      notBeforeS: MERCHANT_FACTS.notBeforeS + 1,
      programme: 'BILATERAL',
      payeeKeys: [world.signers.payee.key],
    }),
  ];
  const { world, payer, log, service, puller } = await scene(t, bilateral);
  log.append([purchase(world, payer), purchase(world, payer)]);
  const { size, rootHex } = await puller().pull(service, NOW_S + 60);
  const cut = await service.cut(NOW_S + 60, [{ origin: ORIGIN, size, root: rootHex }], true);
  t.same(cut.blocked, []);
  t.match(cut.files, [{ presentments: 1, sumMinor: 200n, member: '00000012345' }]);
  t.ok((await service.reconcile()).reconciles);
});
