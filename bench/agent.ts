import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { encodeCanonical } from '../protocol/cbor/encode.ts';
import { coseKeyOf, type PublicKey } from '../protocol/public-key.ts';
import { createKeyFile } from '../identity/edge/key-file.ts';
import { section, type Figure } from './figure.ts';
import type { GatewayUnderTest } from './gateway-under-test.ts';
import { median } from './measure.ts';

const figure = section('Agent, one file, connected and idle');
const GOAL_RSS = 1.45;
const GOAL_START = 1.5;
/** After the link is up: what idling is. */
const SETTLE_MS = 300;
const START_TIMEOUT_MS = 20_000;
const EMPTY_SCRIPT = 'console.log(\'{"link":"up"}\'); setInterval(() => {}, 1000);';

const BUNDLE = fileURLToPath(new URL('../agent/kiri-agent.cjs', import.meta.url));
const BUNDLER = fileURLToPath(new URL('../../packaging/bundle-agent.js', import.meta.url));

interface Run {
  readonly startMs: number;
  /** CPU time until the first line of output: loaded, documents checked, journal open. */
  readonly loadCpuMs: number;
  readonly startCpuMs: number;
  readonly rssBytes: number;
}

/** Resident set as the kernel counts it; Linux. */
function rssOf(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return match ? Number(match[1]) * 1_024 : Number.NaN;
}

/** CPU time of all threads so far, in milliseconds; Linux. */
function cpuMsOf(pid: number): number {
  let nanos = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanos += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  }
  return nanos / 1e6;
}

/** From the start of the process until it says that its link is up; then its memory. */
async function runOnce(args: readonly string[]): Promise<Run> {
  const start = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  const gone = new Promise((resolve) => child.once('exit', resolve));
  let run: Run | undefined;
  let loadCpuMs = Number.NaN;
  for await (const line of createInterface({ input: child.stdout })) {
    if (Number.isNaN(loadCpuMs)) loadCpuMs = cpuMsOf(child.pid!);
    if (!line.includes('"link":"up"')) continue;
    const startMs = performance.now() - start;
    const startCpuMs = cpuMsOf(child.pid!);
    await new Promise((resolve) => {
      setTimeout(resolve, SETTLE_MS);
    });
    run = { startMs, loadCpuMs, startCpuMs, rssBytes: rssOf(child.pid!) };
    child.kill('SIGTERM');
  }
  await gone;
  clearTimeout(timer);
  if (!run) throw new Error('the agent did not connect');
  return run;
}

/** A payer's folder with its documents, ready for the gateway. */
function deviceFolder(gateway: GatewayUnderTest): string {
  const { world } = gateway;
  const folder = mkdtempSync(join(tmpdir(), 'kiri-bench-agent-'));
  const keyFile = join(folder, 'key.json');
  const { signer } = createKeyFile(keyFile);
  const publicKeyFile = (name: string, key: PublicKey): string => {
    writeFileSync(join(folder, name), encodeCanonical(coseKeyOf(key)));
    return name;
  };
  const documents = [...world.enrol(signer).documents, world.mandate].map((bytes, i) => {
    writeFileSync(join(folder, `document-${i}`), bytes);
    return `document-${i}`;
  });
  mkdirSync(join(folder, 'data'));
  const config = {
    role: 'payer',
    folder: 'data',
    keyFile: 'key.json',
    gateway: { host: '127.0.0.1', port: gateway.port },
    issuerKey: publicKeyFile('issuer', world.issuer.key),
    approverKey: publicKeyFile('approver', world.gateway.signer.key),
    documents,
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  return folder;
}

const VARIANTS = {
  empty: [],
  plain: [],
  'small semi-space': ['--max-semi-space-size=1'],
  lite: ['--lite-mode', '--max-semi-space-size=1'],
} as const;
type Variant = keyof typeof VARIANTS;

/** Empty Node and the bundled agent in turn, with and without flags. */
export async function measureAgent(
  gateway: GatewayUnderTest,
  runs: number,
): Promise<readonly Figure[]> {
  if (!existsSync(BUNDLE))
    execFileSync(process.execPath, [BUNDLER], { stdio: ['ignore', 'ignore', 'inherit'] });
  const folder = deviceFolder(gateway);
  const taken = new Map<Variant, Run[]>();
  for (let run = -1; run < runs; run += 1) {
    for (const [name, flags] of Object.entries(VARIANTS) as [Variant, readonly string[]][]) {
      const script = [...flags, BUNDLE, '--config', join(folder, 'config.json')];
      const done = await runOnce(name === 'empty' ? ['-e', EMPTY_SCRIPT] : script);
      if (run >= 0) taken.set(name, [...(taken.get(name) ?? []), done]);
    }
  }
  rmSync(folder, { recursive: true, force: true });
  const rss = (name: Variant): number => median(taken.get(name)!.map(({ rssBytes }) => rssBytes));
  const wall = (name: Variant): number => median(taken.get(name)!.map(({ startMs }) => startMs));
  const cpu = (name: Variant): number =>
    median(taken.get(name)!.map(({ startCpuMs }) => startCpuMs));
  const load = median(taken.get('plain')!.map(({ loadCpuMs }) => loadCpuMs));
  return [
    figure('bundle', statSync(BUNDLE).size / 1_024, 'KiB'),
    figure('empty Node: RSS', rss('empty') / 1_048_576, 'MiB'),
    figure('empty Node: start, CPU', cpu('empty'), 'ms'),
    figure('empty Node: start, wall', wall('empty'), 'ms'),
    figure('RSS ÷ empty Node', rss('plain') / rss('empty'), '', GOAL_RSS),
    figure('start until connected ÷ empty Node, CPU', cpu('plain') / cpu('empty'), '', GOAL_START),
    figure('start until ready to connect ÷ empty Node, CPU', load / cpu('empty'), ''),
    figure('start until connected ÷ empty Node, wall', wall('plain') / wall('empty'), ''),
    ...(['small semi-space', 'lite'] as const).flatMap((name) => {
      const flags = VARIANTS[name].join(' ');
      return [
        figure(`RSS ÷ empty Node, ${flags}`, rss(name) / rss('empty'), ''),
        figure(`start ÷ empty Node, ${flags}, CPU`, cpu(name) / cpu('empty'), ''),
      ];
    }),
  ];
}
