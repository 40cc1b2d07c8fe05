import { createServer } from 'node:http';
import fsp, { readFile, truncate, writeFile, type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { journalReader } from '../../../platform/journal-reader.ts';
import type { Clock } from '../../../platform/ports.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import { fsckLog } from '../../../sync/ledger/fsck-log.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import type { LedgerService } from '../../../sync/ledger/ledger-types.ts';
import { judgeFolder } from '../../c2sp/tlog.ts';
import { ORIGIN, policyText, realLog, realVerify, realWitness } from './keys.ts';
import { WITNESS, makeRig, source, until, type Rig } from './rig.ts';

const POLICY = Buffer.from(policyText(realLog(), [realWitness(WITNESS)], 'quorum w1'));

/** A writer on the rig's folder that counts what its key signs. */
async function writer(
  rig: Rig,
  witnessUrl: string,
  clock: Clock = systemClock(),
): Promise<LedgerService & { signatures(): number }> {
  const log = realLog();
  let signatures = 0;
  const signer = {
    key: log.key,
    sign: (message: Uint8Array): Uint8Array => {
      signatures += 1;
      return log.sign(message);
    },
  };
  const service = await startLedgerService({
    root: rig.root,
    ports: { origin: ORIGIN, signer, verify: realVerify, policy: rig.policy },
    reader: journalReader(rig.journalFolder),
    source,
    keys: openContentKeys(rig.root, rig.issuer.key),
    witnessUrls: new Map([['w1', witnessUrl]]),
    clock,
  });
  return {
    status: () => service.status(),
    setLink: (up) => service.setLink(up),
    close: () => service.close(),
    signatures: () => signatures,
  };
}

type Operation = 'open' | 'write' | 'sync' | 'rename' | 'mkdir';

/** Files below a folder whose operations fail as `fails` says, with the error that a system call would give. */
function breakDisk(
  root: string,
  fails: (what: Operation, path: string) => string | undefined,
): () => void {
  const real = { open: fsp.open, rename: fsp.rename, mkdir: fsp.mkdir };
  const check = (what: Operation, path: unknown): void => {
    const code = String(path).startsWith(root) ? fails(what, String(path)) : undefined;
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${what}`), { code });
  };
  const watched = (handle: FileHandle, path: unknown): FileHandle =>
    new Proxy(handle, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]): Promise<unknown> => {
          if (name === 'writeFile') check('write', path);
          if (name === 'sync' || name === 'datasync') check('sync', path);
          return Reflect.apply(value, target, args);
        };
      },
    });
  const open: typeof fsp.open = async (path, flags, mode) => {
    if (flags !== 'r') check('open', path);
    return watched(await real.open(path, flags, mode), path);
  };
  const rename: typeof fsp.rename = async (from, to) => {
    check('rename', to);
    return real.rename(from, to);
  };
  const mkdir = (async (path: string, options: object) => {
    check('mkdir', path);
    return real.mkdir(path, options);
  }) as typeof fsp.mkdir;
  Object.assign(fsp, { open, rename, mkdir });
  syncBuiltinESMExports();
  return () => {
    Object.assign(fsp, real);
    syncBuiltinESMExports();
  };
}

t.test(
  'a full disk at every write of a batch: nothing is lost, the log goes on by itself',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    const ledger = await writer(rig, witness.url);
    await until('the empty log is final', () => ledger.status().phase.kind === 'running');
    const failed = new Set<string>();
    let shown = 0;
    const mend = breakDisk(rig.root, (what, path) => {
      // Once for every kind of write to every kind of file.
      const kind = `${what} ${path.slice(rig.root.length).replaceAll(/[0-9a-f]{12,}|\d+/g, '#')}`;
      if (failed.has(kind)) return undefined;
      failed.add(kind);
      return 'ENOSPC';
    });
    t.teardown(async () => mend());
    await rig.pay(300);
    await until('300 final', () => {
      if (ledger.status().storageTrouble !== undefined) shown += 1;
      return ledger.status().finalSize === 300;
    });
    mend();
    t.ok(failed.size >= 20, `${failed.size} kinds of write failed once`);
    for (const part of ['tlog/tile', 'payload', 'keys', 'state/head', 'tlog/checkpoint']) {
      t.ok(
        [...failed].some((kind) => kind.includes(`/${part}`)),
        part,
      );
    }
    t.ok(shown > 0, 'the trouble was shown');
    t.match(ledger.status(), { phase: { kind: 'running' }, recordedSize: 300 });
    t.equal(ledger.status().storageTrouble, undefined);
    await rig.pay(10);
    await until('310 final', () => ledger.status().finalSize === 310);
    await Promise.all([ledger.close(), witness.close()]);
    t.match(judgeFolder(join(rig.root, 'tlog'), POLICY), { right: true, value: { size: 310 } });
    t.same((await fsckLog(rig.root, rig.policy, realVerify)).problems, []);
  },
);

t.test('a broken disk is not a full one: the log stops, and goes on after a restart', async (t) => {
  const rig = await makeRig(t);
  const witness = await rig.witness();
  for (const place of ['tlog/tile', 'state/head.', 'tlog/checkpoint']) {
    const ledger = await writer(rig, witness.url);
    await until('running', () => ledger.status().phase.kind === 'running');
    const before = ledger.status().finalSize;
    const mend = breakDisk(rig.root, (what, path) =>
      what === 'sync' && path.includes(`/${place}`) ? 'EIO' : undefined,
    );
    await rig.pay(5);
    await until('stopped', () => ledger.status().phase.kind === 'stopped');
    mend();
    const signed = ledger.signatures();
    t.match(ledger.status(), { phase: { reason: 'STORAGE_FAILED' }, finalSize: before }, place);
    await rig.pay(5);
    await ledger.close();
    t.equal(ledger.signatures(), signed, 'nothing is signed after it');
    const again = await writer(rig, witness.url);
    await until('all final', () => again.status().finalSize === before + 10);
    await again.close();
  }
  await witness.close();
  t.match(judgeFolder(join(rig.root, 'tlog'), POLICY), { right: true, value: { size: 30 } });
});

t.test(
  'two writers on one folder, torn files, another root: refused before anything is signed',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    const ledger = await writer(rig, witness.url);
    await rig.pay(260);
    await until('260 final', () => ledger.status().finalSize === 260);
    await t.rejects(writer(rig, witness.url), { code: 'FOLDER_LOCKED' });
    await ledger.close();
    const torn: readonly (readonly [path: string, expected: RegExp])[] = [
      ['tlog/tile/0/001.p/4', /LOG_CORRUPT/],
      ['tlog/tile/1/000.p/1', /LOG_CORRUPT/],
      ['tlog/tile/entries/001.p/4', /LOG_CORRUPT/],
      ['payload/001', /LOG_CORRUPT/],
      ['state/head', /STATE_CORRUPT/],
      ['tlog/checkpoint', /LOG_CORRUPT|STATE_CORRUPT/],
    ];
    for (const [path, expected] of torn) {
      const file = join(rig.root, path);
      const whole = await readFile(file);
      await truncate(file, whole.length - 3);
      const outcome = await writer(rig, witness.url).catch((error: unknown) => error);
      if (outcome instanceof KiriError) t.match(outcome.code, expected, path);
      else {
        const started = outcome as Awaited<ReturnType<typeof writer>>;
        t.match(started.status().phase.kind, 'stopped', path);
        t.equal(started.signatures(), 0);
        await started.close();
      }
      await writeFile(file, whole);
    }
    const sound = await writer(rig, witness.url);
    await until('confirmed', () => sound.status().phase.kind === 'running');
    await Promise.all([sound.close(), witness.close()]);
  },
);

t.test('what a witness answers wrong makes nothing final', async (t) => {
  const rig = await makeRig(t);
  let answer: (note: string) => readonly [status: number, body: string] = () => [500, ''];
  const server = createServer((req, res) => {
    let body = '';
    req.setEncoding('utf8').on('data', (piece: string) => (body += piece));
    req.on('end', () => {
      const note = body.slice(body.indexOf('\n\n') + 2);
      const [status, text] = answer(note.slice(0, note.indexOf('\n\n') + 1));
      res.writeHead(status).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await rig.pay(3);
  const [own, stranger] = [realWitness(WITNESS), realWitness('stranger.example/w')];
  const imposter = { ...own, sign: (message: Uint8Array): Uint8Array => stranger.sign(message) };
  const answers: Readonly<Record<string, typeof answer>> = {
    'an error': () => [500, 'no'],
    nothing: () => [200, ''],
    junk: () => [200, 'fine\n'],
    'a body without end': (text) => [200, cosign(text, own, 1).repeat(2_000)],
    'the cosignature of a stranger': (text) => [200, cosign(text, stranger, 1)],
    'a stranger’s signature under its name': (text) => [200, cosign(text, imposter, 1)],
    'its cosignature of another log': (text) => [200, cosign(text.replace(ORIGIN, 'x'), own, 1)],
    'its cosignature of another size': (text) => [
      200,
      cosign(text.replace('\n0\n', '\n1\n'), own, 1),
    ],
    'a conflict without a size': () => [409, 'much'],
    'a conflict of a size that is no number': () => [409, '-1\n'],
  };
  for (const [name, wrong] of Object.entries(answers)) {
    answer = wrong;
    const ledger = await writer(rig, url);
    await until(`trouble for ${name}`, () => ledger.status().witnesses[0]?.trouble !== undefined);
    t.match(
      ledger.status(),
      { phase: { kind: 'confirming' }, finalSize: 0, recordedSize: 0 },
      name,
    );
    await ledger.close();
  }
  await t.rejects(
    readFile(join(rig.root, 'tlog/checkpoint')),
    { code: 'ENOENT' },
    'nothing was published',
  );
});

t.test(
  'a clock that steps back: batches go on, and cosignatures say the time that was told',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    const system = systemClock();
    let backMs = 0;
    const clock: Clock = {
      now: () => ({ ...system.now(), unixMs: system.now().unixMs - backMs }),
    };
    const ledger = await writer(rig, witness.url, clock);
    await rig.pay(5);
    await until('5 final', () => ledger.status().finalSize === 5);
    backMs = 400 * 86_400_000;
    await rig.pay(5);
    await until('10 final', () => ledger.status().finalSize === 10);
    const note = new Uint8Array(await readFile(join(rig.root, 'tlog/checkpoint')));
    const head = verifyFinalCheckpoint(note, rig.policy, realVerify);
    t.match(head, { ok: true, value: { size: 10 } });
    // The witness's clock did not step: its time is its own, whatever the log believes.
    const timeS = head.ok ? (head.value.cosignedAtS.get('w1') ?? 0) : 0;
    t.ok(timeS * 1000 > Date.now() - 60_000);
    await Promise.all([ledger.close(), witness.close()]);
  },
);
