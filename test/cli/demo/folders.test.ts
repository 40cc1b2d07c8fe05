import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { dropState, prepareFolders } from '../../../cli/demo/folders.ts';

t.test('an earlier run is cleared away, with its keys', (t) => {
  const out = join(t.testdir(), 'out');
  const first = prepareFolders(out);
  writeFileSync(join(first.stateDir, 'key.json'), 'secret');
  mkdirSync(join(out, 'receipts'));
  t.equal(statSync(first.stateDir).mode & 0o077, 0, 'nobody else enters the state folder');
  t.throws(() => prepareFolders(out), { code: 'FOLDER_LOCKED' }, 'not under a run that goes on');
  first.unlock();
  const second = prepareFolders(out);
  t.notOk(existsSync(join(out, 'receipts')));
  t.notOk(existsSync(join(second.stateDir, 'key.json')));
  dropState(second);
  t.notOk(existsSync(second.stateDir));
  t.end();
});

t.test('nothing of somebody else is ever deleted', (t) => {
  const refuses = (out: string, kept: string, what: string): void => {
    t.throws(() => prepareFolders(out), { code: 'OUT_NOT_OURS' }, what);
    t.equal(readFileSync(kept, 'utf8'), 'mine', `${what}: is still there`);
  };
  const root = t.testdir({
    plain: { 'notes.txt': 'mine' },
    summary: { 'summary.json': '{}', 'trace.csv': 'mine' },
    state: {},
    'state.state': { 'notes.txt': 'mine' },
    target: { 'summary.json': 'mine' },
    'linked-state': {},
    file: 'mine',
  });
  refuses(join(root, 'plain'), join(root, 'plain/notes.txt'), 'a folder of other files');
  refuses(join(root, 'summary'), join(root, 'summary/trace.csv'), 'an output with a trace in it');
  refuses(join(root, 'state'), join(root, 'state.state/notes.txt'), 'a foreign OUT.state');
  t.ok(existsSync(join(root, 'state')), 'and its OUT is not touched either');
  refuses(join(root, 'file'), join(root, 'file'), 'a file');
  symlinkSync(join(root, 'target'), join(root, 'link'));
  refuses(join(root, 'link'), join(root, 'target/summary.json'), 'a link');
  symlinkSync(join(root, 'target'), join(root, 'linked-state.state'));
  refuses(join(root, 'linked-state'), join(root, 'target/summary.json'), 'a linked OUT.state');
  t.throws(() => prepareFolders('/'), { code: 'OUT_NOT_OURS' }, 'the root folder');
  t.end();
});

t.test('a place where no folder can be made is an error, not a wait', (t) => {
  const root = t.testdir({ file: 'mine' });
  for (const out of [join(root, 'file/out'), '/proc/nowhere/out']) {
    t.throws(() => prepareFolders(out), { code: 'OUT_UNWRITABLE' }, out);
  }
  t.end();
});
