import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import t from 'tap';
import { verifyFolder } from '../../cli/verify/verify.ts';
import { seedOf } from '../../firmware-sim/core/seed.ts';
import { kiri } from './command.ts';
import '../plain-children.ts';

/** At least one of every kind of artefact is changed; `npm run soak` makes it 200. */
const CHANGES = Number(process.env['KIRI_TAMPER_CHANGES'] ?? 0);
/** Every so many changes is looked for by the command itself; the others by the same check in this process. */
const BY_COMMAND_EVERY = 20;

t.setTimeout(900_000);
const seedNumber = Number(process.env['KIRI_SEED'] ?? Date.now() % 1_000_000);
const seed = seedOf(seedNumber);
const folder = mkdtempSync(join(tmpdir(), 'kiri-tamper-'));
const out = join(folder, 'out');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function artefacts(): string[] {
  return readdirSync(out, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(out, join(entry.parentPath, entry.name)))
    .toSorted();
}

/** Artefacts whose names differ in numbers and hashes only are of one kind. */
function kindOf(path: string): string {
  return path.replaceAll(/[0-9a-f]{8,}|\d+/g, '#');
}

/** One file of every kind, then any files, `count` in all. */
function chosen(paths: readonly string[], count: number): string[] {
  const kinds = new Map<string, string[]>();
  for (const path of paths) kinds.set(kindOf(path), [...(kinds.get(kindOf(path)) ?? []), path]);
  const first = [...kinds.values()].map((ofKind) => seed.pick(ofKind));
  return Array.from({ length: count }, (_, i) => first[i] ?? seed.pick(paths));
}

function trace(): string {
  const path = join(folder, 'trace.csv');
  const rows = Array.from(
    { length: 12 },
    (_, i) => `Sun,2020-05-17T22:27:${String(i + 10)}Z,FALSE,Blue,Truck,Ford,F-150`,
  );
  const header = 'day,time,commercial,color,type,make,model';
  writeFileSync(path, `${[header, ...rows].join('\n')}\n`);
  return path;
}

/** The paths that `kiri verify` complains of. */
async function namedByCommand(): Promise<string[]> {
  const { code, stdout } = await kiri(['verify', out, '--json']);
  const report = JSON.parse(stdout) as { faults: { path: string }[] };
  return code === 1 ? report.faults.map(({ path }) => path) : [];
}

async function named(): Promise<string[]> {
  return (await verifyFolder(out)).faults.map(({ path }) => path);
}

t.test(
  'a single byte changed in an artefact of any kind is found and the artefact named',
  async (t) => {
    t.comment(`KIRI_SEED=${seedNumber}`);
    const ended = await kiri(['demo', '--json', '--out', out, '--trace', trace()]);
    t.equal(ended.code, 0, ended.stderr);
    const paths = artefacts();
    const kinds = new Set(paths.map(kindOf)).size;
    t.ok(kinds > 50, `${kinds} kinds of artefact`);
    t.same(await named(), [], 'untouched, everything holds');
    for (const [i, path] of chosen(paths, Math.max(CHANGES, kinds)).entries()) {
      const file = join(out, path);
      const whole = readFileSync(file);
      const at = seed.below(whole.length);
      const bent = new Uint8Array(whole);
      bent[at]! ^= 1 + seed.below(255);
      writeFileSync(file, bent);
      const names = await (i % BY_COMMAND_EVERY === 0 ? namedByCommand() : named());
      writeFileSync(file, whole);
      if (names.includes(path)) continue;
      t.fail(`byte ${at} of ${path} went from ${whole[at]} to ${bent[at]}: ${names.join(', ')}`);
    }
    t.same(await named(), [], 'restored, everything holds again');
    t.equal((await kiri(['verify', out])).code, 0);
  },
);
