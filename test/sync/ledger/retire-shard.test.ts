import { cp, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { fetchBytes } from '../../../platform/http-client.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { parseCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { verifierKey } from '../../../sync/ledger/core/note-key.ts';
import { parseHolds } from '../../../sync/ledger/erase-keys.ts';
import { fsckLog } from '../../../sync/ledger/fsck-log.ts';
import { writeHead } from '../../../sync/ledger/head-file.ts';
import { readPayloads } from '../../../sync/ledger/log-folder.ts';
import { logHandler } from '../../../sync/ledger/log-server.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { type RetireOptions, retireShard } from '../../../sync/ledger/retire-shard.ts';
import { verifyLog } from '../../../sync/ledger/verify-log.ts';
import { ORIGIN, policyOf, realLog, realVerify, realWitness } from './keys.ts';
import { MadeLog } from './made-log.ts';
import { MIRROR, WITNESS, askPatiently, temporaryFolder } from './rig.ts';

const PREFIX = 'kiri.example/gw1';
const POLICY = policyOf(realLog(), [realWitness(WITNESS)], 'quorum w1');
const IN_Q4_S = Date.UTC(2026, 10, 1) / 1_000;
/** 60 days after 2026q4. */
const DUE_S = Date.UTC(2027, 2, 2) / 1_000;
const RETENTION = utf8ToBytes('kiri-retention/1\npayload-days 60\ntree-years 10\n');

const filesIn = async (root: string): Promise<string[]> => {
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  return found
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(root.length + 1))
    .toSorted();
};

/** The shard 2026q4 of a chain, over: 300 entries, final, stated retention, and the one after it begun. */
const shardIn = async (chain: string): Promise<{ log: MadeLog; root: string; note: string }> => {
  const root = join(chain, '2026q4');
  const log = new MadeLog(root);
  await log.append(300);
  const signed = log.note();
  const text = signed.slice(0, signed.indexOf('\n\n') + 1);
  const note = signed + cosign(text, realWitness(WITNESS), IN_Q4_S);
  await writeFileDurable(join(root, 'tlog/checkpoint'), note);
  const head = parseCheckpoint(text);
  if (!head.ok) throw new Error(head.reason);
  await writeHead(root, { size: head.value.size, root: head.value.root });
  await writeFileDurable(join(root, 'retention'), RETENTION);
  const [kid = ''] = await readdir(join(root, 'keys'));
  const plain = Buffer.concat([Buffer.from(kid, 'hex'), Buffer.alloc(32, 7)]);
  await writeFileDurable(join(root, 'state/content-keys/2026-11/party'), plain);
  await writeHead(join(chain, '2027q1'), { size: 1, root: new Uint8Array(32) });
  return { log, root, note };
};

const retire = (root: string, more: Partial<RetireOptions> = {}) =>
  retireShard({
    root,
    policy: POLICY,
    verify: realVerify,
    holds: [],
    nowS: DUE_S,
    isDryRun: false,
    ...more,
  });
const holds = (text: string): RetireOptions['holds'] => {
  const parsed = parseHolds(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};
const fsck = (root: string, nowS = DUE_S) => fsckLog(root, POLICY, realVerify, undefined, nowS);

t.test('a shard goes when it may, as a whole, and its tree still verifies', async (t) => {
  const chain = await temporaryFolder(t);
  const { root } = await shardIn(chain);
  const before = await filesIn(chain);
  t.match(await fsck(root), { problems: [], notes: [], finalSize: 300 });

  const next = join(chain, '2027q1/state/head');
  const refused: [string, Partial<RetireOptions>, RegExp][] = [
    ['a second too early', { nowS: DUE_S - 1 }, /^RETENTION_EARLY/],
    ['held', { holds: holds(ORIGIN) }, /^RETENTION_HELD/],
    ['one month of the chain held', { holds: holds(`${PREFIX} 2026-11`) }, /^RETENTION_HELD/],
    ['another retention', { retention: utf8ToBytes('x') }, /^RETENTION_DIFFERS/],
    [
      'not final under this policy',
      { policy: policyOf(realLog(), [realWitness('other')], 'quorum w1') },
      /^LOG_NOT_FINAL/,
    ],
  ];
  for (const [name, more, reason] of refused) {
    t.match(await retire(root, more), { ok: false, reason }, name);
  }
  const changed = async (path: string, bytes: Uint8Array | undefined, reason: RegExp) => {
    const old = await readFile(path);
    if (bytes === undefined) await rm(path);
    else await writeFile(path, bytes);
    t.match(await retire(root), { ok: false, reason }, `${path.slice(chain.length)}: ${reason}`);
    t.match(await retire(root, { isDryRun: true }), { ok: false });
    await writeFile(path, old);
  };
  await changed(next, undefined, /^RETENTION_EARLY: no later shard/);
  await changed(join(root, 'retention'), undefined, /^RETENTION_NONE/);
  await changed(join(root, 'retention'), utf8ToBytes('payload-days 0'), /^RETENTION_INVALID/);
  await changed(join(root, 'tlog/checkpoint'), undefined, /^LOG_NOT_FINAL/);
  const head = await readFile(join(root, 'state/head'));
  await writeHead(root, { size: 301, root: new Uint8Array(32) });
  t.match(await retire(root), { ok: false, reason: /^LOG_NOT_FINAL: 301 entries/ });
  await writeFile(join(root, 'state/head'), head);

  const dry = await retire(root, { isDryRun: true });
  t.match(dry, { ok: true, value: { origin: ORIGIN, size: 300, dueS: DUE_S } });
  t.same(await filesIn(chain), before, 'nothing was touched so far');
  const gone = dry.ok ? dry.value.files : [];
  t.match(gone, ['state/content-keys/2026-11/party', 'payload/000', 'payload/001', /^keys\//]);

  t.match(await retire(root, { holds: holds('kiri.example/gw2') }), { ok: true });
  const after = (await filesIn(root)).toSorted();
  const expected = [...before]
    .filter((path) => path.startsWith('2026q4/'))
    .map((path) => path.slice('2026q4/'.length))
    .filter((path) => !gone.includes(path));
  t.same(after, [...expected, 'retired'].toSorted());
  t.match(await fsck(root), { problems: [], notes: [], finalSize: 300, retiredS: DUE_S });
  t.match(await retire(root), { ok: true, value: { files: [] } }, 'called again, nothing is left');
  await t.rejects(readPayloads(folderSource(root), 0, 300), { code: 'LOG_RETIRED' });

  const serve = logHandler(chain);
  const get = (path: string) => serve({ method: 'GET', path });
  const [kid] = gone.filter((path) => path.startsWith('keys/'));
  for (const path of ['payload/000', kid]) {
    t.same(await get(`/2026q4/${path}`), {
      status: 410,
      body: RETENTION,
      contentType: 'text/plain; charset=utf-8',
    });
  }
  t.match(await get('/2026q4/retired'), { status: 200 });
  t.match(await get('/2026q4/retention'), { status: 200 });
  t.match(await get('/2026q4/tlog/tile/0/000'), { status: 200 });
  t.match(await get('/2026q4/tlog/tile/0/007'), { status: 404 });
  t.match(await get('/2027q1/payload/000'), { status: 404 });

  // What the record does not account for is missing, as ever; and the tree is still checked whole.
  const broken = async (path: string, bytes: Uint8Array | undefined, named = path) => {
    const copy = join(await temporaryFolder(t), '2026q4');
    await cp(root, copy, { recursive: true });
    if (bytes === undefined) await rm(join(copy, path));
    else await writeFile(join(copy, path), bytes);
    const { problems } = await fsck(copy);
    t.ok(
      problems.some((one) => one.path === named),
      `${path}: ${JSON.stringify(problems)}`,
    );
  };
  await broken('retired', undefined, 'payload/000');
  await broken('retired', utf8ToBytes('gone'));
  await broken('retention', undefined, 'retired');
  await broken('retention', utf8ToBytes('kiri-retention/1\n'));
  await broken('tlog/tile/0/000', new Uint8Array(8_192));
  await broken('tlog/tile/entries/000', undefined);
  t.match((await fsck(root, DUE_S - 1)).problems, [{ path: 'retired' }, { path: 'payload/000' }]);
});

t.test('a run that was killed at any file is called again and finishes', async (t) => {
  const base = await temporaryFolder(t);
  const { root } = await shardIn(join(base, 'whole'));
  const plan = await retire(root, { isDryRun: true });
  if (!plan.ok) throw new Error(plan.reason);
  for (let deleted = 0; deleted <= plan.value.files.length; deleted += 1) {
    const chain = join(base, `killed-${deleted}`);
    await cp(dirname(root), chain, { recursive: true });
    const copy = join(chain, '2026q4');
    await retire(copy);
    // As a crash leaves it: the record, and all files that were not reached.
    for (const path of plan.value.files.slice(deleted)) {
      await mkdir(dirname(join(copy, path)), { recursive: true });
      await cp(join(root, path), join(copy, path));
    }
    const half = await fsck(copy);
    t.same(half.problems, [], `${deleted} files deleted`);
    const left = plan.value.files.slice(deleted).filter((path) => !path.startsWith('state/'));
    t.same(half.notes.map(({ path }) => path).toSorted(), left.toSorted());
    t.match(
      await retire(copy, { holds: holds(ORIGIN) }),
      { ok: false },
      'a hold stops it here too',
    );
    const again = await retire(copy, { nowS: DUE_S + 1_000 });
    t.match(again, { ok: true, value: { files: plan.value.files.slice(deleted) } });
    t.match(await fsck(copy, DUE_S + 1_000), { problems: [], notes: [], retiredS: DUE_S });
  }
});

t.test('the record is there before the first file goes', async (t) => {
  const { root } = await shardIn(await temporaryFolder(t));
  // A link to nothing cannot be erased: as a disk that fails at the first file.
  const broken = join(root, 'state/content-keys/2026-11/a-first');
  await symlink(join(root, 'nowhere/at/all'), broken);
  await t.rejects(retire(root), { code: /^DISK_/ });
  const files = await filesIn(root);
  t.ok(files.includes('retired') && files.includes('payload/000'), 'said, and nothing gone');
  await rm(broken);
  t.match(await retire(root), { ok: true, value: { files: { length: 4 } } });
  t.match(await fsck(root), { problems: [], notes: [], retiredS: DUE_S });
});

t.test(
  'a mirror retires by its own days, vouches for nothing after, and starts again',
  async (t) => {
    const base = await temporaryFolder(t);
    const { log, root, note } = await shardIn(join(base, 'log'));
    const { type, publicKey } = realLog().key;
    const open = () =>
      startMirrorService({
        root: join(base, 'mirror'),
        ports: { signer: realWitness(MIRROR), verify: realVerify },
        logs: new Map([
          [
            PREFIX,
            {
              keys: [verifierKey(PREFIX, type, publicKey)],
              source: folderSource(join(base, 'log')),
            },
          ],
        ]),
        port: 0,
        clock: { now: () => ({ ...systemClock().now(), unixMs: IN_Q4_S * 1_000 }) },
      });
    const LIMITS = { timeoutMs: 5_000, maxBytes: 1 << 20 };
    let mirror = await open();
    t.teardown(() => mirror.close());
    const ask = async (body: Uint8Array): Promise<string> => {
      const answer = await askPatiently(`${mirror.url}/add-checkpoint`, { ...LIMITS, body });
      return `${answer.status} ${Buffer.from(answer.body).toString('utf8').split('\n')[0]}`;
    };
    t.match(await ask(await log.request(0)), /^200 /);
    await mirror.close();
    const copy = join(base, 'mirror/logs', originFolder(ORIGIN));
    await writeFileDurable(join(copy, 'tlog/checkpoint'), note);
    t.match(await retire(copy), { ok: false, reason: /^RETENTION_NONE/ }, 'the log’s binds it not');
    t.match(await retire(copy, { retention: RETENTION, nowS: DUE_S - 1 }), { ok: false });
    t.match(await retire(copy, { retention: RETENTION }), { ok: true });
    const source = folderSource(copy);
    const paths = (await filesIn(copy)).filter((path) => !path.startsWith('state/'));
    const report = await verifyLog(source, paths, POLICY, realVerify, undefined, DUE_S);
    t.match(report, { problems: [], uncovered: ['signed-head'], retired: { left: [] } });

    mirror = await open();
    const payload = `${mirror.url}/logs/${originFolder(ORIGIN)}/payload/000`;
    t.match(await fetchBytes(payload, LIMITS), { status: 410, body: Buffer.from(RETENTION) });
    t.match(await ask(await log.request(300)), /^403 RETIRED/);
    await log.append(3);
    t.match(await ask(await log.request(300)), /^503 CONTENT_MISMATCH: was retired here/);
    t.ok((await readFile(join(root, 'payload/001'))).length > 0, 'the log’s own stay');

    // A log that says it was retired, live or not, gets no cosignature from whoever holds no contents of it.
    await mirror.close();
    await rm(join(base, 'mirror'), { recursive: true });
    await writeFileDurable(join(root, 'retired'), 'kiri-retired/1\n');
    await rm(join(root, 'payload'), { recursive: true });
    mirror = await open();
    t.match(await ask(await log.request(0)), /^503 LOG_RETIRED/);
  },
);
