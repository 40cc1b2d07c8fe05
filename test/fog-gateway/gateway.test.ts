import t from 'tap';
import { newPayer, pay } from '../approval/kit.ts';
import { newWorld } from '../identity/fixture.ts';
import { gatewayOf, offersOf, payeeOf, payerOf, tempFolder } from './kit.ts';

t.test(
  'a payment over MQTT is accepted, told to both sides and known after a restart',
  async (t) => {
    const world = newWorld();
    const folder = tempFolder(t);
    const gateway = await gatewayOf(t, world, folder);
    const payee = await payeeOf(world, gateway.mqttPort);
    const payer = newPayer(world);
    const device = await payerOf(world, payer, gateway.mqttPort);
    t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
    const [offer] = await offersOf(payee, 1);
    const payment = pay(payer, offer!);
    t.match(await device.outcome(payment), { code: 'ACCEPTED', sequence: 1 });
    t.equal((await payee.hear('paid')).verb, 'paid');
    t.match(await device.outcome(payment), { code: 'ACCEPTED', sequence: 1 });
  },
);
