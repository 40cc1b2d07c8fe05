/** RFC 6962 section 2.1 written down as its text says it: slow, recursive, on node:crypto. The oracle of the tests. */
import { createHash } from 'node:crypto';

const hash = (...parts: readonly Uint8Array[]): Uint8Array => {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  return new Uint8Array(digest.digest());
};

/** The largest power of two smaller than n. */
const k = (n: number): number => 2 ** Math.floor(Math.log2(n - 1));

export const mth = (leaves: readonly Uint8Array[]): Uint8Array => {
  const [first] = leaves;
  if (first === undefined) return hash();
  if (leaves.length === 1) return hash(Uint8Array.of(0), first);
  const at = k(leaves.length);
  return hash(Uint8Array.of(1), mth(leaves.slice(0, at)), mth(leaves.slice(at)));
};

export const path = (m: number, leaves: readonly Uint8Array[]): Uint8Array[] => {
  if (leaves.length <= 1) return [];
  const at = k(leaves.length);
  return m < at
    ? [...path(m, leaves.slice(0, at)), mth(leaves.slice(at))]
    : [...path(m - at, leaves.slice(at)), mth(leaves.slice(0, at))];
};

const subproof = (m: number, leaves: readonly Uint8Array[], b: boolean): Uint8Array[] => {
  if (m === leaves.length) return b ? [] : [mth(leaves)];
  const at = k(leaves.length);
  return m <= at
    ? [...subproof(m, leaves.slice(0, at), b), mth(leaves.slice(at))]
    : [...subproof(m - at, leaves.slice(at), false), mth(leaves.slice(0, at))];
};

export const proof = (m: number, leaves: readonly Uint8Array[]): Uint8Array[] =>
  subproof(m, leaves, true);
