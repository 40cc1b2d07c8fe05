/** Gateway, ledger, four witnesses, a mirror and clearing as an operator runs them, and devices that pay. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import {
  clearingConfig,
  configFile,
  cosignerConfig,
  devicesConfig,
  gatewayConfig,
  ledgerConfig,
} from '../../cli/demo/configs.ts';
import { POLICIES } from '../../cli/demo/finality-policy.ts';
import { freePort } from '../../cli/demo/free-port.ts';
import { makeWorld, type World } from '../../cli/demo/identities.ts';
import { storyPlan, type Plan } from '../../cli/demo/plan.ts';
import { Player } from '../../cli/demo/play.ts';
import { Program, type Json } from '../../cli/demo/processes.ts';
import { openReport } from '../../cli/demo/report.ts';
import { writeTrust } from '../../cli/demo/trust-folder.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { originFolder } from '../../sync/ledger/mirror-log.ts';
import { LAUNCHER } from './command.ts';
import { missingLine, stepsOf, type Step } from './runbook.ts';
import '../plain-children.ts';

const LIMITS = { timeoutMs: 30_000, maxBytes: 65_536 };
const FINAL_TIMEOUT_MS = 120_000;
/** Between two steps, in what a runbook prints. */
const MARK = '--- next step ---';

/**
 * What a machine of an operator has: `kiri`, and a service manager that runs `kiri … --config NAME.config.json` of the
 * present folder as unit kiri-NAME, with /dev/null as its input, and waits until it is ready.
 */
const PREAMBLE = `
set -euo pipefail
kiri() { "$NODE" "$LAUNCHER" "$@"; }
program_of() {
  case "$1" in
    gateway) echo gateway ;; ledger) echo sync ledger ;; witness*) echo witness ;; mirror*) echo mirror ;;
    *) echo "no unit kiri-$1" >&2; return 1 ;;
  esac
}
# SIGKILL, and until it is gone: what it held open is free then.
crash() {
  local name pid
  for name; do
    pid=$(cat "$name.pid"); rm "$name.pid"; kill -9 "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  done
}
systemctl() {
  local verb="$1" name pid; shift
  local names=("\${@#kiri-}")
  if [ "$verb" != start ]; then
    for name in "\${names[@]}"; do kill "$(cat "$name.pid")"; done
    for name in "\${names[@]}"; do
      pid=$(cat "$name.pid"); rm "$name.pid"
      while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    done
  fi
  [ "$verb" != stop ] || return 0
  for name in "\${names[@]}"; do
    "$NODE" "$LAUNCHER" $(program_of "$name") --config "$name.config.json" \\
      </dev/null >"$name.log" 2>&1 & pid=$!
    echo "$pid" >"$name.pid"
  done
  for name in "\${names[@]}"; do
    pid=$(cat "$name.pid")
    until grep -qs '"ready":true' "$name.log"; do
      kill -0 "$pid" 2>/dev/null || { cat "$name.log" >&2; return 1; }
      sleep 0.05
    done
  done
}
`;

export class RunbookRig {
  readonly root: string = mkdtempSync(join(tmpdir(), 'kiri-runbook-'));
  readonly plan: Plan = storyPlan();
  readonly world: World;
  readonly programs: Set<Program> = new Set();
  readonly #names: Record<string, string> = {};
  /** Also where the test itself is ended: no unit stays behind. */
  readonly #onExit = (): void => this.#killUnits();
  #next = 0;
  /** Numbers purchases from first to last: a device pays one number once. */
  readonly player: Player = new Player(this, openReport(true), 0);
  devices: ReadonlyMap<string, Program> = new Map();

  private constructor() {
    const nowS = Math.floor(Date.now() / 1000);
    this.world = makeWorld(this.plan, this.root, nowS, POLICIES.full);
    writeTrust(this.trust, this.world);
    process.once('exit', this.#onExit);
  }

  get trust(): string {
    return join(this.root, 'trust');
  }

  /** Everything runs and `payments` were made. */
  static async start(t: Test, payments: number): Promise<RunbookRig> {
    const rig = new RunbookRig();
    t.teardown(() => rig.#end());
    const { world, trust, root } = rig;
    const [mqtt, http, log] = [await freePort(), await freePort(), await freePort()];
    const logUrl = `http://127.0.0.1:${log}`;
    gatewayConfig(world, trust, { mqtt, http });
    const urls = new Map<string, string>();
    for (const one of world.cosigners) {
      const port = await freePort();
      cosignerConfig(world, trust, one, logUrl, port);
      urls.set(one.name, `http://127.0.0.1:${port}`);
    }
    ledgerConfig(world, trust, log, `http://127.0.0.1:${http}`, urls);
    clearingConfig(world, trust, root, logUrl);
    Object.assign(rig.#names, {
      GATEWAY: `http://127.0.0.1:${http}`,
      LOG: logUrl,
      ORIGIN: world.origin,
      PORT: String(await freePort()),
      MIRROR: urls.get('m1')!,
    });
    await rig.shell(`
      kiri issuer policy --key issuer/key.json --text trust/policy.txt --book trust/policies
      sed -i 's|trust/policy.txt|trust/policies|' ledger.config.json clearing.config.json
    `);
    const units = ['gateway', ...world.cosigners.map(({ place }) => place)];
    const start = units.map((unit) => `kiri-${unit}`).join(' ');
    await rig.shell(`systemctl start ${start}\nsystemctl start kiri-ledger`);
    devicesConfig(world, trust, 'devices', { mqttPort: mqtt, ...world });
    await rig.startDevices();
    await rig.pay(payments);
    return rig;
  }

  /** One process of all payers and payees; anew, so that nobody waits for the turn of its own reconnection. */
  async startDevices(): Promise<void> {
    for (const program of this.programs) await program.stop();
    this.programs.clear();
    const file = configFile(this.root, 'devices');
    const program = await Program.start('devices', ['devices', '--config', file], this.programs);
    const { payers, payees } = this.world;
    this.devices = new Map([...payers, ...payees].map(({ ref }) => [ref, program]));
  }

  async pay(count: number): Promise<void> {
    await this.player.play(this.plan.purchases.slice(this.#next, this.#next + count), 'paid');
    this.#next += count;
    await this.player.settle();
  }

  /** Runs shell commands in the site's folder; what they print on either channel. */
  shell(commands: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const env = { ...process.env, NODE: process.execPath, LAUNCHER, ...this.#names };
      const child = spawn('bash', ['-c', `${PREAMBLE}\n${commands}`], {
        cwd: this.root,
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => (output += text));
      }
      child.once('error', reject);
      // Not at its exit: what it printed last may still be in the pipe.
      child.once('close', (code) => {
        if (code === 0) resolve(output);
        else reject(new Error(`exit code ${code} of:\n${commands}\n${output}`));
      });
    });
  }

  /** Runs the commands of the document, and holds what they print against it. */
  async follow(t: Test, heading: string): Promise<void> {
    const steps: readonly Step[] = stepsOf(heading);
    t.ok(steps.length > 0, `${heading}: the document has commands`);
    const script = steps.map(({ commands }) => commands).join(`\necho '${MARK}'\n`);
    const outputs = (await this.shell(script)).split(`${MARK}\n`);
    for (const [i, { commands, expected }] of steps.entries()) {
      const missing = missingLine(outputs[i] ?? '', expected);
      t.equal(missing, undefined, `${commands.trim()}\nprinted\n${outputs[i]}`);
    }
  }

  async status(of: 'GATEWAY' | 'LOG'): Promise<Json> {
    const { body } = await fetchBytes(`${this.#names[of]}/status`, LIMITS);
    return JSON.parse(Buffer.from(body).toString()) as Json;
  }

  /** Until every answer of the gateway is final; how many that are. */
  async untilFinal(): Promise<number> {
    const untilMs = performance.now() + FINAL_TIMEOUT_MS;
    for (;;) {
      const gateway = await this.status('GATEWAY');
      const log = await this.status('LOG');
      const answers =
        Number(gateway['accepted']) + Number(gateway['voided']) - Number(gateway['reversed']);
      if (Number(log['finalSize']) >= answers) return answers;
      if (performance.now() > untilMs) throw new Error(`not final: ${JSON.stringify(log)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** What the payers hold: receipts and their sum. */
  async held(): Promise<{ count: number; sumMicro: bigint; unknown: number }> {
    const folder = join(this.root, 'held');
    const program = [...this.devices.values()][0]!;
    const held = await program.request({ do: 'export', folder });
    const [accepted, unknown] = [Number(held['accepted']), Number(held['unknown'])];
    return { count: accepted, unknown, sumMicro: BigInt(String(held['acceptedMicro'])) };
  }

  /** One request to clearing, as an operator makes it. */
  async clearing(request: Json): Promise<Json> {
    const command = 'kiri sync clearing --config clearing.config.json';
    const output = await this.shell(`echo '${JSON.stringify(request)}' | ${command}`);
    const answer = JSON.parse(output.trim().split('\n').at(-1)!) as Json;
    if (answer['error'] !== undefined) throw new Error(output);
    return answer;
  }

  /** Until the mirror has fetched the checkpoint that makes `size` entries final. */
  async mirrorHasFinal(size: number): Promise<void> {
    const copy = join(this.root, 'mirror', 'data', 'logs', originFolder(this.world.origin));
    const untilMs = performance.now() + FINAL_TIMEOUT_MS;
    for (;;) {
      const note = await readFile(join(copy, 'tlog', 'checkpoint'), 'utf8').catch(() => '');
      if (Number(note.split('\n')[1]) >= size) return;
      if (performance.now() > untilMs) throw new Error('the mirror does not follow the log');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #end(): Promise<void> {
    for (const program of this.programs) await program.stop();
    this.#killUnits();
    process.removeListener('exit', this.#onExit);
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Ends every unit that has a pid file, wherever its folder is. */
  #killUnits(): void {
    const files = readdirSync(this.root, { recursive: true, encoding: 'utf8' });
    for (const file of files.filter((one) => one.endsWith('.pid'))) {
      try {
        process.kill(Number(readFileSync(join(this.root, file), 'utf8')), 'SIGKILL');
      } catch {
        // It ended before.
      }
    }
  }
}
