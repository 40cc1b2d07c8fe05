/** Evidence of one line: the document is its own name, its sum tree and its residual hold. */
import { arrayAt, bigintAt, bytesAt, decodeCbor, encodeCbor, entry, textAt } from './cbor.ts';
import { sha256 } from './cose.ts';

const RECEIPT_BYTES = 80;
const MICRO_PER_MAJOR = 1_000_000n;

interface ReceiptRow {
  readonly receiptHash: Uint8Array;
  readonly paymentHash: Uint8Array;
  readonly amountMicro: bigint;
  readonly log: number;
  readonly leaf: number;
}

export interface Evidence {
  readonly lane: string;
  /** The aggregate before it in the same key and lane, in hex; empty for the first. */
  readonly previous: string;
  readonly key: { readonly account: string; readonly category: string; readonly sign: string };
  readonly presentedMinor: bigint;
  readonly openingMicro: bigint;
  readonly closingMicro: bigint;
  readonly receipts: readonly ReceiptRow[];
}

const unsigned = (bytes: Uint8Array): bigint =>
  bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`);

interface Node {
  readonly hash: Buffer;
  readonly sum: bigint;
}

const eight = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

const sumTree = (receipts: readonly ReceiptRow[]): Node => {
  let level: readonly Node[] = receipts.map(({ receiptHash, amountMicro }) => ({
    hash: sha256(Buffer.from([0]), receiptHash, eight(amountMicro)),
    sum: amountMicro,
  }));
  while (level.length > 1) {
    const next: Node[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const [left, right] = [level[at] as Node, level[at + 1]];
      if (right === undefined) next.push(left);
      else
        next.push({
          hash: sha256(Buffer.from([1]), left.hash, eight(left.sum), right.hash, eight(right.sum)),
          sum: left.sum + right.sum,
        });
    }
    level = next;
  }
  return level[0] as Node;
};

const readReceipts = (bytes: Uint8Array): readonly ReceiptRow[] => {
  const all = Buffer.from(bytes);
  if (all.length === 0 || all.length % RECEIPT_BYTES !== 0) throw new Error('receipts of 80 bytes');
  return Array.from({ length: all.length / RECEIPT_BYTES }, (_, index) => {
    const row = all.subarray(index * RECEIPT_BYTES, (index + 1) * RECEIPT_BYTES);
    return {
      receiptHash: row.subarray(0, 32),
      paymentHash: row.subarray(32, 64),
      amountMicro: row.readBigUInt64BE(64),
      log: row.readUInt16BE(72),
      leaf: row.readUIntBE(74, 6),
    };
  });
};

/** @param exponent decimals of the currency: 0 for yen */
export const checkEvidence = (document: Uint8Array, id: string, exponent = 0): Evidence => {
  if (sha256(Buffer.from([61]), document).toString('hex') !== id)
    throw new Error(`evidence ${id} is not what its name says`);
  const map = decodeCbor(document);
  if (entry(map, 0) !== 61n || !encodeCbor(map).equals(Buffer.from(document)))
    throw new Error(`evidence ${id} is not canonical`);
  const key = entry(map, 1) ?? new Map();
  const receipts = readReceipts(bytesAt(map, 13));
  const root = sumTree(receipts);
  if (!root.hash.equals(bytesAt(map, 10)) || root.sum !== unsigned(bytesAt(map, 11)))
    throw new Error(`sum tree of ${id}`);
  const [opening, closing] = [unsigned(bytesAt(map, 5)), unsigned(bytesAt(map, 7))];
  const presentedMinor = unsigned(bytesAt(map, 6));
  const unit = MICRO_PER_MAJOR / 10n ** BigInt(exponent);
  if (opening + root.sum !== presentedMinor * unit + closing || closing >= unit)
    throw new Error(`residual of ${id}`);
  if (bigintAt(map, 8) > bigintAt(map, 9)) throw new Error(`times of ${id}`);
  const logs = arrayAt(map, 12).length;
  if (receipts.some(({ log }) => log >= logs)) throw new Error(`a log that ${id} does not name`);
  const previous = entry(map, 4) ?? new Uint8Array();
  if (!(previous instanceof Uint8Array)) throw new Error(`previous of ${id}`);
  return {
    lane: textAt(map, 2),
    previous: Buffer.from(previous).toString('hex'),
    key: { account: textAt(key, 5), category: textAt(key, 7), sign: textAt(key, 9) },
    presentedMinor,
    openingMicro: opening,
    closingMicro: closing,
    receipts,
  };
};
