import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Aedes, type Client } from 'aedes';
import t, { type Test } from 'tap';
import {
  openMqttLink,
  type LinkState,
  type MqttLink,
  type MqttLinkOptions,
} from '../../platform/mqtt-link.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { systemRandom } from '../../platform/system-random.ts';

const quick = { baseMs: 5, capMs: 20, stableMs: 10_000 };

async function listen(t: Test, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A link whose states can be awaited one after the other. */
function open(
  t: Test,
  port: number,
  more: Partial<MqttLinkOptions> = {},
): { link: MqttLink; until: (kind: LinkState['kind']) => Promise<LinkState> } {
  const states: LinkState[] = [];
  let wake = (): void => {};
  const link = openMqttLink({
    host: '127.0.0.1',
    port,
    clientId: 'device-1',
    clock: systemClock(),
    random: systemRandom(),
    reconnect: quick,
    onMessage: () => {},
    onState: (state) => {
      states.push(state);
      wake();
    },
    ...more,
  });
  t.teardown(() => link.close());
  const until = async (kind: LinkState['kind']): Promise<LinkState> => {
    for (;;) {
      const state = states.shift();
      if (state?.kind === kind) return state;
      if (state === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  };
  return { link, until };
}

async function downCode(until: (kind: 'down') => Promise<LinkState>): Promise<string> {
  const state = await until('down');
  return state.kind === 'down' ? state.error.code : '';
}

t.test(
  'messages go both ways, fresh credentials on every connection, subscriptions come back',
  async (t) => {
    const broker = await Aedes.createBroker();
    t.teardown(() => new Promise<void>((resolve) => broker.close(resolve)));
    const passwords: string[] = [];
    let client: Client | undefined;
    broker.on('client', (connected) => {
      client = connected;
    });
    broker.authenticate = (_client, _username, password, done) => {
      passwords.push(String(password));
      done(null, true);
    };
    const port = await listen(t, createServer({ noDelay: true }, broker.handle));
    const received: string[] = [];
    let arrived = (): void => {};
    let asked = 0;
    const { link, until } = open(t, port, {
      credentials: () => {
        asked += 1;
        return { username: 'device-1', password: Buffer.from(`proof ${asked}`) };
      },
      onMessage: (topic, payload) => {
        received.push(`${topic} ${Buffer.from(payload).toString()}`);
        arrived();
      },
    });
    link.subscribe('to/device-1');
    const returned = once(broker, 'ack');
    const early = link.publish('to/device-1', Buffer.from('before the connection'));
    await until('up');
    t.ok(link.isUp);
    await early;
    // It came back and was acknowledged: nothing is under way that the broker would end by a reset.
    await returned;
    const wire = new Promise<void>((resolve) => {
      arrived = () => received.length === 3 && resolve();
    });
    client?.close();
    t.equal(await downCode(until), 'LINK_LOST');
    t.notOk(link.isUp);
    const late = link.publish('to/device-1', Buffer.from('while down'));
    await until('up');
    await late;
    await link.publish('to/device-1', Buffer.from('again'));
    await wire;
    t.same(
      received,
      ['before the connection', 'while down', 'again'].map((x) => `to/device-1 ${x}`),
    );
    t.same(passwords, ['proof 1', 'proof 2']);
    await link.close();
    await link.close();
    await until('closed');
    await t.rejects(link.publish('x', Buffer.of(1)), { code: 'LINK_CLOSED' });
  },
);

t.test('a refused subscription and a refused CONNECT are told by their code', async (t) => {
  const broker = await Aedes.createBroker();
  t.teardown(() => new Promise<void>((resolve) => broker.close(resolve)));
  let isKnown = true;
  broker.authenticate = (_client, _username, _password, done) => done(null, isKnown);
  broker.authorizeSubscribe = (_client, _subscription, done) => done(null, null);
  const port = await listen(t, createServer({ noDelay: true }, broker.handle));
  const { link, until } = open(t, port);
  link.subscribe('not/mine');
  t.equal(await downCode(until), 'LINK_SUBSCRIBE_REFUSED');
  isKnown = false;
  for (;;) {
    const code = await downCode(until);
    if (code === 'LINK_REFUSED') break;
    t.equal(code, 'LINK_SUBSCRIBE_REFUSED');
  }
  await link.close();
});

t.test(
  'nobody listening, garbage, silence and a closing broker each have their code',
  async (t) => {
    const probe = createServer();
    const free = await listen(t, probe);
    probe.close();
    await once(probe, 'close');
    t.equal(await downCode(open(t, free).until), 'LINK_UNREACHABLE');
    const answers: Record<string, Buffer | undefined> = {
      LINK_PROTOCOL: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
      LINK_REFUSED: Buffer.of(0x20, 2, 0, 5),
      LINK_TIMEOUT: undefined,
    };
    for (const [code, answer] of Object.entries(answers)) {
      const server = createServer((socket) => {
        socket.once('data', () => answer !== undefined && socket.write(answer));
      });
      const port = await listen(t, server);
      // Only who is never answered gives up: an answer counts however late this machine reads it.
      const { link, until } = open(t, port, answer ? {} : { connectTimeoutMs: 100 });
      t.equal(await downCode(until), code);
      t.equal((await until('connecting')).kind, 'connecting', 'it tries again');
      await link.close();
    }
    const closing = await listen(
      t,
      createServer((socket) => socket.destroy()),
    );
    const { link, until } = open(t, closing);
    t.match(await downCode(until), /^LINK_(LOST|UNREACHABLE)$/);
    await link.close();
  },
);

t.test(
  'the queue refuses before it loses, and a message without PUBACK is sent again',
  async (t) => {
    const published: Buffer[] = [];
    let hasTwo = (): void => {};
    const two = new Promise<void>((resolve) => {
      hasTwo = resolve;
    });
    // A broker that takes the first PUBLISH without acknowledging it and hangs up, then does its duty.
    const server = createServer((socket) => {
      socket.on('data', (data) => {
        if (data[0] === 0x10) socket.write(Buffer.of(0x20, 2, 0, 0));
        if ((data[0] ?? 0) >> 4 !== 3) return;
        published.push(data);
        if (published.length === 1) socket.destroy();
        else {
          const idAt = 2 + 2 + 1;
          socket.write(Buffer.of(0x40, 2, data[idAt] ?? 0, data[idAt + 1] ?? 0));
          hasTwo();
        }
      });
    });
    const port = await listen(t, server);
    const { link, until } = open(t, port, { maxQueued: 1 });
    const sent = link.publish('t', Buffer.from('payment'));
    await t.rejects(link.publish('t', Buffer.of(1)), { code: 'LINK_QUEUE_FULL' });
    await t.rejects(link.publish('t', Buffer.alloc(16 * 1024 + 1)), {
      code: 'LINK_PAYLOAD_TOO_LARGE',
    });
    await until('up');
    await two;
    await sent;
    for (const packet of published) {
      t.equal((packet[0] ?? 0) & 0x06, 0x02, 'QoS 1');
      t.ok(packet.toString('latin1').endsWith('payment'));
    }
    const waiting = link.publish('t', Buffer.from('x'));
    await link.close();
    await t.rejects(waiting, { code: 'LINK_CLOSED' });
  },
);
