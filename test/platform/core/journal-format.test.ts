import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import t from 'tap';
import {
  BLOCK_OVERHEAD_BYTES,
  decodeSegmentHeader,
  encodeSegmentHeader,
  hasBlockBehindDamage,
  MAX_BODY_BYTES,
  putBlockHeader,
  putRecord,
  scanBlock,
  SEGMENT_HEADER_BYTES,
  visitRecords,
  type Chain,
  type ChainHash,
} from '../../../platform/core/journal-format.ts';
import { chainHash } from '../../../platform/journal-segments.ts';

const noble: ChainHash = (...parts) => sha256(concatBytes(...parts));
const id = new Uint8Array(32).fill(0x1d);
const zeroHead = new Uint8Array(32);
const start: Chain = { id, head: zeroHead };

/** A block written from the description in the module, not by the module's own encoder. */
function block(head: Uint8Array, records: readonly Uint8Array[]): Uint8Array {
  const parts = records.map((r) => concatBytes(Uint8Array.of(r.length >> 8, r.length & 255), r));
  const body = concatBytes(...parts);
  const n = body.length;
  const content = concatBytes(Uint8Array.of(0xb1, n >> 16, (n >> 8) & 255, n & 255), body);
  return concatBytes(content, sha256(concatBytes(id, head, content)));
}

function recordsIn(bytes: Uint8Array, at: number, end: number): string[] {
  const found: string[] = [];
  visitRecords(bytes, at, end, (record) => found.push(bytesToHex(record)));
  return found;
}

t.test('the encoder writes the described bytes', async (t) => {
  const records = [Uint8Array.of(1, 2, 3), new Uint8Array(0), new Uint8Array(300).fill(9)];
  const expected = block(zeroHead, records);
  const bytes = new Uint8Array(expected.length);
  putBlockHeader(bytes, 0, expected.length - BLOCK_OVERHEAD_BYTES);
  let at = 4;
  for (const record of records) at = putRecord(bytes, at, record);
  bytes.set(noble(id, zeroHead, bytes.subarray(0, at)), at);
  t.same(bytes, expected);
});

t.test('any records come back, and both hash implementations agree', async (t) => {
  const anyRecords = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 8 });
  const anyHead = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(anyRecords, anyHead, (records, head) => {
      const bytes = block(head, records);
      for (const hash of [noble, chainHash]) {
        const scanned = scanBlock(bytes, 0, { id, head }, hash);
        if (scanned.kind !== 'block' || scanned.end !== bytes.length) return false;
        if (bytesToHex(scanned.head) !== bytesToHex(bytes.subarray(-32))) return false;
      }
      const found = recordsIn(bytes, 0, bytes.length);
      return found.join() === records.map(bytesToHex).join() && found.length === records.length;
    }),
  );
  t.pass();
});

t.test('every shorter prefix is incomplete, every flipped bit is bad or incomplete', async (t) => {
  const bytes = block(zeroHead, [new Uint8Array(40).fill(5), new Uint8Array(7)]);
  for (let length = 0; length < bytes.length; length += 1) {
    t.equal(scanBlock(bytes.subarray(0, length), 0, start, noble).kind, 'incomplete');
  }
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = bytes.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    t.not(scanBlock(flipped, 0, start, noble).kind, 'block', `bit ${bit}`);
  }
});

t.test('hostile lengths and zeros are bad, never read past the end', async (t) => {
  t.equal(scanBlock(new Uint8Array(4096), 0, start, noble).kind, 'bad');
  const huge = new Uint8Array(64);
  putBlockHeader(huge, 0, MAX_BODY_BYTES + 1);
  t.equal(scanBlock(huge, 0, start, noble).kind, 'bad');
  const overlong = block(zeroHead, [new Uint8Array(10)]);
  overlong[4] = 0xff;
  t.equal(scanBlock(overlong, 0, start, noble).kind, 'bad');
  t.equal(scanBlock(Uint8Array.of(0), 0, start, noble).kind, 'bad');
});

t.test(
  'a block after the damage is found wherever the damage is; garbage is no block',
  async (t) => {
    const first = block(zeroHead, [new Uint8Array(20).fill(1)]);
    const mark = block(first.subarray(-32), []);
    const both = concatBytes(first, mark);
    for (let at = 0; at < first.length; at += 1) {
      const damaged = both.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      t.ok(hasBlockBehindDamage(damaged, start, noble), `damage at ${at}`);
    }
    const last = block(mark.subarray(-32), []);
    t.ok(hasBlockBehindDamage(concatBytes(mark, first), start, noble), 'exchanged');
    t.ok(hasBlockBehindDamage(concatBytes(last, mark), start, noble), 'exchanged, one removed');
    t.notOk(hasBlockBehindDamage(first.subarray(0, -1), start, noble));
    const forged = concatBytes(zeroHead, Uint8Array.of(0xb1, 0, 0, 0));
    const carrier = concatBytes(
      forged,
      sha256(forged),
      sha256(concatBytes(new Uint8Array(32), forged)),
    );
    t.notOk(hasBlockBehindDamage(carrier, start, noble), 'a payload cannot imitate a block');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (garbage) => {
        return !hasBlockBehindDamage(garbage, start, noble);
      }),
    );
  },
);

t.test('a segment header comes back; any flipped bit or shorter length does not', async (t) => {
  const head = new Uint8Array(32).fill(0xaa);
  const bytes = encodeSegmentHeader(2 ** 45 + 3, { id, head }, noble);
  t.equal(bytes.length, SEGMENT_HEADER_BYTES);
  t.same(decodeSegmentHeader(bytes, chainHash), { firstIndex: 2 ** 45 + 3, id, head });
  t.equal(decodeSegmentHeader(bytes.subarray(0, 95), noble), undefined);
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = bytes.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    t.equal(decodeSegmentHeader(flipped, noble), undefined, `bit ${bit}`);
  }
});
