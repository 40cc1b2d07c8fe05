import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { removeLeftovers } from '../../../sync/clearing/leftovers.ts';

const FOLDERS = ['clearing', 'evidence', 'payouts', 'retrieval'];
const HALF = 'a.ipm.0123456789abcdef.tmp';
// Names that only look like it stay: they are not ours.
const KEPT = ['a.ipm', 'a.tmp', 'a.ipm.0123456789abcdeg.tmp', `${HALF}.ipm`].toSorted();

t.test('what a killed write left is removed from every folder, and nothing else', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-leftovers-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  t.same(await removeLeftovers(root), [], 'an empty output folder');
  for (const below of [...FOLDERS, 'trust']) {
    await mkdir(join(root, below));
    for (const name of [HALF, ...KEPT]) await writeFile(join(root, below, name), 'half');
  }
  t.same(
    await removeLeftovers(root),
    FOLDERS.map((below) => `${below}/${HALF}`),
  );
  for (const below of FOLDERS) t.same((await readdir(join(root, below))).toSorted(), KEPT, below);
  t.ok((await readdir(join(root, 'trust'))).includes(HALF), 'a folder of somebody else');
});
