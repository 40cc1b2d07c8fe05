import { join } from 'node:path';
import t from 'tap';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { systemClock } from '../../platform/system-clock.ts';
import type { HandIn } from '../../protocol/messages/envelopes.ts';
import { directoryOf } from '../../sync/clearing/core/directory.ts';
import { judgeHandIn, partsOf } from '../../sync/clearing/core/judge-hand-in.ts';
import { buildRegistry } from '../../sync/clearing/core/registry.ts';
import { LogPuller } from '../../sync/clearing/pull-log.ts';
import { holdOf } from '../../sync/issuer/core/holds.ts';
import { StatementBook } from '../../sync/issuer/statement-book.ts';
import { runStatementRound } from '../../sync/issuer/statement-desk.ts';
import { startIntakeService } from '../../sync/ledger/intake-service.ts';
import { NOW_S, VALID, yen } from '../identity/fixture.ts';
import { documentsOf as registered, LogInMemory, ORIGIN } from '../sync/clearing/purchases.ts';
import { inMemory } from '../sync/clearing/sample.ts';
import { openTestStore } from '../sync/clearing/store.ts';
import {
  allowanceOf,
  closeIn,
  durableCloses,
  handedInOf,
  hashOf,
  newKit,
  offerOf,
  PayerRig,
  receiptOf,
  refusalOf,
  wantOf,
} from './harness.ts';
import { Site } from './site.ts';

const PRICE_MICRO = 38_500_000n;
const kit = newKit();

/** Three purchases: accepted, void, and one without an answer. */
const spentRig = (): PayerRig => {
  const rig = new PayerRig(kit).connect();
  rig.inbox('receipt', receiptOf(kit, rig.spend({ ref: 'accepted' })));
  rig.inbox('refusal', refusalOf(kit, rig.spend({ ref: 'void' }), 'OFFER_EXPIRED'));
  rig.spend({ ref: 'unknown' });
  return rig.sync();
};

t.test('a Close counts what has no answer, takes off what is void, and is the last word', (t) => {
  const rig = spentRig();
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'waits for its Offer' }) });
  rig.give({ kind: 'closeAllowance' });
  t.match(rig.outcome, { kind: 'refused', code: 'CREDENTIAL_EXPIRED' }, 'the want ends');
  t.equal(rig.count('hand-in'), 0, 'nothing leaves before it is durable');
  rig.sync();
  const { close } = closeIn(rig.last('hand-in'));
  t.match(close, {
    line: kit.world.line,
    allowanceHash: hashOf(kit.world.payer.allowance),
    lastCounter: 3,
    totalMicro: 3n * PRICE_MICRO,
    releasedMicro: PRICE_MICRO,
    timeS: NOW_S,
  });
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'later' }) });
  t.match(rig.outcome, { kind: 'refused', code: 'CREDENTIAL_EXPIRED' });
  const pays = rig.count('pay');
  rig.inbox('offer', offerOf(kit)).sync();
  t.equal(rig.count('pay'), pays);

  const again = allowanceOf(kit, { ceilingMicro: yen(19_999) });
  rig.give({ kind: 'documents', documents: [again] });
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'same generation' }) });
  t.match(rig.outcome, { kind: 'refused', code: 'CREDENTIAL_EXPIRED' });
  rig.give({ kind: 'documents', documents: [allowanceOf(kit, { generation: 2 })] });
  rig.connect().spend({ ref: 'next' });
  t.equal(rig.count('pay'), pays + 1, 'a later generation goes on');
  t.end();
});

t.test('killed between any two steps, a device keeps its Close or never made it', (t) => {
  for (const survive of [0, 1]) {
    const rig = spentRig().give({ kind: 'closeAllowance' });
    rig.crash(survive).connect().sync();
    const kept = durableCloses(rig);
    t.equal(kept.length, survive);
    t.equal(rig.count('hand-in'), survive, 'signed and handed in only if the journal has it');
    const pays = rig.count('pay');
    rig.spend({ ref: 'after the kill' });
    t.equal(rig.count('pay') - pays, 1 - survive);
  }
  const rig = spentRig().give({ kind: 'closeAllowance' }).sync();
  const first = rig.last('hand-in');
  rig.crash().connect().sync();
  t.equal(closeIn(rig.last('hand-in')).payload, closeIn(first).payload, 'the same words again');
  const { device } = kit.world.signers;
  const [waiting] = rig.state.closes;
  const sign1 = decodeSign1(waiting?.stage.kind === 'waiting' ? waiting.stage.closeCose : first);
  t.ok(sign1.ok && verifySign1(nodeVerifier(), device.key, sign1.value));
  rig.inbox('handed-in', handedInOf(rig.last('hand-in')));
  t.match(rig.closeOutcomes.at(-1), { kind: 'handed-in', generation: 1 });
  const sent = rig.count('hand-in');
  rig.sync().crash().connect().pass(120_000).sync();
  t.equal(rig.count('hand-in'), sent, 'a gateway has it: not again, also after a start');
  rig.give({ kind: 'closeAllowance' });
  t.match(rig.closeOutcomes.at(-1), { kind: 'handed-in', close: { lastCounter: 3 } }, 'kept');
  t.equal(durableCloses(rig).length, 1);
  t.end();
});

t.test(
  'a Close is sent again, so many times in one connection, and only for its own answer',
  (t) => {
    const rig = spentRig().give({ kind: 'closeAllowance' }).sync();
    rig.pass(5_001);
    t.match(rig.closeOutcomes, [{ kind: 'waiting', generation: 1, reason: /no gateway has said/ }]);
    rig.inbox('handed-in', handedInOf(new Uint8Array(100))).inbox('handed-in', new Uint8Array(9));
    for (let i = 0; i < 100; i += 1) rig.pass(60_000);
    t.equal(rig.count('hand-in'), 32);
    rig.give({ kind: 'linkDown' }).connect();
    t.equal(rig.count('hand-in'), 33, 'a new connection begins anew');
    rig.unixMs = (VALID.expiresS + 30 * 86_400) * 1_000;
    rig.give({ kind: 'linkDown' }).connect();
    t.equal(rig.count('hand-in'), 33, 'the issuer has released the hold by itself');
    t.end();
  },
);

t.test('what cannot be closed is refused, and a Close waits for an answered Payment', (t) => {
  const blank = new PayerRig(kit, []).connect().give({ kind: 'closeAllowance' });
  t.match(blank.closeOutcomes, [{ kind: 'refused', code: 'UNKNOWN_LINE' }]);
  const broken = new PayerRig(kit).connect().give({ kind: 'diskFailed', reason: 'full' });
  broken.give({ kind: 'closeAllowance' });
  t.match(broken.closeOutcomes, [{ kind: 'refused', code: 'DISK_FULL' }]);
  const dying = spentRig().give({ kind: 'closeAllowance' });
  dying.give({ kind: 'diskFailed', reason: 'full' });
  t.match(dying.closeOutcomes, [{ kind: 'refused', code: 'DISK_FULL' }]);
  t.equal(dying.count('hand-in'), 0);

  const rig = new PayerRig(kit).connect();
  const payment = rig.spend();
  rig.give({ kind: 'closeAllowance' }).sync().pass(6_000);
  t.equal(rig.count('hand-in'), 0);
  t.match(rig.closeOutcomes, [
    { kind: 'waiting', reason: /no Payment of this line has an answer/ },
  ]);
  rig.inbox('receipt', receiptOf(kit, payment)).sync();
  t.match(closeIn(rig.last('hand-in')).close, { lastCounter: 1, totalMicro: PRICE_MICRO });

  for (let generation = 2; generation <= 9; generation += 1) {
    rig.give({ kind: 'documents', documents: [allowanceOf(kit, { generation })] });
    rig.give({ kind: 'closeAllowance' }).sync();
  }
  t.match(rig.closeOutcomes.at(-1), { kind: 'refused', code: 'BUSY' }, 'eight wait');
  t.equal(rig.state.closes.length, 8);
  t.end();
});

t.test('whoever asks for a Close is answered, however late and on whatever disk', (t) => {
  const ended = { kind: 'refused', code: 'CREDENTIAL_EXPIRED' };
  const endsMs = (VALID.expiresS + 30 * 86_400) * 1_000;
  const late = spentRig();
  late.unixMs = endsMs;
  late.give({ kind: 'closeAllowance' }).sync().pass(6_000);
  t.match(late.closeOutcomes, [ended], 'the issuer has released the hold by itself');
  t.equal(durableCloses(late).length, 0);

  const again = spentRig().give({ kind: 'linkDown' }).give({ kind: 'closeAllowance' }).sync();
  again.pass(6_000);
  again.unixMs = endsMs - 1_000;
  again.give({ kind: 'closeAllowance' }).pass(2_000).connect().pass(6_000);
  t.match(again.closeOutcomes, [{ kind: 'waiting' }, ended], 'its time ends while somebody waits');
  again.give({ kind: 'closeAllowance' });
  t.match(again.closeOutcomes.slice(2), [ended]);

  const dying = spentRig().give({ kind: 'closeAllowance' });
  dying.give({ kind: 'diskFailed', reason: 'full' }).give({ kind: 'closeAllowance' }).pass(6_000);
  const full = { kind: 'refused', code: 'DISK_FULL' };
  t.match(dying.closeOutcomes, [full, full]);
  const leaving = spentRig().give({ kind: 'closeAllowance' }).sync().pass(6_000);
  leaving
    .give({ kind: 'want', want: wantOf(kit, { ref: 'x' }) })
    .give({ kind: 'diskFailed', reason: 'full' });
  leaving.give({ kind: 'closeAllowance' });
  t.match(leaving.closeOutcomes, [{ kind: 'waiting' }, { kind: 'waiting' }], 'at once');
  t.end();
});

t.test(
  'only a gateway with a mandate is given a Close, and its word alone ends the sending',
  (t) => {
    const rig = spentRig().give({ kind: 'linkDown' }).give({ kind: 'closeAllowance' }).sync();
    const presented = Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60);
    rig.linkUp(new Uint8Array(16).fill(9)).inbox('presented', presented).pass(1_000);
    t.equal(rig.count('hand-in'), 0, 'a stranger');
    t.ok(rig.wakeAtMs === undefined || rig.wakeAtMs > rig.monotonicMs, 'nothing is due at once');
    rig.connect();
    t.equal(rig.count('hand-in'), 1);
    const word = handedInOf(rig.last('hand-in'));
    rig.give({ kind: 'linkDown' }).linkUp(new Uint8Array(16).fill(9)).inbox('handed-in', word);
    t.equal(rig.state.closes[0]?.stage.kind, 'waiting');
    rig.connect().inbox('handed-in', word);
    t.equal(rig.state.closes[0]?.stage.kind, 'handed-in');
    t.end();
  },
);

t.test(
  'over real sockets: news of an earlier Close answers nobody who asked for this one',
  async (t) => {
    const site = new Site(newKit());
    site.intakeUrl = 'http://127.0.0.1:9'; // away: what is for it waits in the gateway's journal
    t.teardown(() => site.stop());
    const { payer, gateway } = await site.start();
    t.match(await payer.pay(wantOf(site.kit, { ref: 'one' })), { kind: 'accepted' });
    await gateway.close();
    const first = payer.closeAllowance();
    await payer.close();
    t.match(await first, { kind: 'waiting', generation: 1 });
    const back = await site.startPayer();
    back.documents([allowanceOf(site.kit, { generation: 2 })]);
    const second = back.closeAllowance();
    await site.startGateway();
    t.match(await second, { generation: 2 });
  },
);

t.test('over real sockets: gateway, intake, clearing, and the hold is released', async (t) => {
  const site = new Site(newKit());
  t.teardown(() => site.stop());
  const { world } = site.kit;
  const registry = buildRegistry(world.trust, registered(world));
  const verifier = nodeVerifier();
  const judge = { registry, verifier, clearing: world.signers.clearing.key.id };
  const taken: HandIn[] = [];
  let arrived: () => void = () => {};
  const judged = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const intake = await startIntakeService({
    folder: join(site.folder, 'intake'),
    ports: {
      judge: (handIn) => {
        const verdict = judgeHandIn(judge, handIn, NOW_S + 60);
        if (verdict.ok) taken.push(handIn);
        arrived();
        return verdict;
      },
    },
    partsOf,
    port: 0,
    clock: systemClock(),
  });
  t.teardown(() => intake.close());
  site.intakeUrl = intake.url;
  const { payer, gateway } = await site.start();
  t.match(await payer.pay(wantOf(site.kit, { ref: 'one' })), { kind: 'accepted' });
  await gateway.close();
  const early = payer.closeAllowance();
  await payer.close();
  t.match(await early, { kind: 'waiting' }, 'the gateway is away and the device ends');
  await site.startGateway();
  const back = await site.startPayer();
  const closed = await back.closeAllowance();
  t.match(closed, { kind: 'handed-in', generation: 1, approver: world.signers.gateway.key.id });
  t.match(back.status(), { closedGeneration: 1, closesWaiting: 0 });
  const refused = { kind: 'refused', code: 'CREDENTIAL_EXPIRED' };
  t.match(await back.pay(wantOf(site.kit, { ref: 'two' })), refused);
  await judged;
  const [handIn] = taken;
  t.ok(handIn?.close, 'the intake has judged it good');

  const log = new LogInMemory();
  const { payment, offer, outcome, close } = handIn!;
  log.append([{ payment, offer, outcome, answeredAtMs: NOW_S * 1_000, ...(close && { close }) }]);
  const { service, database } = await inMemory({ directory: directoryOf(registry) });
  t.teardown(() => service.close());
  const { policy, pair, source } = log;
  const puller = new LogPuller({
    clearing: judge.clearing,
    sources: [source],
    origin: ORIGIN,
    policy,
    registry,
    verifier,
    contentKey: pair.privateKey,
  });
  t.match(await puller.pull(service, NOW_S + 120), { ingested: 1, faultCount: 0 });
  const closes = await database.transaction((session) =>
    session.all('SELECT document FROM closes ORDER BY close_hash'),
  );
  t.equal(closes.length, 1, 'clearing has booked it');
  const desk = await openTestStore();
  t.teardown(() => desk.close());
  const round = await runStatementRound({
    database: desk,
    issuer: world.signers.issuer,
    verifier,
    registry,
    accounts: (async function* none() {})(),
    closes: closes.map((row) => new Uint8Array(row['document'] as Uint8Array)),
    nowS: NOW_S,
    hand: async () => {},
  });
  t.match(round, { closes: 1, faults: [] });
  const held = await desk.transaction((session) =>
    new StatementBook(session).allowances(toHex(world.line), 0),
  );
  const [first] = held;
  t.match(first, { generation: 1, closedAtMicro: PRICE_MICRO });
  t.equal(holdOf(first ? [first] : [], 0n, NOW_S), PRICE_MICRO, 'what it owes, not the ceiling');
});
