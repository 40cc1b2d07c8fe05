import t from 'tap';
import { MAX_SALES_TOLD } from '../../approval/limits.ts';
import { toHex } from '../../protocol/bytes.ts';
import { PAID } from '../../protocol/messages/envelopes.ts';
import { newWorld, yen } from '../identity/fixture.ts';
import { Bench, newPayer, pay, type Payer } from './kit.ts';

const world = newWorld();

function open(): { bench: Bench; payer: Payer } {
  const bench = new Bench(world, { deviceLimitMicro: yen(100_000) });
  const payer = newPayer(world, { upperMicro: yen(100_000), ceilingMicro: yen(100_000) });
  bench.presentPayee();
  bench.presentPayer(payer);
  bench.sync();
  return { bench, payer };
}

function paidIn(bench: Bench): string[] {
  return bench.take('paid').map(({ to, bytes }) => {
    const paid = PAID.decode(bytes);
    t.equal(to, world.signers.payee.key.hex);
    return paid.ok ? toHex(paid.value.payment) : '';
  });
}

t.test('a sale whose word was lost with a restart is told when the payee comes back', async (t) => {
  const { bench, payer } = open();
  const payment = pay(payer, bench.offer());
  bench.payment(payment);
  t.same(paidIn(bench), [toHex(payment)], 'told at once');
  bench.start();
  bench.replies = [];
  bench.presentPayee();
  t.same(paidIn(bench), [toHex(payment)], 'told again after a restart');
  bench.replies = [];
  bench.presentPayee();
  t.same(paidIn(bench), [toHex(payment)], 'and after a lost link');
});

t.test(
  'only the payee itself hears of its sales, the youngest ones, and not without end',
  async (t) => {
    const { bench, payer } = open();
    const payments = Array.from({ length: MAX_SALES_TOLD + 3 }, () => {
      const payment = pay(payer, bench.offer());
      bench.payment(payment);
      return toHex(payment);
    });
    bench.replies = [];
    bench.presentPayer(payer);
    t.same(bench.take('paid'), []);
    bench.presentPayee();
    t.same(paidIn(bench), payments.slice(-MAX_SALES_TOLD), 'in the order of their Receipts');
    for (let i = 0; i < 20; i += 1) bench.presentPayee();
    t.ok(bench.take('paid').length < 20 * MAX_SALES_TOLD, 'asking again and again is rate-limited');
  },
);
