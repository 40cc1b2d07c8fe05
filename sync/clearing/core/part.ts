import { sha256 } from '@noble/hashes/sha2.js';

/** One of several clearings that share the work: they are counted from 0. */
export type Part = { readonly index: number; readonly of: number };

/** Parts of one clearing at most. */
const PARTS_MAX = 64;

/** Why these are no part of a clearing, in words; undefined where they are. */
export const partFault = ({ index, of }: Part): string | undefined => {
  if (!Number.isInteger(of) || of < 2 || of > PARTS_MAX) {
    return `of is not a whole number from 2 to ${PARTS_MAX}`;
  }
  return Number.isInteger(index) && index >= 0 && index < of
    ? undefined
    : `index is not a whole number from 0 to ${of - 1}`;
};

/**
 * The part that a liable party belongs to, with everything of its lines: SHA-256 of the party's id, as a whole number
 * (big-endian), modulo the number of parts.
 */
export const partOfParty = (party: Uint8Array, of: number): number =>
  sha256(party).reduce((rest, byte) => (rest * 256 + byte) % of, 0);
