/** What a start of the log writer finds in its folder. */
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { parseCheckpoint } from './core/checkpoint.ts';
import { CHECKPOINT_PATH } from './core/log-batch.ts';
import type { FoundLog, LogPorts } from './core/log-writer-types.ts';
import { parseNote } from './core/note.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { readHead } from './head-file.ts';
import { readCheckpoint, readEntries, readPayloads, readTree } from './log-folder.ts';
import { folderSource } from './log-source.ts';

/**
 * Reads head, rightmost tiles, open bundles and published checkpoint.
 * @throws KiriError DISK_*, STATE_CORRUPT, LOG_INCOMPLETE, LOG_CORRUPT
 */
export const findLog = async (root: string, ports: LogPorts): Promise<FoundLog> => {
  const source = folderSource(root);
  const head = await readHead(root);
  const tree = await readTree(source, head.size, ports.hash);
  const open = Math.floor(head.size / TILE_WIDTH);
  const bundle = {
    leaves: [...(await readEntries(source, open, head.size))],
    payloads: [...(await readPayloads(source, open, head.size))],
  };
  const checkpoint = await readCheckpoint(source);
  if (checkpoint === undefined) return { head, tree, bundle };
  const note = parseNote(checkpoint);
  const published = note.ok ? parseCheckpoint(note.value.text) : note;
  if (!published.ok) {
    throw new KiriError('STATE_CORRUPT', `${join(root, CHECKPOINT_PATH)}: ${published.reason}`);
  }
  return { head, tree, bundle, published: published.value };
};
