import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { fetchBytes } from '../../../platform/http-client.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import {
  FanOutAnswers,
  type FanOutAnswer,
  encodeFanOut,
  encodeFanOutAnswer,
  parseFanOut,
} from '../../../sync/ledger/core/fan-out.ts';
import { encodeBase64 } from '../../../sync/ledger/core/text.ts';
import { startHubService } from '../../../sync/ledger/hub-service.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import type { LedgerService } from '../../../sync/ledger/ledger-types.ts';
import { makeFullRig, type FullRig } from './full-rig.ts';
import { ORIGIN, realLog, realVerify } from './keys.ts';
import { source, until } from './rig.ts';

const HASH = encodeBase64(new Uint8Array(32).fill(7));

t.test('a fan-out says each witness, each proof once, and the checkpoint as it is', async (t) => {
  const body = utf8ToBytes(
    `witness w1 5\nwitness w2 5\nwitness m1 0\nold 5\n${HASH}\nold 0\n\norigin\n9\nroot\n\n— sig\n`,
  );
  const parsed = parseFanOut(body);
  t.match(parsed, {
    ok: true,
    value: {
      asks: [
        { witness: 'w1', oldSize: 5 },
        { witness: 'w2', oldSize: 5 },
        { witness: 'm1', oldSize: 0 },
      ],
      checkpoint: 'origin\n9\nroot\n\n— sig\n',
    },
  });
  if (!parsed.ok) return;
  t.same([...parsed.value.proofs.keys()], [5, 0]);
  t.same(parsed.value.proofs.get(5), [new Uint8Array(32).fill(7)]);
  t.same(encodeFanOut(parsed.value), body);
});

t.test('a malformed fan-out is refused with the reason', async (t) => {
  const many = Array.from({ length: 33 }, (_, at) => `witness w${at} 0`).join('\n');
  for (const [body, reason] of [
    ['', 'malformed request'],
    ['witness w1 0\nold 0\n', 'malformed request'],
    ['old 0\n\nnote', 'malformed witness line'],
    ['witness w1\nold 0\n\nnote', 'malformed witness line'],
    ['witness w1 01\nold 1\n\nnote', 'malformed witness line'],
    ['witness w1 0\nwitness w1 0\nold 0\n\nnote', 'malformed witness line'],
    ['witness w\u00e9 0\nold 0\n\nnote', 'malformed witness line'],
    ['witness w1 0\nold 0\nold 0\n\nnote', 'malformed old size line'],
    ['witness w1 0\nold 0\nshort\n\nnote', 'malformed consistency proof'],
    ['witness w1 4\nold 0\n\nnote', 'an old size without its proof'],
    ['witness w1 0\nold 0\nold 1\n\nnote', 'more proofs than witnesses'],
    [`${many}\nold 0\n\nnote`, 'too many witnesses'],
    [`witness w1 0\nold 0\n\n${'x'.repeat(131_072)}`, 'request too large'],
  ] as const) {
    t.same(parseFanOut(utf8ToBytes(body)), { ok: false, reason }, body.slice(0, 40));
  }
});

t.test('answers come together however they are cut', async (t) => {
  const name = fc.stringMatching(/^[!-~]{1,64}$/);
  const answer = fc.record({
    witness: name,
    status: fc.integer({ min: 0, max: 999 }),
    body: fc.stringMatching(/^[\n -~\u2014]{0,200}$/),
  });
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 6 }), fc.integer({ min: 1, max: 50 }), (all, cut) => {
      const text = Buffer.concat(all.map(encodeFanOutAnswer));
      const answers = new FanOutAnswers();
      const got: FanOutAnswer[] = [];
      for (let at = 0; at < text.length; at += cut) {
        const taken = answers.take(text.subarray(at, at + cut));
        if (!taken.ok) return false;
        got.push(...taken.value);
      }
      return JSON.stringify(got) === JSON.stringify(all);
    }),
  );
  for (const wrong of ['w1 200\n', 'w1 200 9999\n', 'w1 1000 1\n', ' 200 1\n', 'x'.repeat(5_000)]) {
    t.equal(new FanOutAnswers().take(utf8ToBytes(wrong)).ok, false, wrong.slice(0, 20));
  }
  t.equal(
    new FanOutAnswers().take(Uint8Array.of(0x77, 0x20, 0x30, 0x20, 0x31, 0x0a, 0xff)).ok,
    false,
  );
  const long = encodeFanOutAnswer({ witness: 'w1', status: 200, body: 'x'.repeat(4_097) });
  t.match(Buffer.from(long).toString(), /^w1 0 10\n/);
});

const ledgerVia = (rig: FullRig, hubUrl: string, direct: boolean): Promise<LedgerService> =>
  startLedgerService({
    root: rig.root,
    ports: { origin: ORIGIN, signer: realLog(), verify: realVerify, policy: rig.policy },
    reader: journalReader(rig.journalFolder),
    source,
    keys: openContentKeys(rig.root, rig.contentKey),
    witnessUrls: direct ? witnessUrls(rig) : new Map(),
    hubUrl,
    clock: systemClock(),
  });

const witnessUrls = (rig: FullRig): Map<string, string> =>
  new Map([
    ...Array.from(rig.witnesses, ([name, one]) => [name, one.url] as const),
    ['m1', rig.mirror.url],
  ]);

t.test('one upload to a hub makes receipts final; a dead hub is gone around', async (t) => {
  const rig = await makeFullRig(t);
  const hub = await startHubService({ witnesses: witnessUrls(rig), port: 0 });
  const ledger = await ledgerVia(rig, hub.url, true);
  await rig.pay(20);
  await until('20 final through the hub', () => ledger.status().finalSize === 20);
  // Three witnesses and the mirror make it final; an upload is counted when the fourth has answered too.
  await until('every upload is counted', () => {
    const { viaHub } = ledger.status().uplink;
    return viaHub >= 1 && viaHub === hub.counts().uploads;
  });
  const { uplink } = ledger.status();
  t.ok(uplink.bytesUpPerCheckpoint > 300, `${uplink.bytesUpPerCheckpoint} B up`);
  t.ok(hub.counts().requests >= 5, 'five requests of one upload');
  await hub.close();
  await rig.pay(10);
  await until('30 final without the hub', () => ledger.status().finalSize === 30);
  t.equal(ledger.status().phase.kind, 'running');
  await ledger.close();
});

t.test('without direct addresses a dead hub is waited for', async (t) => {
  const rig = await makeFullRig(t);
  const first = await startHubService({ witnesses: witnessUrls(rig), port: 0 });
  const ledger = await ledgerVia(rig, first.url, false);
  await rig.pay(3);
  await until('3 final', () => ledger.status().finalSize === 3);
  await first.close();
  await rig.pay(3);
  await until('6 recorded, the hub missed', () => {
    const { recordedSize, finalSize, witnesses } = ledger.status();
    const isMissed = witnesses.every(({ trouble }) => trouble?.startsWith('hub: ') === true);
    return recordedSize === 6 && finalSize === 3 && isMissed;
  });
  const second = await startHubService({ witnesses: witnessUrls(rig), port: first.port });
  await until('6 final with a new hub on the old address', () => ledger.status().finalSize === 6);
  await ledger.close();
  await second.close();
});

/** A hub that answers what `lie` says for every witness. */
const lyingHub = async (
  lie: (witness: string) => Uint8Array,
): Promise<{ server: Server; url: string }> => {
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const parsed = parseFanOut(Buffer.concat(chunks));
      const asks = parsed.ok ? parsed.value.asks : [];
      res.end(Buffer.concat(asks.map(({ witness }) => lie(witness))));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
};

t.test('a lying hub neither stops a log nor makes anything final', async (t) => {
  for (const [what, lie] of [
    [
      'a rollback',
      (witness: string) => encodeFanOutAnswer({ witness, status: 409, body: '99999\n' }),
    ],
    ['a fork', (witness: string) => encodeFanOutAnswer({ witness, status: 422, body: 'no\n' })],
    [
      'a cosignature',
      (witness: string) =>
        encodeFanOutAnswer({
          witness,
          status: 200,
          body: '\u2014 w1 AAAA\n',
        }),
    ],
    ['noise', () => utf8ToBytes('what is this\n')],
  ] as const) {
    const rig = await makeFullRig(t);
    const hub = await lyingHub(lie);
    const alone = await ledgerVia(rig, hub.url, false);
    await rig.pay(2);
    await until(`${what}: every witness in trouble`, () =>
      alone.status().witnesses.every(({ trouble }) => trouble !== undefined),
    );
    t.match(alone.status(), { phase: { kind: 'confirming' }, finalSize: 0 }, what);
    await alone.close();
    const both = await ledgerVia(rig, hub.url, true);
    await until(`${what}: final directly`, () => both.status().finalSize === 2);
    t.equal(both.status().phase.kind, 'running', what);
    await both.close();
    hub.server.close();
    hub.server.closeAllConnections();
  }
});

t.test('the hub has one door, and says what it does not know', async (t) => {
  const hub = await startHubService({
    witnesses: new Map([['dead', 'http://127.0.0.1:9']]),
    port: 0,
  });
  const limits = { timeoutMs: 5_000, maxBytes: 65_536 };
  t.equal((await fetchBytes(`${hub.url}/`, limits)).status, 404);
  t.equal((await fetchBytes(`${hub.url}/fan-out`, limits)).status, 405);
  const post = (body: Uint8Array): ReturnType<typeof fetchBytes> =>
    fetchBytes(`${hub.url}/fan-out`, { ...limits, body });
  t.equal((await post(utf8ToBytes('nonsense'))).status, 400);
  t.equal((await post(new Uint8Array(131_073))).status, 413);
  const asked = utf8ToBytes('witness dead 0\nwitness other 0\nold 0\n\nnote\n');
  const answer = Buffer.from((await post(asked)).body).toString('utf8');
  t.match(answer, /other 0 \d+\nthe hub does not know it\n/);
  t.match(answer, /dead 0 \d+\n/);
  t.match(hub.counts(), { uploads: 1, requests: 1, unanswered: 1 });
  await hub.close();
});
