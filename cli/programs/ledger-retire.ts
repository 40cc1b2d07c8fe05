import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import { retireShard } from '../../sync/ledger/retire-shard.ts';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../command.ts';
import { readBytes } from './config.ts';
import { holdsIn } from './ledger-erasure.ts';
import { policyIn } from './ledger-prove.ts';

/** A mirror's own folder, where FOLDER is one of its copies. */
function mirrorOf(root: string): string | undefined {
  const isCopy = basename(dirname(root)) === 'logs' && /^[0-9a-f]{64}$/.test(basename(root));
  return isCopy ? dirname(dirname(root)) : undefined;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** `kiri ledger retire`: deletes the contents of a shard whose stated retention has passed. */
export async function runRetire(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      retention: { type: 'string' },
      holds: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  const [folder, ...more] = positionals;
  if (folder === undefined || more.length > 0) throw new UsageError('one log FOLDER is needed');
  const root = resolve(folder);
  const policy = policyIn(values.policy, values['issuer-key']);
  // The lock of the program that may write here: a mirror's own, or that of the shard.
  const owner = mirrorOf(root) ?? root;
  const state = join(owner, 'state');
  if (!existsSync(state)) throw new UsageError(`${folder} is no log folder: it has no state/`);
  const places = new Set([root, dirname(root), owner].map((place) => join(place, 'state/holds')));
  const holds = holdsIn(values.holds, ...[...places].filter((path) => existsSync(path)));
  const isDryRun = values['dry-run'];
  const unlock = lockFolder(state);
  try {
    const done = await retireShard({
      root,
      policy,
      verify: noteVerify(nodeVerifier()),
      holds,
      ...(values.retention === undefined ? {} : { retention: readBytes(values.retention) }),
      nowS: Math.floor(Date.now() / 1_000),
      isDryRun,
    });
    if (values.json) print(JSON.stringify(done.ok ? { ok: true, isDryRun, ...done.value } : done));
    else if (!done.ok) print(`refused: ${done.reason}`);
    else {
      const { origin, size, files } = done.value;
      const what = isDryRun ? 'would be deleted' : 'deleted';
      print(`${origin}: ${files.length} files of payloads and keys ${what}; ${size} entries stay`);
    }
    return done.ok ? EXIT_OK : EXIT_REFUSED;
  } finally {
    unlock();
  }
}
