import t from 'tap';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import type { PaymentOutcome } from '../../agent/edge/payer-device.ts';
import { newKit, wantOf } from './harness.ts';
import { Site } from './site.ts';

const kit = newKit();

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of from) all.push(entry);
  return all;
}

function want(ref: string, changes: Parameters<typeof wantOf>[1] = {}): ReturnType<typeof wantOf> {
  return wantOf(kit, { ref, ...changes });
}

t.test('payer and payee at a real gateway, which is restarted in between', async (t) => {
  const site = new Site(kit);
  t.teardown(() => site.stop());
  const { gateway, payer, payee } = await site.start();

  const first = await payer.pay(want('first'));
  t.match(first, { kind: 'accepted', counter: 1, amountMicro: 38_500_000n });
  const { offerMs, signMs, approvalMs } = first.timings;
  t.ok(Number(offerMs) > 0 && Number(signMs) > 0 && Number(approvalMs) > 0, 'it was timed');
  t.match(await payer.pay(want('first')), { kind: 'accepted', counter: 1 }, 'the same ref again');

  const many = await Promise.all(
    Array.from({ length: 20 }, (_, i) => payer.pay(want(`many-${i}`, { quantity: 1 + (i % 2) }))),
  );
  t.same(
    many.map(({ kind }) => kind),
    many.map(() => 'accepted'),
    'twenty at once',
  );

  // The gateway goes away; a want waits, and is served after the restart on the same port.
  t.equal(gateway.status().accepted, 21);
  await gateway.close();
  const waiting = payer.pay(want('during the restart'));
  await site.startGateway();
  t.match(await waiting, { kind: 'accepted' }, 'a want over the restart');
  await site.sold(22);

  const receipts = await collect(payer.receipts());
  t.equal(receipts.length, 22);
  t.ok(receipts.every(({ state }) => state === 'accepted'));
  const sales = await collect(payee.receipts());
  t.ok(
    sales.every(({ offerCose }) => offerCose !== undefined),
    'with their Offers',
  );
  t.same(
    new Set(sales.map(({ paymentHash }) => toHex(paymentHash))),
    new Set(receipts.map(({ paymentHash }) => toHex(paymentHash))),
    'payer and payee hold the same purchases',
  );
  t.equal(new Set(site.sales.map(({ paymentHash }) => toHex(paymentHash))).size, 22, 'released');
  t.equal(site.sales.length, 22, 'each of them once');
  const paid = site.sales.reduce((sum, { amountMicro: amount }) => sum + amount, 0n);
  t.equal(payer.status().totalMicro, paid, 'the line’s total is the sum of what was paid');

  await payer.close();
  const again = await site.startPayer();
  t.equal(again.status().totalMicro, paid, 'an orderly restart jumps over nothing');
  t.match(await again.pay(want('after a restart')), { kind: 'accepted', counter: 23 });
  t.equal(await again.handIn(), 23, 'and everything can be handed in');
  t.equal(await payee.handIn(), 23, 'by either side');
  t.same(site.notices, [], 'nothing to complain about');
});

t.test('what the gateway refuses for good is a Void that gives the amount back', async (t) => {
  const site = new Site(kit);
  t.teardown(() => site.stop());
  const { payer, payee } = await site.start();
  // 5,000 JPY is the gateway's limit for one device; the allowance would take 10,000.
  const outcomes: PaymentOutcome[] = [];
  const maxAmountMicro = amountMicro(2_000_000_000n);
  for (let i = 0; i < 6; i += 1) {
    outcomes.push(await payer.pay(want(`big-${i}`, { quantity: 260, maxAmountMicro })));
  }
  t.same(
    outcomes.map((outcome) => (outcome.kind === 'refused' ? outcome.code : outcome.kind)),
    ['accepted', 'accepted', 'accepted', 'accepted', 'DEVICE_EXPOSURE', 'DEVICE_EXPOSURE'],
  );
  t.equal(payer.status().releasedMicro, 2n * 1_001_000_000n);
  await site.sold(4);
  t.equal(payee.status().sales, 4);
  const states = (await collect(payer.receipts())).map(({ state }) => state);
  t.equal(states.filter((state) => state === 'void').length, 2, 'Voids are kept like Receipts');
});

t.test('metered use: the meter’s quantity is paid, not the ask’s', async (t) => {
  const site = new Site(kit);
  t.teardown(() => site.stop());
  const { payer, payee } = await site.start();
  const readingHash = new Uint8Array(32).fill(5);
  payee.usage({ item: 'bay 4', localMinuteOfDay: 400, metered: { quantity: 7, readingHash } });
  const outcome = await payer.pay(want('metered', { quantity: 1 }));
  t.match(outcome, { kind: 'accepted', amountMicro: 35_000_000n }, '7 minutes at 5 JPY');
  await site.sold(1);
  t.match(site.sales[0], { item: 'bay 4', quantity: 7, amountMicro: 35_000_000n });
});
