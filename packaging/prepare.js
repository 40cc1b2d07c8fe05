// Runs after `npm ci`, but also under `npx` and `--omit=dev`, where the tools are absent.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const inRoot = (path) => new URL(`../${path}`, import.meta.url);
const hasTools =
  existsSync(inRoot('node_modules/tap/package.json')) &&
  existsSync(inRoot('node_modules/typescript/package.json'));
const isNpx = process.env['npm_command'] === 'exec' && existsSync(inRoot('build'));

if (hasTools && !isNpx) {
  // `tap build` makes the plugin list of .taprc take effect on a fresh install.
  for (const command of ['npx tap build', 'npm run -s build']) {
    const { status } = spawnSync(command, { cwd: inRoot('.'), stdio: 'inherit', shell: true });
    if (status !== 0) process.exit(status ?? 1);
  }
}
