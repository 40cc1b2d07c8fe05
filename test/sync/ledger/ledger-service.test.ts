import { cp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:net';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { fromHex, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import { encodeProof, verifyProof } from '../../../sync/ledger/core/proof.ts';
import { readFinality } from '../../../sync/ledger/finality-file.ts';
import { unwrapContentKey, wrapContentKey } from '../../../sync/ledger/key-wrap.ts';
import {
  inclusionProof,
  readCheckpoint,
  readEntries,
  readPayloads,
  readTile,
} from '../../../sync/ledger/log-folder.ts';
import { resourceOf, serveLog } from '../../../sync/ledger/log-server.ts';
import { type LogSource, folderSource, httpSource } from '../../../sync/ledger/log-source.ts';
import { periodOf } from '../../../sync/ledger/content-keys.ts';
import {
  leafOfRecord,
  openPayload,
  parsePayloadRecord,
  sealPayload,
} from '../../../sync/ledger/payload-record.ts';
import { realVerify } from './keys.ts';
import { ACCEPTED_AT_MS, type Rig, makeRig, until } from './rig.ts';
import { mth } from './rfc6962.ts';

const allOf = async (
  read: (index: number) => Promise<readonly Uint8Array[]>,
  size: number,
): Promise<Uint8Array[]> => {
  const found: Uint8Array[] = [];
  for (let index = 0; index * 256 < size; index += 1) found.push(...(await read(index)));
  return found;
};

/** Reads the whole log as clearing does: verified checkpoint, leaves, payloads, keys. Answers the plain payloads. */
const readAll = async (rig: Rig, log: LogSource): Promise<string[]> => {
  const note = (await readCheckpoint(log)) ?? new Uint8Array(0);
  const final = verifyFinalCheckpoint(note, rig.policy, realVerify);
  if (!final.ok) throw new Error(final.reason);
  const { size, root } = final.value;
  const leaves = await allOf((index) => readEntries(log, index, size), size);
  if (toHex(mth(leaves)) !== toHex(root)) throw new Error('the entries do not lead to the root');
  const records = await allOf((index) => readPayloads(log, index, size), size);
  const plain: string[] = [];
  for (const [at, record] of records.entries()) {
    const leaf = leafOfRecord(record);
    if (leaf === undefined || toHex(leaf) !== toHex(leaves[at] ?? record))
      throw new Error(`payload ${at}`);
    const parsed = parsePayloadRecord(record);
    const wrapped = await log.read(`keys/${toHex(parsed?.kid ?? record)}`);
    const { contentKey } = unwrapContentKey(wrapped ?? record, rig.issuer.privateKey);
    const text = parsed === undefined ? undefined : openPayload(parsed, contentKey);
    if (text === undefined) throw new Error(`payload ${at} cannot be opened`);
    plain.push(Buffer.from(text).toString('utf8'));
  }
  return plain;
};

t.test(
  'payments become final, and everything is read back over HTTP and decrypted by the issuer',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    const ledger = await rig.ledger(witness.url);
    const server = await serveLog(rig.root, 0);
    t.teardown(() => server.close());
    await rig.pay(300, 'alice');
    await until('300 final', () => ledger.status().finalSize === 300);
    await rig.pay(10, 'bob');
    await until('310 final', () => ledger.status().finalSize === 310);
    const expected = Array.from(
      { length: 310 },
      (_, at) => `pay ${at < 300 ? 'alice' : 'bob'} ${at}`,
    );
    t.same(await readAll(rig, httpSource(server.url)), expected);
    t.same(await readAll(rig, folderSource(rig.root)), expected);
    t.equal(
      (await readdir(join(rig.root, 'keys'))).length,
      2,
      'one content key per party and month',
    );
    t.notOk(
      (await readdir(join(rig.root, 'tlog/tile/0'))).includes('000.p'),
      'partial tiles go with the full one',
    );
    t.equal(
      (await readTile(folderSource(rig.root), { level: 0, index: 0, width: 7 })).length,
      7,
      'the full tile stands in',
    );
    const secret = join(rig.root, 'state/content-keys', periodOf(ACCEPTED_AT_MS));
    for (const name of await readdir(secret))
      t.equal((await stat(join(secret, name))).mode & 0o777, 0o600);

    const entry = (await readEntries(folderSource(rig.root), 1, 310))[5] ?? new Uint8Array(0);
    const path = await inclusionProof(httpSource(server.url), 261, 310);
    const checkpoint = (await readCheckpoint(httpSource(server.url))) ?? new Uint8Array(0);
    const proof = encodeProof({ index: 261, path, checkpoint });
    t.ok(verifyProof(proof, entry, rig.policy, realVerify).ok);

    // Closing waits for what is noted of finality.
    await Promise.all([ledger.close(), witness.close()]);
    const times = await readFinality(rig.root);
    t.equal(times.length, 310);
    t.ok(
      times.every((leaf, at) => leaf.index === at && (leaf.finalAtMs ?? 0) >= leaf.recordedAtMs),
    );
  },
);

t.test('a cut uplink records without finality; a restart goes on where it stood', async (t) => {
  const rig = await makeRig(t);
  const witness = await rig.witness();
  let ledger = await rig.ledger(witness.url);
  await until('empty log confirmed', () => ledger.status().phase.kind === 'running');
  ledger.setLink(false);
  await rig.pay(20);
  await until('20 recorded', () => ledger.status().recordedSize === 20);
  t.equal(ledger.status().finalSize, 0);
  await until(
    'the witness trouble is shown',
    () => ledger.status().witnesses[0]?.trouble === 'the uplink is down',
  );
  ledger.setLink(true);
  await until('20 final', () => ledger.status().finalSize === 20);
  await t.rejects(rig.ledger(witness.url), { code: 'FOLDER_LOCKED' });
  await ledger.close();
  await rig.pay(5);
  ledger = await rig.ledger(witness.url);
  await until('25 final', () => ledger.status().finalSize === 25);
  await ledger.close();
  await witness.close();
  t.equal((await readAll(rig, folderSource(rig.root))).length, 25);
});

t.test(
  'a restored older folder is stopped by the witness, and a fork is refused after its restart',
  async (t) => {
    const rig = await makeRig(t);
    let witness = await rig.witness();
    let ledger = await rig.ledger(witness.url);
    await rig.pay(5);
    await until('5 final', () => ledger.status().finalSize === 5);
    await ledger.close();
    const old = join(rig.root, '../old');
    await cp(rig.root, old, { recursive: true });
    ledger = await rig.ledger(witness.url);
    await rig.pay(5);
    await until('10 final', () => ledger.status().finalSize === 10);
    await ledger.close();
    const port = witness.port;
    await witness.close();
    witness = await rig.witness(port);
    t.equal([...witness.sizes().values()][0], 10, 'the witness kept its head');
    ledger = await rig.ledger(witness.url, old);
    await until('stopped', () => ledger.status().phase.kind === 'stopped');
    t.match(ledger.status().phase, { reason: 'ROLLED_BACK' });
    t.equal(ledger.status().recordedSize, 5, 'nothing more was recorded by the copy');
    await ledger.close();
    await witness.close();
  },
);

t.test('damage in the folder is a named error at the start, not a new history', async (t) => {
  const rig = await makeRig(t);
  const witness = await rig.witness();
  const ledger = await rig.ledger(witness.url);
  await rig.pay(5);
  await until('5 final', () => ledger.status().finalSize === 5);
  await ledger.close();
  const damage = async (
    path: string,
    change: (bytes: Buffer) => Buffer | undefined,
  ): Promise<string> => {
    const whole = join(rig.root, path);
    const before = await readFile(whole);
    const changed = change(Buffer.from(before));
    await (changed === undefined ? rm(whole) : writeFile(whole, changed));
    let outcome: string;
    try {
      const service = await rig.ledger(witness.url);
      const { phase } = service.status();
      outcome = phase.kind === 'stopped' ? phase.reason : phase.kind;
      await service.close();
    } catch (error) {
      outcome = (error as { code?: string }).code ?? String(error);
    }
    await writeFile(whole, before);
    return outcome;
  };
  const flip = (bytes: Buffer): Buffer => {
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1;
    return bytes;
  };
  t.equal(await damage('state/head', flip), 'STATE_CORRUPT');
  t.equal(await damage('state/head', () => Buffer.from('{}')), 'STATE_CORRUPT');
  t.equal(await damage('tlog/tile/0/000.p/5', flip), 'FOLDER_INCONSISTENT');
  t.equal(await damage('tlog/tile/0/000.p/5', () => undefined), 'LOG_INCOMPLETE');
  t.equal(await damage('tlog/tile/0/000.p/5', (bytes) => bytes.subarray(1)), 'LOG_CORRUPT');
  t.equal(await damage('tlog/tile/entries/000.p/5', flip), 'LOG_CORRUPT');
  t.equal(await damage('payload/000', flip), 'LOG_CORRUPT');
  t.equal(await damage('payload/000', () => undefined), 'LOG_INCOMPLETE');
  t.equal(await damage('tlog/checkpoint', () => Buffer.from('junk')), 'STATE_CORRUPT');
  t.equal(
    await damage('state/finality', () => Buffer.from('junk\n')),
    'confirming',
    'a measurement, not a truth',
  );
  await witness.close();
  const notAFolder = join(rig.root, 'state/head');
  await t.rejects(rig.ledger(witness.url, notAFolder), { code: /^DISK_/ });
});

/** Sends a raw request line, as no HTTP client would. */
const raw = (port: number, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => (text += data.toString('latin1')));
    socket.on('end', () => resolve(text.split('\r\n')[0] ?? ''));
    socket.on('error', reject);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  });

t.test('only the log is served: no traversal, no state, no secret', async (t) => {
  const rig = await makeRig(t);
  const witness = await rig.witness();
  const ledger = await rig.ledger(witness.url);
  await rig.pay(1);
  await until('1 final', () => ledger.status().finalSize === 1);
  const server = await serveLog(rig.root, 0);
  t.teardown(() => server.close());
  t.match(await raw(server.port, '/tlog/checkpoint'), '200');
  t.match(await raw(server.port, '/tlog/tile/0/000.p/1'), '200');
  t.match(await raw(server.port, '/payload/000'), '200');
  for (const path of [
    '/',
    '/state/head',
    '/tlog/../state/head',
    '/tlog/tile/0/../../../state/head',
    '/tlog/%2e%2e/state/head',
    '/tlog//checkpoint',
    '/tlog/checkpoint?x',
    '/payload/000.p/1',
    '/payload/../state/head',
    '/keys/../state/head',
    '/keys/00',
    '/tlog/tile/0/001',
    `/keys/${'0'.repeat(32)}`,
  ]) {
    t.match(await raw(server.port, path), '404', path);
  }
  t.equal(resourceOf('/payload/x001/000')?.path, 'payload/x001/000');
  await t.rejects(serveLog(rig.root, server.port), { code: 'PORT_IN_USE' });
  await t.rejects(
    httpSource(`${server.url}/nowhere`)
      .read('x'.repeat(3))
      .then((found) => found ?? Promise.reject(new Error('404'))),
    /404/,
  );
  await Promise.all([ledger.close(), witness.close()]);
});

t.test(
  'a wrapped content key opens with the issuer’s key only, and no byte of it may change',
  async (t) => {
    const rig = await makeRig(t);
    const other = await makeRig(t);
    const key = new Uint8Array(32).fill(2);
    const wrapped = wrapContentKey(key, rig.issuer.key);
    const kid = sha256(wrapped).slice(0, 16);
    t.same(unwrapContentKey(wrapped, rig.issuer.privateKey), { kid, contentKey: key });
    t.throws(() => unwrapContentKey(wrapped, other.issuer.privateKey), { code: 'KEY_UNREADABLE' });
    t.throws(() => unwrapContentKey(new Uint8Array(0), rig.issuer.privateKey), {
      code: 'KEY_UNREADABLE',
    });
    let opened = 0;
    for (let at = 0; at < wrapped.length; at += 1) {
      const changed = wrapped.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      try {
        const back = unwrapContentKey(changed, rig.issuer.privateKey);
        // The recipient's name is no part of what is wrapped; the record's key id is.
        if (toHex(back.kid) === toHex(kid) || toHex(back.contentKey) !== toHex(key)) opened += 1;
      } catch {
        // refused
      }
    }
    t.equal(opened, 0);
    t.equal(periodOf(Date.UTC(2026, 10, 30, 14, 59, 59)), '2026-11');
    t.equal(periodOf(Date.UTC(2026, 10, 30, 15)), '2026-12', 'midnight in Tokyo');
  },
);

t.test(
  'payload records: one ciphertext per payload, bound to the receipt, opaque after any change',
  async (t) => {
    const contentKey = { kid: new Uint8Array(16).fill(7), key: sha256(utf8ToBytes('key')) };
    const [plain, hash] = [utf8ToBytes('payment'), sha256(utf8ToBytes('receipt'))];
    const record = sealPayload(plain, hash, contentKey);
    t.same(sealPayload(plain, hash, contentKey), record, 'made again after a crash it is the same');
    const nonceOf = (bytes: Uint8Array): string => toHex(parsePayloadRecord(bytes)?.nonce ?? bytes);
    t.not(nonceOf(sealPayload(utf8ToBytes('Payment'), hash, contentKey)), nonceOf(record));
    t.not(nonceOf(sealPayload(plain, sha256(plain), contentKey)), nonceOf(record));
    const parsed = parsePayloadRecord(record);
    t.same(parsed === undefined ? undefined : openPayload(parsed, contentKey.key), plain);
    t.equal(
      parsed === undefined ? plain : openPayload(parsed, sha256(hash)),
      undefined,
      'another key',
    );
    const leaf = toHex(leafOfRecord(record) ?? plain);
    for (let at = 0; at < record.length; at += 1) {
      const changed = record.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      if (toHex(leafOfRecord(changed) ?? plain) === leaf) t.fail(`leaf does not see byte ${at}`);
      const back = parsePayloadRecord(changed);
      if (
        back !== undefined &&
        toHex(back.kid) === toHex(contentKey.kid) &&
        openPayload(back, contentKey.key)
      ) {
        t.fail(`opened after byte ${at}`);
      }
    }
    for (const wrong of [new Uint8Array(0), record.slice(0, 40), fromHex('00'.repeat(32) + 'd0')]) {
      t.equal(parsePayloadRecord(wrong), undefined);
    }
    t.equal(leafOfRecord(new Uint8Array(32)), undefined);
    t.throws(() => sealPayload(new Uint8Array(65_001), hash, contentKey), {
      code: 'PAYLOAD_TOO_LARGE',
    });
  },
);
