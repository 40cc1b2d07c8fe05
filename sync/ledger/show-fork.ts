/** Makes evidence of a fork from two heads that a log signed, with the tiles of both where they can be had. */
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import {
  type CommonHead,
  type ForkEvidence,
  type PartingSide,
  forkEvidence,
  isLastCommon,
  isProvenFork,
} from './core/fork-evidence.ts';
import { leafHash } from './core/merkle.ts';
import type { SignedHead } from './core/signed-head.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { treeRoot } from './core/tree.ts';
import { nativeHash } from './log-copy.ts';
import { consistencyProof, inclusionProof, readEntries, readTree } from './log-folder.ts';
import type { LogSource } from './log-source.ts';

/** A head that the log signed; `source` may serve its tree. What is not right there proves nothing. */
export interface ShownHead {
  readonly head: SignedHead;
  readonly source?: LogSource;
}

/** Root that the tree of `within` has at a smaller size. */
export const rootWithin = async (
  source: LogSource,
  size: number,
  within: number,
): Promise<Uint8Array> => treeRoot(await readTree(source, size, nativeHash, within), nativeHash);

const partingSide = async (
  source: LogSource,
  size: number,
  head: SignedHead,
): Promise<PartingSide> => {
  const bundle = await readEntries(source, Math.floor(size / TILE_WIDTH), head.size);
  const leaf = leafHash(bundle[size % TILE_WIDTH] as Uint8Array, nativeHash);
  const consistency = size === 0 ? [] : await consistencyProof(source, size, head.size, nativeHash);
  const inclusion = await inclusionProof(source, size, head.size, nativeHash);
  return {
    consistency: consistency.map(toHex),
    leaf: toHex(leaf),
    inclusion: inclusion.map(toHex),
  };
};

/** Halves the distance until the last head that both trees have is found. */
const commonOf = async (
  first: Required<ShownHead>,
  second: Required<ShownHead>,
): Promise<CommonHead> => {
  let [same, different] = [0, first.head.size];
  while (different - same > 1) {
    const middle = Math.floor((same + different) / 2);
    const [a, b] = await Promise.all([
      rootWithin(first.source, middle, first.head.size),
      rootWithin(second.source, middle, second.head.size),
    ]);
    if (bytesEqual(a, b)) same = middle;
    else different = middle;
  }
  return {
    size: same,
    root: toHex(await rootWithin(first.source, same, first.head.size)),
    inFirst: await partingSide(first.source, same, first.head),
    inSecond: await partingSide(second.source, same, second.head),
  };
};

/**
 * The evidence that two heads of a log contradict each other, or undefined where that is not shown: they may be true
 * both, or the tiles of the larger one are not to be had. The last common head is part of it where both trees are.
 */
export const showFork = async (a: ShownHead, b: ShownHead): Promise<ForkEvidence | undefined> => {
  const [first, second] = a.head.size <= b.head.size ? [a, b] : [b, a];
  const [{ size }, { source }] = [first.head, second];
  const isSameSize = size === second.head.size;
  if (size === 0 || (!source && !isSameSize)) return undefined;
  try {
    const root =
      isSameSize || !source ? second.head.root : await rootWithin(source, size, second.head.size);
    const proof =
      isSameSize || !source
        ? []
        : await consistencyProof(source, size, second.head.size, nativeHash);
    if (!isProvenFork(first.head, second.head, root, proof)) return undefined;
    const notes = [first.head.note, second.head.note] as const;
    const { origin } = first.head;
    const common =
      first.source && second.source
        ? await commonOf(
            { head: first.head, source: first.source },
            { head: second.head, source: second.source },
          ).catch(() => undefined)
        : undefined;
    const isShown = common !== undefined && isLastCommon(common, first.head, second.head);
    return forkEvidence(origin, notes, root, proof, isShown ? common : undefined);
  } catch {
    return undefined;
  }
};
