import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { issueLogEnrolment, issueMandate, issueStatusList } from '../../../identity/core/issue.ts';
import { packStatuses } from '../../../identity/edge/status-zlib.ts';
import { fetchBytes } from '../../../platform/http-client.ts';
import { type JournalFs, nodeJournalFs } from '../../../platform/journal-fs.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { type EnrolmentRules, encodeEnrolment } from '../../../sync/ledger/core/enrol.ts';
import { quarterOf, shardOrigin } from '../../../sync/ledger/core/shard.ts';
import { statusFile } from '../../../sync/ledger/enrol-status.ts';
import { startHubService } from '../../../sync/ledger/hub-service.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import { serveLog } from '../../../sync/ledger/log-server.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import {
  startWitnessService,
  type WitnessService,
  type WitnessServiceOptions,
} from '../../../sync/ledger/witness-service.ts';
import { logSigner } from '../../../sync/ledger/core/note-ports.ts';
import { LIST, MANDATE_FACTS, NOW_S, newSigner, newWorld } from '../../identity/fixture.ts';
import { policyOf, realVerify, realWitness } from './keys.ts';
import { MIRROR, WITNESS, makeRig, source, temporaryFolder, until } from './rig.ts';

const world = newWorld();
const { issuer, gateway } = world.signers;
const PREFIX = 'a.example/gw1';
const clock = systemClock();
const nowS = Math.floor(clock.now().unixMs / 1000);
const logKey = newSigner();
const rules: EnrolmentRules = { trust: world.trust, needsUrl: false, statusOf: () => 'valid' };

const mandate = issueMandate(issuer, {
  ...MANDATE_FACTS,
  key: gateway.key,
  logOriginPrefix: PREFIX,
  issuedS: nowS,
  notBeforeS: nowS - 60,
  expiresS: nowS + 3_600,
});
const bodyOf = (origin: string, url?: string, key = logKey.key, issuedS = nowS): Uint8Array =>
  encodeEnrolment(
    mandate,
    issueLogEnrolment(gateway, { issuedS, origin, logKey: key, ...(url ? { url } : {}) }),
  );
const post = async (url: string, body: Uint8Array, path = '/enrol'): Promise<[number, string]> => {
  const answer = await fetchBytes(`${url}${path}`, { body, timeoutMs: 5_000, maxBytes: 65_536 });
  return [answer.status, Buffer.from(answer.body).toString('utf8').trim()];
};
const serve = (root: string, more: Partial<WitnessServiceOptions> = {}): Promise<WitnessService> =>
  startWitnessService({
    root,
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map(),
    enrolment: rules,
    port: 0,
    clock,
    ...more,
  });
/** What a witness says of a checkpoint that nobody signed: 404 where it does not know the origin, else 403. */
const asksFor = async (url: string, origin: string): Promise<number> => {
  const root = Buffer.alloc(32).toString('base64');
  const line = `\u2014 ${origin} ${Buffer.alloc(68).toString('base64')}`;
  const text = `old 0\n\n${origin}\n0\n${root}\n\n${line}\n`;
  return (await post(url, Buffer.from(text), '/add-checkpoint'))[0];
};

t.test('POST /enrol: durable before the answer, known after restart and compaction', async (t) => {
  const root = await temporaryFolder(t);
  let witness = await serve(root, { compactBytes: 2_048 });
  const get = await fetchBytes(`${witness.url}/enrol`, { timeoutMs: 5_000, maxBytes: 99 });
  t.equal(get.status, 405);
  t.equal((await post(witness.url, new Uint8Array(20_000)))[0], 413);
  t.equal((await post(witness.url, new Uint8Array(9)))[0], 400);
  t.equal(await asksFor(witness.url, PREFIX), 404);
  t.same(await post(witness.url, bodyOf(PREFIX)), [200, 'enrolled']);
  const stored = await readFile(join(root, 'state/witness/journal-1/0000000000000000.journal'));
  t.ok(stored.includes(Buffer.from(bodyOf(PREFIX))), 'what was answered is on the disk');
  t.equal(witness.commits(), 1);
  t.same(await post(witness.url, bodyOf(PREFIX)), [200, 'enrolled'], 'again');
  t.equal(witness.commits(), 1, 'and nothing more is written');
  t.equal(await asksFor(witness.url, PREFIX), 403, 'known, and the signature is not its own');
  const shard = shardOrigin({ prefix: PREFIX, index: quarterOf(clock.now().unixMs) });
  t.equal(await asksFor(witness.url, shard), 403, 'its shards too');
  t.equal(await asksFor(witness.url, `${PREFIX}y`), 404);
  t.equal((await post(witness.url, bodyOf(PREFIX, undefined, newSigner().key)))[0], 409);
  // Two at once for one origin: one key wins.
  const raced = await Promise.all(
    [newSigner(), newSigner()].map(({ key }) =>
      post(witness.url, bodyOf(`${PREFIX}/b`, undefined, key)),
    ),
  );
  t.same(
    raced.map(([status]) => status).toSorted((one, other) => one - other),
    [200, 409],
  );
  for (let at = 0; at < 5; at += 1) await post(witness.url, bodyOf(`${PREFIX}/${at}`));
  await witness.close();
  const generations = (await readdir(join(root, 'state/witness'))).filter((one) =>
    one.startsWith('journal-'),
  );
  t.match(generations, [/^journal-([2-9]|1[0-9])$/], 'compacted');
  witness = await serve(root);
  for (const origin of [PREFIX, `${PREFIX}/b`, `${PREFIX}/0`, `${PREFIX}/4`]) {
    t.equal(await asksFor(witness.url, origin), 403, origin);
  }
  t.match(await post(witness.url, bodyOf(`${PREFIX}/more`)), [200, 'enrolled']);
  t.match(await post(witness.url, bodyOf(`${PREFIX}/last`)), [403, /too many origins/]);
  await witness.close();
  // Another issuer: what its predecessor mandated is unknown again. Without one there is no such path.
  const other = { ...rules, trust: { ...rules.trust, issuerKey: newSigner().key } };
  witness = await serve(root, { enrolment: other });
  t.equal(await asksFor(witness.url, PREFIX), 404);
  t.equal((await post(witness.url, bodyOf(PREFIX)))[0], 403);
  await witness.close();
});

t.test('a configured log keeps its key; without an issuer nothing enrols', async (t) => {
  const root = await temporaryFolder(t);
  const configured = logSigner(PREFIX, newSigner()).key;
  const witness = await serve(root, { logs: new Map([[PREFIX, [configured]]]) });
  t.equal((await post(witness.url, bodyOf(PREFIX)))[0], 409);
  t.equal((await post(witness.url, bodyOf(`${PREFIX}/b`)))[0], 200, 'another one beside it');
  await witness.close();
  const plain = await startWitnessService({
    root: await temporaryFolder(t),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[PREFIX, [configured]]]),
    port: 0,
    clock,
  });
  t.equal((await post(plain.url, bodyOf(PREFIX)))[0], 404);
  await plain.close();
});

t.test('an enrolment that cannot be stored is not answered, and nothing else is', async (t) => {
  const root = await temporaryFolder(t);
  let isBroken = false;
  const files: JournalFs = {
    ...nodeJournalFs,
    fdatasync: (fd, done) => {
      if (isBroken) done(Object.assign(new Error('no'), { code: 'EIO' }));
      else nodeJournalFs.fdatasync(fd, done);
    },
  };
  let witness = await serve(root, { files });
  isBroken = true;
  t.same(await post(witness.url, bodyOf(PREFIX)), [503, 'DISK_FAILED']);
  isBroken = false;
  t.same(await post(witness.url, bodyOf(PREFIX)), [503, 'DISK_FAILED'], 'until a restart');
  await witness.close();
  witness = await serve(root);
  t.equal(await asksFor(witness.url, PREFIX), 404);
  await witness.close();
});

t.test('a revoked mandate enrols nothing; a list that says nothing leaves it open', async (t) => {
  const path = join(await temporaryFolder(t), 'status.cbor');
  const statusOf = statusFile(path, world.trust);
  const list = (revoked: number[], more: { uri?: string; by?: typeof issuer } = {}): Uint8Array =>
    issueStatusList(more.by ?? issuer, {
      uri: more.uri ?? LIST,
      issuedS: NOW_S,
      expiresS: NOW_S + 100,
      ttlS: 60,
      version: 1,
      packed: packStatuses(100, revoked),
    });
  const { status } = MANDATE_FACTS;
  const put = async (bytes: Uint8Array, expected: string, atS = NOW_S): Promise<void> => {
    // A file of another length each time: its change is seen whatever the clock's grain.
    await writeFile(path, bytes);
    t.equal(statusFile(path, world.trust)(status, atS), expected);
  };
  t.equal(statusOf(status, NOW_S), 'unknown', 'no file');
  await put(list([]), 'valid');
  t.equal(statusOf(status, NOW_S), 'valid');
  await put(list([]), 'unknown', NOW_S + 100);
  await put(list([status.index]), 'revoked');
  await put(list([], { uri: `${LIST}/other` }), 'unknown');
  await put(list([], { by: gateway }), 'unknown');
  await put(Buffer.from('junk'), 'unknown');
  t.equal(statusOf(status, NOW_S), 'unknown', 'the same reader sees the new file');
});

t.test('a log that nobody configured becomes final by itself, at witness and mirror', async (t) => {
  const rig = await makeRig(t);
  const base = await temporaryFolder(t);
  const root = join(base, 'log');
  const origin = shardOrigin({ prefix: PREFIX, index: quarterOf(clock.now().unixMs) });
  const signer = logSigner(origin, logKey);
  const policy = policyOf(
    signer,
    [realWitness(WITNESS), realWitness(MIRROR)],
    'group q all w1 w2\nquorum q',
  );
  const server = await serveLog(root, 0);
  const witness = await serve(join(base, 'witness'));
  const openMirror = (port = 0) =>
    startMirrorService({
      root: join(base, 'mirror'),
      ports: { signer: realWitness(MIRROR), verify: realVerify },
      logs: new Map(),
      enrolment: rules,
      port,
      clock,
    });
  let mirror = await openMirror();
  const { port } = mirror;
  const hub = await startHubService({
    witnesses: new Map([
      ['w1', witness.url],
      ['w2', mirror.url],
    ]),
    port: 0,
  });
  const open = (enrolment?: Uint8Array) =>
    startLedgerService({
      root,
      ports: { origin, signer, verify: realVerify, policy },
      reader: journalReader(rig.journalFolder),
      source,
      keys: openContentKeys(root, rig.issuer.key),
      witnessUrls: new Map([
        ['w1', witness.url],
        ['w2', mirror.url],
      ]),
      // What a hub reports as unknown is enrolled at the witness's own address.
      hubUrl: hub.url,
      clock,
      ...(enrolment === undefined ? {} : { enrolment }),
    });
  await rig.pay(3);
  let ledger = await open();
  await until('both are asked', () => ledger.status().witnesses.every(({ trouble }) => trouble));
  t.match(ledger.status().witnesses, [{ trouble: /404/ }, { trouble: /404/ }]);
  await ledger.close();
  // Without an address the mirror refuses it, and says so.
  ledger = await open(bodyOf(origin));
  await until('the mirror refuses', () =>
    /400: the log has no address/.test(ledger.status().witnesses[1]?.trouble ?? ''),
  );
  t.equal(ledger.status().finalSize, 0);
  await ledger.close();
  ledger = await open(bodyOf(origin, server.url));
  await until('3 final', () => ledger.status().finalSize === 3);
  t.equal(mirror.status().get(origin)?.cosignedSize, 3);

  // The mirror starts anew, with the log and its address; the log moves, and a later enrolment says where.
  await mirror.close();
  await rig.pay(2);
  mirror = await openMirror(port);
  await until('5 final', () => ledger.status().finalSize === 5);
  const moved = await serveLog(root, 0);
  await server.close();
  const at = bodyOf(origin, moved.url, logKey.key, nowS + 1);
  t.same(await post(mirror.url, at), [200, 'enrolled']);
  await rig.pay(1);
  await until('6 final', () => ledger.status().finalSize === 6);
  t.equal(mirror.status().get(origin)?.storedSize, 6);
  await ledger.close();
  await hub.close();
  await moved.close();
  await mirror.close();
  await witness.close();
});
