import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { fetchBytes } from '../../../platform/http-client.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { parseNote, signNote } from '../../../sync/ledger/core/note.ts';
import { verifyNote } from '../../../sync/ledger/core/note-verify.ts';
import { encodeBase64 } from '../../../sync/ledger/core/text.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { requestCosignature } from '../../../sync/ledger/witness-client.ts';
import { startWitnessService, type WitnessService } from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { WITNESS, temporaryFolder } from './rig.ts';
import { mth, proof } from './rfc6962.ts';

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
const serve = (root: string, port = 0): Promise<WitnessService> =>
  startWitnessService({
    root,
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[ORIGIN, [log.key]]]),
    port,
    clock: systemClock(),
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

t.test('a damaged or foreign head file stops the start, by name', async (t) => {
  const root = await temporaryFolder(t);
  let witness = await serve(root);
  await post(witness.url, bodyOf(0, 5));
  await witness.close();
  const folder = join(root, 'state/witness');
  const [name = ''] = (await readdir(folder)).filter((entry) => entry.length === 64);
  const path = join(folder, name);
  const good = await readFile(path);
  for (const bytes of [
    Buffer.alloc(0),
    good.subarray(5),
    Buffer.from(good.toString('utf8').replace('\n5\n', '\n4\n')),
  ]) {
    await writeFile(path, bytes);
    await t.rejects(serve(root), { code: 'STATE_CORRUPT', message: new RegExp(name) });
  }
  await writeFile(path, good);
  const foreign = join(folder, '0'.repeat(64));
  await writeFile(foreign, good);
  await t.rejects(serve(root), { code: 'STATE_CORRUPT', message: /another log/ });
  await rm(foreign);
  witness = await serve(root);
  t.same([...witness.sizes()], [[ORIGIN, 5]]);
  await witness.close();
});

t.test('a failed write leaves no cosignature behind, until a restart', async (t) => {
  const root = await temporaryFolder(t);
  const witness = await serve(root);
  await post(witness.url, bodyOf(0, 5));
  // A folder stands where the head's file is: the rename onto it fails, as on a broken disk.
  const folder = join(root, 'state/witness');
  const [name = ''] = (await readdir(folder)).filter((entry) => entry.length === 64);
  await rm(join(folder, name));
  await mkdir(join(folder, name));
  t.same(await post(witness.url, bodyOf(5, 9)), [503, 'DISK_FAILED\n']);
  t.same(await post(witness.url, bodyOf(9, 12)), [503, 'DISK_FAILED\n']);
  t.match(await requestCosignature('w1', witness.url, { oldSize: 0, path: [], checkpoint: '' }), {
    kind: 'witnessFailed',
    trouble: /503/,
  });
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
const KILLS = 15;

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
