import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { Freshness } from '../../fog-gateway/core/freshness.ts';
import { MAX_PACKET_BYTES, PacketGuard } from '../../platform/core/packet-guard.ts';
import { publishFrameBytes, putAck, putPublishHead } from '../../fog-gateway/core/publish-frame.ts';
import { startGuard } from '../../platform/mqtt-guard.ts';
import type { RunningGateway } from '../../fog-gateway/gateway.ts';
import { checkConnectToken, makeConnectToken } from '../../protocol/messages/connect.ts';
import { ASK } from '../../protocol/messages/envelopes.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { inboxFilter } from '../../protocol/topics.ts';
import { newPayer, pay } from '../approval/kit.ts';
import { newSigner, newWorld, NOW_S } from '../identity/fixture.ts';
import { Device, gatewayOf, offersOf, payeeOf, payerOf, tempFolder } from './kit.ts';

const world = newWorld();

function text(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function packet(type: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [type];
  let left = body.length;
  do {
    head.push((left % 128) | (left >= 128 ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.concat([Buffer.from(head), body]);
}

interface Connect {
  signer?: Signer;
  id?: string;
  flags?: number;
  level?: number;
  keepalive?: number;
  password?: Uint8Array;
  will?: boolean;
}

function token(
  signer: Signer,
  more: Partial<Parameters<typeof makeConnectToken>[1]> = {},
): Uint8Array {
  const approver = world.signers.gateway.key.id;
  return makeConnectToken(signer, { approver, timeS: NOW_S, nonce: randomBytes(16), ...more });
}

function connectPacket({ signer = newSigner(), will = false, ...more }: Connect = {}): Buffer {
  const id = more.id ?? signer.key.hex;
  const keepalive = more.keepalive ?? 30;
  return packet(
    0x10,
    text('MQTT'),
    Buffer.from([more.level ?? 4, more.flags ?? (will ? 0xc6 : 0xc2), 0, keepalive]),
    // MQTT 5 has properties here: none.
    Buffer.alloc(more.level === 5 ? 1 : 0),
    text(id),
    ...(will ? [text('kiri/will'), text('gone')] : []),
    text(id),
    text(more.password ?? token(signer)),
  );
}

/** What a raw socket gets back until it is closed. */
async function talk(t: Test, port: number, ...chunks: Uint8Array[]): Promise<Buffer> {
  const socket = open(t, port);
  const got: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => got.push(chunk));
  for (const chunk of chunks) socket.write(chunk);
  await once(socket, 'close');
  return Buffer.concat(got);
}

function open(t: Test, port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

/** The gateway still serves: a whole payment passes. */
async function stillPays(t: Test, gateway: RunningGateway): Promise<void> {
  const payee = await payeeOf(world, gateway.mqttPort);
  const payer = newPayer(world);
  const device = await payerOf(world, payer, gateway.mqttPort);
  const [offer] = await offersOf(payee, 1);
  t.match(await device.outcome(pay(payer, offer!)), { code: 'ACCEPTED' });
  await payee.link.close();
  await device.link.close();
}

const CONNACK_OK = Buffer.from([0x20, 2, 0, 0]);

t.test('hostile connections are closed, counted, and nobody else notices', async (t) => {
  const gateway = await gatewayOf(t, world, tempFolder(t));
  const port = gateway.mqttPort;
  const before = process.memoryUsage().rss;

  const silent: [string, Uint8Array][] = [
    ['connect-too-large', Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f])],
    ['connect-too-large', Buffer.concat([Buffer.from([0x10, 0xff, 0x7f]), Buffer.alloc(4_000)])],
    ['bad-length', Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x01])],
    ['not-connect', Buffer.from([0x30, 2, 0, 0])],
    ['not-connect', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['not-connect', randomBytes(64).fill(0xff, 0, 1)],
  ];
  for (const [reason, bytes] of silent) {
    t.equal((await talk(t, port, bytes)).length, 0, reason);
    t.ok((gateway.status().guard[reason] ?? 0) > 0, `${reason} is counted`);
  }

  const refused: [string, Buffer][] = [
    ['connect-will', connectPacket({ will: true })],
    ['connect-client-id', connectPacket({ id: '__proto__' })],
    ['connect-client-id', connectPacket({ id: '' })],
    ['connect-session', connectPacket({ flags: 0xc0 })],
    ['connect-keepalive', connectPacket({ keepalive: 0 })],
    ['connect-MALFORMED', connectPacket({ password: Buffer.from('secret') })],
    [
      'connect-WRONG_GATEWAY',
      connectOf((signer) => token(signer, { approver: new Uint8Array(16) })),
    ],
    ['connect-CREDENTIAL_EXPIRED', connectOf((signer) => token(signer, { timeS: NOW_S - 4_000 }))],
    ['connect-CREDENTIAL_INVALID', connectOf(() => token(newSigner()))],
  ];
  for (const [reason, bytes] of refused) {
    const answer = await talk(t, port, bytes);
    t.not(answer.subarray(0, 4).equals(CONNACK_OK), reason);
    t.ok((gateway.status().broker[reason] ?? 0) > 0, `${reason} is counted`);
  }
  t.equal((await talk(t, port, connectPacket({ level: 5 })))[3], 1, 'MQTT 5: unacceptable version');

  const signer = newSigner();
  const used = connectPacket({ signer });
  t.ok((await talk(t, port, used, Buffer.from([0xe0, 0]))).equals(CONNACK_OK));
  t.notOk((await talk(t, port, used)).equals(CONNACK_OK), 'a token serves once');

  for (let i = 0; i < 40; i += 1) {
    await talk(t, port, connectPacket(), randomBytes(200).fill(0xf1, 0, 1));
  }
  await stillPays(t, gateway);
  const grown = process.memoryUsage().rss - before;
  t.ok(grown < 200_000_000, `memory grew by ${grown} bytes`);
});

function connectOf(password: (signer: Signer) => Uint8Array): Buffer {
  const signer = newSigner();
  return connectPacket({ signer, password: password(signer) });
}

t.test('a connected device that breaks the rules loses its connection only', async (t) => {
  const gateway = await gatewayOf(t, world, tempFolder(t));
  const port = gateway.mqttPort;
  const { gateway: approver } = world.signers;
  const signer = newSigner();
  const own = `kiri/1/${approver.key.hex}/up/${signer.key.hex}`;
  const publish = (topic: string, flags = 0x32, payload: Uint8Array = Buffer.from('x')): Buffer =>
    packet(flags, text(topic), ...(flags & 0x06 ? [Buffer.from([0, 9])] : []), payload);
  const cases: [string, Buffer][] = [
    ['forbidden-topic', publish(`kiri/1/${approver.key.hex}/up/${newSigner().key.hex}/pay`)],
    ['forbidden-topic', publish(`kiri/1/${approver.key.hex}/to/${signer.key.hex}/receipt`)],
    ['forbidden-topic', publish('$SYS/broker/heartbeat')],
    ['forbidden-topic', publish(`${own}/nonsense`)],
    ['forbidden-topic', publish(`${own}/ask/not-a-peer`)],
    ['forbidden-retain-or-qos', publish(`${own}/pay`, 0x33)],
    ['forbidden-retain-or-qos', publish(`${own}/pay`, 0x34)],
  ];
  for (const [reason, bytes] of cases) {
    const before = gateway.status().broker[reason] ?? 0;
    const answer = await talk(t, port, connectPacket({ signer }), bytes);
    t.ok(answer.equals(CONNACK_OK), `${reason}: no PUBACK`);
    t.equal(gateway.status().broker[reason], before + 1, reason);
  }
  const big: [string, Buffer][] = [
    ['packet-too-large', Buffer.from([0x32, 0xff, 0xff, 0xff, 0x7f])],
    ['packet-too-large', Buffer.from([0x32, 0x80, 0x80, 0x01])],
    ['bad-packet-type', Buffer.from([0xf0, 0])],
    ['bad-packet-type', connectPacket({ signer })],
  ];
  for (const [reason, bytes] of big) {
    const before = gateway.status().guard[reason] ?? 0;
    await talk(t, port, connectPacket({ signer }), bytes);
    t.equal(gateway.status().guard[reason], before + 1, reason);
  }
  const filters = ['#', '$SYS/#', '+/+/+/#', inboxFilter(approver.key.hex, newSigner().key.hex)];
  const subscribe = packet(
    0x82,
    Buffer.from([0, 1]),
    ...filters.flatMap((filter) => [text(filter), Buffer.from([1])]),
  );
  const socket = open(t, port);
  socket.write(Buffer.concat([connectPacket({ signer }), subscribe]));
  let answer = Buffer.alloc(0);
  while (answer.length < 12) answer = Buffer.concat([answer, (await once(socket, 'data'))[0]]);
  t.same([...answer.subarray(8)], [128, 128, 128, 128], 'every foreign filter fails');
  await stillPays(t, gateway);
});

t.test('a second client of one id wins only with the key; relays name their sender', async (t) => {
  const gateway = await gatewayOf(t, world, tempFolder(t));
  const payee = await payeeOf(world, gateway.mqttPort);
  const payer = newPayer(world);
  // Once its place is taken it stays away: two that come back at once would take it from each other for ever.
  const device = await payerOf(world, payer, gateway.mqttPort, 3_600_000);
  t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
  const thief = connectPacket({ id: payer.signer.key.hex, password: token(newSigner()) });
  t.notOk((await talk(t, gateway.mqttPort, thief)).equals(CONNACK_OK));
  t.ok(device.link.isUp, 'the real one stays');

  const ask = (of: Signer): Uint8Array =>
    ASK.encode({ payer: of.key.id, item: 'lane 1', quantity: 1 });
  await device.say('ask', ask(newSigner()), world.signers.payee.key.id);
  await device.say('ask', ask(payer.signer), world.signers.payee.key.id);
  t.same((await payee.hear('ask')).payload, ask(payer.signer), 'only the honest one arrives');
  t.equal(gateway.status().broker['forbidden-relay'], 1);

  const again = new Device(world, payer.signer, gateway.mqttPort);
  t.teardown(() => again.link.close());
  await again.up;
  t.equal(gateway.status().connected, 2, 'the newer connection took its place');
});

t.test('an unfinished CONNECT and a flood of connections are bounded', async (t) => {
  const seen: Socket[] = [];
  const guard = await startGuard({
    port: 0,
    onConnection: (socket) => seen.push(socket),
    maxConnections: 5,
    maxPerAddress: 3,
    connectTimeoutMs: 20,
  });
  t.teardown(() => guard.close());
  t.equal((await talk(t, guard.port, Buffer.from([0x10, 50]), Buffer.alloc(20))).length, 0);
  t.equal(guard.counts['connect-timeout'], 1);
  const held = Array.from({ length: 3 }, () => open(t, guard.port));
  await talk(t, guard.port);
  t.equal(guard.counts['too-many-from-address'], 1);
  for (const socket of held) socket.destroy();
  t.equal(seen.length, 0);
  await t.rejects(startGuard({ port: guard.port, onConnection: () => {} }), {
    code: 'PORT_IN_USE',
  });
  await t.rejects(startGuard({ port: 0, host: '203.0.113.1', onConnection: () => {} }), {
    code: 'PORT_FAILED',
  });
});

t.test('the guard sees the same packets however the bytes are cut', async (t) => {
  const stream = Buffer.concat([
    connectPacket(),
    packet(0x32, text('a'), Buffer.alloc(300)),
    packet(0xc0),
    packet(0x32, text('b'), Buffer.alloc(MAX_PACKET_BYTES - 6)),
    packet(0x32, text('c'), Buffer.alloc(MAX_PACKET_BYTES - 5)),
  ]);
  for (const step of [1, 2, 3, 7, 100, 1_000, stream.length]) {
    const guard = new PacketGuard();
    let fault: string | undefined;
    for (let at = 0; at < stream.length && !fault; at += step) {
      fault = guard.feed(stream.subarray(at, at + step));
    }
    t.equal(fault, 'packet-too-large', `in steps of ${step}`);
    t.ok(guard.isConnected);
  }
  t.equal(new PacketGuard().feed(packet(0xc0)), 'not-connect');
});

t.test('a frame is a PUBLISH of QoS 0 with its exact length', async (t) => {
  for (const size of [0, 100, 120, 200, 16_000, 20_000]) {
    const payload = randomBytes(size);
    const expected = packet(0x30, text('kiri/1/x'), payload);
    const frame = Buffer.alloc(publishFrameBytes(8, size));
    payload.copy(frame, putPublishHead(frame, Buffer.from('kiri/1/x'), size));
    t.ok(frame.equals(expected), `${size}`);
  }
  const behind = Buffer.alloc(4 + publishFrameBytes(8, 1));
  const end = putPublishHead(behind, Buffer.from('kiri/1/x'), 1, putAck(behind, 0, 0x1234));
  t.equal(behind.subarray(0, 4).toString('hex'), '40021234', 'a PUBACK in front');
  t.ok(
    behind.subarray(4, end).equals(packet(0x30, text('kiri/1/x'), Buffer.alloc(1)).subarray(0, -1)),
  );
});

t.test('a connect token is checked whole, and its freshness by nonce and time', async (t) => {
  const signer = newSigner();
  const expected = { approver: world.signers.gateway.key.id, clientHex: signer.key.hex };
  const { verifier } = world.trust;
  const good = token(signer);
  const checked = checkConnectToken(verifier, good, expected);
  t.ok(checked.ok);
  for (let at = 0; at < good.length; at += 1) {
    const bent = new Uint8Array(good);
    bent[at]! ^= 1;
    t.notOk(checkConnectToken(verifier, bent, expected).ok, `byte ${at}`);
  }
  if (!checked.ok) return;
  const freshness = new Freshness();
  t.equal(freshness.check(checked.value, NOW_S, 2), undefined);
  t.match(freshness.check(checked.value, NOW_S, 2), { code: 'CREDENTIAL_INVALID' });
  const later = { ...checked.value, nonce: randomBytes(16) };
  t.match(freshness.check(later, NOW_S + 301, 2), { code: 'CREDENTIAL_EXPIRED' });
  t.equal(freshness.check(later, NOW_S + 301, 0), undefined, 'no clock here');
  const unclocked = { ...checked.value, nonce: randomBytes(16), timeS: 0 };
  t.equal(freshness.check(unclocked, NOW_S, 2), undefined, 'no clock there');
});
