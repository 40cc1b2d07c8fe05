import { sha256 } from '@noble/hashes/sha2.js';
import { MAX_AMOUNT_MICRO } from '../../../protocol/amount.ts';
import { bytesEqual, concatBytes } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';

/** One receipt in an aggregate: SHA-256 of the Receipt payload and what it charges, in micro-units. */
export type SumLeaf = { readonly receiptHash: Uint8Array; readonly amountMicro: bigint };

/** A node with the sum of everything below it; the sum is part of the parent's hash. */
export type SumNode = { readonly hash: Uint8Array; readonly sumMicro: bigint };

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

const u64 = (value: bigint): Uint8Array => {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, value);
  return out;
};

const isSum = (value: bigint): boolean => value >= 0n && value <= MAX_AMOUNT_MICRO;

const leafNode = (leaf: SumLeaf): SumNode => ({
  hash: sha256(concatBytes(LEAF, leaf.receiptHash, u64(leaf.amountMicro))),
  sumMicro: leaf.amountMicro,
});

const parentNode = (left: SumNode, right: SumNode): SumNode => ({
  hash: sha256(concatBytes(NODE, left.hash, u64(left.sumMicro), right.hash, u64(right.sumMicro))),
  sumMicro: left.sumMicro + right.sumMicro,
});

const parents = (level: readonly SumNode[]): SumNode[] => {
  const above: SumNode[] = [];
  for (let at = 0; at < level.length; at += 2) {
    const left = level[at] as SumNode;
    const right = level[at + 1];
    // An odd last node moves up as it is: doubling it would let one receipt count twice.
    above.push(right ? parentNode(left, right) : left);
  }
  return above;
};

/**
 * Root of the Merkle sum tree. Amounts are u64 and so is their sum; a caller that adds more has not split the
 * aggregate. The tree of no leaves is SHA-256 of nothing with sum 0.
 */
export const sumTreeRoot = (leaves: readonly SumLeaf[]): SumNode => {
  let level = leaves.map(leafNode);
  if (level.length === 0) return { hash: sha256(new Uint8Array(0)), sumMicro: 0n };
  invariant(
    leaves.every((leaf) => isSum(leaf.amountMicro)),
    'sum tree: a leaf is not u64',
  );
  while (level.length > 1) level = parents(level);
  const root = level[0] as SumNode;
  invariant(isSum(root.sumMicro), 'sum tree: the sum leaves u64');
  return root;
};

/** The siblings from leaf to root: 40 bytes each. */
export const sumTreeProof = (leaves: readonly SumLeaf[], index: number): SumNode[] => {
  invariant(index >= 0 && index < leaves.length, 'sum tree: no such leaf');
  const proof: SumNode[] = [];
  let level = leaves.map(leafNode);
  for (let at = index; level.length > 1; at >>= 1, level = parents(level)) {
    const sibling = level[at ^ 1];
    if (sibling) proof.push(sibling);
  }
  return proof;
};

/**
 * Checks one receipt against a root. False for a proof of the wrong length, for a sum outside u64 anywhere on the
 * way, and for a root whose sum was forged in an inner node.
 */
export const verifySumProof = (
  leaf: SumLeaf,
  place: { readonly index: number; readonly count: number },
  proof: readonly SumNode[],
  root: SumNode,
): boolean => {
  if (!isSum(leaf.amountMicro) || place.index < 0 || place.index >= place.count) return false;
  let node = leafNode(leaf);
  let used = 0;
  for (let at = place.index, width = place.count; width > 1; at >>= 1, width = (width + 1) >> 1) {
    if ((at ^ 1) >= width) continue;
    const sibling = proof[used++];
    if (!sibling || sibling.hash.length !== 32 || !isSum(sibling.sumMicro)) return false;
    node = (at & 1) === 0 ? parentNode(node, sibling) : parentNode(sibling, node);
    if (!isSum(node.sumMicro)) return false;
  }
  return (
    used === proof.length && node.sumMicro === root.sumMicro && bytesEqual(node.hash, root.hash)
  );
};
