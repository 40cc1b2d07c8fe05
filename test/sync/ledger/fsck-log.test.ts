import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { fsckLog } from '../../../sync/ledger/fsck-log.ts';
import { realVerify } from './keys.ts';
import { makeFullRig } from './full-rig.ts';
import { until } from './rig.ts';

const KIRI = fileURLToPath(new URL('../../../cli/kiri.js', import.meta.url));

t.test('a sound folder passes, damage is named, leftovers are notes', async (t) => {
  const rig = await makeFullRig(t);
  const ledger = await rig.ledger();
  await rig.pay(260);
  await until('260 final', () => ledger.status().finalSize === 260);
  // Recorded, not final: the part that only the stored head covers.
  ledger.setLink(false);
  await rig.pay(20);
  await until('280 recorded', () => ledger.status().recordedSize === 280);
  await ledger.close();
  const check = (root: string) => fsckLog(root, rig.policy, realVerify);
  t.same(await check(rig.root), {
    recordedSize: 280,
    finalSize: 260,
    keys: { held: 3, issuerOnly: 3, erased: 0 },
    problems: [],
    notes: [],
  });

  let copies = 0;
  const changed = async (change: (root: string) => Promise<unknown>): Promise<string> => {
    copies += 1;
    const root = join(rig.base, `copy ${copies}`);
    await cp(rig.root, root, { recursive: true });
    await change(root);
    return root;
  };
  const flip = async (path: string, fromEnd = 1): Promise<void> => {
    const bytes = await readFile(path);
    const at = bytes.length - fromEnd;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(path, bytes);
  };
  const damages: readonly (readonly [string, RegExp, (root: string) => Promise<unknown>])[] = [
    // The last record is recorded only: no published checkpoint knows it.
    [
      'a payload beyond the checkpoint',
      /^payload\/001$/,
      (root) => flip(join(root, 'payload/001')),
    ],
    ['the tile of the head', /^state\/head$/, (root) => flip(join(root, 'tlog/tile/0/001.p/24'))],
    ['a full tile', /^tlog\/tile\/0\/000$/, (root) => flip(join(root, 'tlog/tile/0/000'))],
    ['the head', /^state\/head$/, (root) => flip(join(root, 'state/head'), 9)],
    ['no head', /^state\/head$/, (root) => rm(join(root, 'state/head'))],
    ['the checkpoint', /^tlog\/checkpoint$/, (root) => flip(join(root, 'tlog/checkpoint'), 9)],
    ['a bundle gone', /^state\/head$/, (root) => rm(join(root, 'tlog/tile/entries/001.p/24'))],
  ];
  for (const [name, path, change] of damages) {
    const { problems } = await check(await changed(change));
    t.ok(
      problems.some((problem) => path.test(problem.path)),
      `${name}: ${JSON.stringify(problems)}`,
    );
  }

  const leftovers = await changed(async (root) => {
    const tile = await readFile(join(root, 'tlog/tile/0/000'));
    await writeFileDurable(join(root, 'tlog/tile/0/000.p/5'), tile.subarray(0, 160));
    await writeFile(join(root, `payload/001.${'0'.repeat(16)}.tmp`), 'torn');
    await writeFileDurable(join(root, 'tlog/tile/0/001.p/99'), tile.subarray(0, 99 * 32));
    await appendFile(join(root, 'payload/001'), 'torn');
    await writeFile(join(root, 'keys', 'ab'.repeat(16)), 'never used');
    await appendFile(join(root, 'state/finality'), 'no json\n{"torn');
  });
  const report = await check(leftovers);
  t.same(report.problems, []);
  t.same(
    report.notes.map(({ path }) => path).toSorted(),
    [
      'payload/001',
      `keys/${'ab'.repeat(16)}`,
      `payload/001.${'0'.repeat(16)}.tmp`,
      'state/finality',
      'tlog/tile/0/000.p/5',
      'tlog/tile/0/001.p/99',
    ].toSorted(),
  );

  const policy = join(rig.base, 'policy');
  await writeFile(policy, rig.policyText);
  const kiri = async (...args: string[]): Promise<[number, string]> => {
    const child = spawn(process.execPath, [KIRI, 'ledger', 'fsck', ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
    const [code] = (await once(child, 'close')) as [number];
    return [code, out];
  };
  t.same(await kiri(rig.root, '--policy', policy), [0, 'sound: 280 recorded, 260 final\n']);
  const [code, out] = await kiri(join(rig.base, 'copy 1'), '--policy', policy, '--json');
  t.equal(code, 1);
  t.match(JSON.parse(out), { ok: false, recordedSize: 280, problems: [{ path: 'payload/001' }] });
  t.equal((await kiri('--policy', policy))[0], 2);
});
