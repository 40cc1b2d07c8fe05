import t from 'tap';
import { toHex } from '../../protocol/bytes.ts';
import { HAND_IN, HANDED_IN } from '../../protocol/messages/envelopes.ts';
import { newSigner, newWorld } from '../identity/fixture.ts';
import { Bench, newPayer, pay, readOutcome, type Payer } from './kit.ts';

const world = newWorld();

function open(): { bench: Bench; payer: Payer } {
  const bench = new Bench(world);
  const payer = newPayer(world);
  bench.presentPayee();
  bench.presentPayer(payer);
  return { bench, payer };
}

t.test('hand-ins are kept as they came, so many per sender, and junk is refused', async (t) => {
  const { bench, payer } = open();
  const offer = bench.offer();
  const payment = pay(payer, offer);
  bench.payment(payment);
  const outcome = bench.take('receipt')[0]!.bytes;
  const bytes = HAND_IN.encode({ payment, offer, outcome });
  const before = bench.durable.offers.length;
  for (const from of [payer.signer.key.hex, world.signers.payee.key.hex]) {
    for (let i = 0; i < 100; i += 1) bench.feed({ kind: 'hand-in', from, bytes });
  }
  t.equal(bench.durable.offers.length - before, 2 * 64);
  bench.take();
  bench.feed({ kind: 'hand-in', from: newSigner().key.hex, bytes });
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'UNKNOWN_LINE', final: false });
  t.equal(bench.durable.offers.length - before, 2 * 64, 'a stranger fills no disk');
  bench.take();
  bench.feed({ kind: 'hand-in', from: 'other', bytes: new Uint8Array([0xa0]) });
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { final: false });
});

t.test(
  'a hand-in is answered once it is durable, and only where somebody carries it on',
  async (t) => {
    const { bench, payer } = open();
    const offer = bench.offer();
    const payment = pay(payer, offer);
    bench.payment(payment);
    const outcome = bench.take('receipt')[0]!.bytes;
    const plain = HAND_IN.encode({ payment, offer, outcome });
    const closing = HAND_IN.encode({ payment, offer, outcome, close: outcome });
    const strange = pay(payer, offer, { approver: new Uint8Array(16).fill(7) });
    const others = HAND_IN.encode({ payment: strange, offer, outcome });
    const handIn = (bytes: Uint8Array): void =>
      bench.feed({ kind: 'hand-in', from: payer.signer.key.hex, bytes });
    const answered = (): string[] => bench.take('handed-in').map(({ bytes }) => toHex(bytes));
    const answerTo = (bytes: Uint8Array): string =>
      toHex(HANDED_IN.encode({ handInHash: bench.ports.sha256(bytes) }));

    bench.isAutomatic = false;
    handIn(plain);
    bench.feed({ kind: 'persisted', journal: 'money', through: bench.durable.money.length - 1 });
    t.same(answered(), [], 'not before it is durable');
    bench.sync();
    t.same(answered(), [answerTo(plain)]);
    bench.sync();
    t.same(answered(), [], 'once');

    bench.isAutomatic = true;
    const before = bench.durable.offers.length;
    handIn(closing);
    handIn(others);
    t.equal(bench.durable.offers.length - before, 2, 'kept');
    t.same(answered(), [], 'with no intake log they end here: their sender goes on trying');
    bench.isForwarding = true;
    bench.start();
    bench.presentPayer(payer);
    bench.take();
    handIn(closing);
    handIn(others);
    t.same(answered(), [answerTo(closing), answerTo(others)]);
  },
);
