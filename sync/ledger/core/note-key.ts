/** Key encodings of C2SP signed-note (v1.0.0): verifier keys (vkey), signer keys (skey), key ids. */
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { type Outcome, bad, decodeBase64, encodeBase64, ok } from './text.ts';

/** Ed25519 over the note text: what a log signs with. */
export const TYPE_ED25519 = 0x01;
/** Timestamped Ed25519 cosignature (tlog-cosignature, `cosignature/v1`): what a witness signs with. */
export const TYPE_COSIGNATURE = 0x04;

type KeyType = typeof TYPE_ED25519 | typeof TYPE_COSIGNATURE;

/** Verifies an Ed25519 signature; must answer false, never throw, on any bytes. */
export type Verify = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean;

/** Signs with the holder's Ed25519 key: 64 bytes. */
type Sign = (message: Uint8Array) => Uint8Array;

/** A public key as notes know it. */
export interface VerifierKey {
  readonly name: string;
  readonly type: KeyType;
  /** 4 bytes. */
  readonly keyId: Uint8Array;
  /** 32 bytes, RFC 8032. */
  readonly publicKey: Uint8Array;
}

/** A private key as notes know it: the 32-byte seed of RFC 8032. */
export interface SignerKey {
  readonly name: string;
  readonly type: KeyType;
  readonly seed: Uint8Array;
}

/** Who signs a note: the key's public half and a signing function. */
export interface Signer {
  readonly key: VerifierKey;
  readonly sign: Sign;
}

const KEY_BYTES = 32;
const MAX_KEY_TEXT = 1024;
const PRIVATE_PREFIX = 'PRIVATE+KEY+';

/** Key names are non-empty, without Unicode spaces, plus signs or control characters. */
export const isKeyName = (name: string): boolean =>
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  name.length > 0 && !/[\p{White_Space}\p{Cs}+\u0000-\u001f]/u.test(name);

const keyIdOf = (name: string, type: number, publicKey: Uint8Array): Uint8Array =>
  sha256(concatBytes(utf8ToBytes(`${name}\n`), Uint8Array.of(type), publicKey)).slice(0, 4);

/** Makes the note form of a public key. Throws on a name that no note can carry: a caller's bug. */
export const verifierKey = (name: string, type: KeyType, publicKey: Uint8Array): VerifierKey => {
  if (!isKeyName(name) || publicKey.length !== KEY_BYTES) throw new RangeError('not a note key');
  return { name, type, keyId: keyIdOf(name, type, publicKey), publicKey };
};

/** `<name>+<8 hex digits>+<base64(type ‖ public key)>`. */
export const encodeVerifierKey = (key: VerifierKey): string =>
  `${key.name}+${toHex(key.keyId)}+${encodeBase64(concatBytes(Uint8Array.of(key.type), key.publicKey))}`;

/** `PRIVATE+KEY+<name>+<8 hex digits>+<base64(type ‖ seed)>`; a secret. */
export const encodeSignerKey = (signer: SignerKey, publicKey: Uint8Array): string => {
  const { keyId } = verifierKey(signer.name, signer.type, publicKey);
  const body = encodeBase64(concatBytes(Uint8Array.of(signer.type), signer.seed));
  return `${PRIVATE_PREFIX}${signer.name}+${toHex(keyId)}+${body}`;
};

interface KeyText {
  readonly name: string;
  readonly keyId: string;
  readonly type: KeyType;
  readonly body: Uint8Array;
}

const splitKey = (text: string): KeyText | undefined => {
  if (text.length > MAX_KEY_TEXT) return undefined;
  const parts = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/u.exec(text);
  const bytes = decodeBase64(parts?.[3] ?? '');
  const [name, keyId, type] = [parts?.[1] ?? '', parts?.[2] ?? '', bytes?.[0]];
  if (!isKeyName(name) || bytes === undefined || bytes.length !== 1 + KEY_BYTES) return undefined;
  if (type !== TYPE_ED25519 && type !== TYPE_COSIGNATURE) return undefined;
  return { name, keyId, type, body: bytes.slice(1) };
};

/** Reads a vkey; the key id must be the hash that signed-note recommends (Go's `note` insists on it too). */
export const parseVerifierKey = (text: string): Outcome<VerifierKey> => {
  const parts = splitKey(text);
  if (parts === undefined) return bad('malformed verifier key');
  const key = verifierKey(parts.name, parts.type, parts.body);
  return toHex(key.keyId) === parts.keyId ? ok(key) : bad('verifier key id does not match');
};

/**
 * Reads an skey.
 * @param publicKeyOf derives the Ed25519 public key of a seed, to check the key id
 */
export const parseSignerKey = (
  text: string,
  publicKeyOf: (seed: Uint8Array) => Uint8Array,
): Outcome<SignerKey> => {
  if (!text.startsWith(PRIVATE_PREFIX)) return bad('malformed signer key');
  const parts = splitKey(text.slice(PRIVATE_PREFIX.length));
  if (parts === undefined) return bad('malformed signer key');
  const key = verifierKey(parts.name, parts.type, publicKeyOf(parts.body));
  return toHex(key.keyId) === parts.keyId
    ? ok({ name: parts.name, type: parts.type, seed: parts.body })
    : bad('signer key id does not match');
};
