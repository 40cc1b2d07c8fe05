import { existsSync, lstatSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lockFolder } from '../../platform/folder-lock.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ANSWER_FOLDER } from '../../sync/clearing/inbound-answers.ts';
import { ANSWERS_FOLDER } from '../verify/answers.ts';
import { CONTENTS_FILE, CONTENTS_SIGNATURE } from '../verify/contents.ts';
import { SUMMARY_FILE } from '../verify/summary.ts';

/** Everything that stands in an output folder (DESIGN §9): one with anything else in it is not emptied. */
const OURS: ReadonlySet<string> = new Set([
  ANSWERS_FOLDER,
  ANSWER_FOLDER,
  'clearing',
  'evidence',
  'ledger',
  'receipts',
  'trust',
  CONTENTS_FILE,
  CONTENTS_SIGNATURE,
  SUMMARY_FILE,
]);
/** Stands in a state folder of ours and in no other. */
const STATE_MARK = 'kiri-demo-state';

export interface DemoFolders {
  /** Keys, journals and stores of the run; only its owner may enter. */
  readonly stateDir: string;
  /** Lets another run have the folders. */
  readonly unlock: () => void;
}

function notOurs(folder: string, why: string): KiriError {
  return new KiriError('OUT_NOT_OURS', `${folder} ${why}; name another folder by --out`);
}

/** Names in a folder; undefined where there is nothing. @throws KiriError OUT_NOT_OURS for a link or a file */
function namesIn(folder: string): readonly string[] | undefined {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (!stat) return undefined;
  if (stat.isSymbolicLink()) throw notOurs(folder, 'is a link');
  if (!stat.isDirectory()) throw notOurs(folder, 'is no folder');
  return readdirSync(folder);
}

/** Everything is looked at before the first byte is deleted. */
function mayBeEmptied(outDir: string, stateDir: string): void {
  const names = namesIn(outDir) ?? [];
  const foreign = names.find((name) => !OURS.has(name));
  if (foreign !== undefined) throw notOurs(outDir, `holds something else (${foreign})`);
  if (names.length > 0 && !names.includes(SUMMARY_FILE))
    throw notOurs(outDir, 'is of no earlier run');
  const kept = namesIn(stateDir) ?? [];
  if (kept.length === 0) return;
  if (!kept.includes(STATE_MARK))
    throw notOurs(stateDir, 'is where the keys would stand, and is not of an earlier run');
  lockFolder(stateDir);
}

/**
 * Makes an empty output folder and, beside it, an empty `.state` folder; what an earlier run left there is deleted, and
 * nothing else ever is.
 * @throws KiriError OUT_NOT_OURS, OUT_UNWRITABLE, FOLDER_LOCKED where another run is using them
 */
export function prepareFolders(outDir: string): DemoFolders {
  if (dirname(outDir) === outDir) throw notOurs(outDir, 'is the root folder');
  const stateDir = `${outDir}.state`;
  try {
    mayBeEmptied(outDir, stateDir);
    rmSync(outDir, { recursive: true, force: true });
    rmSync(stateDir, { recursive: true, force: true });
    makeFolder(dirname(outDir), 0o755);
    makeFolder(stateDir);
    const unlock = lockFolder(stateDir);
    writeFileSync(join(stateDir, STATE_MARK), '');
    makeFolder(outDir, 0o755);
    // From the start, so that a folder left by an interrupted run is known as ours.
    writeFileSync(join(outDir, SUMMARY_FILE), '{}\n');
    return { stateDir, unlock };
  } catch (error) {
    if (error instanceof KiriError && !error.code.startsWith('DISK_')) throw error;
    throw new KiriError('OUT_UNWRITABLE', `${outDir}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Deletes the state of a run that needs no looking into. */
export function dropState({ stateDir, unlock }: DemoFolders): void {
  unlock();
  if (existsSync(join(stateDir, STATE_MARK))) rmSync(stateDir, { recursive: true, force: true });
}
