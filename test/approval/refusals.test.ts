import t from 'tap';
import { issueAcknowledgement, issueClosing } from '../../identity/core/issue.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { decodeSign } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { PRESENT, PRESENTED } from '../../protocol/messages/envelopes.ts';
import { REFUSALS } from '../../protocol/refusal.ts';
import { JPY, newSigner, newWorld, NOW_S, yen, type World } from '../identity/fixture.ts';
import { Bench, newPayer, pay, signOffer, statusList, type Payer } from './kit.ts';

const world = newWorld();

/** An approver with a payee and one payer presented. */
function open(
  mandate: ConstructorParameters<typeof Bench>[1] = {},
  facts: Parameters<typeof newPayer>[1] = {},
  mode: 'fog' | 'direct' = 'fog',
): { bench: Bench; payer: Payer } {
  const bench = new Bench(world, mandate, mode);
  bench.presentPayee();
  const payer = newPayer(world, facts);
  bench.presentPayer(payer);
  return { bench, payer };
}

t.test(
  'the one right payment is accepted with one verification, and told to both sides',
  async (t) => {
    const { bench, payer } = open();
    const payment = pay(payer, bench.offer());
    bench.verifications = 0;
    bench.replies = [];
    bench.payment(payment, payer.signer.key.hex);
    t.equal(bench.verifications, 1);
    t.same(
      bench.replies.map(({ to, verb }) => [to, verb]),
      [
        [payer.signer.key.hex, 'receipt'],
        [world.signers.payee.key.hex, 'paid'],
      ],
    );
    const records = bench.durable.money.at(-1)!;
    const pair = payment.length + bench.replies[0]!.bytes.length;
    t.ok(
      records.length + 12 <= 1.05 * pair,
      `${records.length} journal bytes for a pair of ${pair}`,
    );
  },
);

t.test('bytes that are no Payment are refused by their fault and journal nothing', async (t) => {
  const { bench, payer } = open();
  const before = bench.durable.money.length;
  const good = pay(payer, bench.offer());
  const cases: [string, Uint8Array][] = [
    ['MALFORMED', new Uint8Array([0xd2, 0x84])],
    ['TOO_LARGE', new Uint8Array(17_000).fill(0xd2)],
    ['NON_CANONICAL', new Uint8Array([0xbf, 0xff])],
    ['UNKNOWN_MESSAGE', new Uint8Array([0xa1, 0x00, 0x05])],
    ['UNKNOWN_MESSAGE', signOffer(world, new Uint8Array(24))],
    ['TOO_DEEP', new Uint8Array(1000).fill(0x81)],
  ];
  for (const [code, bytes] of cases) t.match(bench.answer(bytes), { code, final: false }, code);
  for (let cut = 0; cut < good.length; cut += 7) {
    const answer = bench.answer(good.subarray(0, cut));
    t.match(answer?.code ?? 'none', /MALFORMED|NON_CANONICAL|none/, `cut at ${cut}`);
    bench.wait(100);
  }
  t.equal(bench.durable.money.length, before);
});

t.test('a Payment for another approver is WRONG_GATEWAY', async (t) => {
  const { bench, payer } = open();
  const approver = world.signers.stranger.key.id;
  t.match(bench.answer(pay(payer, bench.offer(), { approver })), {
    code: 'WRONG_GATEWAY',
    final: false,
  });
});

t.test('an unknown line is UNKNOWN_LINE; after Present the same bytes are accepted', async (t) => {
  const bench = new Bench(world);
  bench.presentPayee();
  const payer = newPayer(world);
  const payment = pay(payer, bench.offer());
  t.match(bench.answer(payment), { code: 'UNKNOWN_LINE', final: false });
  bench.presentPayer(payer);
  t.match(bench.answer(payment), { code: 'ACCEPTED' });
});

t.test('a Payment that its device did not sign is BAD_SIGNATURE and harms nobody', async (t) => {
  const { bench, payer } = open();
  const offer = bench.offer();
  const before = bench.durable.money.length;
  const junk = pay({ ...payer }, offer, { signer: newSigner(), amountMicro: yen(99) });
  t.match(bench.answer(junk), { code: 'BAD_SIGNATURE', final: false });
  const flipped = pay({ ...payer }, offer);
  flipped[flipped.length - 1]! ^= 1;
  t.match(bench.answer(flipped), { code: 'BAD_SIGNATURE' });
  t.equal(bench.durable.money.length, before, 'nothing is journalled');
  t.match(bench.answer(pay(payer, offer)), { code: 'ACCEPTED' }, 'the victim pays on the counter');
});

t.test(
  'each final refusal has its code, is journalled, and is the same Void for ever',
  async (t) => {
    const limited = { paymentLimitMicro: yen(150), counterCeiling: 3, releaseCapMicro: yen(10) };
    const base = {
      upperMicro: yen(250),
      lowerMicro: yen(1),
      ceilingMicro: yen(10_300),
      baseMicro: yen(10_000),
    };
    interface Case {
      code: string;
      mandate?: ConstructorParameters<typeof Bench>[1];
      facts?: Parameters<typeof newPayer>[1];
      mode?: 'direct';
      make: (bench: Bench, payer: Payer) => Uint8Array;
    }
    const plain = (bench: Bench, payer: Payer): Uint8Array => pay(payer, bench.offer());
    const cases: Case[] = [
      {
        code: 'OFFER_USED',
        make: (bench, payer) => {
          const offer = bench.offer();
          bench.payment(pay(payer, offer));
          return pay(payer, offer);
        },
      },
      {
        code: 'OFFER_EXPIRED',
        make: (bench, payer) => {
          const offer = bench.offer({ acceptByMs: 5_000 });
          bench.wait(5_001);
          return pay(payer, offer);
        },
      },
      {
        code: 'OFFER_MISMATCH',
        make: (bench, payer) =>
          pay(payer, bench.offer(), { amountMicro: yen(99), totalMicro: yen(99) }),
      },
      {
        code: 'OFFER_MISMATCH',
        make: (bench, payer) => pay(payer, bench.offer(), { payee: new Uint8Array(16) }),
      },
      {
        code: 'CURRENCY_MISMATCH',
        make: (bench, payer) => pay(payer, bench.offer(), { currency: 840 }),
      },
      { code: 'CURRENCY_MISMATCH', mandate: { currency: 840 }, make: plain },
      {
        code: 'PAYMENT_LIMIT',
        facts: limited,
        make: (bench, payer) => pay(payer, bench.offer({ amountMicro: yen(151) })),
      },
      {
        code: 'PAYMENT_LIMIT',
        mode: 'direct',
        make: (bench, payer) => pay(payer, bench.offer({ amountMicro: yen(501) })),
      },
      {
        code: 'COUNTER_LIMIT',
        facts: limited,
        make: (bench, payer) => pay(payer, bench.offer(), { counter: 4 }),
      },
      {
        code: 'RELEASE_LIMIT',
        facts: limited,
        make: (bench, payer) =>
          pay(payer, bench.offer(), { totalMicro: yen(500), releasedMicro: yen(11) }),
      },
      {
        code: 'UPPER_LIMIT',
        facts: base,
        make: (bench, payer) =>
          pay(payer, bench.offer(), { totalMicro: amountMicro(10_250_000_001n) }),
      },
      {
        code: 'CEILING_EXCEEDED',
        facts: { ...base, upperMicro: yen(1_000) },
        make: (bench, payer) =>
          pay(payer, bench.offer(), { totalMicro: amountMicro(10_300_000_001n) }),
      },
      { code: 'DEVICE_EXPOSURE', mandate: { deviceLimitMicro: yen(99) }, make: plain },
      { code: 'PARTY_EXPOSURE', mandate: { partyLimitMicro: yen(99) }, make: plain },
      { code: 'GATEWAY_EXPOSURE', mandate: { maxUnacknowledgedMicro: yen(99) }, make: plain },
      {
        code: 'REVOKED',
        make: (bench, payer) => {
          bench.feed({ kind: 'status-list', bytes: statusList(world, [4], NOW_S, 8) });
          return plain(bench, payer);
        },
      },
      {
        code: 'CREDENTIAL_EXPIRED',
        facts: { expiresS: NOW_S + 10 },
        make: (bench, payer) => {
          const payment = plain(bench, payer);
          bench.wait(10_000);
          return payment;
        },
      },
    ];
    for (const { code, mandate, facts, mode, make } of cases) {
      const { bench, payer } = open(mandate, facts, mode);
      const payment = make(bench, payer);
      const before = bench.durable.money.length;
      const first = bench.answer(payment);
      t.match(first, { code, final: true }, code);
      t.equal(REFUSALS[code as 'REVOKED'].kind, 'final');
      const bytes = bench.replies[0]!.bytes;
      t.equal(bench.durable.money.length, before + 1, `${code} is journalled`);
      t.match(bench.answer(payment), first!);
      t.same(bench.replies[0]!.bytes, bytes, `${code} again is the same Void`);
      bench.start();
      t.match(bench.answer(payment), first!, `${code} after a restart`);
      t.equal(bench.durable.money.filter((record) => includes(record, payment)).length, 1);
    }
  },
);

function includes(record: Uint8Array, payment: Uint8Array): boolean {
  return Buffer.from(record).includes(Buffer.from(payment));
}

t.test('a Closing ends the line above its marks: BINDING_CLOSED', async (t) => {
  const { bench, payer } = open();
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
  const documents = PRESENT.decode(payer.present);
  if (!documents.ok) throw new Error(documents.reason);
  const binding = decodeSign(documents.value.documents[2]!);
  if (!binding.ok) throw new Error(binding.reason);
  const closing = issueClosing(
    { party: payer.party, registrar: world.signers.registrar },
    {
      issuedS: NOW_S,
      subject: payer.signer.key.id,
      line: payer.line,
      bindingHash: payloadHash(binding.value.payload),
      lastCounter: 2,
      totalMicro: yen(200),
      open: [],
    },
  );
  const set = [...documents.value.documents, closing];
  bench.replies = [];
  bench.feed({ kind: 'present', from: 'a', bytes: PRESENT.encode({ documents: set }) });
  t.match(PRESENTED.decode(bench.take('presented')[0]!.bytes), { value: { code: 0 } });
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' }, 'at the mark');
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'BINDING_CLOSED', final: true });
  bench.presentPayer(payer);
  t.match(
    bench.answer(pay(payer, bench.offer())),
    { code: 'BINDING_CLOSED' },
    'older papers do not undo it',
  );
});

t.test('the status list: stale tightens, too old or missing is LIST_STALE', async (t) => {
  const { bench, payer } = open({ deviceLimitMicro: yen(400) });
  bench.wait(3_601_000);
  t.match(
    bench.answer(pay(payer, bench.offer({ acceptByMs: 4_000_000 }))),
    { code: 'ACCEPTED' },
    'within a quarter',
  );
  t.match(bench.answer(pay(payer, bench.offer({ acceptByMs: 4_000_000 }))), {
    code: 'DEVICE_EXPOSURE',
  });
  const held = open({}, { maxListAgeS: 100 });
  held.bench.wait(101_000);
  const payment = pay(held.payer, held.bench.offer({ acceptByMs: 400_000 }));
  t.match(held.bench.answer(payment), { code: 'LIST_STALE', final: false });
  held.bench.feed({ kind: 'status-list', bytes: statusList(world, [], NOW_S + 100, 8) });
  t.match(held.bench.answer(payment), { code: 'ACCEPTED' }, 'a newer list reopens it');
  held.bench.feed({ kind: 'status-list', bytes: statusList(world, [4], NOW_S, 7) });
  t.match(held.bench.centre.at(-1), { taken: false }, 'an older list is not taken back');
});

t.test(
  'with an unknown clock a list ages too: shown again, and by the centre’s word',
  async (t) => {
    const again = open({}, { maxListAgeS: 100 });
    const payment = pay(again.payer, again.bench.offer({ acceptByMs: 400_000 }));
    again.bench.now = { ...again.bench.now, timeQuality: 0 };
    again.bench.wait(101_000);
    again.bench.feed({ kind: 'status-list', bytes: statusList(world) });
    t.match(again.bench.answer(payment), { code: 'LIST_STALE' }, 'the same list is not news');

    const told = open({}, { maxListAgeS: 100 });
    told.bench.now = { unixMs: 0, monotonicMs: told.bench.now.monotonicMs, timeQuality: 0 };
    const acknowledgement = acknowledge(world, 0, NOW_S + 101);
    told.bench.feed({ kind: 'acknowledgement', bytes: acknowledgement });
    const late = pay(told.payer, told.bench.offer());
    t.match(told.bench.answer(late), { code: 'LIST_STALE' }, 'the centre has signed a later time');
  },
);

t.test('an unknown clock means the tightened tier and expires nothing', async (t) => {
  const { bench, payer } = open({ deviceLimitMicro: yen(400) });
  bench.now = { unixMs: 0, monotonicMs: bench.now.monotonicMs, timeQuality: 0 };
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
  bench.now = { ...bench.now, unixMs: 4e12 };
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'DEVICE_EXPOSURE' });
});

t.test('after too long a silence of the centre: MANDATE_SILENT', async (t) => {
  const { bench, payer } = open({ maxSilenceS: 50 });
  const payment = pay(payer, bench.offer());
  bench.wait(51_000);
  t.match(bench.answer(payment), { code: 'MANDATE_SILENT', final: false });
  const acknowledgement = acknowledge(world, 0, NOW_S + 50);
  bench.feed({ kind: 'acknowledgement', bytes: acknowledgement });
  t.match(bench.answer(payment), { code: 'ACCEPTED' });
});

function acknowledge(of: World, throughSequence: number, issuedS = NOW_S): Uint8Array {
  return issueAcknowledgement(of.signers.issuer, {
    issuedS,
    approver: of.signers.gateway.key.id,
    currency: JPY,
    throughSequence,
    count: throughSequence,
    sumMicro: yen(0),
  });
}

t.test(
  'only an acknowledgement lowers the unacknowledged sums, also across a restart',
  async (t) => {
    const { bench, payer } = open({ deviceLimitMicro: yen(250) });
    for (let i = 0; i < 2; i += 1) bench.payment(pay(payer, bench.offer()));
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'DEVICE_EXPOSURE' });
    bench.start();
    bench.presentPayee();
    bench.presentPayer(payer);
    t.match(
      bench.answer(pay(payer, bench.offer())),
      { code: 'DEVICE_EXPOSURE' },
      'a restart resets nothing',
    );
    bench.feed({ kind: 'acknowledgement', bytes: acknowledge(world, 1) });
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
    t.match(bench.answer(pay(payer, bench.offer())), { code: 'DEVICE_EXPOSURE' });
    bench.feed({ kind: 'acknowledgement', bytes: acknowledge(world, 999) });
    t.match(bench.centre.at(-1), { taken: false, reason: /does not have/ });
    bench.feed({ kind: 'acknowledgement', bytes: acknowledge(newWorld(), 1) });
    t.match(bench.centre.at(-1), { taken: false }, 'another issuer');
    t.equal(bench.state.exposure.total.micro, yen(200));
    bench.start();
    t.equal(bench.state.exposure.total.micro, yen(200), 'rebuilt from the journal');
  },
);
