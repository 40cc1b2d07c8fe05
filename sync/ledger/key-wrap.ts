/**
 * A content key wrapped to a P-256 key: COSE_Encrypt (RFC 9052 section 5.1) with detached content and one recipient,
 * ECDH-ES + A256KW (RFC 9053 section 6.4, algorithm −31). The content that the key opens are the payload records.
 */
import {
  type KeyObject,
  createHash,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
} from 'node:crypto';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { type CborValue, Tagged } from '../../protocol/cbor/value.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey } from '../../protocol/public-key.ts';

/** AES-256 keys. */
export const CONTENT_KEY_BYTES = 32;
/** COSE algorithm numbers: content, key agreement, key wrap. */
export const ALG_A256GCM = 3;
const ALG_ECDH_ES_A256KW = -31;
const ALG_A256KW = -5;
const TAG_ENCRYPT = 96;
/** RFC 3394 section 2.2.3.1, the default initial value. */
const WRAP_IV = Buffer.alloc(8, 0xa6);
const MAX_WRAPPED_BYTES = 1_024;
const KID_BYTES = 16;

const RECIPIENT_PROTECTED = encodeCanonical(new Map<number, CborValue>([[1, ALG_ECDH_ES_A256KW]]));
const CONTENT_PROTECTED = encodeCanonical(new Map<number, CborValue>([[1, ALG_A256GCM]]));

/** RFC 9053 section 5.2: COSE_KDF_Context for a 256-bit A256KW key, no party information. */
const KDF_CONTEXT = encodeCanonical([
  ALG_A256KW,
  [null, null, null],
  [null, null, null],
  [CONTENT_KEY_BYTES * 8, RECIPIENT_PROTECTED],
]);

const wrappingKey = (own: KeyObject, other: KeyObject): Buffer => {
  const secret = diffieHellman({ privateKey: own, publicKey: other });
  return Buffer.from(hkdfSync('sha256', secret, '', KDF_CONTEXT, CONTENT_KEY_BYTES));
};

const importPoint = (x: Uint8Array, y: Uint8Array): KeyObject => {
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: Buffer.from(x).toString('base64url'),
    y: Buffer.from(y).toString('base64url'),
  };
  return createPublicKey({ key: jwk, format: 'jwk' });
};

/** Names a content key: SHA-256 of its wrapped form cut to 16 bytes, so that log leaves commit to the key's file too. */
export const contentKeyId = (wrapped: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(wrapped).digest().subarray(0, KID_BYTES));

/**
 * Wraps a content key.
 * @param recipient a P-256 key; its id stands in the recipient's header
 */
export const wrapContentKey = (contentKey: Uint8Array, recipient: PublicKey): Uint8Array => {
  const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = ephemeral.publicKey.export({ format: 'jwk' });
  const other = importPoint(recipient.point.subarray(0, 32), recipient.point.subarray(32));
  const cipher = createCipheriv(
    'id-aes256-wrap',
    wrappingKey(ephemeral.privateKey, other),
    WRAP_IV,
  );
  const wrapped = Buffer.concat([cipher.update(contentKey), cipher.final()]);
  const coseKey = new Map<number, CborValue>([
    [1, 2],
    [-1, 1],
    [-2, Buffer.from(jwk.x ?? '', 'base64url')],
    [-3, Buffer.from(jwk.y ?? '', 'base64url')],
  ]);
  const header = new Map<number, CborValue>([
    [4, recipient.id],
    [-1, coseKey],
  ]);
  return encodeCanonical(
    new Tagged(TAG_ENCRYPT, [
      CONTENT_PROTECTED,
      new Map<number, CborValue>(),
      null,
      [[RECIPIENT_PROTECTED, header, wrapped]],
    ]),
  );
};

const bytesAt = (value: CborValue | undefined, key: number): Uint8Array => {
  const found = value instanceof Map ? value.get(key) : undefined;
  if (found instanceof Uint8Array) return found;
  throw new TypeError('header parameter missing');
};

/**
 * Opens a wrapped content key with the recipient's private P-256 key.
 * @throws KiriError KEY_UNREADABLE where it is malformed, altered or for another key
 */
export const unwrapContentKey = (
  wrapped: Uint8Array,
  privateKey: KeyObject,
): { readonly kid: Uint8Array; readonly contentKey: Uint8Array } => {
  try {
    const decoded = decodeCanonical(wrapped, { maxBytes: MAX_WRAPPED_BYTES, tags: [TAG_ENCRYPT] });
    if (!decoded.ok || !(decoded.value instanceof Tagged))
      throw new TypeError('not a COSE_Encrypt');
    const [content, , , recipients] = decoded.value.value as CborValue[];
    const [recipientProtected, recipientHeader, ciphertext] = (
      recipients as CborValue[][]
    )[0] as CborValue[];
    const isKnown =
      Buffer.from(content as Uint8Array).equals(CONTENT_PROTECTED) &&
      Buffer.from(recipientProtected as Uint8Array).equals(RECIPIENT_PROTECTED);
    if (!isKnown) throw new TypeError('unknown algorithm');
    const coseKey = (recipientHeader as Map<number, CborValue>).get(-1);
    const ephemeral = importPoint(bytesAt(coseKey, -2), bytesAt(coseKey, -3));
    const decipher = createDecipheriv(
      'id-aes256-wrap',
      wrappingKey(privateKey, ephemeral),
      WRAP_IV,
    );
    const parts = [decipher.update(ciphertext as Uint8Array), decipher.final()];
    return { kid: contentKeyId(wrapped), contentKey: new Uint8Array(Buffer.concat(parts)) };
  } catch (error) {
    throw new KiriError('KEY_UNREADABLE', 'the wrapped content key cannot be opened', {
      cause: error,
    });
  }
};
