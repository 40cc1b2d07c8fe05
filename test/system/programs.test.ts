import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeWorld } from '../../cli/demo/identities.ts';
import { storyPlan } from '../../cli/demo/plan.ts';
import { payerPrograms, Player } from '../../cli/demo/play.ts';
import { Program, type Json } from '../../cli/demo/processes.ts';
import { openReport } from '../../cli/demo/report.ts';
import { startSite, stopSite, type Site } from '../../cli/demo/site.ts';
import { LAUNCHER } from './command.ts';
import '../plain-children.ts';

t.setTimeout(180_000);
const WAIT_MS = 60_000;
const PAYER = 'car-1';
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const folder = mkdtempSync(join(tmpdir(), 'kiri-programs-'));
const stateDir = join(folder, 'state');
const outDir = join(folder, 'out');
mkdirSync(stateDir);
mkdirSync(outDir);
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const plan = storyPlan();
const config = (name: string): string => join(stateDir, `${name}.config.json`);

async function until(isTrue: () => Promise<boolean>): Promise<boolean> {
  const untilMs = performance.now() + WAIT_MS;
  while (performance.now() < untilMs) {
    if (await isTrue()) return true;
    await sleep(50);
  }
  return false;
}

/** SIGKILL, and a start over the same folder. */
async function killAndRestart(site: Site, old: Program, args: readonly string[]): Promise<Program> {
  old.kill();
  await old.exited;
  site.programs.delete(old);
  return Program.start(old.name, [...args, '--config', config(old.name)], site.programs);
}

/** Whoever is killed here comes back on its port, as an operator would configure it. */
function pinPort(program: Program): void {
  const file = config(program.name);
  const values = JSON.parse(readFileSync(file, 'utf8')) as Json;
  writeFileSync(file, JSON.stringify({ ...values, port: program.ready['port'] }));
}

function becomesFinal(site: Site, ledger: Program): Promise<boolean> {
  return until(async () => {
    const { accepted, voided, reversed } = await site.gateway.request({ do: 'status' });
    const { finalSize } = await ledger.request({ do: 'status' });
    return Number(finalSize) >= Number(accepted) + Number(voided) - Number(reversed);
  });
}

/** The device's process dies in the middle of its payments; the next one ends what was unknown. */
async function killPayer(t: Test, site: Site, player: Player): Promise<ReadonlySet<Program>> {
  const old = site.devices.get(PAYER)!;
  const own = plan.purchases.filter(({ payer }) => payer === PAYER);
  const { counter: before } = await statusOf(old);
  const paying = player.play(own, 'paid').catch(() => 'its process is gone');
  // Asked for without a pause: on a quick machine fifteen payments are over before a timer.
  while ((await statusOf(old)).counter === before);
  const restarted = await killAndRestart(site, old, ['devices']);
  await paying;
  t.ok(await until(async () => (await statusOf(restarted)).unknown === 0), 'nothing stays unknown');
  t.equal((await statusOf(restarted)).boot, 2);
  const programs = new Set(payerPrograms(site));
  programs.delete(old);
  return programs.add(restarted);
}

interface PayerStatus {
  readonly boot: number;
  readonly counter: number;
  readonly unknown: number;
}

async function statusOf(program: Program): Promise<PayerStatus> {
  const { payers } = await program.request({ do: 'status' });
  return (payers as Record<string, PayerStatus>)[PAYER]!;
}

t.test('ledger, witness, a payer and clearing are killed and come back', async (t) => {
  const world = makeWorld(plan, stateDir, Math.floor(Date.now() / 1000));
  const site = await startSite(world, outDir, new Set());
  t.teardown(() => stopSite(site));
  const player = new Player(site, openReport(true), 0);
  const witness = site.cosigners.get('witness')!.program;
  pinPort(witness);

  const first = player.play(plan.purchases.slice(0, 60), 'paid');
  const ledger = await killAndRestart(site, site.ledger, ['sync', 'ledger']);
  await first;
  t.ok(await becomesFinal(site, ledger), 'finality goes on after the death of the ledger');

  const second = player.play(plan.purchases.slice(60, 120), 'paid');
  await killAndRestart(site, witness, ['witness']);
  await second;
  t.ok(await becomesFinal(site, ledger), 'finality goes on after the death of the witness');

  const payers = await killPayer(t, site, player);
  t.ok(await becomesFinal(site, ledger), 'what the payer had sent is final too');

  const pulled = await site.clearing.request({ do: 'pull' });
  const clearing = await killAndRestart(site, site.clearing, ['sync', 'clearing']);
  const again = await clearing.request({ do: 'pull' });
  t.match(again, { ingested: 0, rootHex: String(pulled['rootHex']) }, 'nothing is ingested twice');
  const cut = (): Promise<Json> => clearing.request({ do: 'cut', closeOut: true });
  t.equal(((await cut())['files'] as unknown[]).length, 1);
  t.same((await cut())['files'], [], 'nothing is cut twice');
  t.match(await clearing.request({ do: 'reconcile' }), { reconciles: true, findings: [] });

  let heldMicro = 0n;
  for (const program of payers) {
    const held = await program.request({ do: 'export', folder: join(outDir, 'receipts') });
    heldMicro += BigInt(String(held['acceptedMicro']));
  }
  const { unacknowledgedMicro } = await site.gateway.request({ do: 'status' });
  t.equal(String(unacknowledgedMicro), heldMicro.toString(), 'devices hold what was accepted');
});

t.test('a device program without a gateway ends with whoever started it', async (t) => {
  // The site of the test above is stopped: its configuration names a port where nobody is.
  const child = spawn(process.execPath, [LAUNCHER, 'devices', '--config', config('fleet')], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  child.stdin.end();
  const [code] = (await once(child, 'close')) as [number | null];
  t.equal(code, 0);
});
