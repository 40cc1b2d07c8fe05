/**
 * Opens a wrapped content key and a payload record by the standards' text alone, sharing no code with the writer: CBOR (RFC
 * 8949) read by hand, COSE_Encrypt and COSE_Encrypt0 (RFC 9052), ECDH-ES + A256KW (RFC 9053 section 6.4), HKDF (RFC 5869),
 * AES key wrap (RFC 3394 section 2.2.2) over bare AES blocks.
 */
import { createCipheriv, createDecipheriv, createECDH, createHmac } from 'node:crypto';

type Item =
  number | Buffer | string | null | Item[] | Map<number, Item> | { tag: number; of: Item };

class Reader {
  #at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes);
  }

  #take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw new Error('CBOR ends early');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  #argument(info: number): number {
    if (info < 24) return info;
    if (info === 24) return this.#take(1).readUInt8();
    if (info === 25) return this.#take(2).readUInt16BE();
    if (info === 26) return this.#take(4).readUInt32BE();
    throw new Error('CBOR argument too long for this reader');
  }

  item(): Item {
    const head = this.#take(1).readUInt8();
    const major = head >> 5;
    if (head === 0xf6) return null;
    const n = this.#argument(head & 31);
    if (major === 0) return n;
    if (major === 1) return -1 - n;
    if (major === 2) return this.#take(n);
    if (major === 3) return this.#take(n).toString('utf8');
    if (major === 4) return Array.from({ length: n }, () => this.item());
    if (major === 6) return { tag: n, of: this.item() };
    if (major !== 5) throw new Error('a simple value');
    const map = new Map<number, Item>();
    for (let i = 0; i < n; i += 1) map.set(this.item() as number, this.item());
    return map;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new Error('bytes behind the item');
  }
}

const read = (bytes: Uint8Array): Item => {
  const reader = new Reader(bytes);
  const item = reader.item();
  reader.end();
  return item;
};

const tagged = (bytes: Uint8Array, tag: number): Item[] => {
  const item = read(bytes) as { tag: number; of: Item[] };
  if (item.tag !== tag) throw new Error(`tag ${item.tag}, not ${tag}`);
  return item.of;
};

const hmac = (key: Buffer, data: Buffer): Buffer => createHmac('sha256', key).update(data).digest();

/** RFC 5869 with SHA-256, no salt, 32 bytes: one round of expand. */
const hkdf = (secret: Buffer, info: Buffer): Buffer =>
  hmac(hmac(Buffer.alloc(32), secret), Buffer.concat([info, Buffer.from([1])]));

/** RFC 3394 section 2.2.2, index based; undefined where the integrity check fails. */
const unwrap = (kek: Buffer, wrapped: Buffer): Buffer | undefined => {
  const n = wrapped.length / 8 - 1;
  let a = wrapped.readBigUInt64BE(0);
  const r = Array.from({ length: n }, (_, i) => wrapped.subarray(8 * (i + 1), 8 * (i + 2)));
  for (let j = 5; j >= 0; j -= 1) {
    for (let i = n; i >= 1; i -= 1) {
      const block = Buffer.alloc(16);
      block.writeBigUInt64BE(a ^ BigInt(n * j + i));
      block.set(r[i - 1]!, 8);
      const aes = createDecipheriv('aes-256-ecb', kek, null).setAutoPadding(false);
      const out = Buffer.concat([aes.update(block), aes.final()]);
      a = out.readBigUInt64BE(0);
      r[i - 1] = out.subarray(8);
    }
  }
  return a === 0xa6a6a6a6a6a6a6a6n ? Buffer.concat(r) : undefined;
};

/** COSE_KDF_Context for A256KW, 256 bits, protected header {1: -31}: RFC 9053 section 5.2, encoded by hand. */
const KDF_CONTEXT = Buffer.from('842483f6f6f683f6f6f68219010044a101381e', 'hex');

export interface Opened {
  readonly recipients: number;
  /** Ids that stand in the recipients' headers. */
  readonly kids: readonly string[];
  /** Place of the recipient that the key opened, from 0; −1 for none. */
  readonly openedAt: number;
  readonly contentKey?: Buffer;
}

/** @param secret the private key's scalar, 32 bytes */
export const openWrapped = (wrapped: Uint8Array, secret: Buffer): Opened => {
  const [content, unprotected, ciphertext, recipients] = tagged(wrapped, 96);
  if (!(content as Buffer).equals(Buffer.from('a10103', 'hex'))) throw new Error('not A256GCM');
  if ((unprotected as Map<number, Item>).size > 0 || ciphertext !== null) {
    throw new Error('not detached');
  }
  const rows = recipients as Item[][];
  const kids: string[] = [];
  let openedAt = -1;
  let contentKey: Buffer | undefined;
  for (const [place, [headerBytes, header, encrypted]] of rows.entries()) {
    if (!(headerBytes as Buffer).equals(Buffer.from('a101381e', 'hex'))) throw new Error('alg');
    const kid = (header as Map<number, Item>).get(4) as Buffer | undefined;
    if (kid) kids.push(kid.toString('hex'));
    const ephemeral = (header as Map<number, Item>).get(-1) as Map<number, Item>;
    if (ephemeral.get(1) !== 2 || ephemeral.get(-1) !== 1) throw new Error('not EC2 on P-256');
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(secret);
    const [x, y] = [ephemeral.get(-2) as Buffer, ephemeral.get(-3) as Buffer];
    const shared = ecdh.computeSecret(Buffer.concat([Buffer.from([4]), x, y]));
    const opened = unwrap(hkdf(shared, KDF_CONTEXT), encrypted as Buffer);
    if (opened) [openedAt, contentKey] = [place, opened];
  }
  return { recipients: rows.length, kids, openedAt, ...(contentKey ? { contentKey } : {}) };
};

/** Decrypts a payload record: hash 32 ‖ COSE_Encrypt0; AES-GCM by counter mode and a check of the tag. */
export const openRecord = (record: Uint8Array, contentKey: Buffer): Buffer => {
  const [headerBytes, header, body] = tagged(record.subarray(32), 16);
  const iv = (header as Map<number, Item>).get(5) as Buffer;
  const sealed = body as Buffer;
  // Enc_structure ["Encrypt0", h'a10103', hash] of RFC 9052 section 5.3.
  const aad = Buffer.concat([
    Buffer.from('8368456e637279707430', 'hex'),
    Buffer.from('43', 'hex'),
    headerBytes as Buffer,
    Buffer.from('5820', 'hex'),
    Buffer.from(record.subarray(0, 32)),
  ]);
  // GCM decrypts as counter mode from block 2 (NIST SP 800-38D section 7.2).
  const counter = Buffer.concat([iv, Buffer.from([0, 0, 0, 2])]);
  const stream = createDecipheriv('aes-256-ctr', contentKey, counter);
  const plain = stream.update(sealed.subarray(0, -16));
  const again = createCipheriv('aes-256-gcm', contentKey, iv);
  again.setAAD(aad);
  again.update(plain);
  again.final();
  if (!again.getAuthTag().equals(sealed.subarray(-16))) throw new Error('tag');
  // ISO/IEC 7816-4: the last byte that is not zero is the mark.
  const end = plain.length - /(?:00)*$/.exec(plain.toString('hex'))![0].length / 2 - 1;
  if (plain[end] !== 0x80 || plain.length % 128 !== 0) throw new Error('padding');
  return plain.subarray(0, end);
};
