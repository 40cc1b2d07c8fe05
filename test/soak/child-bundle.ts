/**
 * The soak's child as one script with V8's code cache beside it: a thousand starts cost what they must and no more. A
 * planted fault changes one line of the product in that script, so that the soak can be seen to find it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

export interface PlantedFault {
  /** End of the compiled module's path. */
  readonly module: string;
  readonly line: string;
  readonly becomes: string;
}

const CHILD = fileURLToPath(new URL('./soak-child.js', import.meta.url));

/** Runs the script; at the first word on stdin it keeps what V8 has compiled until then, for the next of its role. */
const LAUNCHER = `'use strict';
const { readFileSync, renameSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');
const cache = __dirname + '/' + JSON.parse(process.argv[2]).role + '.cache';
let cachedData;
try { cachedData = readFileSync(cache); } catch {}
const filename = __dirname + '/child.js';
const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData });
if (cachedData === undefined) process.stdin.once('data', () => {
  const temporary = cache + '.' + process.pid;
  writeFileSync(temporary, script.createCachedData());
  renameSync(temporary, cache);
});
script.runInThisContext()(require);
`;

/** Writes script and launcher into `folder`. @returns the launcher's path */
export async function bundleChild(folder: string, fault?: PlantedFault): Promise<string> {
  let planted = 0;
  const plant = (code: string, id: string): string | undefined => {
    if (fault === undefined || !id.endsWith(fault.module)) return undefined;
    planted += code.split(fault.line).length - 1;
    return code.replace(fault.line, () => fault.becomes);
  };
  const { output } = await build({
    input: CHILD,
    platform: 'node',
    logLevel: 'warn',
    plugins: [{ name: 'plant', transform: (code, id) => plant(code, id) ?? null }],
    write: false,
    output: { format: 'cjs', codeSplitting: false },
  });
  if (fault !== undefined && planted !== 1) throw new Error(`${fault.line}: ${planted} times`);
  // One character beyond Latin-1 would double what is read at every start.
  const code = output[0].code.replaceAll(
    /[^\0-\x7f]/g, // oxlint-disable-line no-control-regex -- ASCII is meant
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  writeFileSync(join(folder, 'child.js'), `(function (require) {${code}\n})`);
  const launcher = join(folder, 'launcher.cjs');
  writeFileSync(launcher, LAUNCHER);
  return launcher;
}
