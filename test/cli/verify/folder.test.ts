import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { verifyFolder } from '../../../cli/verify/verify.ts';
import { buildOut } from './out.ts';

t.test('an output folder as the writers made it verifies', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-verify-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await buildOut(root, [3, 4, 5]);
  const started = performance.now();
  const report = await verifyFolder(root);
  t.comment(performance.now() - started, report);
  t.same(report.faults, []);
});
