/** RFC 6962 section 2.1, as its definitions stand there: recursive, over half-open ranges of leaf hashes. */
import { createHash } from 'node:crypto';

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

const LEAF = Buffer.of(0x00);
const NODE = Buffer.of(0x01);

/** MTH({d(0)}) = SHA-256(0x00 || d(0)). */
export function hashOfLeaf(entry: Uint8Array): Buffer {
  return sha256(LEAF, entry);
}

function hashOfNode(left: Uint8Array, right: Uint8Array): Buffer {
  return sha256(NODE, left, right);
}

/** "the largest power of two smaller than n". */
function k(n: number): number {
  let power = 1;
  while (2 * power < n) power = 2 * power;
  return power;
}

/** MTH(D[from:to]) over leaf hashes; remembers every subtree that it meets. */
export class Tree {
  readonly #leaves: readonly Buffer[];
  readonly #known = new Map<string, Buffer>();

  constructor(leaves: readonly Buffer[]) {
    this.#leaves = leaves;
  }

  get size(): number {
    return this.#leaves.length;
  }

  mth(from: number, to: number): Buffer {
    const n = to - from;
    if (n < 0 || from < 0 || to > this.size) throw new RangeError(`no D[${from}:${to}]`);
    if (n === 0) return sha256();
    if (n === 1) return this.#leaves[from]!;
    const name = `${from}:${to}`;
    const known = this.#known.get(name);
    if (known) return known;
    const made = hashOfNode(this.mth(from, from + k(n)), this.mth(from + k(n), to));
    this.#known.set(name, made);
    return made;
  }
}

/** The root that PATH(m, D[n]) leads to from a leaf; undefined where the path is not as long as the definition's. */
export function rootOfPath(
  m: number,
  n: number,
  leaf: Buffer,
  path: readonly Buffer[],
): Buffer | undefined {
  if (!(m >= 0 && m < n)) return undefined;
  if (n === 1) return path.length === 0 ? leaf : undefined;
  const last = path.at(-1);
  if (!last) return undefined;
  const rest = path.slice(0, -1);
  if (m < k(n)) {
    const left = rootOfPath(m, k(n), leaf, rest);
    return left && hashOfNode(left, last);
  }
  const right = rootOfPath(m - k(n), n - k(n), leaf, rest);
  return right && hashOfNode(last, right);
}

interface Roots {
  readonly old: Buffer;
  readonly now: Buffer;
}

/** SUBPROOF(m, D[n], b) backwards: both roots that a proof leads to. */
function rootsOfSubproof(
  m: number,
  n: number,
  proof: readonly Buffer[],
  known: Buffer | undefined,
): Roots | undefined {
  const last = proof.at(-1);
  if (m === n) {
    if (known) return proof.length === 0 ? { old: known, now: known } : undefined;
    return last && proof.length === 1 ? { old: last, now: last } : undefined;
  }
  if (!last) return undefined;
  const rest = proof.slice(0, -1);
  if (m <= k(n)) {
    const left = rootsOfSubproof(m, k(n), rest, known);
    return left && { old: left.old, now: hashOfNode(left.now, last) };
  }
  const right = rootsOfSubproof(m - k(n), n - k(n), rest, undefined);
  return right && { old: hashOfNode(last, right.old), now: hashOfNode(last, right.now) };
}

/** Whether PROOF(m, D[n]) connects two roots, 0 < m <= n. */
export function isConsistent(
  m: number,
  n: number,
  oldRoot: Buffer,
  newRoot: Buffer,
  proof: readonly Buffer[],
): boolean {
  if (!(m > 0 && m <= n)) return false;
  const roots = rootsOfSubproof(m, n, proof, oldRoot);
  return roots !== undefined && roots.old.equals(oldRoot) && roots.now.equals(newRoot);
}
