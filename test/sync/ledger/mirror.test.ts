import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createKeyFile } from '../../../identity/edge/key-file.ts';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { fetchBytes } from '../../../platform/http-client.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { bytesEqual, fromHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { parseCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { verifyConsistency } from '../../../sync/ledger/core/merkle.ts';
import { type ForkEvidence, readForkEvidence } from '../../../sync/ledger/core/fork-evidence.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { parseNote } from '../../../sync/ledger/core/note.ts';
import { verifyNote } from '../../../sync/ledger/core/note-verify.ts';
import { serveLog } from '../../../sync/ledger/log-server.ts';
import { type LogSource, folderSource } from '../../../sync/ledger/log-source.ts';
import { type MirroredLogStatus, originFolder } from '../../../sync/ledger/mirror-log.ts';
import { type MirrorService, startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { MadeLog } from './made-log.ts';
import { MIRROR, askPatiently, temporaryFolder, until } from './rig.ts';
import '../../plain-children.ts';

const post = async (url: string, body: Uint8Array): Promise<[number, string]> => {
  const answer = await askPatiently(`${url}/add-checkpoint`, {
    body,
    timeoutMs: 5_000,
    maxBytes: 65_536,
  });
  return [answer.status, Buffer.from(answer.body).toString('utf8')];
};
const serve = (root: string, source: LogSource): Promise<MirrorService> =>
  startMirrorService({
    root,
    ports: { signer: realWitness(MIRROR), verify: realVerify },
    logs: new Map([[ORIGIN, { keys: [realLog().key], source }]]),
    port: 0,
    clock: systemClock(),
  });
const copyOf = (root: string): string => join(root, 'logs', originFolder(ORIGIN));
const textOf = (note: string): string => note.slice(0, note.indexOf('\n\n') + 1);
const isCosigned = (note: string, lines: string): boolean => {
  const whole = parseNote(utf8ToBytes(`${textOf(note)}\n${lines}`));
  return whole.ok && verifyNote(whole.value, [realWitness(MIRROR).key], realVerify).ok;
};
/** Files of the log that are missing or different in the mirror. */
const lacking = async (log: string, copy: string): Promise<string[]> => {
  const found: string[] = [];
  for (const name of await readdir(log, { recursive: true })) {
    const path = join(log, name);
    const isCounted = /^(?:tlog\/tile|payload|keys)\//.test(name) && !/\.p\//.test(name);
    if (!isCounted || !(await stat(path)).isFile()) continue;
    const there = await readFile(join(copy, name)).catch(() => Buffer.alloc(0));
    if (!there.equals(await readFile(path))) found.push(name);
  }
  return found;
};

t.test('a cosigned checkpoint means that every file of the log is at the mirror', async (t) => {
  const base = await temporaryFolder(t);
  const log = new MadeLog(join(base, 'log'));
  const root = join(base, 'mirror');
  const mirror = await serve(root, folderSource(log.root));
  let old = 0;
  // Inside a bundle, to its border, over many bundles at once: two chunks.
  for (const count of [3, 97, 156, 1, 4_500]) {
    await log.append(count);
    const [status, lines] = await post(mirror.url, await log.request(old));
    t.equal(status, 200, lines);
    t.ok(isCosigned(log.note(), lines));
    t.same(await lacking(log.root, copyOf(root)), []);
    old = log.size;
  }
  await log.publish();
  await until('the published checkpoint is kept', () => {
    return mirror.status().get(ORIGIN)?.publishedSize === log.size;
  });
  const served = await fetchBytes(`${mirror.url}/logs/${originFolder(ORIGIN)}/tlog/checkpoint`, {
    timeoutMs: 5_000,
    maxBytes: 9_999,
  });
  t.equal(Buffer.from(served.body).toString('utf8'), log.note());
  for (const path of ['/logs/x', `/logs/${'0'.repeat(64)}/signed-head`, '/state/witness', '/']) {
    const { status } = await fetchBytes(`${mirror.url}${path}`, { timeoutMs: 5_000, maxBytes: 99 });
    t.equal(status, 404, path);
  }
  await t.rejects(serve(root, folderSource(log.root)), { code: 'FOLDER_LOCKED' });
  await mirror.close();
  const again = await serve(root, folderSource(log.root));
  t.match(again.status().get(ORIGIN), { storedSize: old, cosignedSize: old, publishedSize: old });
  await again.close();
});

t.test('a published checkpoint that was stripped of its cosignatures replaces none', async (t) => {
  const base = await temporaryFolder(t);
  const log = new MadeLog(join(base, 'log'));
  const root = join(base, 'mirror');
  const publish = (note: string): Promise<void> =>
    writeFileDurable(join(log.root, 'tlog/checkpoint'), note);
  const whole = (): string =>
    log.note() + cosign(textOf(log.note()), realWitness('other.example'), 1_790_000_000);
  const keptOf = (): Promise<string> => readFile(join(copyOf(root), 'tlog/checkpoint'), 'utf8');
  await log.append(3);
  await publish(whole());
  let mirror = await serve(root, folderSource(log.root));
  const state = (): MirroredLogStatus | undefined => mirror.status().get(ORIGIN);
  await until('the whole one is kept', () => state()?.publishedSize === 3);
  const kept = await keptOf();
  for (const round of ['running', 'started anew']) {
    await log.append(2);
    await publish(log.note());
    const trouble = `publishes ${log.size} leaves without a cosignature`;
    await until(`${round}: ${trouble}`, () => state()?.trouble === trouble);
    t.equal(await keptOf(), kept, round);
    t.equal(state()?.storedSize, log.size, 'its contents are copied all the same');
    if (round === 'running') {
      await mirror.close();
      mirror = await serve(root, folderSource(log.root));
    }
  }
  await log.append(1);
  await publish(whole());
  await until('a whole one again', () => state()?.publishedSize === 8);
  t.equal(await keptOf(), whole());
  await mirror.close();
});

t.test('what a log serves wrong is never cosigned; once it is right, it is', async (t) => {
  const base = await temporaryFolder(t);
  const log = new MadeLog(join(base, 'log'));
  await log.append(256 + 40);
  const other = new MadeLog(join(base, 'other'), 'two');
  await other.append(256 + 40);
  const honest = folderSource(log.root);
  type Lie = (path: string, bytes: Uint8Array | undefined) => Promise<Uint8Array | undefined>;
  const flip = (bytes: Uint8Array | undefined, at: number): Uint8Array => {
    const changed = Uint8Array.from(bytes ?? []);
    changed[at] = (changed[at] ?? 0) ^ 1;
    return changed;
  };
  const when = (part: RegExp, lie: (bytes: Uint8Array | undefined) => unknown): Lie => {
    return async (path, bytes) => (part.test(path) ? lie(bytes) : bytes) as Uint8Array | undefined;
  };
  const lies: ReadonlyArray<readonly [string, Lie]> = [
    ['an entry changed', when(/entries\/000/, (bytes) => flip(bytes, 20))],
    ['a payload changed', when(/^payload\/000/, (bytes) => flip(bytes, 90))],
    ['the hash before a payload changed', when(/^payload\/001/, (bytes) => flip(bytes, 5))],
    ['a bundle cut short', when(/^payload\/000/, (bytes) => bytes?.subarray(0, 999))],
    ['an empty bundle', when(/entries\/001/, () => new Uint8Array(0))],
    ['bytes after the bundle', when(/entries\/001/, () => new Uint8Array(9_999))],
    ['a missing bundle', when(/^payload\/001/, () => undefined)],
    ['a missing content key', when(/^keys\//, () => undefined)],
    ['another content key', when(/^keys\//, (bytes) => flip(bytes, 3))],
    [
      'a file that never ends',
      when(/^payload/, () => {
        throw new KiriError('HTTP_TOO_LARGE', 'answer over the limit');
      }),
    ],
    ['another log altogether', async (path) => folderSource(other.root).read(path)],
  ];
  for (const [name, lie] of lies) {
    let isLying = true;
    const root = join(base, `mirror of ${name}`);
    const mirror = await serve(root, {
      place: 'test',
      read: async (path) => (isLying ? lie(path, await honest.read(path)) : honest.read(path)),
    });
    const [status, why] = await post(mirror.url, await log.request(0));
    t.equal(status, 503, `${name}: ${why}`);
    t.match(mirror.status().get(ORIGIN), { storedSize: 0, cosignedSize: 0, forked: false });
    isLying = false;
    t.equal((await post(mirror.url, await log.request(0)))[0], 200, `${name}, then the truth`);
    t.same(await lacking(log.root, copyOf(root)), []);
    await mirror.close();
  }
});

t.test(
  'requests of strangers, old checkpoints and wrong proofs get the answers of a witness',
  async (t) => {
    const base = await temporaryFolder(t);
    const log = new MadeLog(join(base, 'log'));
    await log.append(10);
    await log.append(10);
    const mirror = await serve(join(base, 'mirror'), folderSource(log.root));
    t.equal((await post(mirror.url, utf8ToBytes('junk')))[0], 400);
    const body = Buffer.from(await log.request(0)).toString('utf8');
    t.equal((await post(mirror.url, utf8ToBytes(body.replace(ORIGIN, 'else.example'))))[0], 404);
    t.equal((await post(mirror.url, utf8ToBytes(body.replace('\n20\n', '\n19\n'))))[0], 403);
    t.equal((await post(mirror.url, await log.request(0)))[0], 200);
    // A restored old copy: the smaller head is true, so it is told the size and nothing is held against it.
    t.same(await post(mirror.url, await log.request(0, 10)), [409, '20\n']);
    t.match(mirror.status().get(ORIGIN), { forked: false, storedSize: 20 });
    await mirror.close();
  },
);

t.test('a fork is refused for good and both signed checkpoints are kept as proof', async (t) => {
  for (const [ours, theirs] of [
    [300, 330],
    [300, 300],
    [300, 280],
    [512, 700],
  ] as const) {
    const base = await temporaryFolder(t);
    const log = new MadeLog(join(base, 'log'));
    const fork = new MadeLog(join(base, 'fork'), 'two');
    await log.append(ours);
    await fork.append(theirs);
    let from = folderSource(log.root);
    const root = join(base, 'mirror');
    const source = { place: 'test', read: (path: string) => from.read(path) };
    const mirror = await serve(root, source);
    t.equal((await post(mirror.url, await log.request(0)))[0], 200);
    from = folderSource(fork.root);
    const honest = await log.request(ours);
    t.equal((await post(mirror.url, await fork.request(0)))[0], 422, `${ours} and ${theirs}`);
    const path = join(root, 'state/evidence', `${originFolder(ORIGIN)}.json`);
    const evidence = JSON.parse(await readFile(path, 'utf8')) as ForkEvidence;
    const [first, second] = [evidence.first, evidence.second].map((text) => {
      const note = parseNote(utf8ToBytes(text));
      const signed = note.ok && verifyNote(note.value, [realLog().key], realVerify);
      const head = note.ok && parseCheckpoint(note.value.text);
      if (!signed || !signed.ok || !head || !head.ok) throw new Error('not signed by the log');
      return head.value;
    });
    if (first === undefined || second === undefined) throw new Error('two heads are needed');
    const rootInSecond = fromHex(evidence.rootInSecond) ?? first.root;
    t.notOk(bytesEqual(first.root, rootInSecond));
    t.ok(
      first.size === second.size
        ? bytesEqual(rootInSecond, second.root)
        : verifyConsistency(
            first.size,
            second.size,
            rootInSecond,
            second.root,
            evidence.proof.map((hash) => fromHex(hash) ?? rootInSecond),
          ),
      'the evidence proves itself',
    );
    const checked = readForkEvidence(await readFile(path), () => [realLog().key], realVerify);
    t.match(checked, { ok: true, value: { common: { size: 0 } } }, 'they share no entry');
    await mirror.close();
    const again = await serve(root, source);
    t.match(again.status().get(ORIGIN), { forked: true, storedSize: ours });
    t.equal((await post(again.url, honest))[0], 422, 'also after a restart');
    await again.close();
  }
});

t.test(
  'a disk that fails in the middle of a copy: nothing is cosigned until it is well',
  async (t) => {
    const base = await temporaryFolder(t);
    const log = new MadeLog(join(base, 'log'));
    await log.append(40);
    const root = join(base, 'mirror');
    const mirror = await serve(root, folderSource(log.root));
    t.equal((await post(mirror.url, await log.request(0)))[0], 200);
    await log.append(5_000);
    // A folder stands where a late file goes: the rename onto it fails, earlier chunks are on the disk by then.
    const blocked = join(copyOf(root), 'payload/018');
    await mkdir(blocked);
    for (let tries = 0; tries < 2; tries += 1) {
      t.same(await post(mirror.url, await log.request(40)), [503, 'DISK_FAILED\n']);
      t.match(mirror.status().get(ORIGIN), { storedSize: 40, cosignedSize: 40 });
    }
    await mirror.close();
    const again = await serve(root, folderSource(log.root));
    t.match(again.status().get(ORIGIN), { storedSize: 40 });
    await rm(blocked, { recursive: true });
    t.equal((await post(again.url, await log.request(40)))[0], 200);
    t.same(await lacking(log.root, copyOf(root)), []);
    await again.close();
    await writeFile(join(copyOf(root), 'signed-head'), 'torn');
    await t.rejects(serve(root, folderSource(log.root)), { code: 'STATE_CORRUPT' });
  },
);

const KIRI = fileURLToPath(new URL('../../../cli/kiri.js', import.meta.url));
const PROCESS = fileURLToPath(new URL('./mirror-process.js', import.meta.url));
/** test/soak/ledger-kills does it for longer. */
const KILLS = 4;

const launch = async (args: string[]): Promise<{ child: ChildProcess; url: string }> => {
  const child = spawn(process.execPath, [PROCESS, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return { child, url: line.toString('utf8').trim() };
};

t.test(`${KILLS} SIGKILLs of a mirror process: what was cosigned is there, whole`, async (t) => {
  const base = await temporaryFolder(t);
  const log = new MadeLog(join(base, 'log'));
  const root = join(base, 'mirror');
  await log.append(1);
  const server = await serveLog(log.root, 0);
  t.teardown(() => server.close());
  let cosigned = 0;
  let old = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const { child, url } = await launch([root, server.url]);
    const exited = once(child, 'exit');
    let status = 200;
    for (let sent = 0; status !== 0; sent += 1) {
      await log.append(60 + 37 * kill);
      const answer = post(url, await log.request(old)).catch((): [number, string] => [0, '']);
      // Somewhere between request, download, write and answer.
      if (sent === 2) setTimeout(() => child.kill('SIGKILL'), kill * 3);
      const [code, told] = await answer;
      status = code;
      if (code === 409) old = Number(told);
      if (code === 200) {
        if (!isCosigned(log.note(), told)) t.fail('not the cosignature of this checkpoint');
        old = log.size;
        cosigned = log.size;
        t.same(await lacking(log.root, copyOf(root)), [], `${cosigned} cosigned`);
      }
    }
    await exited;
  }
  const mirror = await serve(root, folderSource(log.root));
  const status = mirror.status().get(ORIGIN);
  t.ok((status?.cosignedSize ?? 0) >= cosigned && cosigned > KILLS);
  t.ok((status?.storedSize ?? 0) >= (status?.cosignedSize ?? 0));
  await mirror.close();
});

t.test(
  'kiri mirror: the program reads its configuration, cosigns, and tells what it holds',
  async (t) => {
    const base = await temporaryFolder(t);
    const log = new MadeLog(join(base, 'log'));
    await log.append(7);
    const server = await serveLog(log.root, 0);
    t.teardown(() => server.close());
    createKeyFile(join(base, 'key'), ALG_EDDSA);
    const config = {
      folder: 'mirror',
      name: MIRROR,
      keyFile: 'key',
      logs: [{ origin: ORIGIN, vkey: encodeVerifierKey(realLog().key), url: server.url }],
    };
    await writeFile(join(base, 'config.json'), JSON.stringify(config));
    const child = spawn(process.execPath, [KIRI, 'mirror', '--config', join(base, 'config.json')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [ready] = (await once(child.stdout, 'data')) as [Buffer];
    const { port } = JSON.parse(ready.toString('utf8')) as { port: number };
    t.equal((await post(`http://127.0.0.1:${port}`, await log.request(0)))[0], 200);
    child.stdin.write('{"id":1}\n');
    const [status] = (await once(child.stdout, 'data')) as [Buffer];
    t.match(JSON.parse(status.toString('utf8')), {
      id: 1,
      logs: { [ORIGIN]: { storedSize: 7, cosignedSize: 7, forked: false } },
    });
    child.stdin.end();
    t.same(await once(child, 'exit'), [0, null]);
  },
);
