/** A file of more lines than are read at a time, written in pieces: the bytes are those of the file as a whole. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { parseLines } from '../../../sync/clearing/core/lines-file.ts';
import { verifyIpm } from '../../../sync/clearing/core/verify-ipm.ts';
import { HashedChunks } from '../../../sync/clearing/hashed-chunks.ts';
import { LineOfReceipts, NOON_S, anchors, directoryOf, hashOf, keyWith, signer } from './sample.ts';
import { makeTestStore } from './store.ts';

const LINES = 1_100;

t.test('a file of 1,100 lines stands on the disk as it is rebuilt, page by page', async (t) => {
  const store = await makeTestStore(t);
  const folder = await mkdtemp(join(tmpdir(), 'kiri-pages-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const service = await ClearingService.open(
    {
      database: await store.open(),
      signer,
      outFolder: folder,
      directory: directoryOf(),
      policyHash: hashOf('policy'),
      mode: 'T',
    },
    NOON_S,
  );
  const receipts = Array.from({ length: LINES }, (_, at) =>
    new LineOfReceipts(`line ${at}`).next(BigInt(at + 1) * 1_000_000n, {
      key: keyWith({ account: `ACC-${at}` }),
    }),
  );
  await service.ingestBatch(receipts, NOON_S);
  const { files } = await service.cut(NOON_S, anchors, true);
  // 1 + 2 + … + 1,100 yen, by hand.
  t.match(files, [{ presentments: LINES, records: LINES + 2, sumMinor: 605_550n }]);
  const name = files[0]?.fileName.replace('.ipm', '') ?? '';
  const rebuilt = await service.rebuild(name);
  t.match(
    rebuilt.slice(-4).map(({ path }) => path.replace(`clearing/${name}`, '')),
    ['.ipm', '.lines.jsonl', '.manifest.json', '.manifest'],
  );
  t.equal(rebuilt.length, LINES + 4);
  for (const { path, bytes } of rebuilt) {
    const onDisk = await readFile(join(folder, path));
    if (!onDisk.equals(Buffer.from(bytes))) t.fail(`${path} differs`);
  }
  const names = await readdir(join(folder, 'clearing'));
  t.equal(names.length, 4, 'nothing half written is left');
  const ipm = await readFile(join(folder, 'clearing', `${name}.ipm`));
  t.same(verifyIpm(new Uint8Array(ipm), DEFAULT_IPM_PROFILE).findings, []);
  const lines = parseLines(await readFile(join(folder, 'clearing', `${name}.lines.jsonl`), 'utf8'));
  t.same(
    lines?.lines.map(({ number }) => number),
    receipts.map((_, at) => at + 2),
  );
  await service.close();
});

t.test('a source that throws in mid file leaves the old file and nothing beside it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-pieces-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  async function* pieces(fails: boolean): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1, 2);
    if (fails) throw new Error('no more');
    yield Uint8Array.of(3);
  }
  await writeFileDurable(path, pieces(false));
  t.same([...(await readFile(path))], [1, 2, 3]);
  await t.rejects(writeFileDurable(path, pieces(true)), { code: 'DISK_FAILED' });
  t.same([...(await readFile(path))], [1, 2, 3]);
  t.same(await readdir(folder), ['file']);
});

t.test('chunks are at least 64 KiB, and their hash is that of the whole', async (t) => {
  const chunks = new HashedChunks();
  const piece = Buffer.from('a'.repeat(1_000));
  const out: Uint8Array[] = [];
  // One million times the letter a: FIPS 180-2, third example of SHA-256.
  for (let at = 0; at < 1_000; at += 1) {
    const full = chunks.add(piece);
    if (full) out.push(full);
  }
  out.push(chunks.end());
  t.ok(out.slice(0, -1).every(({ length }) => length >= 65_536 && length < 65_536 + 1_000));
  t.equal(chunks.bytes, 1_000_000);
  t.equal(
    Buffer.from(chunks.sha256()).toString('hex'),
    'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0',
  );
});
