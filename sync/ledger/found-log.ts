/** What a start of the log writer finds in its folder. */
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { parseCheckpoint } from './core/checkpoint.ts';
import { CHECKPOINT_PATH } from './core/log-batch.ts';
import { MAX_STEPS, STEP_LEAVES } from './core/log-writer.ts';
import type { FoundLog, LogHead, LogPorts } from './core/log-writer-types.ts';
import { treeRoot } from './core/tree.ts';
import { parseNote } from './core/note.ts';
import { readHead } from './head-file.ts';
import { readCheckpoint, readOpenBundle, readTree } from './log-folder.ts';
import { readLevels } from './levels-file.ts';
import { type LogSource, folderSource } from './log-source.ts';

/**
 * Reads head, rightmost tiles, open bundles and published checkpoint.
 * @throws KiriError DISK_*, STATE_CORRUPT, LOG_INCOMPLETE, LOG_CORRUPT
 */
export const findLog = async (root: string, ports: LogPorts): Promise<FoundLog> => {
  const source = folderSource(root);
  const head = await readHead(root);
  const tree = await readTree(source, head.size, ports.hash);
  const bundle = await readOpenBundle(source, head.size, ports.hash);
  const checkpoint = await readCheckpoint(source);
  if (checkpoint === undefined) return { head, tree, bundle };
  const note = parseNote(checkpoint);
  const published = note.ok ? parseCheckpoint(note.value.text) : note;
  if (!published.ok) {
    throw new KiriError('STATE_CORRUPT', `${join(root, CHECKPOINT_PATH)}: ${published.reason}`);
  }
  const levels = await readLevels(root);
  const { size } = published.value;
  const known = levels?.final.size === size ? levels.final.throughSequence : undefined;
  return {
    head,
    tree,
    bundle,
    published: { ...published.value, ...(note.ok ? { note: note.value } : {}) },
    ...(known === undefined ? {} : { finalSequence: known }),
    steps: await stepsOf(source, size, head, ports),
  };
};

/** Heads on the way to `head`, read from the tiles: a restart in an outage keeps the backlog's order. */
const stepsOf = async (
  source: LogSource,
  published: number,
  head: LogHead,
  ports: LogPorts,
): Promise<LogHead[]> => {
  const steps: LogHead[] = [];
  for (let size = published + STEP_LEAVES; size < head.size; size += STEP_LEAVES) {
    if (steps.length === MAX_STEPS) break;
    const tree = await readTree(source, size, ports.hash, head.size);
    steps.push({ size, root: treeRoot(tree, ports.hash) });
  }
  return steps;
};
