import type { Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MAX_SEEN_PER_LINE } from '../../approval/limits.ts';
import { startBroker, type Broker } from '../../fog-gateway/broker.ts';
import { startGuard } from '../../platform/mqtt-guard.ts';
import { JournalSearch } from '../../fog-gateway/journal-search.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { openJournal } from '../../platform/journal.ts';
import { hashOf, newPayer, pay } from '../approval/kit.ts';
import { newSigner, newWorld, yen } from '../identity/fixture.ts';
import { Device, gatewayOf, offersOf, payeeOf, payerOf, tempFolder, worldClock } from './kit.ts';

const world = newWorld();

t.test(
  'a Payment from long ago is found on the disk, by its device and by the operator',
  async (t) => {
    const gateway = await gatewayOf(t, world, tempFolder(t));
    const payee = await payeeOf(world, gateway.mqttPort);
    const payer = newPayer(world);
    const device = await payerOf(world, payer, gateway.mqttPort);
    t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
    const offers = await offersOf(payee, MAX_SEEN_PER_LINE + 3, { amountMicro: yen(1) });
    const payments = offers.map((offer) => pay(payer, offer));
    for (const [i, payment] of payments.entries()) {
      t.match(await device.outcome(payment), { code: 'ACCEPTED', sequence: i + 1 });
    }
    t.match(await device.outcome(payments[0]!), { code: 'ACCEPTED', sequence: 1 });
    const body = Buffer.concat(payments.map(hashOf));
    const url = `http://127.0.0.1:${gateway.httpPort}/lookup`;
    const answer = await fetchBytes(url, { body, timeoutMs: 5_000, maxBytes: 65_536 });
    t.same(JSON.parse(Buffer.from(answer.body).toString()), {
      held: payments.map(() => 'accepted'),
    });
  },
);

t.test(
  'one search of the journal serves everybody who waits, in turns, until it is stopped',
  async (t) => {
    const { journal } = await openJournal(join(tempFolder(t), 'j'));
    t.teardown(() => journal.close());
    const hash = (i: number): Uint8Array => new Uint8Array(32).fill(i);
    for (let i = 0; i < 5_000; i += 1)
      journal.append(Buffer.concat([Buffer.from([i & 1]), hash(i % 100)]));
    await journal.commit();
    let passes = 0;
    const counted = {
      ...journal,
      records: () => ((passes += 1), journal.records()),
    } as typeof journal;
    const search = new JournalSearch(counted);
    const found = await Promise.all([1, 2, 2, 200].map((i) => search.find(hash(i))));
    t.same(
      found.map(({ length }) => length),
      [50, 50, 50, 0],
    );
    t.ok(passes <= 2, `${passes} passes`);
    const late = search.find(hash(1));
    search.stop();
    await t.rejects(late, { code: 'GATEWAY_STOPPED' });
  },
);

async function slowDevice(t: Test): Promise<{
  broker: Broker;
  port: number;
  slow: Device;
  socket: Socket;
}> {
  const broker = await startBroker({
    approver: world.signers.gateway.key.id,
    verifier: world.trust.verifier,
    clock: worldClock(),
    onMessage: () => {},
  });
  const sockets: Socket[] = [];
  const guard = await startGuard({
    port: 0,
    onConnection: (socket) => {
      sockets.push(socket);
      broker.handle(socket);
    },
  });
  t.teardown(async () => {
    await guard.close();
    await broker.close();
  });
  const slow = new Device(world, newSigner(), guard.port);
  t.teardown(() => slow.link.close());
  await slow.up;
  // Its side of the wire is corked by not letting the socket write at all.
  const [socket] = sockets;
  socket!.cork();
  return { broker, port: guard.port, slow, socket: socket! };
}

t.test('a device that stops reading loses its connection, and nobody waits for it', async (t) => {
  const { broker, slow, socket } = await slowDevice(t);
  for (let i = 0; i < 40; i += 1)
    broker.send(slow.signer.key.hex, 'receipt', new Uint8Array(10_000));
  t.equal(broker.counts['slow-reader'], 1);
  t.ok(socket.destroyed);
  broker.flush();
  broker.send('nobody', 'receipt', new Uint8Array(1));
  t.equal(broker.counts['undelivered'], 1);
});

t.test('a stranger’s flood is dropped before it costs a slow device its connection', async (t) => {
  const { broker, port, slow, socket } = await slowDevice(t);
  const stranger = new Device(world, newSigner(), port);
  t.teardown(() => stranger.link.close());
  await stranger.up;
  const { id, hex } = slow.signer.key;
  for (let i = 0; i < 400; i += 1) await stranger.say('offer', new Uint8Array(1_000), id);
  t.ok(broker.counts['relay-dropped']! > 300, `${broker.counts['relay-dropped']} dropped`);
  t.notOk(socket.destroyed);
  const before = socket.writableLength;
  broker.send(hex, 'receipt', new Uint8Array(161));
  t.ok(socket.writableLength > before, 'the approver is still heard');
  broker.flush();
  await stranger.say('offer', new Uint8Array(1_025), id);
  t.equal(broker.counts['forbidden-relay'], 1, 'no Offer is that large');
});
