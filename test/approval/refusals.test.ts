import t from 'tap';
import { newWorld } from '../identity/fixture.ts';
import { Bench, newPayer, pay } from './kit.ts';

t.test('a payment is accepted', async (t) => {
  const world = newWorld();
  const bench = new Bench(world);
  bench.presentPayee();
  const payer = newPayer(world);
  bench.presentPayer(payer);
  t.match(bench.answer(pay(payer, bench.offer())), { code: 'ACCEPTED' });
});
