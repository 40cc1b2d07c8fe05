// The long runs at full length, one after the other, until one fails: what `.ci/run` makes shares of.
import { spawnSync } from 'node:child_process';

/** @type {[Record<string, string>, string[]][]} */
const RUNS = [
  [{}, ['bin/kiri.js', 'sim', '--seeds', '1000']],
  [{ KIRI_LEDGER_KILLS: '1000' }, ['build/test/soak/ledger-kills.test.js']],
  [{ KIRI_CLEARING_HISTORIES: '10000' }, ['build/test/soak/clearing-histories.test.js']],
  [{ KIRI_CLEARING_KILLS: '500' }, ['build/test/soak/clearing-kills.test.js']],
  [{ KIRI_MONTH_PARTIES: '500' }, ['build/test/sync/clearing/month.test.js']],
  [{ KIRI_GATEWAY_KILLS: '50' }, ['build/test/system/gateway-kill.test.js']],
  [{ KIRI_GATEWAY_KILLS: '50' }, ['build/test/fog-gateway/sigkill.test.js']],
  [{ KIRI_TAMPER_CHANGES: '200' }, ['build/test/system/tamper.test.js']],
  [{ KIRI_DEMO_STORIES: '4' }, ['build/test/system/demo.test.js']],
];

for (const [counts, args] of RUNS) {
  const asked = Object.entries(counts).map(([name, value]) => `${name}=${value}`);
  const startedMs = performance.now();
  process.stdout.write(`\n== ${[...asked, 'node', ...args].join(' ')}\n`);
  const env = { ...process.env, ...counts };
  const { status } = spawnSync(process.execPath, args, { env, stdio: 'inherit' });
  process.stdout.write(`== ${Math.round((performance.now() - startedMs) / 1000)} s\n`);
  if (status !== 0) process.exit(1);
}
