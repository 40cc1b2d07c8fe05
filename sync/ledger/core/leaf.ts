/**
 * The log's entries (DESIGN section 5): nothing personal, and checkable by whoever stores the payload record behind one.
 * The first byte is the layout: 1 a receipt, 2 the predecessor of a shard (its first leaf), 3 a gateway's checkpoint in
 * a roll-up log. The record behind 2 and 3 is a published checkpoint (signed note) in clear.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { HASH_BYTES, type Sha256 } from './merkle.ts';
import { parseNote } from './note.ts';

const RECEIPT_VERSION = 1;
const NOTE_VERSIONS = { predecessor: 2, rollUp: 3 } as const;
/** Version byte and one SHA-256. */
const LEAF_BYTES = 33;

/** What an entry that commits to a checkpoint stands for. */
export type NoteLeafKind = keyof typeof NOTE_VERSIONS;

/** An entry taken apart. `commitment` is the SHA-256 behind the version byte. */
export interface Leaf {
  readonly kind: 'receipt' | NoteLeafKind;
  readonly commitment: Uint8Array;
}

const KIND_OF: ReadonlyMap<number | undefined, Leaf['kind']> = new Map([
  [RECEIPT_VERSION, 'receipt'],
  [NOTE_VERSIONS.predecessor, 'predecessor'],
  [NOTE_VERSIONS.rollUp, 'rollUp'],
]);

const withVersion = (version: number, commitment: Uint8Array): Uint8Array => {
  const leaf = new Uint8Array(LEAF_BYTES);
  leaf[0] = version;
  leaf.set(commitment, 1);
  return leaf;
};

/**
 * Version 1 ‖ SHA-256(SHA-256(Receipt payload) ‖ SHA-256(ciphertext)). The Receipt's nonce hides its content; the second
 * hash lets a mirror check what it stores.
 * @param receiptPayloadHash SHA-256 of the Receipt's payload, 32 bytes
 * @param ciphertext the encrypted payload exactly as stored in the payload bundle
 */
export const encodeLeaf = (
  receiptPayloadHash: Uint8Array,
  ciphertext: Uint8Array,
  hash: Sha256 = sha256,
): Uint8Array => {
  if (receiptPayloadHash.length !== HASH_BYTES) throw new RangeError('not a SHA-256 hash');
  const both = new Uint8Array(2 * HASH_BYTES);
  both.set(receiptPayloadHash, 0);
  both.set(hash(ciphertext), HASH_BYTES);
  return withVersion(RECEIPT_VERSION, hash(both));
};

/** Version 2 or 3 ‖ SHA-256(checkpoint text, without its signatures): a cosignature added later changes no leaf. */
export const encodeNoteLeaf = (
  kind: NoteLeafKind,
  text: string,
  hash: Sha256 = sha256,
): Uint8Array => withVersion(NOTE_VERSIONS[kind], hash(utf8ToBytes(text)));

/** Reads an entry; `undefined` where its length or version is unknown. */
export const parseLeaf = (leaf: Uint8Array): Leaf | undefined => {
  if (leaf.length !== LEAF_BYTES) return undefined;
  const kind = KIND_OF.get(leaf[0]);
  return kind && { kind, commitment: leaf.slice(1) };
};

/** Whether a payload record is the one that the entry commits to, by the rule of the entry's version. */
export const commitsTo = (leaf: Uint8Array, record: Uint8Array, hash?: Sha256): boolean => {
  const parsed = parseLeaf(leaf);
  if (parsed === undefined) return false;
  if (parsed.kind === 'receipt') {
    if (record.length <= HASH_BYTES) return false;
    const [receiptPayloadHash, rest] = [
      record.subarray(0, HASH_BYTES),
      record.subarray(HASH_BYTES),
    ];
    return bytesEqual(leaf, encodeLeaf(receiptPayloadHash, rest, hash));
  }
  const note = parseNote(record);
  return note.ok && bytesEqual(leaf, encodeNoteLeaf(parsed.kind, note.value.text, hash));
};
