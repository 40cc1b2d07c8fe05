import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { type LogEntry, appendBatch, appended } from '../../../sync/ledger/core/log-batch.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import { findLog } from '../../../sync/ledger/found-log.ts';
import { readHead, writeHead } from '../../../sync/ledger/head-file.ts';
import { readOpenBundle, readPayloads } from '../../../sync/ledger/log-folder.ts';
import { serveLog } from '../../../sync/ledger/log-server.ts';
import { folderSource, httpSource } from '../../../sync/ledger/log-source.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { prepareLogFolder, writeLogFiles } from '../../../sync/ledger/tile-store.ts';
import { ORIGIN, policyOf, realLog, realVerify } from './keys.ts';
import { temporaryFolder } from './rig.ts';
import '../../plain-children.ts';

const CHILD = fileURLToPath(new URL('./append-process.js', import.meta.url));
const PORTS = {
  origin: ORIGIN,
  signer: realLog(),
  verify: realVerify,
  policy: policyOf(realLog(), [], 'quorum none'),
};

const entryAt = (at: number): LogEntry => {
  const plain = utf8ToBytes(`record ${at}`);
  const key = { kid: new Uint8Array(16), key: new Uint8Array(32) };
  const payload = sealPayload(plain, sha256(plain), key);
  return { leaf: leafOfRecord(payload)!, payload, acceptedAtMs: 0 };
};
const entries = (from: number, to: number): LogEntry[] =>
  Array.from({ length: to - from }, (_, at) => entryAt(from + at));

/** RFC-like framing by hand: a big-endian uint16 length before each record. */
const framed = (list: readonly LogEntry[]): Buffer =>
  Buffer.concat(
    list.flatMap(({ payload }) => [
      Buffer.from([payload.length >>> 8, payload.length & 255]),
      payload,
    ]),
  );

t.test('a batch writes its own records and nothing of the bundle before them', async (t) => {
  const tree = emptyTree();
  const bundle = { leaves: [], payloads: [] };
  const all = entries(0, 600);
  let at = 0;
  for (const size of [1, 255, 3, 250, 91]) {
    const batch = appendBatch(tree, bundle, all.slice(at, at + size));
    const bytes = Buffer.concat(batch.appends.map((one) => one.bytes));
    t.equal(bytes.compare(framed(all.slice(at, at + size))), 0, `records ${at} to ${at + size}`);
    t.notOk(batch.files.some(({ path }) => path.startsWith('payload/')));
    for (const { path, offset } of batch.appends) {
      const index = Number(path.slice('payload/'.length));
      const before = all.slice(index * 256, Math.max(index * 256, at));
      t.equal(offset, framed(before).length, `${path} goes on where the head before it ends`);
    }
    at += size;
  }
  t.throws(() => appended(new Uint8Array(4), { path: 'x', offset: 5, bytes: new Uint8Array(1) }));
});

t.test(
  'torn at each byte: the head’s records are read, the next batch cuts the tail',
  async (t) => {
    const root = await temporaryFolder(t);
    const log = join(root, 'log');
    const path = join(log, 'payload/000');
    await prepareLogFolder(log);
    const tree = emptyTree();
    const bundle = { leaves: [], payloads: [] };
    const all = entries(0, 4);
    await writeLogFiles(log, appendBatch(tree, bundle, all.slice(0, 2)));
    const head = { size: 2, root: treeRoot(tree) };
    await writeHead(log, head);
    const kept = await readFile(path);
    t.equal(kept.compare(framed(all.slice(0, 2))), 0);
    const second = appendBatch(tree, bundle, all.slice(2));
    const whole = framed(all);
    for (let cut = kept.length; cut <= whole.length; cut += 1) {
      await writeFile(path, whole.subarray(0, cut));
      const found = await findLog(log, PORTS);
      if (found.bundle.payloads.length !== 2) t.fail(`torn at ${cut}`);
      await writeLogFiles(log, second);
      if ((await readFile(path)).compare(whole) !== 0) t.fail(`written again after ${cut}`);
    }
    // Another sealing of the same records may be longer or shorter than what was torn.
    await appendFile(path, 'x'.repeat(5_000));
    await writeLogFiles(log, second);
    t.equal((await readFile(path)).compare(whole), 0, 'a longer tail is cut off');

    await writeLogFiles(log, second);
    for (let cut = 0; cut < kept.length; cut += 1) {
      await writeFile(path, whole.subarray(0, cut));
      const error: unknown = await findLog(log, PORTS).catch((caught: unknown) => caught);
      if (!(error instanceof KiriError) || error.code !== 'LOG_CORRUPT') t.fail(`cut at ${cut}`);
      const written: unknown = await writeLogFiles(log, second).catch((caught: unknown) => caught);
      if (!(written instanceof KiriError) || written.code !== 'LOG_CORRUPT')
        t.fail(`no hole ${cut}`);
      if ((await stat(path)).size !== cut) t.fail('a file that was cut is left alone');
    }
    for (let at = 0; at < kept.length; at += 1) {
      const damaged = Buffer.from(whole);
      damaged[at] = damaged[at]! ^ 1;
      await writeFile(path, damaged);
      const error: unknown = await findLog(log, PORTS).catch((caught: unknown) => caught);
      if (!(error instanceof KiriError) || error.code !== 'LOG_CORRUPT')
        t.fail(`byte ${at} changed`);
    }
    await rm(path);
    await t.rejects(findLog(log, PORTS), { code: 'LOG_INCOMPLETE' });
  },
);

t.test('a file that grows while it is served gives what the checkpoint covers', async (t) => {
  const root = await temporaryFolder(t);
  await prepareLogFolder(root);
  const server = await serveLog(root, 0);
  t.teardown(() => server.close());
  const source = httpSource(server.url);
  const tree = emptyTree();
  const bundle = { leaves: [], payloads: [] };
  const all = entries(0, 256);
  await writeLogFiles(root, appendBatch(tree, bundle, all.slice(0, 1)));
  for (let covered = 1; covered < all.length; covered = tree.size) {
    // Each read has a write beside it.
    const [records] = await Promise.all([
      readPayloads(source, 0, covered),
      writeLogFiles(root, appendBatch(tree, bundle, all.slice(covered, covered + 5))),
    ]);
    if (Buffer.from(records.at(-1)!).compare(all[covered - 1]!.payload) !== 0) t.fail('torn');
  }
  t.equal((await readFile(join(root, 'payload/000'))).compare(framed(all)), 0);
  await rename(join(root, 'payload/000'), join(root, 'payload/001'));
  await t.rejects(readPayloads(source, 0, 256), { code: 'LOG_INCOMPLETE' });
});

t.test('killed at any moment, the folder holds every record under its head', async (t) => {
  const root = await temporaryFolder(t);
  let [last, kills] = [0, 0];
  while (kills < 6) {
    const child = spawn(process.execPath, [CHILD, root], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const target = 1 + ((kills * 5) % 11);
    let seen = 0;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      seen += chunk.toString('utf8').split('\n').length - 1;
      if (seen >= target) break;
    }
    child.kill('SIGKILL');
    await closed;
    kills += 1;
    const found = await findLog(root, PORTS);
    t.ok(found.head.size > last, `${last} → ${found.head.size}`);
    last = found.head.size;
  }
  const head = await readHead(root);
  let read = 0;
  for (let index = 0; read < head.size; index += 1) {
    read += (await readPayloads(folderSource(root), index, head.size)).length;
  }
  t.equal(read, head.size);
  const open = await readOpenBundle(folderSource(root), head.size);
  t.equal(open.payloads.length, head.size % 256);
  await truncate(join(root, 'payload/000'), 10);
  await t.rejects(readPayloads(folderSource(root), 0, 1), { code: 'LOG_CORRUPT' });
});
