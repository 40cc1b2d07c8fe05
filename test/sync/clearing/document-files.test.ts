/** What lies in a folder of documents that people and programs write into. */
import { execFileSync } from 'node:child_process';
import { statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DocumentFiles } from '../../../sync/clearing/document-files.ts';

const BYTES_MAX = 100;
/** Long after the files were written, as far as their stamps say. */
const later = (): number => Date.now() + 60_000;

t.test('a file put in place of another with the time stamp that this had is read', async (t) => {
  const root = t.testdir({});
  const file = join(root, 'document');
  // What is unpacked from an image or a package has one time stamp, whatever it is.
  const put = (content: string): void => {
    const before = statSync(file, { bigint: true, throwIfNoEntry: false })?.ctimeNs;
    // Only the time of the change tells them apart, and a disk's clock goes on in steps.
    do {
      writeFileSync(file, content);
      utimesSync(file, 1, 1);
    } while (statSync(file, { bigint: true }).ctimeNs === before);
  };
  const files = new DocumentFiles([root], BYTES_MAX);
  const fresh = async (): Promise<string[]> =>
    (await files.look(later())).fresh.map(({ bytes }) => Buffer.from(bytes).toString());
  put('one');
  t.same(await fresh(), ['one']);
  t.same(await fresh(), [], 'once');
  put('two');
  t.same(await fresh(), ['two'], 'of the same length');
});

t.test('what is no file is told by name and holds nothing up', async (t) => {
  const root = t.testdir({ folder: { kept: 'kept' }, outside: 'outside' });
  const folder = join(root, 'folder');
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  symlinkSync('/dev/zero', join(folder, 'device'));
  symlinkSync('nowhere', join(folder, 'dangling'));
  symlinkSync('.', join(folder, 'round'));
  symlinkSync('../outside', join(folder, 'linked'));
  const { fresh, troubles } = await new DocumentFiles([folder], BYTES_MAX).look(later());
  t.same(
    fresh.map(({ bytes }) => Buffer.from(bytes).toString()),
    ['kept', 'outside'],
    'a link to a file counts as the file',
  );
  t.same(
    new Map(troubles),
    new Map([
      [join(folder, 'dangling'), 'is a link to nothing'],
      [join(folder, 'device'), 'is no file'],
      [join(folder, 'pipe'), 'is no file'],
      [join(folder, 'round'), 'is no file'],
    ]),
  );
});

t.test(
  'contents beyond the limit are told at every look, and what was read stays known',
  async (t) => {
    const root = t.testdir({ a: 'one', b: 'two' });
    const files = new DocumentFiles([root], BYTES_MAX, 2);
    t.equal((await files.look(later())).fresh.length, 2);
    writeFileSync(join(root, 'c'), 'three');
    const said = new Map([[join(root, 'c'), 'more than 2 contents since the start']]);
    for (const look of ['first', 'again']) {
      const { fresh, troubles } = await files.look(later());
      t.same([fresh.length, new Map(troubles)], [0, said], look);
    }
    writeFileSync(join(root, 'c'), 'two');
    const { fresh, troubles } = await files.look(later());
    t.same([fresh.length, troubles.size], [0, 0], 'a content that is known is no new one');
  },
);
