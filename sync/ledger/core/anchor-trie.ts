/** Proofs in a Merkle Patricia trie (yellow paper, appendix D): what a key holds under a known root. */
import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { type RlpItem, decodeRlp } from './anchor-rlp.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A path of 64 nibbles has at most 65 nodes. */
const MAX_NODES = 65;
/** Seventeen references and a value. */
const MAX_NODE_BYTES = 1_024;
const HASH_BYTES = 32;
const BRANCH_ITEMS = 17;
const LEAF_FLAG = 2;
const ODD_FLAG = 1;

const nibblesOf = (bytes: Uint8Array): number[] =>
  Array.from(bytes).flatMap((byte) => [byte >> 4, byte & 15]);

interface Path {
  readonly isLeaf: boolean;
  readonly nibbles: readonly number[];
}

/** Hex-prefix encoding (appendix C). */
const readPath = (bytes: Uint8Array): Path | undefined => {
  const nibbles = nibblesOf(bytes);
  const [flags, padding] = nibbles;
  if (flags === undefined || flags > LEAF_FLAG + ODD_FLAG) return undefined;
  const isOdd = (flags & ODD_FLAG) !== 0;
  if (!isOdd && padding !== 0) return undefined;
  return { isLeaf: (flags & LEAF_FLAG) !== 0, nibbles: nibbles.slice(isOdd ? 1 : 2) };
};

/** What a node says about the rest of a key: its value, or where it goes on. */
type Found =
  | { readonly kind: 'value'; readonly value: Uint8Array }
  | { readonly kind: 'next'; readonly reference: RlpItem; readonly rest: readonly number[] };

const stepInto = (node: RlpItem, key: readonly number[]): Outcome<Found> => {
  if (node instanceof Uint8Array) return bad('malformed trie node');
  if (node.length === BRANCH_ITEMS) {
    const [nibble, ...rest] = key;
    // Keys are hashes of one length: none ends in a branch.
    const reference = nibble === undefined ? undefined : node[nibble];
    return reference === undefined
      ? bad('malformed trie node')
      : ok({ kind: 'next', reference, rest });
  }
  const [pathBytes, second] = node;
  const path = pathBytes instanceof Uint8Array ? readPath(pathBytes) : undefined;
  if (node.length !== 2 || path === undefined || second === undefined)
    return bad('malformed trie node');
  if (path.nibbles.some((nibble, at) => nibble !== key[at]))
    return bad('the key is not in the trie');
  const rest = key.slice(path.nibbles.length);
  if (!path.isLeaf) return ok({ kind: 'next', reference: second, rest });
  if (rest.length > 0) return bad('the key is not in the trie');
  return second instanceof Uint8Array
    ? ok({ kind: 'value', value: second })
    : bad('malformed trie node');
};

/**
 * The value that a trie holds under a key.
 * @param root 32 bytes
 * @param key the key before hashing: state and storage tries are kept by its Keccak-256
 * @param nodes from the root to the leaf, as `eth_getProof` gives them; nodes shorter than a hash stand in their parent
 */
export const verifyTrieProof = (
  root: Uint8Array,
  key: Uint8Array,
  nodes: readonly Uint8Array[],
): Outcome<Uint8Array> => {
  if (nodes.length > MAX_NODES) return bad(`a proof of more than ${MAX_NODES} nodes`);
  let reference: RlpItem = root;
  let rest: readonly number[] = nibblesOf(keccak_256(key));
  let used = 0;
  for (;;) {
    let node: RlpItem = reference;
    if (reference instanceof Uint8Array) {
      if (reference.length !== HASH_BYTES) return bad('the key is not in the trie');
      const bytes = nodes[used];
      used += 1;
      if (bytes === undefined) return bad('the proof is too short');
      if (bytes.length > MAX_NODE_BYTES || !bytesEqual(keccak_256(bytes), reference)) {
        return bad('a proof node is not the one that its parent names');
      }
      const decoded = decodeRlp(bytes);
      if (!decoded.ok) return decoded;
      node = decoded.value;
    }
    const found = stepInto(node, rest);
    if (!found.ok) return found;
    if (found.value.kind === 'value') {
      return used === nodes.length ? ok(found.value.value) : bad('the proof is too long');
    }
    // An extension without nibbles could go on for ever.
    if (found.value.rest.length >= rest.length) return bad('malformed trie node');
    ({ reference, rest } = found.value);
  }
};
