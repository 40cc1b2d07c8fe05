/** A log that is reached only through MQTT, over real sockets. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcp, type Socket } from 'node:net';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MqttClient } from 'mqtt';
import t, { type Test } from 'tap';
import { fetchBytes } from '../../../platform/http-client.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { systemRandom } from '../../../platform/system-random.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { encodePiece } from '../../../sync/ledger/core/tunnel.ts';
import { startHubService } from '../../../sync/ledger/hub-service.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import { logHandler } from '../../../sync/ledger/log-server.ts';
import { httpSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import {
  type RelayOptions,
  type RelayService,
  startRelayService,
} from '../../../sync/ledger/relay-service.ts';
import { openSiteTunnel, type SiteTunnel } from '../../../sync/ledger/site-tunnel.ts';
import { ORIGIN, policyOf, realLog, realVerify, realWitness } from './keys.ts';
import { makeRig, MIRROR, source, temporaryFolder, until, WITNESS } from './rig.ts';

const hash = (text: string): Uint8Array => createHash('sha256').update(text).digest();
const TOKEN_A = 'a'.repeat(32);
const TOKEN_B = 'b'.repeat(32);
const TOKENS = new Map([
  ['site-a', hash(TOKEN_A)],
  ['site-b', hash(TOKEN_B)],
]);

const startRelay = async (t: Test, more: Partial<RelayOptions> = {}): Promise<RelayService> => {
  const relay = await startRelayService({
    tokens: TOKENS,
    targets: new Map(),
    mqttPort: 0,
    port: 0,
    random: systemRandom(),
    siteTimeoutMs: 20_000,
    ...more,
  });
  t.teardown(() => relay.close());
  return relay;
};

type Handler = Parameters<typeof openSiteTunnel>[0]['handler'];

const openSite = async (
  t: Test,
  port: number,
  handler: Handler,
  [site, token] = ['site-a', TOKEN_A],
): Promise<SiteTunnel> => {
  const common = { host: '127.0.0.1', clock: systemClock(), random: systemRandom() };
  const tunnel = openSiteTunnel({ ...common, port, site, token, handler });
  t.teardown(() => tunnel.close());
  await until('the site is connected', () => tunnel.isUp);
  return tunnel;
};

const get = (url: string): Promise<{ status: number; body: Uint8Array }> =>
  fetchBytes(url, { timeoutMs: 30_000, maxBytes: 20_000_000 });

/** Passes bytes on; `limit` counts those from the client, and what is behind it breaks the line. */
const breakingLine = async (
  t: Test,
  to: number,
): Promise<{ port: number; breakAfter(bytes: number): void; breaks(): number }> => {
  const sockets = new Set<Socket>();
  let left = Infinity;
  let broken = 0;
  const server = createTcp((client) => {
    const up = connect(to, '127.0.0.1');
    for (const socket of [client, up]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        up.destroy();
      });
    }
    up.pipe(client);
    client.on('data', (chunk: Buffer) => {
      if (chunk.length > left) {
        // The cut is in the middle of a piece.
        up.write(chunk.subarray(0, left));
        left = Infinity;
        broken += 1;
        client.destroy();
        return;
      }
      left -= chunk.length;
      up.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as AddressInfo).port,
    breakAfter: (bytes) => {
      left = bytes;
    },
    breaks: () => broken,
  };
};

t.test('witness, hub and mirror work for a log that only MQTT reaches', async (t) => {
  const rig = await makeRig(t);
  const witness = await rig.witness();
  t.teardown(() => witness.close());
  const targets = new Map([['w1', witness.url]]);
  const relay = await startRelay(t, { targets });
  const mirrorRoot = await temporaryFolder(t);
  const mirror = await startMirrorService({
    root: mirrorRoot,
    ports: { signer: realWitness(MIRROR), verify: realVerify },
    logs: new Map([[ORIGIN, { keys: [realLog().key], source: httpSource(`${relay.url}/site-a`) }]]),
    port: 0,
    clock: systemClock(),
  });
  t.teardown(() => mirror.close());
  const hub = await startHubService({
    witnesses: new Map([
      ['w1', witness.url],
      ['w2', mirror.url],
    ]),
    port: 0,
  });
  t.teardown(() => hub.close());
  targets.set('m1', mirror.url).set('hub', hub.url);
  const line = await breakingLine(t, relay.mqttPort);
  const tunnel = await openSite(t, line.port, logHandler(rig.root));
  const start = (hubUrl?: string): ReturnType<typeof startLedgerService> =>
    startLedgerService({
      root: rig.root,
      ports: {
        origin: ORIGIN,
        signer: realLog(),
        verify: realVerify,
        policy: policyOf(
          realLog(),
          [realWitness(WITNESS), realWitness(MIRROR)],
          'group Q all w1 w2\nquorum Q',
        ),
      },
      reader: journalReader(rig.journalFolder),
      source,
      keys: openContentKeys(rig.root, rig.issuer.key),
      witnessUrls: new Map(
        hubUrl === undefined
          ? [
              ['w1', 'relay:w1'],
              ['w2', 'relay:m1'],
            ]
          : [],
      ),
      ...(hubUrl === undefined ? {} : { hubUrl }),
      fetch: tunnel.fetch,
      clock: systemClock(),
    });
  await rig.pay(300);
  // In the middle of the first payload bundle.
  line.breakAfter(60_000);
  const ledger = await start();
  await until('all is final', () => ledger.status().finalSize === 300);
  t.equal(line.breaks(), 1, 'the line broke under way');
  t.equal(mirror.status().get(ORIGIN)?.cosignedSize, 300);
  const copied = join(mirrorRoot, 'logs', originFolder(ORIGIN), 'payload', '000');
  t.ok((await readFile(copied)).equals(await readFile(join(rig.root, 'payload', '000'))));
  const { uplink } = ledger.status();
  t.ok(uplink.bytesUp > 0 && uplink.bytesDown > 0, 'the uplink is counted');
  await ledger.close();
  await rig.pay(5);
  const viaHub = await start('relay:hub');
  await until('the same through a hub', () => viaHub.status().finalSize === 305);
  t.ok(viaHub.status().uplink.viaHub > 0);
  t.ok(hub.counts().uploads > 0);
  await viaHub.close();
});

t.test('an answer of many pieces is whole after the line broke in one of them', async (t) => {
  const relay = await startRelay(t);
  const line = await breakingLine(t, relay.mqttPort);
  const big = new Uint8Array(600_000).map((_, at) => (at * 7) % 253);
  let reads = 0;
  await openSite(t, line.port, async () => {
    reads += 1;
    return { status: 200, body: big };
  });
  line.breakAfter(100_000);
  const answer = await get(`${relay.url}/site-a/payload/000`);
  t.equal(line.breaks(), 1);
  t.equal(answer.status, 200);
  t.ok(Buffer.from(answer.body).equals(big));
  t.equal(reads, 1, 'the site was asked once');
});

t.test('the largest file of a log comes through, a larger one does not', async (t) => {
  const relay = await startRelay(t);
  const largest = 256 * 65_537;
  await openSite(t, relay.mqttPort, async ({ path }) => ({
    status: 200,
    body: new Uint8Array(path === '/over' ? largest + 1 : largest),
  }));
  const whole = await get(`${relay.url}/site-a/whole`);
  t.equal(whole.body.length, largest);
  const over = await get(`${relay.url}/site-a/over`);
  t.equal(over.status, 502);
});

t.test('reads and posts go where they may, and nowhere else', async (t) => {
  const seen: string[] = [];
  const target = createServer((req, res) => {
    seen.push(`${req.method} ${req.url}`);
    res.writeHead(req.url === '/fan-out' ? 400 : 409).end('7\n');
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  t.teardown(() => void target.close());
  const url = `http://127.0.0.1:${(target.address() as AddressInfo).port}`;
  const relay = await startRelay(t, { targets: new Map([['w1', url]]) });
  const echo: Handler = async ({ path }) => ({ status: 200, body: path });
  const tunnel = await openSite(t, relay.mqttPort, echo);
  const status = async (path: string): Promise<number> => (await get(relay.url + path)).status;
  t.equal(await status('/site-a/tlog/checkpoint'), 200);
  t.equal(await status('/site-b/tlog/checkpoint'), 503, 'known, not connected');
  t.equal(await status('/site-c/tlog/checkpoint'), 404, 'unknown');
  t.equal(await status('/site-a'), 404);
  t.equal(await status('/site-a/x?y=1'), 503, 'no place in a tunnel');
  const posted = await fetchBytes(`${relay.url}/site-a/tlog/checkpoint`, {
    timeoutMs: 20_000,
    maxBytes: 100,
    method: 'POST',
  });
  t.equal(posted.status, 405);
  const post = (to: string): Promise<{ status: number; body: Uint8Array }> =>
    tunnel.fetch(to, { timeoutMs: 20_000, maxBytes: 100, body: utf8ToBytes('x') });
  const answer = await post('relay:w1/add-checkpoint');
  t.equal(answer.status, 409);
  t.equal(Buffer.from(answer.body).toString(), '7\n', 'the witness’s own words');
  t.equal((await post('relay:w1/fan-out')).status, 400);
  t.same(seen, ['POST /add-checkpoint', 'POST /fan-out']);
  for (const path of ['w1/admin', 'w1/../admin', 'w2/add-checkpoint', 'w1', 'site-b/fan-out']) {
    t.equal((await post(`relay:${path}`)).status, 404, path);
  }
  const read = await tunnel.fetch('relay:w1/add-checkpoint', { timeoutMs: 20_000, maxBytes: 100 });
  t.equal(read.status, 405, 'a site reads nothing at the centre');
  const large = new Uint8Array(140_000);
  const tooLarge = { timeoutMs: 20_000, maxBytes: 100, body: large };
  t.equal((await tunnel.fetch('relay:w1/add-checkpoint', tooLarge)).status, 413);
  t.equal(seen.length, 2, 'nothing else left');
});

t.test('a site that does not answer in time is not waited for', async (t) => {
  const relay = await startRelay(t, { siteTimeoutMs: 100 });
  await openSite(t, relay.mqttPort, () => new Promise(() => {}));
  t.equal((await get(`${relay.url}/site-a/slow`)).status, 504);
});

/** Any MQTT client; resolves with how the connection went. */
const client = async (
  t: Test,
  port: number,
  options: Partial<ConstructorParameters<typeof MqttClient>[1]>,
): Promise<MqttClient | 'refused'> => {
  const mqtt = new MqttClient(() => connect({ port, host: '127.0.0.1', noDelay: true }), {
    protocolVersion: 4,
    clean: true,
    keepalive: 30,
    username: 'any',
    reconnectPeriod: 0,
    ...options,
  });
  mqtt.on('error', () => {});
  t.teardown(() => void mqtt.end(true));
  return new Promise((resolve) => {
    mqtt.once('connect', () => resolve(mqtt));
    mqtt.once('close', () => resolve('refused'));
  });
};

t.test(
  'a site is its token: nobody answers for another or reads what is asked of it',
  async (t) => {
    const relay = await startRelay(t);
    const a = { clientId: 'site-a' };
    const port = relay.mqttPort;
    t.equal(await client(t, port, { ...a, password: TOKEN_B }), 'refused', 'another’s token');
    t.equal(await client(t, port, a), 'refused', 'no token');
    t.equal(await client(t, port, { clientId: 'site-c', password: TOKEN_A }), 'refused', 'unknown');
    t.equal(await client(t, port, { clientId: '+', password: TOKEN_A }), 'refused');
    const will = { topic: 'kiri/v1/tunnel/site-b/up', payload: Buffer.from('x'), qos: 1 as const };
    t.equal(
      await client(t, port, { ...a, password: TOKEN_A, will: { ...will, retain: false } }),
      'refused',
      'wills are not taken',
    );
    let answered = 'nothing';
    await openSite(
      t,
      port,
      async () => {
        answered = 'site-b';
        return { status: 200, body: 'b' };
      },
      ['site-b', TOKEN_B],
    );
    for (const filter of ['kiri/v1/tunnel/site-b/down', 'kiri/v1/tunnel/+/down', '#', '$SYS/#']) {
      const spy = await client(t, port, { ...a, password: TOKEN_A });
      if (spy === 'refused') return t.fail('site-a may connect');
      spy.on('message', () => t.fail('heard another’s piece'));
      const granted = await spy.subscribeAsync(filter, { qos: 1 }).catch(() => 'refused' as const);
      t.ok(granted === 'refused' || granted.every(({ qos }) => (qos as number) === 128), filter);
      t.equal((await get(`${relay.url}/site-b/x`)).status, 200);
      spy.end(true);
    }
    t.equal(answered, 'site-b');
    const forged = encodePiece({
      kind: 'answer',
      isLast: true,
      number: 0,
      id: '0'.repeat(32),
      bytes: Uint8Array.of(0, 200),
    });
    for (const [topic, retain] of [
      ['kiri/v1/tunnel/site-b/up', false],
      ['kiri/v1/tunnel/site-b/down', false],
      ['kiri/v1/tunnel/site-a/up', true],
    ] as const) {
      const spy = await client(t, port, { ...a, password: TOKEN_A });
      if (spy === 'refused') return t.fail('site-a may connect');
      const closed = new Promise<void>((resolve) => spy.once('close', () => resolve()));
      spy.publish(topic, Buffer.from(forged), { qos: 1, retain });
      await closed;
      t.pass(`${topic} closes the connection`);
    }
    const { sites, refused } = relay.status();
    t.equal(sites['site-b']?.ignored, 0, 'nothing of it reached the other site’s tunnel');
    t.match(refused, {
      'wrong-token': 2,
      'unknown-site': 1,
      'connect-will': 1,
      'connect-client-id': 1,
      'forbidden-subscribe': 4,
      'forbidden-publish': 3,
    });
  },
);

t.test('hostile pieces of a known site cost it nothing but its own answers', async (t) => {
  const relay = await startRelay(t);
  const spy = await client(t, relay.mqttPort, { clientId: 'site-a', password: TOKEN_A });
  if (spy === 'refused') return t.fail('site-a may connect');
  await openSite(t, relay.mqttPort, async () => ({ status: 200, body: 'b' }), ['site-b', TOKEN_B]);
  for (const payload of [
    Buffer.alloc(0),
    Buffer.alloc(21),
    Buffer.alloc(15_000, 0xff),
    Buffer.from(`0101010000${'00'.repeat(16)}00c8`, 'hex'),
    Buffer.from(`0100010000${'00'.repeat(16)}09`, 'hex'),
    Buffer.from(`0102010000${'00'.repeat(16)}`, 'hex'),
  ]) {
    await spy.publishAsync('kiri/v1/tunnel/site-a/up', payload, { qos: 1 });
  }
  t.equal(relay.status().sites['site-a']?.ignored, 4);
  t.equal((await get(`${relay.url}/site-b/x`)).status, 200, 'others go on');
  const closed = new Promise<void>((resolve) => spy.once('close', () => resolve()));
  spy.publish('kiri/v1/tunnel/site-a/up', Buffer.alloc(16_384), { qos: 1 });
  await closed;
  t.match(relay.status().refused, { 'packet-too-large': 1 });
});

t.test('a relay that is started again serves as before', async (t) => {
  const relay = await startRelay(t);
  const { port, mqttPort } = relay;
  const tunnel = await openSite(t, mqttPort, async () => ({ status: 200, body: 'log' }));
  await relay.close();
  await until('the site saw it', () => !tunnel.isUp);
  await t.rejects(tunnel.fetch('relay:w1/add-checkpoint', { timeoutMs: 500, maxBytes: 9 }), {
    code: 'HTTP_UNREACHABLE',
  });
  const again = await startRelay(t, { port, mqttPort });
  await until('the site is back', () => again.status().sites['site-a']?.isConnected === true);
  t.equal((await get(`${again.url}/site-a/x`)).status, 200);
  await t.rejects(startRelay(t, { port: again.port }), { code: 'PORT_IN_USE' });
});
