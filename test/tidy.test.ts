import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = [
  'protocol',
  'identity',
  'approval',
  'platform',
  'agent',
  'fog-gateway',
  'sync',
  'firmware-sim',
  'cli',
  'bench',
];
const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 70;

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

const sources = SOURCES.flatMap(filesBelow);
const tests = filesBelow('test');
const textOf = new Map(
  [...sources, ...tests].map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]),
);

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

/** Relative imports, static, re-exported and dynamic, as paths from the root. */
function importsOf(file: string): Import[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^;'"]*?from\s+'(\.[^']+)'|(?:^|\n)import\s+'(\.[^']+)'|import\('(\.[^']+)'\)/g;
  return [...(textOf.get(file) ?? '').matchAll(pattern)].map((match) => ({
    target: normalize(join(dirname(file), match[2] ?? match[3] ?? match[4] ?? '')),
    typeOnly: match[1] !== undefined,
  }));
}

/** Scripts that a file starts as worker threads, as paths from the root. */
function workersOf(file: string): string[] {
  const started = (textOf.get(file) ?? '').matchAll(/new Worker\(new URL\('([^']+)\.js'/g);
  return Array.from(started, ([, name]) => normalize(join(dirname(file), `${name}.ts`)));
}

/** Who may import what, by the first matching row; a row allows its own folder too. */
const ALLOWED: readonly (readonly [folder: string, allowed: readonly string[]])[] = [
  ['protocol/', []],
  ['identity/core/', ['protocol/']],
  ['identity/', ['protocol/', 'platform/']],
  ['approval/', ['protocol/', 'identity/core/']],
  ['platform/', ['protocol/']],
  ['agent/core/', ['protocol/', 'identity/core/', 'approval/']],
  ['agent/', ['protocol/', 'identity/', 'approval/', 'platform/']],
  ['fog-gateway/core/', ['protocol/', 'identity/core/', 'approval/']],
  ['fog-gateway/', ['protocol/', 'identity/', 'approval/', 'platform/']],
  ['sync/ledger/core/', ['protocol/', 'identity/core/', 'approval/']],
  ['sync/clearing/core/', ['protocol/', 'identity/core/', 'approval/', 'sync/ledger/core/']],
  ['sync/', ['protocol/', 'identity/', 'approval/', 'platform/']],
  [
    'firmware-sim/core/',
    [
      'protocol/',
      'identity/core/',
      'approval/',
      'agent/core/',
      'fog-gateway/core/',
      'sync/',
      'platform/core/',
    ],
  ],
  [
    'firmware-sim/',
    SOURCES.filter((folder) => folder !== 'cli' && folder !== 'bench').map((f) => `${f}/`),
  ],
  ['cli/', SOURCES.filter((folder) => folder !== 'bench').map((f) => `${f}/`)],
  ['bench/', SOURCES.map((f) => `${f}/`)],
];

/** The ports are types that every core may name. */
const PORTS = 'platform/ports.ts';

t.test('imports run one way', async (t) => {
  for (const file of sources) {
    const [folder, allowed] = ALLOWED.find(([prefix]) => file.startsWith(prefix)) ?? ['', []];
    for (const { target, typeOnly } of importsOf(file)) {
      const isPort = target === PORTS && typeOnly;
      const isAllowed = isPort || [folder, ...allowed].some((prefix) => target.startsWith(prefix));
      if (!isAllowed) t.fail(`${file} may not import ${target}`);
    }
  }
  t.ok(sources.length > 20, 'sources were found');
});

t.test(`no file is longer than ${MAX_FILE_LINES} lines`, async (t) => {
  for (const [file, text] of textOf) {
    const lines = text.split('\n').length - 1;
    if (lines > MAX_FILE_LINES) t.fail(`${file} has ${lines} lines`);
  }
  t.pass('files measured');
});

/** Relies on prettier: what opens with `{` at an indentation closes at the same one. */
function longFunctions(file: string): string[] {
  const lines = (textOf.get(file) ?? '').split('\n');
  const opens =
    /^(\s*)(?:.*\bfunction\b.*|.*=>|(?:static |async |private |get |set |override )*[#\w]+\(.*\).*|\)(?::.*)?) \{$/;
  const found: string[] = [];
  for (const [start, line] of lines.entries()) {
    const match = opens.exec(line);
    if (!match || /^\s*(?:if|for|while|switch|catch|\} else|\} catch)\b/.test(line)) continue;
    const indent = match[1] ?? '';
    const length =
      lines.slice(start).findIndex((other, i) => i > 0 && other.startsWith(`${indent}}`)) + 1;
    if (length > MAX_FUNCTION_LINES) found.push(`${file}:${start + 1} has ${length} lines`);
  }
  return found;
}

t.test(`no function is longer than ${MAX_FUNCTION_LINES} lines`, async (t) => {
  for (const file of sources) for (const found of longFunctions(file)) t.fail(found);
  t.pass('functions measured');
});

t.test('the second C2SP verifier imports the runtime and itself, nothing else', async (t) => {
  const own = ['merkle', 'note', 'policy', 'tlog'].map((name) => `test/c2sp/${name}.ts`);
  for (const file of own) {
    const text = textOf.get(file) ?? '';
    t.match(text, /from '/, `${file} was read`);
    for (const [, name] of text.matchAll(/\b(?:from |import |import\()'([^.'][^']*)'/g)) {
      t.match(name, /^node:/, `${file} imports ${name}`);
    }
    for (const { target } of importsOf(file)) t.ok(own.includes(target), `${file}: ${target}`);
  }
});

t.test('every source file is reached by some test', async (t) => {
  // Tests that run `kiri` as a process reach the command line and all it loads.
  const queue = tests.filter((file) => file.endsWith('.test.ts'));
  if (tests.some((file) => textOf.get(file)?.includes('bin/kiri.js'))) queue.push('cli/kiri.ts');
  if (tests.some((file) => textOf.get(file)?.includes('bench/main'))) queue.push('bench/main.ts');
  if (tests.some((file) => textOf.get(file)?.includes('agent/main.js')))
    queue.push('agent/main.ts');
  const seen = new Set(queue);
  for (const file of queue) {
    for (const target of [...importsOf(file).map((one) => one.target), ...workersOf(file)]) {
      if (seen.has(target)) continue;
      seen.add(target);
      queue.push(target);
    }
  }
  for (const file of sources) if (!seen.has(file)) t.fail(`${file} is reached by no test`);
  t.pass('sources followed');
});

t.test('cores name neither clock nor randomness', async (t) => {
  const core = /^(?:protocol|approval|[\w-]+\/(?:\w+\/)?core)\//;
  for (const file of sources.filter((name) => core.test(name))) {
    const code = (textOf.get(file) ?? '').replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '');
    const found = /\bDate\b|Math\.random|performance\.now|setTimeout|randomBytes/.exec(code);
    if (found) t.fail(`${file} names ${found[0]}`);
  }
  t.pass('cores read');
});

t.test('links between documents lead somewhere', async (t) => {
  const docs = [
    'README.md',
    'SECURITY.md',
    'CHANGELOG.md',
    ...readdirSync(join(ROOT, 'docs')).map((f) => `docs/${f}`),
  ];
  for (const doc of docs.filter((file) => file.endsWith('.md'))) {
    const text = readFileSync(join(ROOT, doc), 'utf8');
    for (const [, link] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)) {
      const target = join(ROOT, dirname(doc), link!);
      t.doesNotThrow(
        () =>
          readdirSync(dirname(target)).includes(link!.split('/').at(-1)!) ||
          t.fail(`${doc}: ${link}`),
      );
    }
  }
});
