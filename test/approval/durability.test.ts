import t from 'tap';
import { MAX_PENDING, MAX_SEEN_PER_LINE } from '../../approval/limits.ts';
import { overview, remembered } from '../../approval/overview.ts';
import { foundAnswer } from '../../approval/recovery.ts';
import { ACCEPTED_RECORD, SIGNED_RECORD, VOID_RECORD } from '../../approval/records.ts';
import { UsedChallenges } from '../../approval/used-challenges.ts';
import {
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  PRESENTED,
} from '../../protocol/messages/envelopes.ts';
import { newWorld, yen } from '../identity/fixture.ts';
import { Bench, hashOf, newPayer, pay, readOutcome, type Payer } from './kit.ts';

const world = newWorld();

function open(facts: Parameters<typeof newPayer>[1] = {}): { bench: Bench; payer: Payer } {
  const bench = new Bench(world, { deviceLimitMicro: yen(100_000) });
  const payer = newPayer(world, { upperMicro: yen(20_000), ...facts });
  meet(bench, payer);
  return { bench, payer };
}

function meet(bench: Bench, payer: Payer): void {
  bench.presentPayee();
  bench.presentPayer(payer);
  bench.sync();
}

t.test(
  'nothing is answered before the sync, and every waiting duplicate is answered by it',
  async (t) => {
    const { bench, payer } = open();
    const payment = pay(payer, bench.offer());
    bench.isAutomatic = false;
    bench.replies = [];
    for (const from of ['a', 'b', 'a', 'c']) bench.payment(payment, from);
    t.same(bench.replies, []);
    bench.sync();
    const told = bench.take('receipt');
    t.same(
      told.map(({ to }) => to),
      ['a', 'b', 'c'],
    );
    t.equal(new Set(told.map(({ bytes }) => Buffer.from(bytes).toString('hex'))).size, 1);
    t.equal(bench.durable.money.filter((record) => ACCEPTED_RECORD.decode(record).ok).length, 1);
  },
);

t.test(
  'accept-by passes during the sync: reversed by a Void that waits for its own sync',
  async (t) => {
    const { bench, payer } = open();
    const offer = bench.offer({ acceptByMs: 1_000 });
    const payment = pay(payer, offer);
    bench.isAutomatic = false;
    bench.replies = [];
    bench.payment(payment);
    const accepted = bench.buffered.money.at(-1)!;
    bench.wait(1_001);
    bench.durable.money.push(...bench.buffered.money.splice(0));
    bench.step({ kind: 'persisted', journal: 'money', through: bench.durable.money.length - 1 });
    t.same(bench.replies, [], 'neither Receipt nor Void yet');
    t.equal(bench.state.exposure.total.micro, 0n);
    const reversal = VOID_RECORD.decode(bench.buffered.money[0]!);
    t.match(reversal, { ok: true, value: { reverses: 1 } });

    // A crash here leaves the acceptance: journalled means accepted.
    const crashed = new Bench(world);
    crashed.durable = structuredClone(bench.durable);
    crashed.start();
    t.equal(crashed.state.exposure.total.micro, yen(100));
    t.match(crashed.answer(payment), { code: 'ACCEPTED', sequence: 1 });
    t.ok(ACCEPTED_RECORD.decode(accepted).ok);

    bench.sync();
    t.match(readOutcome(bench.take('refusal')[0]!.bytes), {
      code: 'OFFER_EXPIRED',
      final: true,
      sequence: 2,
    });
    bench.start();
    t.equal(bench.state.exposure.total.micro, 0n, 'a crash after it leaves the Void');
    t.match(bench.answer(payment), { code: 'OFFER_EXPIRED', sequence: 2 });
    t.match(foundAnswer(bench.durable.money, hashOf(payment)), { kind: 'void' });
    bench.feed({ kind: 'tick' });
    t.match(remembered(bench.state, hashOf(payment)), { kind: 'void' });
  },
);

t.test(
  'a reversal that a crash undoes is not hidden from the ledger by a younger signature',
  async (t) => {
    const { bench, payer } = open();
    const late = pay(payer, bench.offer({ acceptByMs: 1_000 }));
    const young = pay(payer, bench.offer());
    bench.isAutomatic = false;
    bench.payment(late);
    bench.payment(young);
    bench.wait(1_001);
    bench.durable.money.push(...bench.buffered.money.splice(0));
    bench.replies = [];
    bench.step({ kind: 'persisted', journal: 'money', through: bench.durable.money.length - 1 });
    t.match(readOutcome(bench.take('receipt')[0]!.bytes), { sequence: 2 }, 'nobody else waits');

    // The signatures reach the disk, the Void that takes sequence 1 back does not.
    const crashed = new Bench(world);
    crashed.durable = structuredClone(bench.durable);
    crashed.durable.signed.push(...bench.buffered.signed);
    crashed.start();
    t.match(crashed.answer(late), { code: 'ACCEPTED', sequence: 1 }, 'journalled means accepted');
    t.same(signedSequences(crashed), [1, 2], 'and the ledger hears of it');

    bench.sync();
    t.same(signedSequences(bench), [2, 3], 'taken back durably it never stands there');
  },
);

function signedSequences(bench: Bench): number[] {
  return bench.durable.signed.flatMap((record) => {
    const decoded = SIGNED_RECORD.decode(record);
    return decoded.ok ? decoded.value.rows.map(({ sequence }) => sequence) : [];
  });
}

t.test('until its epoch is durable the approver is BUSY; a full disk is DISK_FULL', async (t) => {
  const { bench, payer } = open();
  const first = pay(payer, bench.offer());
  t.match(bench.answer(first), { code: 'ACCEPTED' });
  const waiting = pay(payer, bench.offer());
  const later = pay(payer, bench.offer());
  bench.isAutomatic = false;
  bench.payment(waiting);
  bench.feed({ kind: 'disk-full' });
  const before = bench.buffered.money.length;
  t.match(bench.answer(later), { code: 'DISK_FULL', final: false });
  t.match(bench.answer(waiting), { code: 'DISK_FULL' }, 'written but not durable');
  t.match(bench.answer(first), { code: 'ACCEPTED' }, 'what is durable is still known');
  bench.presentPayer(newPayer(world));
  t.match(PRESENTED.decode(bench.take('presented')[0]!.bytes), { value: { code: 31 } });
  t.equal(bench.buffered.money.length, before);
  bench.step({ kind: 'persisted', journal: 'money', through: 0 });

  bench.isAutomatic = true;
  bench.start();
  t.match(bench.answer(waiting), { code: 'UNKNOWN_LINE' }, 'it was never durable: unknown');
  bench.presentPayer(payer);
  bench.state.phase = 'opening';
  t.match(bench.answer(later), { code: 'BUSY', final: false });
});

t.test('above the limit of Payments that wait for the disk: BUSY, nothing lost', async (t) => {
  const { bench, payer } = open({ counterCeiling: 1_000_000 });
  const offers = Array.from({ length: 3 }, () => bench.offer());
  bench.isAutomatic = false;
  for (let i = 0; i < 2; i += 1) bench.payment(pay(payer, offers[i]!));
  const real = bench.state.pending.splice(0);
  const filler = Array.from({ length: MAX_PENDING - 2 }, () => real[0]!);
  bench.state.pending.push(...real, ...filler);
  t.match(bench.answer(pay(payer, offers[2]!)), { code: 'BUSY', final: false });
});

t.test(
  'a Payment that memory forgot is looked up on the disk before anything is answered',
  async (t) => {
    const { bench, payer } = open({ counterCeiling: 1_000_000 });
    const offer = bench.offer();
    const oldest = pay(payer, offer);
    const left = { ...payer };
    const gap = bench.offer({ acceptByMs: 500_000 });
    const skipped = pay(left, gap, { counter: 2, totalMicro: yen(200) });
    t.match(bench.answer(oldest), { code: 'ACCEPTED', sequence: 1 });
    payer.counter = 2;
    payer.totalMicro = yen(200);
    for (let i = 0; i <= MAX_SEEN_PER_LINE; i += 1) bench.payment(pay(payer, bench.offer()));
    t.ok(bench.state.forgot);
    t.equal(remembered(bench.state, hashOf(oldest)), 'unknown');

    bench.replies = [];
    bench.payment(oldest, 'a');
    t.same(bench.replies, [], 'no answer before the search');
    const lookup = bench.lookups.pop()!;
    t.same(lookup.paymentHash, hashOf(oldest));
    t.match(bench.answer(oldest), { code: 'BUSY' }, 'one search per Payment at a time');
    bench.replies = [];
    const records = bench.durable.money.filter((record) =>
      Buffer.from(record).includes(lookup.paymentHash as Buffer),
    );
    bench.feed({ kind: 'found', key: lookup.key, records });
    t.match(readOutcome(bench.take('receipt')[0]!.bytes), { code: 'ACCEPTED', sequence: 1 });

    // Another new Payment on the used Offer: searched, not found, then void.
    const second = pay({ ...payer }, offer);
    bench.payment(second);
    bench.feed({ kind: 'found', key: bench.lookups.pop()!.key, records: [] });
    t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'OFFER_USED', final: true });

    // Older than the window with a live Offer: what else was on that counter is not known any more.
    bench.payment(skipped);
    const wrong = bench.durable.money.filter((record) => ACCEPTED_RECORD.decode(record).ok);
    bench.feed({ kind: 'found', key: bench.lookups.pop()!.key, records: wrong });
    t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'ASK_CENTRE', final: false });
    bench.feed({ kind: 'found', key: 'nobody asked', records: [] });
  },
);

t.test('a forgotten Payment is found after a restart too, without its Offer', async (t) => {
  const { bench, payer } = open({ counterCeiling: 1_000_000 });
  const unused = bench.offer();
  const oldest = pay(payer, bench.offer());
  t.match(bench.answer(oldest), { code: 'ACCEPTED', sequence: 1 });
  for (let i = 0; i <= MAX_SEEN_PER_LINE; i += 1) bench.payment(pay(payer, bench.offer()));
  bench.start();
  bench.presentPayer(payer);
  bench.replies = [];
  bench.payment(oldest);
  t.same(bench.replies, [], 'no answer before the search');
  const { key } = bench.lookups.pop()!;
  bench.feed({ kind: 'found', key, records: bench.durable.money });
  t.match(readOutcome(bench.take('receipt')[0]!.bytes), { code: 'ACCEPTED', sequence: 1 });

  // Never seen and as old: nothing is found, and nothing final is said without its Offer.
  const unheard = pay({ ...payer }, unused, { counter: 1, totalMicro: yen(100) });
  bench.payment(unheard);
  bench.feed({ kind: 'found', key: bench.lookups.pop()!.key, records: [] });
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'OFFER_UNKNOWN', final: false });
});

t.test('a Void is not forgotten while its Offer could still be paid', async (t) => {
  const { bench, payer } = open({ counterCeiling: 1_000_000, paymentLimitMicro: yen(100) });
  const dear = pay(payer, bench.offer({ amountMicro: yen(101), acceptByMs: 400_000 }));
  t.match(bench.answer(dear), { code: 'PAYMENT_LIMIT', final: true });
  for (let i = 0; i < MAX_SEEN_PER_LINE * 2; i += 1) bench.payment(pay(payer, bench.offer()));
  t.match(bench.answer(dear), { code: 'PAYMENT_LIMIT' });
  t.ok(
    bench.state.lines.get([...bench.state.lines.keys()][0]!)!.window.length <= MAX_SEEN_PER_LINE,
  );
  t.equal(bench.lookups.length, 0, 'and needs no search');
});

t.test('a challenge is marked in one bit and lives no longer than its lifetime', async (t) => {
  const used = new UsedChallenges();
  t.equal(used.grant(5_000, 0), 0);
  t.equal(used.grant(10, 1_000), 5_000);
  used.use(4_097);
  t.same([used.isUsed(4_096), used.isUsed(4_097), used.isUsed(5_009)], [false, true, false]);
  used.drop(600_000);
  t.equal(used.isUsed(1), true, 'a dropped chunk answers used');
  t.equal(used.isUsed(5_000), false, 'the one being filled stays');
  t.equal(used.grant(1_048_576, 600_000), undefined, 'bounded');
});

t.test('challenges go to payees with a credential only, and so many', async (t) => {
  const bench = new Bench(world);
  const request = CHALLENGE_REQUEST.encode({ count: 1_000 });
  bench.feed({ kind: 'challenges', from: world.signers.payee.key.hex, bytes: request });
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'UNKNOWN_LINE' });
  bench.presentPayee();
  bench.replies = [];
  bench.feed({ kind: 'challenges', from: world.signers.payee.key.hex, bytes: request });
  const grant = CHALLENGE_GRANT.decode(bench.take('challenges')[0]!.bytes);
  t.equal(grant.ok && grant.value.challenges.length, 64);
  bench.feed({ kind: 'challenges', from: world.signers.payee.key.hex, bytes: new Uint8Array([1]) });
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'MALFORMED' });
});

t.test('documents are in force when durable; a stranger cannot stand in for a payee', async (t) => {
  const bench = new Bench(world);
  bench.presentPayee();
  const payer = newPayer(world);
  const payment = pay(payer, bench.offer());
  bench.isAutomatic = false;
  bench.presentPayer(payer);
  t.match(bench.answer(payment), { code: 'UNKNOWN_LINE' });
  bench.sync();
  bench.verifications = 0;
  bench.presentPayer(payer);
  t.equal(bench.verifications, 0, 'the same set again costs a hash');
  bench.isAutomatic = true;
  t.match(bench.answer(payment), { code: 'ACCEPTED' });

  const older = newPayer(world, { generation: 0 }, payer.party, payer.signer);
  bench.replies = [];
  bench.presentPayer(older);
  t.match(
    PRESENTED.decode(bench.take('presented')[0]!.bytes),
    { value: { code: 9 } },
    'superseded',
  );
  const junk = newPayer(newWorld());
  bench.presentPayer(junk);
  t.match(
    PRESENTED.decode(bench.take('presented')[0]!.bytes),
    { value: { code: 9 } },
    'another issuer',
  );
  bench.feed({ kind: 'present', from: 'x', bytes: new Uint8Array([0xa0]) });
  t.match(PRESENTED.decode(bench.take('presented')[0]!.bytes), { value: { code: 5 } });
});

t.test('of two sets of one line that wait for one sync the newer is in force', async (t) => {
  const { bench, payer } = open();
  const { signer, party } = payer;
  const older = newPayer(world, { generation: 2, paymentLimitMicro: yen(1_000) }, party, signer);
  const newer = newPayer(world, { generation: 3, paymentLimitMicro: yen(50) }, party, signer);
  bench.isAutomatic = false;
  bench.presentPayer(newer);
  bench.presentPayer(older);
  bench.isAutomatic = true;
  bench.replies = [];
  bench.sync();
  t.same(
    bench.take('presented').map(({ bytes }) => {
      const presented = PRESENTED.decode(bytes);
      return presented.ok && presented.value.code;
    }),
    [0, 9],
  );
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'PAYMENT_LIMIT' });
});

t.test('the overview counts what happened and the journal refuses to be another', async (t) => {
  const { bench, payer } = open();
  bench.payment(pay(payer, bench.offer()));
  bench.payment(pay(payer, bench.offer(), { payee: new Uint8Array(16) }));
  t.match(overview(bench.state, bench.config, bench.now), {
    phase: 'open',
    lastSequence: 2,
    accepted: 1,
    voided: 1,
    refusals: { OFFER_MISMATCH: 1 },
    unacknowledgedMicro: yen(100),
    unacknowledgedCount: 2,
    lines: 1,
    payees: 1,
    timeQuality: 2,
    lists: [{ version: 7, ageS: 0 }],
  });
  const fresh = bench.approver.initial();
  t.throws(() => bench.approver.recover(fresh, new Uint8Array([0xa1, 0x00, 0x18, 0x77])), {
    code: 'JOURNAL_CORRUPT',
  });
  const gap = bench.approver.initial();
  const accepted = bench.durable.money.filter((record) => VOID_RECORD.decode(record).ok);
  t.throws(() => bench.approver.recover(gap, accepted[0]!), { code: 'INVARIANT_BROKEN' });
});
