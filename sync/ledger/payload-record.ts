/**
 * One record of a payload bundle: SHA-256 of the Receipt payload (32 bytes) ‖ COSE_Encrypt0 (A256GCM). The hash stands in
 * front so that whoever stores the record can check it against the log's leaf without a key; it is bound to the
 * ciphertext as external data. What is inside is the journal's record and opaque here; it is padded (ISO/IEC 7816-4: 0x80,
 * then zeros) to a multiple of 128 bytes, so that a record's size tells neither an amount nor the text of an Offer.
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { concatBytes } from '../../protocol/bytes.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { type CborValue, Tagged } from '../../protocol/cbor/value.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { encodeLeaf } from './core/leaf.ts';
import { HASH_BYTES, type Sha256 } from './core/merkle.ts';
import { ALG_A256GCM } from './key-wrap.ts';

const TAG_ENCRYPT0 = 16;
const NONCE_BYTES = 12;
const GCM_TAG_BYTES = 16;
const KID_BYTES = 16;
/** The bundle's uint16 length minus hash, headers and tag. */
const MAX_PLAIN_BYTES = 65_000;
/** What a record's length may tell: how many of these it has. */

const PADDED_TO_BYTES = 128;
const PADDING_MARK = 0x80;

const pad = (plain: Uint8Array): Uint8Array => {
  const blocks = Math.floor(plain.length / PADDED_TO_BYTES) + 1;
  const padded = new Uint8Array(blocks * PADDED_TO_BYTES);
  padded.set(plain);
  padded[plain.length] = PADDING_MARK;
  return padded;
};

/** `undefined` where nothing but zeros is there, or something else behind them. */
const unpad = (padded: Uint8Array): Uint8Array | undefined => {
  let end = padded.length - 1;
  while (end >= 0 && padded[end] === 0) end -= 1;
  return padded[end] === PADDING_MARK ? new Uint8Array(padded.subarray(0, end)) : undefined;
};

const PROTECTED = encodeCanonical(new Map<number, CborValue>([[1, ALG_A256GCM]]));

/** A content key with the id that records name it by. */
export interface ContentKey {
  readonly kid: Uint8Array;
  readonly key: Uint8Array;
}

/** Enc_structure of RFC 9052 section 5.3. */
const encStructure = (receiptPayloadHash: Uint8Array): Uint8Array =>
  encodeCanonical(['Encrypt0', PROTECTED, receiptPayloadHash]);

/**
 * The nonce is a keyed hash of all that is encrypted: the same payload gives the same ciphertext, so a batch that is made
 * again after a crash writes the same tiles; another payload gets another nonce. 96 such bits are safe for 2^32 payments
 * under one key (NIST SP 800-38D section 8.3).
 */
const nonceFor = (key: Uint8Array, hash: Uint8Array, plain: Uint8Array): Buffer =>
  createHmac('sha256', key)
    .update('kiri payload nonce')
    .update(hash)
    .update(plain)
    .digest()
    .subarray(0, NONCE_BYTES);

/** Encrypts one payload into a record. @throws KiriError PAYLOAD_TOO_LARGE */
export const sealPayload = (
  plain: Uint8Array,
  receiptPayloadHash: Uint8Array,
  { kid, key }: ContentKey,
): Uint8Array => {
  if (plain.length > MAX_PLAIN_BYTES || receiptPayloadHash.length !== HASH_BYTES) {
    throw new KiriError('PAYLOAD_TOO_LARGE', `a payload has at most ${MAX_PLAIN_BYTES} bytes`);
  }
  const padded = pad(plain);
  const nonce = nonceFor(key, receiptPayloadHash, padded);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(encStructure(receiptPayloadHash));
  const sealed = [cipher.update(padded), cipher.final(), cipher.getAuthTag()];
  const header = new Map<number, CborValue>([
    [4, kid],
    [5, nonce],
  ]);
  const message = new Tagged(TAG_ENCRYPT0, [PROTECTED, header, Buffer.concat(sealed)]);
  return concatBytes(receiptPayloadHash, encodeCanonical(message));
};

/** The leaf that commits to a record: what mirror and verifier recompute. */
export const leafOfRecord = (record: Uint8Array, hash?: Sha256): Uint8Array | undefined =>
  record.length > HASH_BYTES
    ? encodeLeaf(record.subarray(0, HASH_BYTES), record.subarray(HASH_BYTES), hash)
    : undefined;

/** A record taken apart, still encrypted. */
export interface PayloadRecord {
  readonly receiptPayloadHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** Reads a record's headers; `undefined` where it is malformed. */
export const parsePayloadRecord = (record: Uint8Array): PayloadRecord | undefined => {
  const message = record.subarray(HASH_BYTES);
  const decoded = decodeCanonical(message, { maxBytes: 0xffff, tags: [TAG_ENCRYPT0] });
  const parts = decoded.ok && decoded.value instanceof Tagged ? decoded.value.value : undefined;
  if (!Array.isArray(parts) || parts.length !== 3) return undefined;
  const [protectedBytes, header, ciphertext] = parts;
  const kid = header instanceof Map ? header.get(4) : undefined;
  const nonce = header instanceof Map ? header.get(5) : undefined;
  if (!(protectedBytes instanceof Uint8Array) || !(ciphertext instanceof Uint8Array)) {
    return undefined;
  }
  if (!(kid instanceof Uint8Array) || !(nonce instanceof Uint8Array)) return undefined;
  if (kid.length !== KID_BYTES || nonce.length !== NONCE_BYTES) return undefined;
  if (!Buffer.from(protectedBytes).equals(PROTECTED)) return undefined;
  if (ciphertext.length < GCM_TAG_BYTES) return undefined;
  return { receiptPayloadHash: record.subarray(0, HASH_BYTES), kid, nonce, ciphertext };
};

/** Decrypts a record and takes the padding off; `undefined` where the key is another or any byte was changed. */
export const openPayload = (record: PayloadRecord, key: Uint8Array): Uint8Array | undefined => {
  const decipher = createDecipheriv('aes-256-gcm', key, record.nonce);
  const body = record.ciphertext.length - GCM_TAG_BYTES;
  decipher.setAAD(encStructure(record.receiptPayloadHash));
  decipher.setAuthTag(record.ciphertext.subarray(body));
  try {
    const plain = [decipher.update(record.ciphertext.subarray(0, body)), decipher.final()];
    return unpad(Buffer.concat(plain));
  } catch {
    return undefined;
  }
};
