import { closeSync, copyFileSync, fsyncSync, mkdtempSync, openSync, readdirSync } from 'node:fs';
import { chmodSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { systemCode, toDiskError } from '../../platform/disk-error.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { makeFolder, syncFolderNow } from '../../platform/make-folder.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import {
  ARCHIVE_FILE,
  FORMATS,
  PROGRAM_LIST,
  archiveStatement,
  type ArchivedFile,
} from '../verify/archive-statement.ts';
import { nativeSha256 } from '../verify/artefacts.ts';
import type { VerifyReport } from '../verify/findings.ts';
import { verifyFolder, writeContents } from '../verify/verify.ts';
import { PACKAGE_ROOT, packageFacts, programList } from './program-files.ts';
import { selectArchive, type ArchiveSources, type Copy } from './select.ts';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';

/** Business days and their bounds in UTC seconds; `toS` is the first second after the last day. */
export interface Period {
  readonly from: string;
  readonly to: string;
  readonly fromS: number;
  readonly toS: number;
}

export interface ArchivePlan {
  readonly sources: ArchiveSources;
  readonly period: Period;
  /** As the store has them. */
  readonly files: readonly ArchivedFile[];
  /** The archive; nothing may stand there. */
  readonly out: string;
  /** The clearing's. */
  readonly signer: Signer;
  readonly nowS: number;
}

const MODE = 0o644;
/** No key file is longer; what is longer is no key file. */
const KEY_BYTES_MAX = 65_536;
/** A private key in PEM, and a key file of the program (identity/edge/key-file.ts). */
const KEY_MARKS: readonly string[] = ['PRIVATE KEY', '"kiri-key/'];

/** @throws KiriError ARCHIVE_SECRET for a file that holds a private key, whatever its name */
function refuseSecret({ from }: Copy): void {
  if (statSync(from).size > KEY_BYTES_MAX) return;
  const bytes = readFileSync(from);
  if (!KEY_MARKS.some((mark) => bytes.includes(mark))) return;
  throw new KiriError(
    'ARCHIVE_SECRET',
    `${from} holds a private key: take it out of the folder first; nothing was archived`,
  );
}

function copyDurable({ from, path }: Copy, folder: string): void {
  const target = join(folder, path);
  makeFolder(dirname(target), 0o755);
  copyFileSync(from, target);
  chmodSync(target, MODE);
  const file = openSync(target, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function refuseUsed(out: string): void {
  let names: readonly string[];
  try {
    names = readdirSync(out);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw new KiriError('OUT_NOT_OURS', `${out} is no folder; name another by --out`);
  }
  if (names.length === 0) return;
  throw new KiriError('OUT_NOT_OURS', `${out} holds something already; name another by --out`);
}

function syncFolders(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) syncFolders(join(folder, entry.name));
  }
  syncFolderNow(folder);
}

async function fill(plan: ArchivePlan, folder: string): Promise<void> {
  const { period, files, sources, signer, nowS } = plan;
  const { copies, earlier } = selectArchive(sources, files);
  const formats = FORMATS.map((path) => ({ from: join(PACKAGE_ROOT, path), path }));
  for (const copy of copies) refuseSecret(copy);
  for (const copy of [...copies, ...formats]) copyDurable(copy, folder);
  const program = programList();
  await writeFileDurable(join(folder, PROGRAM_LIST), program, MODE);
  const programSha256 = toHex(nativeSha256(utf8ToBytes(program)));
  const verifier = { ...packageFacts(), node: process.version, programSha256 };
  const statement = archiveStatement({ ...period, createdS: nowS, files, earlier, verifier });
  const text = `${JSON.stringify(statement, undefined, 2)}\n`;
  await writeFileDurable(join(folder, ARCHIVE_FILE), text, MODE);
  await writeContents(folder, signer);
}

/** @throws KiriError ARCHIVE_UNSOUND with the first things that are wrong */
async function prove(folder: string, nowS: number): Promise<VerifyReport> {
  const report = await verifyFolder(folder, { nowS });
  if (report.ok) return report;
  const few = report.faults.slice(0, 5).map(({ path, reason }) => `${path}: ${reason}`);
  throw new KiriError(
    'ARCHIVE_UNSOUND',
    `${report.faults.length} faults, so nothing was archived; ${few.join('; ')}`,
  );
}

/**
 * Makes an archive under another name beside its place, checks it as its reader would, and puts it there as a whole. An
 * interrupted run leaves a folder `.<name>.partial-…` behind, which nothing reads and anybody may delete.
 * @returns what `kiri verify` says of it
 * @throws KiriError OUT_NOT_OURS, ARCHIVE_SECRET, ARCHIVE_UNSOUND, those of selectArchive, DISK_*
 */
export async function writeArchive(plan: ArchivePlan): Promise<VerifyReport> {
  const out = resolve(plan.out);
  refuseUsed(out);
  let partial: string | undefined;
  try {
    makeFolder(dirname(out), 0o755);
    partial = mkdtempSync(join(dirname(out), `.${basename(out)}.partial-`));
    chmodSync(partial, 0o755);
    await fill(plan, partial);
    const report = await prove(partial, plan.nowS);
    syncFolders(partial);
    // Replaces an empty folder; one that got something meanwhile is refused by the system.
    renameSync(partial, out);
    syncFolderNow(dirname(out));
    return report;
  } catch (error) {
    if (partial !== undefined) rmSync(partial, { recursive: true, force: true });
    throw toDiskError(error, 'write', out);
  }
}
