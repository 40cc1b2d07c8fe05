/**
 * The journal's bytes. A segment file is a header followed by blocks; a block is one group commit:
 *
 *   segment header  magic 8 · first index u64 · check 16 · journal id 32 · chain head 32
 *   block           0xB1 · body length u24 · body · chain head 32      (big-endian)
 *   body            (record length u16 · record)*                     may be empty: a mark
 *   chain head      SHA-256(journal id ‖ previous chain head ‖ block up to here)
 *
 * A record costs 2 bytes and a block 36; the full head that seals each block is checksum and chain in one, so an altered,
 * removed or moved record breaks it. The 32 bytes before any block are always the head that it continues. The id is random
 * and never leaves the machine: without it a hostile payload could carry bytes that pass for a block, and a torn record
 * with such bytes in it would be taken for a corrupt middle.
 *
 * Durability needs no field: a block is written only after the sync of the one before has returned, so a valid block, an
 * empty mark or the next segment's header proves that everything before it was durable. Hence
 * - damage with a valid block after it lies in durable bytes: corrupt middle, stop;
 * - damage with nothing valid after it is a torn tail: those bytes were never acknowledged, cut. (One exception no format
 *   without a second write per sync can see: rot in the last block during the few ms before its mark is written.)
 */

/** Largest record: its length is a u16. */
export const MAX_RECORD_BYTES = 65_535;
/** Largest block body: 4 MiB, about 14,000 payments behind one slow sync. */
export const MAX_BODY_BYTES = 4_194_304;
export const HEAD_BYTES = 32;
export const BLOCK_HEADER_BYTES = 4;
/** Bytes a block adds to its body. */
export const BLOCK_OVERHEAD_BYTES = 36;
export const RECORD_OVERHEAD_BYTES = 2;
export const ID_BYTES = 32;
export const SEGMENT_HEADER_BYTES = 96;

const BLOCK_MAGIC = 0xb1;
const SEGMENT_MAGIC = [0x4b, 0x49, 0x52, 0x49, 0x4a, 0x4c, 0x00, 0x01]; // "KIRIJL", version 1
const CHECK_OFFSET = 16;
const CHECK_BYTES = 16;
const ID_OFFSET = 32;
const HEAD_OFFSET = 64;
/** Blocks behind damage that are tried in every order, to find exchanged ones. */
const MAX_EXCHANGED = 16;

/** SHA-256 of the parts together. Injected: node:crypto on the edge, noble as the second implementation. */
export type ChainHash = (...parts: readonly Uint8Array[]) => Uint8Array;

/** What a block continues: the journal's id and the chain head before it. */
export interface Chain {
  readonly id: Uint8Array;
  readonly head: Uint8Array;
}

/** What stands at an offset. `end` is the offset behind the block. */
export type BlockScan =
  | { readonly kind: 'block'; readonly end: number; readonly head: Uint8Array }
  /** More bytes are needed than there are: at least up to `end`. */
  | { readonly kind: 'incomplete'; readonly end: number }
  | { readonly kind: 'bad' };

type BlockShape =
  { readonly kind: 'block'; readonly end: number } | Exclude<BlockScan, { kind: 'block' }>;

/** Writes a block's 4-byte header at `at`. */
export function putBlockHeader(bytes: Uint8Array, at: number, bodyBytes: number): void {
  bytes[at] = BLOCK_MAGIC;
  bytes[at + 1] = bodyBytes >>> 16;
  bytes[at + 2] = (bodyBytes >>> 8) & 0xff;
  bytes[at + 3] = bodyBytes & 0xff;
}

/** Writes one record of a body at `at` and returns the offset behind it. The caller has checked the size. */
export function putRecord(bytes: Uint8Array, at: number, record: Uint8Array): number {
  bytes[at] = record.length >>> 8;
  bytes[at + 1] = record.length & 0xff;
  bytes.set(record, at + RECORD_OVERHEAD_BYTES);
  return at + RECORD_OVERHEAD_BYTES + record.length;
}

export function encodeSegmentHeader(firstIndex: number, chain: Chain, hash: ChainHash): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  bytes.set(SEGMENT_MAGIC, 0);
  new DataView(bytes.buffer).setBigUint64(8, BigInt(firstIndex));
  bytes.set(chain.id, ID_OFFSET);
  bytes.set(chain.head, HEAD_OFFSET);
  bytes.set(headerCheck(bytes, hash), CHECK_OFFSET);
  return bytes;
}

/** The header's content, or undefined when it is torn or damaged. */
export function decodeSegmentHeader(
  bytes: Uint8Array,
  hash: ChainHash,
): (Chain & { readonly firstIndex: number }) | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  if (SEGMENT_MAGIC.some((byte, i) => bytes[i] !== byte)) return undefined;
  const check = headerCheck(bytes, hash);
  if (!equalAt(bytes, CHECK_OFFSET, check)) return undefined;
  const firstIndex = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8));
  const id = bytes.slice(ID_OFFSET, HEAD_OFFSET);
  return { firstIndex, id, head: bytes.slice(HEAD_OFFSET, SEGMENT_HEADER_BYTES) };
}

/** Looks at the block that starts at `at` and must continue `chain`. */
export function scanBlock(bytes: Uint8Array, at: number, chain: Chain, hash: ChainHash): BlockScan {
  const shape = blockShape(bytes, at);
  if (shape.kind !== 'block') return shape;
  const computed = hash(chain.id, chain.head, bytes.subarray(at, shape.end - HEAD_BYTES));
  return equalAt(bytes, shape.end - HEAD_BYTES, computed)
    ? { kind: 'block', end: shape.end, head: computed }
    : { kind: 'bad' };
}

/**
 * Is there a block of this journal at or behind the damage that begins at 0, in its place or not? Then the damage is in
 * durable bytes. A block is judged by the head that stands before it; the first ones also by each other's heads (blocks
 * that changed places) and by the head computed from the damaged block (only its stored head was hit).
 */
export function hasBlockBehindDamage(bytes: Uint8Array, chain: Chain, hash: ChainHash): boolean {
  const { id } = chain;
  const starts: number[] = [];
  const heads: Uint8Array[] = [];
  for (let at = bytes.indexOf(BLOCK_MAGIC); at >= 0; at = bytes.indexOf(BLOCK_MAGIC, at + 1)) {
    const shape = blockShape(bytes, at);
    if (shape.kind !== 'block') continue;
    const before = bytes.subarray(Math.max(0, at - HEAD_BYTES), at);
    if (scanBlock(bytes, at, { id, head: before }, hash).kind === 'block') return true;
    if (starts.length >= MAX_EXCHANGED) continue;
    starts.push(at);
    heads.push(bytes.subarray(shape.end - HEAD_BYTES, shape.end));
    if (at === 0) heads.push(hash(id, chain.head, bytes.subarray(0, shape.end - HEAD_BYTES)));
  }
  return starts.some((at) =>
    heads.some((head) => scanBlock(bytes, at, { id, head }, hash).kind === 'block'),
  );
}

/** Calls `visit` with a view of each record of the valid block between `at` and `end`; returns their number. */
export function visitRecords(
  bytes: Uint8Array,
  at: number,
  end: number,
  visit?: (record: Uint8Array) => void,
): number {
  let count = 0;
  let next = at + BLOCK_HEADER_BYTES;
  while (next < end - HEAD_BYTES) {
    const recordAt = next + RECORD_OVERHEAD_BYTES;
    next = recordAt + u16(bytes, next);
    visit?.(bytes.subarray(recordAt, next));
    count += 1;
  }
  return count;
}

/** Magic, length and record boundaries, without the hash: cheap enough to try at any offset. */
function blockShape(bytes: Uint8Array, at: number): BlockShape {
  if (at + BLOCK_HEADER_BYTES > bytes.length) {
    const bad = at < bytes.length && bytes[at] !== BLOCK_MAGIC;
    return bad ? { kind: 'bad' } : { kind: 'incomplete', end: at + BLOCK_HEADER_BYTES };
  }
  if (bytes[at] !== BLOCK_MAGIC) return { kind: 'bad' };
  const bodyBytes = ((bytes[at + 1] ?? 0) << 16) | u16(bytes, at + 2);
  if (bodyBytes > MAX_BODY_BYTES) return { kind: 'bad' };
  const end = at + BLOCK_OVERHEAD_BYTES + bodyBytes;
  if (end > bytes.length) return { kind: 'incomplete', end };
  let next = at + BLOCK_HEADER_BYTES;
  const bodyEnd = end - HEAD_BYTES;
  while (next + RECORD_OVERHEAD_BYTES <= bodyEnd) next += RECORD_OVERHEAD_BYTES + u16(bytes, next);
  return next === bodyEnd ? { kind: 'block', end } : { kind: 'bad' };
}

function headerCheck(bytes: Uint8Array, hash: ChainHash): Uint8Array {
  const content = bytes.subarray(ID_OFFSET, SEGMENT_HEADER_BYTES);
  return hash(bytes.subarray(0, CHECK_OFFSET), content).subarray(0, CHECK_BYTES);
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function equalAt(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i += 1) if (bytes[at + i] !== expected[i]) return false;
  return true;
}
