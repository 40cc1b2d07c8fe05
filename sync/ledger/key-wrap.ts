/**
 * A content key wrapped to the issuer and, where it has a key for that, the liable party: COSE_Encrypt (RFC 9052 section
 * 5.1) with detached content and one or two recipients, each ECDH-ES + A256KW over P-256 (RFC 9053 section 6.4, algorithm
 * −31). The content that the key opens are the payload records.
 *
 * The issuer's recipient carries its key id; it is the same in every file and says nothing. The party's carries none: an
 * id there would stand in the clear and tie together what a party pays from month to month and place to place. A party
 * finds its own files by trying; the key wrap's integrity check says which open.
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
/** Issuer and party. */
const MAX_RECIPIENTS = 2;

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

/** One recipient: an ephemeral key of its own, and the content key under what the two agree on. */
const recipientOf = (contentKey: Uint8Array, to: PublicKey, isNamed: boolean): CborValue => {
  const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = ephemeral.publicKey.export({ format: 'jwk' });
  const other = importPoint(to.point.subarray(0, 32), to.point.subarray(32));
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
  const header = new Map<number, CborValue>([[-1, coseKey]]);
  if (isNamed) header.set(4, to.id);
  return [RECIPIENT_PROTECTED, header, wrapped];
};

/**
 * Wraps a content key.
 * @param issuer a P-256 key; its id stands in its recipient's header
 * @param party the party's P-256 key, where its credential names one; its id stands nowhere
 */
export const wrapContentKey = (
  contentKey: Uint8Array,
  issuer: PublicKey,
  party?: PublicKey,
): Uint8Array => {
  const recipients = [recipientOf(contentKey, issuer, true)];
  if (party !== undefined) recipients.push(recipientOf(contentKey, party, false));
  return encodeCanonical(
    new Tagged(TAG_ENCRYPT, [CONTENT_PROTECTED, new Map<number, CborValue>(), null, recipients]),
  );
};

interface Recipient {
  readonly ephemeral: { readonly x: Uint8Array; readonly y: Uint8Array };
  readonly wrapped: Uint8Array;
}

const bytesAt = (value: CborValue | undefined, key: number): Uint8Array => {
  const found = value instanceof Map ? value.get(key) : undefined;
  if (found instanceof Uint8Array) return found;
  throw new TypeError('header parameter missing');
};

const isBytes = (value: CborValue | undefined, expected: Uint8Array): boolean =>
  value instanceof Uint8Array && Buffer.from(value).equals(expected);

const parseRecipient = (row: CborValue): Recipient => {
  if (!Array.isArray(row) || row.length !== 3) throw new TypeError('not a recipient');
  const [headerBytes, header, wrapped] = row;
  if (!isBytes(headerBytes, RECIPIENT_PROTECTED)) throw new TypeError('unknown algorithm');
  if (!(header instanceof Map) || !(wrapped instanceof Uint8Array)) throw new TypeError('no key');
  const coseKey = header.get(-1);
  const ephemeral = { x: bytesAt(coseKey, -2), y: bytesAt(coseKey, -3) };
  return { ephemeral, wrapped };
};

/** @throws TypeError where it is no wrapped content key */
const parseWrapped = (wrapped: Uint8Array): readonly Recipient[] => {
  const decoded = decodeCanonical(wrapped, { maxBytes: MAX_WRAPPED_BYTES, tags: [TAG_ENCRYPT] });
  const parts = decoded.ok && decoded.value instanceof Tagged ? decoded.value.value : undefined;
  if (!Array.isArray(parts) || parts.length !== 4) throw new TypeError('not a COSE_Encrypt');
  const [content, , , recipients] = parts;
  if (!isBytes(content, CONTENT_PROTECTED)) throw new TypeError('unknown algorithm');
  if (!Array.isArray(recipients) || recipients.length === 0 || recipients.length > MAX_RECIPIENTS) {
    throw new TypeError('not one or two recipients');
  }
  return recipients.map(parseRecipient);
};

/** How many can open a wrapped content key: 1 the issuer alone, 2 the party too; undefined where it is malformed. */
export const recipientCount = (wrapped: Uint8Array): number | undefined => {
  try {
    return parseWrapped(wrapped).length;
  } catch {
    return undefined;
  }
};

const openRecipient = (recipient: Recipient, privateKey: KeyObject): Uint8Array => {
  const { x, y } = recipient.ephemeral;
  const key = wrappingKey(privateKey, importPoint(x, y));
  const decipher = createDecipheriv('id-aes256-wrap', key, WRAP_IV);
  const parts = [decipher.update(recipient.wrapped), decipher.final()];
  return new Uint8Array(Buffer.concat(parts));
};

/**
 * Opens a wrapped content key with a recipient's private P-256 key: the issuer's or the party's.
 * @throws KiriError KEY_UNREADABLE where it is malformed, altered or for other keys
 */
export const unwrapContentKey = (
  wrapped: Uint8Array,
  privateKey: KeyObject,
): { readonly kid: Uint8Array; readonly contentKey: Uint8Array } => {
  let cause: unknown;
  try {
    for (const recipient of parseWrapped(wrapped)) {
      try {
        const contentKey = openRecipient(recipient, privateKey);
        return { kid: contentKeyId(wrapped), contentKey };
      } catch (error) {
        cause = error;
      }
    }
  } catch (error) {
    cause = error;
  }
  throw new KiriError('KEY_UNREADABLE', 'the wrapped content key cannot be opened', { cause });
};
