import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, toHex } from '../../../protocol/bytes.ts';

const LEAF: Uint8Array = Uint8Array.of(0);
const NODE: Uint8Array = Uint8Array.of(1);

/**
 * RFC 6962 trees for the checkers, sharing nothing with the ledger's own: all complete subtrees are kept, so the root at
 * every size that the tree has passed is at hand.
 */
export class ReferenceTree {
  /** `#levels[h][i]`: root of the i-th complete subtree of height h. */
  readonly #levels: Uint8Array[][];

  constructor(levels: Uint8Array[][] = [[]]) {
    this.#levels = levels;
  }

  get size(): number {
    return this.#levels[0]!.length;
  }

  append(entry: Uint8Array): void {
    let hash = sha256(concatBytes(LEAF, entry));
    for (let height = 0; ; height += 1) {
      const row = (this.#levels[height] ??= []);
      row.push(hash);
      if (row.length % 2 === 1) return;
      hash = sha256(concatBytes(NODE, row.at(-2)!, hash));
    }
  }

  /** Whether the leaf at `index` is this entry. */
  holds(index: number, entry: Uint8Array): boolean {
    const leaf = this.#levels[0]![index];
    return leaf !== undefined && toHex(leaf) === toHex(sha256(concatBytes(LEAF, entry)));
  }

  rootHexAt(size: number): string | undefined {
    if (size > this.size) return undefined;
    let root: Uint8Array | undefined;
    let rest = size;
    for (let height = 0; rest > 0; height += 1) {
      const width = 2 ** height;
      if (rest % (2 * width) === 0) continue;
      const left = this.#levels[height]![rest / width - 1]!;
      root = root === undefined ? left : sha256(concatBytes(NODE, left, root));
      rest -= width;
    }
    return toHex(root ?? sha256(new Uint8Array(0)));
  }

  /** A tree of its own that starts with the first `size` entries of this one. */
  branch(size: number): ReferenceTree {
    return new ReferenceTree(
      this.#levels.map((row, height) => row.slice(0, Math.floor(size / 2 ** height))),
    );
  }
}
