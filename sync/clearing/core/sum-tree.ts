import { sha256 } from '@noble/hashes/sha2.js';
import { MAX_AMOUNT_MICRO } from '../../../protocol/amount.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';

/** One receipt in an aggregate: SHA-256 of the Receipt payload and what it charges, in micro-units. */
export type SumLeaf = { readonly receiptHash: Uint8Array; readonly amountMicro: bigint };

/** A node with the sum of everything below it; the sum is part of the parent's hash. */
export type SumNode = { readonly hash: Uint8Array; readonly sumMicro: bigint };

/** SHA-256, by whoever has it faster than the reference. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

const LEAF = 0;
const NODE = 1;
const HASH_BYTES = 32;
const SUM_BYTES = 8;
const LEAF_BYTES: number = 1 + HASH_BYTES + SUM_BYTES;
const NODE_BYTES: number = 1 + 2 * (HASH_BYTES + SUM_BYTES);

const isSum = (value: bigint): boolean => value >= 0n && value <= MAX_AMOUNT_MICRO;

const leafNode = ({ receiptHash, amountMicro }: SumLeaf, hash: Sha256 = sha256): SumNode => {
  invariant(receiptHash.length === HASH_BYTES, 'sum tree: a leaf without a whole hash');
  const bytes = new Uint8Array(LEAF_BYTES);
  bytes[0] = LEAF;
  bytes.set(receiptHash, 1);
  new DataView(bytes.buffer).setBigUint64(1 + HASH_BYTES, amountMicro);
  return { hash: hash(bytes), sumMicro: amountMicro };
};

const parentNode = (left: SumNode, right: SumNode, hash: Sha256 = sha256): SumNode => {
  const bytes = new Uint8Array(NODE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[0] = NODE;
  bytes.set(left.hash, 1);
  view.setBigUint64(1 + HASH_BYTES, left.sumMicro);
  bytes.set(right.hash, 1 + HASH_BYTES + SUM_BYTES);
  view.setBigUint64(NODE_BYTES - SUM_BYTES, right.sumMicro);
  return { hash: hash(bytes), sumMicro: left.sumMicro + right.sumMicro };
};

const parents = (level: readonly SumNode[], hash: Sha256 = sha256): SumNode[] => {
  const above: SumNode[] = [];
  for (let at = 0; at < level.length; at += 2) {
    const left = level[at] as SumNode;
    const right = level[at + 1];
    // An odd last node moves up as it is: doubling it would let one receipt count twice.
    above.push(right ? parentNode(left, right, hash) : left);
  }
  return above;
};

/**
 * Root of the Merkle sum tree. Amounts are u64 and so is their sum; a caller that adds more has not split the
 * aggregate. The tree of no leaves is SHA-256 of nothing with sum 0.
 */
export const sumTreeRoot = (leaves: readonly SumLeaf[], hash: Sha256 = sha256): SumNode => {
  let level = leaves.map((leaf) => leafNode(leaf, hash));
  if (level.length === 0) return { hash: hash(new Uint8Array(0)), sumMicro: 0n };
  invariant(
    leaves.every((leaf) => isSum(leaf.amountMicro)),
    'sum tree: a leaf is not u64',
  );
  while (level.length > 1) level = parents(level, hash);
  const root = level[0] as SumNode;
  invariant(isSum(root.sumMicro), 'sum tree: the sum leaves u64');
  return root;
};

/** The siblings from leaf to root: 40 bytes each. */
export const sumTreeProof = (leaves: readonly SumLeaf[], index: number): SumNode[] => {
  invariant(index >= 0 && index < leaves.length, 'sum tree: no such leaf');
  const proof: SumNode[] = [];
  let level = leaves.map((leaf) => leafNode(leaf));
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
  if (!isSum(leaf.amountMicro) || leaf.receiptHash.length !== HASH_BYTES) return false;
  if (place.index < 0 || place.index >= place.count) return false;
  let node = leafNode(leaf);
  let used = 0;
  for (let at = place.index, width = place.count; width > 1; at >>= 1, width = (width + 1) >> 1) {
    if ((at ^ 1) >= width) continue;
    const sibling = proof[used++];
    if (!sibling || sibling.hash.length !== HASH_BYTES || !isSum(sibling.sumMicro)) return false;
    node = (at & 1) === 0 ? parentNode(node, sibling) : parentNode(sibling, node);
    if (!isSum(node.sumMicro)) return false;
  }
  return (
    used === proof.length && node.sumMicro === root.sumMicro && bytesEqual(node.hash, root.hash)
  );
};
