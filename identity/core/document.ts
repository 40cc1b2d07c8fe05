import { bytesEqual } from '../../protocol/bytes.ts';
import type { ClaimsCodec, Issued } from '../../protocol/claims.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';

/** A document whose signature holds. */
export interface Opened<T> {
  readonly value: T;
  /** SHA-256 of the payload: the document's identity. */
  readonly hash: Uint8Array;
  /** The COSE bytes as they came. */
  readonly cose: Uint8Array;
}

/** Encodes and reads back, so that nothing is signed that a reader would refuse. */
export function documentPayload<T>(codec: ClaimsCodec<T>, value: T): Uint8Array {
  const payload = codec.encode(value);
  const read = codec.decode(payload);
  if (!read.ok) throw new KiriError('DOCUMENT_INVALID', `${codec.typ}: ${read.reason}`);
  return payload;
}

/**
 * Signs a document; its issuer is the signer.
 * @throws KiriError DOCUMENT_INVALID, FIELD_MISSING, FIELD_OUT_OF_RANGE on a caller's bad value
 */
export function signDocument<T extends Issued>(
  codec: ClaimsCodec<T>,
  signer: Signer,
  facts: Omit<T, 'issuer'>,
): Uint8Array {
  const payload = documentPayload(codec, { ...facts, issuer: signer.key.id } as unknown as T);
  return signSign1(signer, payload, { kid: signer.key.id, typ: codec.typ });
}

/** Refuses with CREDENTIAL_INVALID and says which document failed and why. */
export function invalid(typ: string, why: string): ReturnType<typeof refused> {
  return refused('CREDENTIAL_INVALID', `${typ}: ${why}`);
}

/** Checks type, signer and signature over the received bytes, then reads the claims. */
export function openDocument<T extends Issued>(
  verifier: Verifier,
  key: PublicKey,
  codec: ClaimsCodec<T>,
  cose: Uint8Array,
): Checked<Opened<T>> {
  const message = decodeSign1(cose);
  if (!message.ok) return invalid(codec.typ, message.reason);
  const { header, payload } = message.value;
  if (header.typ !== codec.typ) return invalid(codec.typ, `typ is ${header.typ ?? 'missing'}`);
  if (!header.kid || !bytesEqual(header.kid, key.id)) {
    return invalid(codec.typ, `not signed by key ${key.hex}`);
  }
  if (!verifySign1(verifier, key, message.value)) {
    return invalid(codec.typ, `signature does not fit key ${key.hex}`);
  }
  const value = codec.decode(payload);
  if (!value.ok) return invalid(codec.typ, value.reason);
  if (!bytesEqual(value.value.issuer, key.id)) return invalid(codec.typ, 'iss is not the signer');
  return accepted({ value: value.value, hash: payloadHash(payload), cose });
}
