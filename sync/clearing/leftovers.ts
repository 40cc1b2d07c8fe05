import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CLOSED_FOLDER } from './core/closed-books.ts';
import { CLEARING_FOLDER, EVIDENCE_FOLDER } from './cut-file.ts';
import { ANSWER_FOLDER } from './inbound-answers.ts';
import { PAYOUT_FOLDER } from './payout-file.ts';
import { RETRIEVAL_FOLDER } from './retrievals.ts';

/** Every folder that the clearing writes below its output folder. */
const WRITTEN = [
  CLEARING_FOLDER,
  EVIDENCE_FOLDER,
  PAYOUT_FOLDER,
  RETRIEVAL_FOLDER,
  ANSWER_FOLDER,
  CLOSED_FOLDER,
];

/** The name that a durable write has before its rename (platform/durable-file.ts). */
const TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;

/**
 * Removes what a process that was killed in the midst of a write left below the output folder. Only its one writer may
 * call this, before it writes.
 * @returns the paths removed
 */
export const removeLeftovers = async (outFolder: string): Promise<string[]> => {
  const removed: string[] = [];
  for (const below of WRITTEN) {
    const folder = join(outFolder, below);
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    for (const name of names.filter((one) => TEMPORARY.test(one))) {
      await rm(join(folder, name), { force: true });
      removed.push(`${below}/${name}`);
    }
  }
  return removed;
};
