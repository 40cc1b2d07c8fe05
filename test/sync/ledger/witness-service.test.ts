import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { fetchBytes } from '../../../platform/http-client.ts';
import { type JournalFs, nodeJournalFs } from '../../../platform/journal-fs.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { parseNote, signNote } from '../../../sync/ledger/core/note.ts';
import { verifyNote } from '../../../sync/ledger/core/note-verify.ts';
import { encodeBase64 } from '../../../sync/ledger/core/text.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { requestCosignature } from '../../../sync/ledger/witness-client.ts';
import {
  startWitnessService,
  type WitnessService,
  type WitnessServiceOptions,
} from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { WITNESS, temporaryFolder } from './rig.ts';
import { mth, proof } from './rfc6962.ts';
import '../../plain-children.ts';

const log = realLog();
const leaves = Array.from({ length: 400 }, (_, at) => utf8ToBytes(`leaf ${at}`));
const forked = leaves.map((leaf, at) => (at === 0 ? utf8ToBytes('forged') : leaf));

const textOf = (size: number, from = leaves): string =>
  encodeCheckpoint({ origin: ORIGIN, size, root: mth(from.slice(0, size)) });
const bodyOf = (old: number, size: number, from = leaves): Uint8Array => {
  const path = old === 0 ? [] : proof(old, from.slice(0, size)).map(encodeBase64);
  return encodeAddCheckpoint(old, path, signNote(textOf(size, from), log));
};
const post = async (
  url: string,
  body: Uint8Array,
  path = '/add-checkpoint',
): Promise<[number, string]> => {
  const answer = await fetchBytes(`${url}${path}`, { body, timeoutMs: 5_000, maxBytes: 65_536 });
  return [answer.status, Buffer.from(answer.body).toString('utf8')];
};
const isCosigned = (size: number, lines: string): boolean => {
  const note = parseNote(utf8ToBytes(`${textOf(size)}\n${lines}`));
  return note.ok && verifyNote(note.value, [realWitness(WITNESS).key], realVerify).ok;
};
const serve = (
  root: string,
  port = 0,
  more: Partial<WitnessServiceOptions> = {},
): Promise<WitnessService> =>
  startWitnessService({
    root,
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[ORIGIN, [log.key]]]),
    port,
    clock: systemClock(),
    ...more,
  });

t.test('the HTTP side: paths, methods, sizes, and the answers of tlog-witness', async (t) => {
  const root = await temporaryFolder(t);
  const witness = await serve(root);
  const { url } = witness;
  t.equal((await post(url, bodyOf(0, 5), '/other'))[0], 404);
  t.equal(
    (await fetchBytes(`${url}/add-checkpoint`, { timeoutMs: 5_000, maxBytes: 99 })).status,
    405,
  );
  t.equal((await post(url, new Uint8Array(70_000)))[0], 413);
  t.equal((await post(url, utf8ToBytes('junk')))[0], 400);
  const [status, lines] = await post(url, bodyOf(0, 5));
  t.equal(status, 200);
  t.ok(isCosigned(5, lines));
  t.same(await post(url, bodyOf(0, 9)), [409, '5\n']);
  t.equal((await post(url, bodyOf(5, 9, forked)))[0], 422);
  // Two at once from one size: one wins, the other is told the new size; never two heads.
  const raced = await Promise.all([post(url, bodyOf(5, 8)), post(url, bodyOf(5, 9))]);
  t.same(
    raced.map(([code]) => code).toSorted((one, other) => one - other),
    [200, 409],
  );
  await t.rejects(serve(root), { code: 'FOLDER_LOCKED' });
  const other = await temporaryFolder(t);
  await t.rejects(serve(other, witness.port), { code: 'PORT_IN_USE' });
  await writeFile(join(other, 'file'), '');
  await t.rejects(serve(join(other, 'file')), { code: /^DISK_/ });
  await witness.close();
});

t.test(
  'state that does not read back stops the start: the key is retired, never begun anew',
  async (t) => {
    const root = await temporaryFolder(t);
    const folder = join(root, 'state/witness');
    const keyMark = join(root, 'w1.used');
    const start = (more: object = {}) => serve(root, 0, { keyMark, ...more });
    let witness = await start();
    await post(witness.url, bodyOf(0, 5));
    await post(witness.url, bodyOf(5, 9));
    await witness.close();
    const sound = join(root, 'sound');
    await cp(folder, sound, { recursive: true });
    const journal = join(folder, 'journal-1/0000000000000000.journal');
    const bytes = await readFile(journal);
    const flipped = Buffer.from(bytes);
    flipped[bytes.indexOf('w1')]! ^= 1;
    const damages: [string, () => Promise<unknown>][] = [
      ['a changed byte', () => writeFile(journal, flipped)],
      ['an emptied journal', () => writeFile(journal, '')],
      ['a segment gone', () => rm(journal)],
      ['the journal gone', () => rm(join(folder, 'journal-1'), { recursive: true })],
      ['current gone', () => rm(join(folder, 'current'))],
      ['current damaged', () => writeFile(join(folder, 'current'), '01\n')],
      ['current naming no journal', () => writeFile(join(folder, 'current'), '2\n')],
      ['all of it gone', () => rm(folder, { recursive: true })],
      ['a head file of the older layout', () => writeFile(join(folder, 'a'.repeat(64)), 'x')],
    ];
    for (const [what, damage] of damages) {
      await damage();
      await t.rejects(start(), { code: 'STATE_CORRUPT', message: /retire this witness key/ }, what);
      await rm(folder, { recursive: true, force: true });
      await cp(sound, folder, { recursive: true });
    }
    await t.rejects(
      start({ ports: { signer: realWitness('witness.example/other'), verify: realVerify } }),
      { code: 'STATE_CORRUPT', message: /another key/ },
    );
    witness = await start();
    t.same([...witness.sizes()], [[ORIGIN, 9]], 'sound again');
    await witness.close();
    // A write torn by the crash was never acknowledged: the head before it counts.
    await appendFile(journal, bytes.subarray(-40));
    witness = await start();
    t.same([...witness.sizes()], [[ORIGIN, 9]]);
    await witness.close();
  },
);

t.test('the journal stays bounded: heads alone go into the next generation', async (t) => {
  const root = await temporaryFolder(t);
  const folder = join(root, 'state/witness');
  const keyMark = join(root, 'w1.used');
  let witness = await serve(root, 0, { compactBytes: 4_096, keyMark });
  for (let size = 1; size <= 60; size += 1) await post(witness.url, bodyOf(size - 1, size));
  t.equal(witness.commits(), 60);
  await witness.close();
  const [current, ...rest] = (await readdir(folder)).filter((name) => name.startsWith('journal-'));
  t.same(rest, [], 'older generations are gone');
  t.match(current, /^journal-([5-9]|1[0-9])$/);
  const { size } = await stat(join(folder, current!, '0000000000000000.journal'));
  t.ok(size < 8_192, `${size} bytes`);
  // A generation that was never named is what a crash between snapshot and name leaves: it is dropped.
  await cp(join(folder, current!), join(folder, 'journal-99'), { recursive: true });
  witness = await serve(root, 0, { keyMark });
  t.same([...witness.sizes()], [[ORIGIN, 60]]);
  await witness.close();
  t.notOk((await readdir(folder)).includes('journal-99'));
});

t.test('a failed write leaves no cosignature behind, until a restart', async (t) => {
  const root = await temporaryFolder(t);
  let isBroken = false;
  const files: JournalFs = {
    ...nodeJournalFs,
    fdatasync: (fd, done) => {
      if (isBroken) done(Object.assign(new Error('no'), { code: 'EIO' }));
      else nodeJournalFs.fdatasync(fd, done);
    },
  };
  let witness = await serve(root, 0, { files });
  await post(witness.url, bodyOf(0, 5));
  isBroken = true;
  t.same(await post(witness.url, bodyOf(5, 9)), [503, 'DISK_FAILED\n']);
  isBroken = false;
  t.same(
    await post(witness.url, bodyOf(9, 12)),
    [503, 'DISK_FAILED\n'],
    'also when it works again',
  );
  t.match(await requestCosignature('w1', witness.url, { oldSize: 0, path: [], checkpoint: '' }), {
    kind: 'witnessFailed',
    trouble: /503/,
  });
  await witness.close();
  witness = await serve(root);
  t.same([...witness.sizes()], [[ORIGIN, 5]], 'what failed was never there');
  await witness.close();
});

t.test('many origins share one sync; a restart knows every one of them', async (t) => {
  const root = await temporaryFolder(t);
  const origins = Array.from({ length: 40 }, (_, at) => `kiri.example/gw${at}/2026q4`);
  const signers = origins.map((origin) => realLog(origin));
  const logs = new Map(origins.map((origin, at) => [origin, [signers[at]!.key]]));
  const body = (at: number, old: number, size: number): Uint8Array => {
    const head = { origin: origins[at]!, size, root: mth(leaves.slice(0, size)) };
    const path = old === 0 ? [] : proof(old, leaves.slice(0, size)).map(encodeBase64);
    return encodeAddCheckpoint(old, path, signNote(encodeCheckpoint(head), signers[at]!));
  };
  // A sync ends only when all forty have been checked, however quick the disk is.
  const own = realWitness(WITNESS);
  let checked = 0;
  const held: (() => void)[] = [];
  const signer = {
    key: own.key,
    sign: (message: Uint8Array): Uint8Array => {
      checked += 1;
      if (checked % origins.length === 0) for (const sync of held.splice(0)) sync();
      return own.sign(message);
    },
  };
  const files: JournalFs = {
    ...nodeJournalFs,
    fdatasync: (fd, done) => {
      const sync = (): void => nodeJournalFs.fdatasync(fd, done);
      if (checked % origins.length === 0) sync();
      else held.push(sync);
    },
  };
  let witness = await serve(root, 0, { logs, files, ports: { signer, verify: realVerify } });
  for (const [old, size] of [
    [0, 3],
    [3, 7],
  ] as const) {
    const bodies = origins.map((_, at) => body(at, old, size));
    const answers = await Promise.all(bodies.map((one) => post(witness.url, one)));
    t.ok(answers.every(([status]) => status === 200));
  }
  t.equal(witness.commits(), 4, 'each time the first that came, then all that came meanwhile');
  await witness.close();
  witness = await serve(root, 0, { logs });
  t.same(witness.sizes(), new Map(origins.map((origin) => [origin, 7])));
  t.same(await post(witness.url, body(3, 0, 9)), [409, '7\n']);
  await witness.close();
});

t.test('the client turns every answer into one input', async (t) => {
  const root = await temporaryFolder(t);
  const witness = await serve(root);
  const { url } = witness;
  const ask = (old: number, size: number, from = leaves) =>
    requestCosignature('w1', url, {
      oldSize: old,
      path: old === 0 ? [] : proof(old, from.slice(0, size)),
      checkpoint: signNote(textOf(size, from), log),
    });
  t.match(await ask(0, 5), { kind: 'cosigned', witness: 'w1' });
  t.match(await ask(0, 9), { kind: 'witnessConflict', theirSize: 5 });
  t.match(await ask(5, 9, forked), { kind: 'witnessInconsistent' });
  t.match(await requestCosignature('w1', url, { oldSize: 0, path: [], checkpoint: 'x' }), {
    kind: 'witnessFailed',
    trouble: /400/,
  });
  await witness.close();
  t.match(await ask(5, 9), { kind: 'witnessFailed', trouble: /127\.0\.0\.1/ });
});

const PROCESS = fileURLToPath(new URL('./witness-process.js', import.meta.url));
/** test/soak/ledger-kills does it for longer. */
const KILLS = 5;

const launch = async (root: string): Promise<{ child: ChildProcess; url: string }> => {
  const child = spawn(process.execPath, [PROCESS, root], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return { child, url: line.toString('utf8').trim() };
};

t.test(
  `${KILLS} SIGKILLs of a witness process: no cosigned head is lost, no fork is cosigned`,
  async (t) => {
    const root = await temporaryFolder(t);
    let cosigned = 0;
    let lost = 0;
    let forks = 0;
    let size = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const { child, url } = await launch(root);
      const [, told] = await post(url, bodyOf(400, 400));
      size = Number(told);
      if (size < cosigned) lost += 1;
      if (size > 0 && (await post(url, bodyOf(size, size + 1, forked)))[0] === 200) forks += 1;
      // Checkpoints without pause; the kill falls somewhere between request, write and answer.
      const killAfter = 3 + (kill % 5);
      const exited = once(child, 'exit');
      for (let sent = 0; ; sent += 1) {
        const next = size + 1;
        const answer = post(url, bodyOf(size, next)).catch((): [number, string] => [0, '']);
        if (sent === killAfter) child.kill('SIGKILL');
        const [status, lines] = await answer;
        if (status === 0) break;
        if (status !== 200 || !isCosigned(next, lines)) t.fail(`${size} to ${next}: ${status}`);
        cosigned = next;
        size = next;
      }
      await exited;
    }
    const last = await launch(root);
    const [, told] = await post(last.url, bodyOf(400, 400));
    t.ok(
      Number(told) >= cosigned && cosigned >= KILLS,
      `${cosigned} cosigned, ${told.trim()} kept`,
    );
    t.same([lost, forks], [0, 0]);
    last.child.kill('SIGKILL');
    await once(last.child, 'exit');
  },
);
