import { readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { verifyLog } from '../../../sync/ledger/verify-log.ts';
import { policyOf, realLog, realVerify, realWitness } from './keys.ts';
import { makeRig, until } from './rig.ts';

const filesBelow = async (root: string): Promise<string[]> => {
  const found: string[] = [];
  for (const name of await readdir(root, { recursive: true })) {
    const isServed = /^(?:tlog|payload|keys)\//.test(name);
    if (isServed && (await stat(join(root, name))).isFile()) found.push(name);
  }
  return found.toSorted();
};

t.test(
  'a sound log passes; one changed byte in any file is found and that file named',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    const ledger = await rig.ledger(witness.url);
    // Two checkpoints in the first tile, then beyond it: partial tiles of older sizes stay behind in the second.
    for (const [count, total] of [
      [200, 200],
      [70, 270],
      [5, 275],
    ] as const) {
      await rig.pay(count);
      await until(`${total} final`, () => ledger.status().finalSize === total);
    }
    await Promise.all([ledger.close(), witness.close()]);
    const source = folderSource(rig.root);
    const paths = await filesBelow(rig.root);
    const check = () => verifyLog(source, paths, rig.policy, realVerify);
    const sound = await check();
    t.same([sound.head?.size, sound.problems, sound.uncovered], [275, [], []]);
    t.ok(paths.includes('tlog/tile/0/001.p/14') && paths.includes('tlog/tile/0/001.p/19'));
    let missed = 0;
    for (const [number, path] of paths.entries()) {
      const whole = join(rig.root, path);
      const before = await readFile(whole);
      for (let round = 0; round < 6; round += 1) {
        const at = round === 0 ? 0 : (number * 7919 + round * 104_729) % before.length;
        const changed = Buffer.from(before);
        changed[at] = (changed[at] ?? 0) ^ (1 << (round + 1));
        await writeFile(whole, changed);
        const report = await check();
        if (!report.problems.some((problem) => problem.path === path)) {
          missed += 1;
          t.fail(`byte ${at} of ${path}: ${JSON.stringify(report.problems)}`);
        }
      }
      await rm(whole);
      const named = (await check()).problems.some((problem) => problem.path === path);
      // Older partial tiles may be deleted (tlog-tiles); everything of the last checkpoint must be there.
      if (!path.endsWith('001.p/14') && !named) t.fail(`${path} was removed unseen`);
      await writeFile(whole, before);
    }
    t.equal(missed, 0);
    const extra = await verifyLog(
      source,
      [...paths, 'tlog/tile/0/007', 'notes.txt'],
      rig.policy,
      realVerify,
    );
    t.same(extra.uncovered, ['tlog/tile/0/007', 'notes.txt']);
    const stricter = policyOf(realLog(), [realWitness('a'), realWitness('b')], 'quorum w1');
    t.match((await verifyLog(source, paths, stricter, realVerify)).problems, [
      { path: 'tlog/checkpoint' },
    ]);
  },
);
