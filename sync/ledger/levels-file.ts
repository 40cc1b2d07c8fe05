/**
 * `state/levels`: how far the levels of a log reach, for the gateway beside it and for whoever looks into the folder. It is
 * derived and written without a sync: what is final says `tlog/checkpoint`, and a torn file counts as none.
 * `state/anchored`: {"size", "ref"}, what the roll-up log says of this one (anchored-follower.ts).
 */
import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { type LogLevels, parseLevels } from '../../protocol/levels.ts';

/** Below the log's folder. */
const LEVELS_PATH = 'state/levels';
const ANCHORED_PATH = 'state/anchored';
const MAX_FILE_BYTES = 8_192;
const MAX_REF_CHARACTERS = 1_024;

const readJson = async (path: string): Promise<unknown> => {
  const bytes = await readIfPresent(path);
  if (bytes === undefined || bytes.length > MAX_FILE_BYTES) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
};

/** The levels that the writer of a log folder noted last. @throws KiriError DISK_* */
export const readLevels = async (root: string): Promise<LogLevels | undefined> =>
  parseLevels(await readJson(join(root, LEVELS_PATH)));

/** How much of the log is anchored, and where that is shown. @throws KiriError DISK_* */
export const readAnchored = async (
  root: string,
): Promise<{ size: number; ref: string } | undefined> => {
  const value = (await readJson(join(root, ANCHORED_PATH))) as Record<string, unknown> | undefined;
  const { size, ref } = value ?? {};
  const isSound = Number.isSafeInteger(size) && Number(size) >= 0 && typeof ref === 'string';
  return isSound ? { size: Number(size), ref: ref.slice(0, MAX_REF_CHARACTERS) } : undefined;
};

/** @throws KiriError DISK_* */
export const writeAnchored = async (
  root: string,
  { size, ref }: { readonly size: number; readonly ref: string },
): Promise<void> => {
  const text = JSON.stringify({ size, ref: ref.slice(0, MAX_REF_CHARACTERS) });
  await writeFileDurable(join(root, ANCHORED_PATH), `${text}\n`, 0o644);
};

/** Replaces the file; whoever reads sees the old one or the new one, after a power cut perhaps none. */
export const writeLevels = async (root: string, levels: LogLevels): Promise<void> => {
  const path = join(root, LEVELS_PATH);
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, `${JSON.stringify(levels)}\n`, { mode: 0o644 });
    await rename(temporary, path);
  } catch {
    // No payment depends on it; the next change writes it again.
    await rm(temporary, { force: true }).catch(() => {});
  }
};
