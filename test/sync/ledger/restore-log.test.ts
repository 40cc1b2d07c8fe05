import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { journalReader } from '../../../platform/journal-reader.ts';
import { openJournal } from '../../../platform/journal.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { parseCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { verifyConsistency } from '../../../sync/ledger/core/merkle.ts';
import { parseNote } from '../../../sync/ledger/core/note.ts';
import { consistencyProof, readPayloads } from '../../../sync/ledger/log-folder.ts';
import { folderSource, httpSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { type RestoreOptions, restoreLog } from '../../../sync/ledger/restore-log.ts';
import { nodeJournalFs } from '../../../platform/journal-fs.ts';
import { ORIGIN, policyOf, realLog, realVerify, realWitness } from './keys.ts';
import { type FullRig, makeFullRig } from './full-rig.ts';
import { source, temporaryFolder, until } from './rig.ts';

const KIRI = fileURLToPath(new URL('../../../cli/kiri.js', import.meta.url));

const copyPath = (rig: FullRig): string => join(rig.mirrorRoot, 'logs', originFolder(ORIGIN));
const optionsOf = (rig: FullRig, to: string): RestoreOptions => ({
  from: folderSource(copyPath(rig)),
  to,
  origin: ORIGIN,
  policy: rig.policy,
  verify: realVerify,
  journal: { reader: journalReader(rig.journalFolder, nodeJournalFs, 1), source },
});
const headOf = async (root: string): Promise<{ size: number; root: Uint8Array }> => {
  const note = parseNote(new Uint8Array(await readFile(join(root, 'tlog/checkpoint'))));
  const head = note.ok && parseCheckpoint(note.value.text);
  if (!head || !head.ok) throw new Error('no checkpoint');
  return head.value;
};
/** A log of 300 entries in three rounds, at the mirror to the last; the heads that were final. */
const writtenLog = async (rig: FullRig): Promise<{ size: number; root: Uint8Array }[]> => {
  const ledger = await rig.ledger();
  const heads: { size: number; root: Uint8Array }[] = [];
  for (const total of [100, 250, 300]) {
    await rig.pay(total - ledger.status().recordedSize);
    await until(`${total} final`, () => ledger.status().finalSize === total);
    heads.push(await headOf(rig.root));
  }
  await until('the mirror keeps the published checkpoint', () => {
    return rig.mirror.status().get(ORIGIN)?.publishedSize === 300;
  });
  await ledger.close();
  return heads;
};

t.test('a lost log comes back from the mirror and goes on: all heads are prefixes', async (t) => {
  const rig = await makeFullRig(t);
  const heads = await writtenLog(rig);
  await rm(rig.root, { recursive: true });
  const url = `${rig.mirror.url}/logs/${originFolder(ORIGIN)}`;
  const restored = await restoreLog({ ...optionsOf(rig, rig.root), from: httpSource(url) });
  // Three rounds of payments, each with one record that is no payment.
  const report = { size: 300, finalSize: 300, nextJournalIndex: 303 };
  t.same(restored, { ok: true, value: report });
  await t.rejects(restoreLog(optionsOf(rig, rig.root)), { code: 'FOLDER_IN_USE' });
  const ledger = await rig.ledger();
  await rig.pay(40);
  await until('340 final', () => ledger.status().finalSize === 340);
  await ledger.close();
  heads.push(await headOf(rig.root));
  for (const [at, next] of heads.entries()) {
    const before = heads[at - 1];
    if (before === undefined) continue;
    const proof = await consistencyProof(folderSource(rig.root), before.size, next.size);
    t.ok(verifyConsistency(before.size, next.size, before.root, next.root, proof));
  }
  // Nothing twice, nothing left out.
  const seen = new Set<string>();
  for (const index of [0, 1]) {
    for (const record of await readPayloads(folderSource(rig.root), index, 340)) {
      seen.add(Buffer.from(record.subarray(0, 32)).toString('hex'));
    }
  }
  t.equal(seen.size, 340);
});

t.test('kiri ledger restore: from a running mirror, with a new journal', async (t) => {
  const rig = await makeFullRig(t);
  await writtenLog(rig);
  const policy = join(rig.base, 'policy');
  await writeFile(policy, rig.policyText);
  const to = join(rig.base, 'restored');
  const kiri = async (...args: string[]): Promise<{ code: number; out: string }> => {
    const child = spawn(process.execPath, [KIRI, 'ledger', 'restore', ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
    const [code] = (await once(child, 'close')) as [number];
    return { code, out };
  };
  const args = ['--from', rig.mirror.url, '--to', to, '--policy', policy];
  t.equal((await kiri(...args)).code, 2, 'nothing said about the journal');
  t.equal((await kiri(...args, '--nonsense')).code, 2);
  const { code, out } = await kiri(...args, '--new-journal', '--json');
  t.equal(code, 0);
  t.same(JSON.parse(out), { ok: true, size: 300, finalSize: 300, nextJournalIndex: 0 });
  t.equal((await kiri(...args, '--new-journal')).code, 1, 'there is a log now');
});

t.test('what does not hold is not restored, and no head is left behind', async (t) => {
  const rig = await makeFullRig(t);
  await writtenLog(rig);
  await rig.mirror.close();
  const copy = copyPath(rig);
  const to = (name: string): string => join(rig.base, 'restored', name);
  const other = join(await temporaryFolder(t), 'journal');
  const { journal } = await openJournal(other);
  for (let at = 0; at < 400; at += 1) journal.append(utf8ToBytes(`pay other ${at}`));
  journal.append(utf8ToBytes('void'));
  await journal.commit();
  await journal.commit();
  await journal.close();
  const damage = async (path: string): Promise<RestoreOptions['from']> => {
    const folder = join(rig.base, `damaged ${path.replaceAll('/', ' ')}`);
    await cp(copy, folder, { recursive: true });
    const bytes = await readFile(join(folder, path));
    const at = bytes.length - 30;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(join(folder, path), bytes);
    return folderSource(folder);
  };
  await mkdir(join(rig.base, 'nothing'));
  const [kid = ''] = await readdir(join(copy, 'keys'));
  const cases: readonly (readonly [string, Partial<RestoreOptions>, RegExp])[] = [
    ['no copy', { from: folderSource(join(rig.base, 'nothing')) }, /holds no copy/],
    ['another log', { origin: 'else.example' }, /another log/],
    [
      'a policy that is not met',
      { policy: policyOf(realLog(), [realWitness('x')], 'quorum w1') },
      /policy is not met/,
    ],
    ['a payload', { from: await damage('payload/000') }, /commit to its payload/],
    ['a key', { from: await damage(`keys/${kid}`) }, /not the key/],
    ['a head', { from: await damage('signed-head') }, /signed-head/],
    ['a checkpoint', { from: await damage('tlog/checkpoint') }, /checkpoint/],
    [
      'another journal',
      { journal: { reader: journalReader(other, nodeJournalFs, 1), source } },
      /another journal/,
    ],
    [
      'an empty journal',
      { journal: { reader: journalReader(join(rig.base, 'nothing')), source } },
      /journal ends before/,
    ],
  ];
  for (const [name, change, reason] of cases) {
    const outcome = await restoreLog({ ...optionsOf(rig, to(name)), ...change });
    t.match(outcome, { ok: false, reason }, name);
    t.notOk((await readdir(join(to(name), 'state'))).includes('head'), name);
  }
  // After a refusal the same folder can be restored from a sound copy.
  t.match(await restoreLog(optionsOf(rig, to('a payload'))), { ok: true, value: { size: 300 } });
  // The mirror cosigns before the log publishes: what was lost in between comes back too.
  const bare = join(rig.base, 'unpublished');
  await cp(copy, bare, { recursive: true });
  await rm(join(bare, 'tlog/checkpoint'));
  const options = { ...optionsOf(rig, to('unpublished')), from: folderSource(bare) };
  t.match(await restoreLog(options), { ok: true, value: { size: 300, finalSize: 0 } });
  await rig.startMirror();
});

t.test('an older copy is found out by the witnesses before anything new is signed', async (t) => {
  const rig = await makeFullRig(t);
  await writtenLog(rig);
  const old = join(rig.base, 'old copy');
  await cp(copyPath(rig), old, { recursive: true });
  const ledger = await rig.ledger();
  await rig.pay(20);
  await until('320 final', () => ledger.status().finalSize === 320);
  await ledger.close();
  await rm(rig.root, { recursive: true });
  const options = optionsOf(rig, rig.root);
  t.match(await restoreLog({ ...options, from: folderSource(old) }), {
    ok: true,
    value: { size: 300 },
  });
  const again = await rig.ledger();
  await until('the log stops', () => again.status().phase.kind === 'stopped');
  t.match(again.status(), { phase: { reason: 'ROLLED_BACK' }, recordedSize: 300 });
  await again.close();
});
