import { createHmac } from 'node:crypto';
import t from 'tap';
import { isGenuineChallenge, makeChallenge } from '../../approval/challenge.ts';
import { EQUIVOCATION_RECORD } from '../../approval/records.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import { newSigner, newWorld, yen } from '../identity/fixture.ts';
import { Bench, newPayer, pay, payloadOf, signOffer, type Payer } from './kit.ts';

const world = newWorld();

function open(mandate: ConstructorParameters<typeof Bench>[1] = {}): {
  bench: Bench;
  payer: Payer;
} {
  const bench = new Bench(world, mandate);
  bench.presentPayee();
  const payer = newPayer(world);
  bench.presentPayer(payer);
  return { bench, payer };
}

t.test('one counter with two contents: EQUIVOCATION, proof kept, line blocked', async (t) => {
  const { bench, payer } = open();
  const first = pay(payer, bench.offer(), { counter: 1 });
  t.match(bench.answer(first), { code: 'ACCEPTED' });
  const second = pay(payer, bench.offer({ amountMicro: yen(7) }), {
    counter: 1,
    totalMicro: yen(7),
  });
  t.match(bench.answer(second), { code: 'EQUIVOCATION', final: true });
  const proof = bench.durable.money
    .map((record) => EQUIVOCATION_RECORD.decode(record))
    .find((decoded) => decoded.ok);
  t.same(proof?.ok && proof.value.earlier, first);
  t.same(proof?.ok && proof.value.later, second);
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'LINE_BLOCKED', final: true });
  t.match(bench.answer(first), { code: 'ACCEPTED' }, 'what was accepted stays accepted');
  bench.start();
  bench.presentPayee();
  bench.presentPayer(payer);
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'LINE_BLOCKED' }, 'after a restart');
});

t.test(
  'a clone that avoids used counters breaks the total: EQUIVOCATION in either order',
  async (t) => {
    for (const [counter, totalMicro] of [
      [3, yen(250)],
      [1, yen(150)],
    ] as const) {
      const { bench, payer } = open();
      const honest = pay(payer, bench.offer(), { counter: 2, totalMicro: yen(200) });
      t.match(bench.answer(honest), { code: 'ACCEPTED' });
      const clone = pay(payer, bench.offer(), { counter, totalMicro });
      t.match(bench.answer(clone), { code: 'EQUIVOCATION' }, `counter ${counter}`);
    }
    const { bench, payer } = open();
    bench.payment(pay(payer, bench.offer(), { counter: 5, totalMicro: yen(500) }));
    const late = pay(payer, bench.offer(), { counter: 2, totalMicro: yen(200) });
    t.match(bench.answer(late), { code: 'ACCEPTED' }, 'a gap, filled late, proves nothing');
  },
);

t.test(
  'a total that starts anew after memory has forgotten the line is not accepted',
  async (t) => {
    const { bench, payer } = open();
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
    // As MAX_SEEN other Payments would do.
    const [line] = bench.state.lines.values();
    for (const seen of line!.window.splice(0)) {
      bench.state.seen.delete(seen.key);
      line!.forgottenThrough = seen.counter;
    }
    bench.state.forgot = true;
    const anew = pay(payer, bench.offer(), { counter: 3, totalMicro: yen(100) });
    t.match(bench.answer(anew), { code: 'ASK_CENTRE', final: false });
    const honest = pay(payer, bench.offer(), { counter: 3, totalMicro: yen(300) });
    t.match(bench.answer(honest), { code: 'ACCEPTED' });
  },
);

t.test('Offers: only from their own payee, on a genuine challenge, in time', async (t) => {
  const { bench, payer } = open();
  const challenge = bench.challenges(1)[0]!;
  bench.wait(1);
  const forged = new Uint8Array(challenge);
  forged[23]! ^= 1;
  const bad = [
    signOffer(world, forged),
    signOffer(world, challenge, { acceptByMs: 700_000 }),
    signOffer(world, challenge, { approver: new Uint8Array(16) }),
    signOffer(world, challenge, { payee: payer.signer.key.id }),
    signOffer(world, challenge, { currency: 840 }),
    signOffer(world, challenge, { acceptByMs: 0 }),
  ];
  for (const offer of bad) {
    bench.replies = [];
    bench.offers([offer]);
    const refusal = REFUSAL.decode(payloadOf(bench.take('refusal')[0]!.bytes));
    t.match(refusal, { value: { code: 'OFFER_UNKNOWN', final: false } });
    const { gateway } = world.signers;
    const payment = pay({ ...payer }, offer, { approver: gateway.key.id });
    t.match(bench.answer(payment), { code: 'OFFER_UNKNOWN', final: false });
  }
  t.match(bench.answer(pay({ ...payer }, bad[0]!), bad[0]), {
    code: 'OFFER_MISMATCH',
    final: true,
  });
  const mine = signOffer(world, challenge);
  const payment = pay(payer, mine, { counter: 9, totalMicro: yen(900) });
  const unsigned = signOffer(world, challenge, {}, newSigner());
  t.match(bench.answer(payment, unsigned), { code: 'OFFER_UNKNOWN' }, 'not signed by the payee');
  t.match(bench.answer(payment, bad[1]), { code: 'OFFER_UNKNOWN' }, 'not the Offer it names');
  t.match(bench.answer(payment, mine), { code: 'ACCEPTED' }, 'a Query brings the Offer along');
});

t.test(
  'an Offer of an epoch before the restart is void; of an unknown epoch: ASK_CENTRE',
  async (t) => {
    const { bench, payer } = open();
    const offer = bench.offer();
    const payment = pay(payer, offer);
    bench.start();
    bench.presentPayee();
    bench.presentPayer(payer);
    t.match(bench.answer(payment), { code: 'OFFER_UNKNOWN', final: false });
    t.match(bench.answer(payment, offer), { code: 'OFFER_EXPIRED', final: true });
    const other = open();
    other.bench.presentPayer(payer);
    t.match(other.bench.answer(pay(payer, offer), offer), { code: 'ASK_CENTRE', final: false });
  },
);

t.test('final refusals of one line are rate-limited, and others are not touched', async (t) => {
  const { bench, payer } = open({ deviceLimitMicro: yen(1) });
  const codes = new Map<string, number>();
  const offers = Array.from({ length: 60 }, () => bench.offer());
  for (const offer of offers) {
    const code = bench.answer(pay(payer, offer))!.code;
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  t.same(
    [...codes],
    [
      ['DEVICE_EXPOSURE', 32],
      ['RATE_LIMITED', 28],
    ],
  );
  const other = newPayer(world);
  bench.presentPayer(other);
  t.match(bench.answer(pay(other, bench.offer())), { code: 'DEVICE_EXPOSURE' });
  bench.wait(10_000);
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'DEVICE_EXPOSURE' }, 'one in 10 s');
});

t.test('one sender gets so many refusals and then silence', async (t) => {
  const { bench } = open();
  bench.replies = [];
  for (let i = 0; i < 200; i += 1) bench.payment(new Uint8Array([i]), 'flooder');
  t.equal(bench.replies.length, 64);
  t.equal(bench.state.refusals.get('silent'), 136);
});

t.test(
  'junk signatures cost the victim nothing and the approver a bounded number of checks',
  async (t) => {
    const { bench, payer } = open();
    const junk = pay({ ...payer }, bench.offer(), { signer: newSigner() });
    bench.verifications = 0;
    for (let i = 0; i < 500; i += 1) bench.payment(junk, 'junk sender');
    t.equal(bench.verifications, 32);
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
    bench.wait(200);
    bench.payment(junk, 'junk sender');
    t.equal(bench.verifications, 34, 'one more in its time');
  },
);

t.test('a challenge serves only the payee that it was given to', async (t) => {
  const hmac = (key: Uint8Array, bytes: Uint8Array): Uint8Array =>
    createHmac('sha256', key).update(bytes).digest();
  const keys = { epoch: new Uint8Array(8).fill(1), secret: new Uint8Array(32).fill(2) };
  const [mine, theirs] = [new Uint8Array(16).fill(3), new Uint8Array(16).fill(4)];
  const challenge = makeChallenge(hmac, keys, { second: 5, number: 6, payeeId: mine });
  t.ok(isGenuineChallenge(hmac, keys, challenge, mine));
  t.notOk(isGenuineChallenge(hmac, keys, challenge, theirs));
});

t.test('the party’s limit counts all its devices', async (t) => {
  const { bench, payer } = open({ partyLimitMicro: yen(150) });
  const sister = newPayer(world, {}, payer.party);
  const stranger = newPayer(world, {}, newSigner());
  for (const other of [sister, stranger]) bench.presentPayer(other);
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
  t.match(bench.answer(pay(sister, bench.offer())), { code: 'PARTY_EXPOSURE', final: true });
  t.match(bench.answer(pay(stranger, bench.offer())), { code: 'ACCEPTED' });
  bench.start();
  bench.presentPayee();
  bench.presentPayer(sister);
  t.match(bench.answer(pay(sister, bench.offer())), { code: 'PARTY_EXPOSURE' }, 'after a restart');
});
