/** Recomputes a log's tree from its entries alone, one bundle in memory at a time. */
import { leafHash } from './core/merkle.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from './core/tree.ts';
import { nativeHash } from './log-copy.ts';
import { readEntries } from './log-folder.ts';
import type { LogSource } from './log-source.ts';

/**
 * The root that the first `size` entries make.
 * @throws KiriError LOG_INCOMPLETE, LOG_CORRUPT and what the source throws
 */
export const rootOfEntries = async (source: LogSource, size: number): Promise<Uint8Array> => {
  const tree = emptyTree();
  for (let index = 0; index * TILE_WIDTH < size; index += 1) {
    const entries = await readEntries(source, index, size);
    appendLeaves(
      tree,
      entries.map((entry) => leafHash(entry, nativeHash)),
      nativeHash,
    );
  }
  return treeRoot(tree, nativeHash);
};
