import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { LAUNCHER, kiri } from '../../system/command.ts';
import { makeDeskFolders } from './desk-sample.ts';
import '../../plain-children.ts';

/** More on demand: KIRI_DESK_KILLS=200. */
const KILLS = Number(process.env['KIRI_DESK_KILLS'] ?? 6);

t.setTimeout(300_000 + KILLS * 10_000);

t.test('SIGKILL at any moment: one answer, one pair of numbers, whole files', async (t) => {
  const folder = t.testdir();
  const { path, options } = await makeDeskFolders(folder, Math.floor(Date.now() / 1000));
  const words = ['issuer', 'ingest', path, '--trust', join(folder, 'trust'), ...options];
  /** The same command on a desk of its own. */
  const round = (at: number): { readonly words: string[]; readonly out: string } => {
    const own = (word: string): string => join(folder, `${word}-${at}`);
    const [state, out] = [join(folder, 'state'), join(folder, 'out')];
    const mine = words.map((word) =>
      word === state ? own('state') : word === out ? own('out') : word,
    );
    return { words: mine, out: own('out') };
  };
  const contents = (out: string): Map<string, string> => {
    const names = existsSync(out) ? readdirSync(out) : [];
    const whole = names.filter((name) => !name.endsWith('.tmp'));
    return new Map(whole.map((name) => [name, readFileSync(join(out, name)).toString('hex')]));
  };
  const began = performance.now();
  const first = await kiri(round(-1).words);
  t.equal(first.code, 0, first.stderr);
  const wholeMs = performance.now() - began;

  let [killed, halfway] = [0, 0];
  for (let at = 0; at < KILLS; at++) {
    const own = round(at);
    const child = spawn(process.execPath, [LAUNCHER, ...own.words], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    // The desk works at the end of a run; what comes before is the loading of the program.
    const timer = setTimeout(() => child.kill('SIGKILL'), wholeMs * (0.75 + (0.3 * at) / KILLS));
    const [, signal] = (await ended) as [number | null, string | null];
    clearTimeout(timer);
    const before = contents(own.out);
    if (signal === 'SIGKILL') killed++;
    if (before.size > 0 && before.size < 3) halfway++;
    const hasFile = [...before.keys()].some((name) => name.endsWith('.ipm'));
    const isReady = [...before.keys()].some((name) => name.endsWith('.manifest'));
    t.ok(hasFile || !isReady, 'the manifest is last');
    const last = await kiri(own.words);
    t.equal(last.code, 0, last.stderr);
    t.match(JSON.parse(last.stdout), { number: 1, verdict: 'accepted' });
    const after = contents(own.out);
    t.equal(after.size, 3, 'acknowledgement, file, manifest');
    for (const [name, bytes] of before) t.equal(after.get(name), bytes, `${name} never changes`);
  }
  t.comment(`${killed} of ${KILLS} killed before their end, ${halfway} between two files`);
});
