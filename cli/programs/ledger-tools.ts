import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { nodeJournalFs } from '../../platform/journal-fs.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import { approverSource } from '../../sync/ledger/approver-source.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import { type FinalityRules, policySpans } from '../../sync/ledger/core/policy-book.ts';
import { fsckLog } from '../../sync/ledger/fsck-log.ts';
import { folderSource, httpSource, type LogSource } from '../../sync/ledger/log-source.ts';
import { originFolder } from '../../sync/ledger/mirror-log.ts';
import { restoreLog, type RestoreOptions } from '../../sync/ledger/restore-log.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { readPublicKey } from './config.ts';
import { runErase, runKeys, trustIn } from './ledger-erasure.ts';
import { policyIn, runProve } from './ledger-prove.ts';
import { runRetire } from './ledger-retire.ts';
import { runScan } from './ledger-scan.ts';

/** The log's name: stated, or the only one of the policy. */
function originOf(stated: string | undefined, rules: FinalityRules): string {
  const logs = policySpans(rules).flatMap(({ policy }) => policy.logs);
  const names = new Set(logs.map((log) => log.key.name));
  const [only] = names;
  if (stated !== undefined) return stated;
  if (names.size !== 1 || only === undefined) {
    throw new UsageError('the policy names several logs: --origin NAME is needed');
  }
  return only;
}

/** A mirror's address or folder, or the folder of one copy in it. */
function copyAt(from: string, origin: string): LogSource {
  const name = originFolder(origin);
  if (/^https?:\/\//.test(from)) return httpSource(`${from.replace(/\/+$/, '')}/logs/${name}`);
  const inMirror = join(from, 'logs', name);
  return folderSource(existsSync(inMirror) ? inMirror : from);
}

type Journal = NonNullable<RestoreOptions['journal']>;

function journalOf(gateway: string, keyFile: string | undefined): Journal {
  if (keyFile === undefined) throw new UsageError('--gateway wants --approver-key FILE too');
  const { source } = approverSource(gateway, readPublicKey(keyFile).alg);
  // One block a slice: the log may end behind any block.
  return { source, reader: journalReader(join(gateway, 'signed'), nodeJournalFs, 1) };
}

async function runRestore(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      from: { type: 'string' },
      to: { type: 'string' },
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      origin: { type: 'string' },
      gateway: { type: 'string' },
      'approver-key': { type: 'string' },
      'new-journal': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const { from, to, gateway } = values;
  if (from === undefined || to === undefined) throw new UsageError('--from and --to are needed');
  if ((gateway === undefined) !== values['new-journal']) {
    throw new UsageError('either --gateway FOLDER or --new-journal is needed');
  }
  const { 'issuer-key': issuer } = values;
  const policy = policyIn(values.policy, issuer);
  const origin = originOf(values.origin, policy);
  const restored = await restoreLog({
    from: copyAt(from, origin),
    to: resolve(to),
    origin,
    policy,
    verify: noteVerify(nodeVerifier()),
    ...(issuer === undefined ? {} : { erasure: trustIn(issuer) }),
    ...(gateway === undefined ? {} : { journal: journalOf(gateway, values['approver-key']) }),
  });
  if (values.json) print(JSON.stringify(restored.ok ? { ok: true, ...restored.value } : restored));
  else if (!restored.ok) print(`not restored: ${restored.reason}`);
  else {
    const { size, finalSize, nextJournalIndex } = restored.value;
    print(`restored ${origin}: ${size} entries, ${finalSize} of them final`);
    print(`the log goes on at journal record ${nextJournalIndex}, once its quorum knows this head`);
  }
  return restored.ok ? EXIT_OK : EXIT_FAILED;
}

async function runFsck(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      json: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  const [folder, ...more] = positionals;
  if (folder === undefined || more.length > 0) throw new UsageError('one log FOLDER is needed');
  const { 'issuer-key': issuer } = values;
  const policy = policyIn(values.policy, issuer);
  const trust = issuer === undefined ? undefined : trustIn(issuer);
  const report = await fsckLog(resolve(folder), policy, noteVerify(nodeVerifier()), trust);
  const isSound = report.problems.length === 0;
  if (values.json) print(JSON.stringify({ ok: isSound, ...report }));
  else {
    for (const { path, reason } of report.problems) print(`WRONG  ${path}: ${reason}`);
    for (const { path, reason } of report.notes) print(`note   ${path}: ${reason}`);
    const { recordedSize = 0, finalSize = 0, keys, retiredS } = report;
    const retired = retiredS === undefined ? '' : ', payloads retired';
    const erased = keys !== undefined && keys.erased > 0 ? `, ${keys.erased} keys erased` : '';
    const verdict = isSound ? 'sound' : 'NOT SOUND';
    print(`${verdict}: ${recordedSize} recorded, ${finalSize} final${erased}${retired}`);
  }
  return isSound ? EXIT_OK : EXIT_FAILED;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** `kiri ledger …`: everything that is done to a log at rest. */
export async function runLedgerTools([part, ...rest]: readonly string[]): Promise<number> {
  try {
    if (part === 'restore') return await runRestore(rest);
    if (part === 'fsck') return await runFsck(rest);
    if (part === 'prove') return await runProve(rest);
    if (part === 'keys') return await runKeys(rest);
    if (part === 'erase') return await runErase(rest);
    if (part === 'retire') return await runRetire(rest);
    if (part === 'scan') return await runScan(rest);
  } catch (error) {
    // What parseArgs throws is the user's: an option that does not exist.
    if (error instanceof TypeError && 'code' in error) throw new UsageError(error.message);
    throw error;
  }
  throw new UsageError('kiri ledger wants restore, fsck, prove, keys, erase, retire or scan');
}
