import { spawnSync } from 'node:child_process';
import t from 'tap';

t.test('the committed ABI and code are what the pinned compiler makes of the source', (t) => {
  const run = spawnSync(process.execPath, ['packaging/contract.js', '--check'], {
    encoding: 'utf8',
  });
  t.equal(run.stderr, '');
  t.equal(run.status, 0);
  t.end();
});
