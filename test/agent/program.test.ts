import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import t from 'tap';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { coseKeyOf, type PublicKey } from '../../protocol/public-key.ts';
import * as issue from '../../identity/core/issue.ts';
import { createKeyFile } from '../../identity/edge/key-file.ts';
import { lineId } from '../../protocol/ids.ts';
import * as fixture from '../identity/fixture.ts';

import { documentsOf, newKit, type Kit } from './harness.ts';
import { Site } from './site.ts';
import '../plain-children.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PROGRAM = join(ROOT, 'build/agent/main.js');

interface Line {
  readonly kind?: string;
  readonly code?: string;
  readonly counter?: number;
  readonly link?: string;
}

/** The device's own key file, credentials for it, and a config that names them all. */
function writeDevice(site: Site): string {
  const { kit, folder } = site;
  const { signers, payer, policyHash } = kit.world;
  const device = createKeyFile(join(folder, 'device.key')).signer;
  const { party, registrar, issuer } = signers;
  const documents = documentsOf(kit).filter(
    (cose) => cose !== payer.binding && cose !== payer.allowance,
  );
  documents.push(
    issue.issueBinding({ device, party, registrar }, fixture.BINDING_FACTS),
    issue.issueAllowance(issuer, {
      ...fixture.ALLOWANCE_FACTS,
      line: lineId(device.key.id, party.key.id, fixture.JPY),
      policyHash,
      clearing: signers.clearing.key.id,
    }),
  );
  const names = documents.map((cose, i) => {
    writeFileSync(join(folder, `document-${i}`), cose);
    return `document-${i}`;
  });
  const writeKey = (name: string, key: PublicKey): void =>
    writeFileSync(join(folder, name), encodeCanonical(coseKeyOf(key)));
  writeKey('issuer', issuer.key);
  writeKey('approver', signers.gateway.key);
  const config = join(folder, 'device.json');
  writeFileSync(
    config,
    JSON.stringify({
      role: 'payer',
      folder: 'device',
      keyFile: 'device.key',
      gateway: { host: '127.0.0.1', port: site.port },
      issuerKey: 'issuer',
      approverKey: 'approver',
      documents: names,
      // The fixture's documents are of a fixed day: nothing may expire by the machine's clock.
      clock: 'unknown',
    }),
  );
  return config;
}

interface Run {
  readonly code: number | null;
  readonly lines: readonly Line[];
}

const running = new Set<ChildProcess>();
t.teardown(() => {
  for (const child of running) child.kill('SIGKILL');
});

function run(
  args: readonly string[],
  onLine: (line: Line, child: ChildProcess) => void = () => {},
): Promise<Run> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  running.add(child);
  const lines: Line[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    if (!text.startsWith('{')) return;
    const line = JSON.parse(text) as Line;
    lines.push(line);
    onLine(line, child);
  });
  return new Promise((resolve) => {
    child.on('close', (code) => {
      running.delete(child);
      resolve({ code, lines });
    });
  });
}

function payArgs(kit: Kit, config: string, ref: string, max = '999000000'): string[] {
  const payee = kit.world.signers.payee.key.hex;
  return ['--config', config, '--pay', payee, '--item', 'bay 4', '--max', max, '--ref', ref];
}

t.test('the program pays once for a ref, over a SIGKILL and a restart', async (t) => {
  const site = new Site(newKit());
  t.teardown(() => site.stop());
  await site.startGateway();
  await (await site.startPayee()).ready();
  const config = writeDevice(site);

  const first = await run(payArgs(site.kit, config, 'trip-1'));
  t.equal(first.code, 0);
  t.match(first.lines.at(-2), { kind: 'accepted', counter: 1 });

  const killed = await run(['--config', config], ({ link }, child) => {
    if (link === 'up') child.kill('SIGKILL');
  });
  t.equal(killed.code, null, 'it idles until it is killed');

  const again = await run(payArgs(site.kit, config, 'trip-1'));
  t.match(
    again.lines.find(({ kind }) => kind),
    { kind: 'accepted', counter: 1 },
    'no second debit',
  );
  const next = await run(payArgs(site.kit, config, 'trip-2'));
  t.equal(next.code, 0);
  const counter = next.lines.find(({ kind }) => kind)?.counter ?? 0;
  t.ok(counter >= 2, 'no counter twice');
  await site.sold(2);

  const refused = await run(payArgs(site.kit, config, 'trip-3', '1'));
  t.equal(refused.code, 3, 'refused');
  t.match(
    refused.lines.find(({ kind }) => kind),
    { kind: 'refused', code: 'POLICY_REFUSED' },
  );

  const ended = await run(['--config', config], ({ link }, child) => {
    if (link === 'up') child.kill('SIGTERM');
  });
  t.equal(ended.code, 0, 'SIGTERM is an orderly end');
});

t.test('a wrong call is exit 2, a missing file exit 1', async (t) => {
  t.equal((await run([])).code, 2);
  t.equal((await run(['--what'])).code, 2);
  t.equal((await run(['--config', join(ROOT, 'no-such-file.json')])).code, 1);
  t.equal((await run(['--help'])).code, 0);
});

t.test(
  'the bundle starts alone in an empty folder, with any cache beside it or none',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'kiri-bundle-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'kiri-agent.cjs');
    const cacheFile = join(folder, 'kiri-agent.cache');
    const made = spawnSync(process.execPath, [join(ROOT, 'packaging/bundle-agent.js'), file]);
    t.equal(made.status, 0, String(made.stderr));
    const starts = (what: string): void => {
      const help = spawnSync(process.execPath, [file, '--help'], { cwd: folder, encoding: 'utf8' });
      t.equal(help.status, 0, `${what}: ${help.stderr}`);
      t.match(help.stdout, /kiri-agent/, what);
      t.equal(help.stderr, '', what);
    };
    starts('its own cache');
    const cache = readFileSync(cacheFile);
    const digest = createHash('sha256').update(cache).digest('hex');
    t.ok(readFileSync(file, 'utf8').includes(digest), 'the bundle names its cache');
    const damaged = Buffer.from(cache);
    damaged.fill(0xff, cache.length >> 1);
    // V8 takes the cache of any source of the same length for its own.
    const [, literal = ''] = /^const source = (".*");$/m.exec(readFileSync(file, 'utf8')) ?? [];
    const { length } = JSON.parse(literal) as string;
    const foreign = new Script("(() => console.log('foreign'))".padEnd(length));
    for (const [what, bytes] of [
      ['foreign', foreign.createCachedData()],
      ['damaged', damaged],
      ['cut', cache.subarray(0, 1_000)],
      ['empty', Buffer.alloc(0)],
    ] as const) {
      writeFileSync(cacheFile, bytes);
      starts(what);
    }
    rmSync(cacheFile);
    starts('no cache');
  },
);
