/** COSE_Sign1 (RFC 9052) with EdDSA over Ed25519, and the thumbprint of a key (RFC 9679). */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { bytesAt, decodeCbor, encodeCbor, entry, Tagged, type Cbor } from './cbor.ts';

export const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** The 32 bytes of a public Ed25519 key out of a COSE_Key file. */
export const readCoseKey = (bytes: Uint8Array): Uint8Array => {
  const key = decodeCbor(bytes);
  if (entry(key, 1) !== 1n || entry(key, -1) !== 6n) throw new Error('not an Ed25519 key');
  return bytesAt(key, -2);
};

/** First 16 bytes of the SHA-256 thumbprint: kty 1, crv -1 and x -2 only. */
export const keyId = (publicKey: Uint8Array): Buffer =>
  sha256(
    encodeCbor(
      new Map<bigint, Cbor>([
        [1n, 1n],
        [-1n, 6n],
        [-2n, publicKey],
      ]),
    ),
  ).subarray(0, 16);

const toSign = (protectedHeader: Uint8Array, payload: Uint8Array): Buffer =>
  encodeCbor(['Signature1', protectedHeader, new Uint8Array(), payload]);

const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex');

const keyObject = (publicKey: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([SPKI_ED25519, publicKey]), format: 'der', type: 'spki' });

/** The payload of `document` if `publicKey` signed it as `type`. */
export const openSigned = (document: Uint8Array, publicKey: Uint8Array, type: string): Cbor => {
  const outer = decodeCbor(document);
  if (!(outer instanceof Tagged) || outer.tag !== 18n || !Array.isArray(outer.value))
    throw new Error('not a COSE_Sign1');
  const [header, unprotectedHeader, payload, signature, ...rest] = outer.value as Cbor[];
  if (
    !(header instanceof Uint8Array) ||
    !(unprotectedHeader instanceof Map) ||
    !(payload instanceof Uint8Array) ||
    !(signature instanceof Uint8Array) ||
    unprotectedHeader.size !== 0 ||
    rest.length > 0
  )
    throw new Error('not the four parts of a COSE_Sign1');
  const fields = decodeCbor(header);
  if (entry(fields, 1) !== -8n) throw new Error('alg is not EdDSA');
  if (entry(fields, 16) !== type) throw new Error(`typ is not ${type}`);
  if (!keyId(publicKey).equals(bytesAt(fields, 4))) throw new Error('kid names another key');
  if (!verify(null, toSign(header, payload), keyObject(publicKey), signature))
    throw new Error('the signature does not hold');
  return decodeCbor(payload);
};

/** @param sign Ed25519 with the secret key that belongs to `publicKey` */
export const signDocument = (
  sign: (bytes: Uint8Array) => Uint8Array,
  publicKey: Uint8Array,
  type: string,
  payload: Cbor,
): Buffer => {
  const header = encodeCbor(
    new Map<bigint, Cbor>([
      [1n, -8n],
      [4n, keyId(publicKey)],
      [16n, type],
    ]),
  );
  const body = encodeCbor(payload);
  const signature = sign(toSign(header, body));
  return encodeCbor(new Tagged(18n, [header, new Map<bigint, Cbor>(), body, signature]));
};
