import { decodeSign1, verifySign1, type Sign1 } from '../../protocol/cose.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';

/** A COSE_Sign1 message taken apart. The signature is checked apart, when its key is known. */
export interface SignedMessage<T> {
  readonly value: T;
  readonly sign1: Sign1;
}

/** What messages and documents share: the payload's decoder. */
interface PayloadReader<T> {
  decode(payload: Uint8Array): Checked<T>;
}

export function readSigned<T>(
  codec: PayloadReader<T>,
  cose: Uint8Array,
): Checked<SignedMessage<T>> {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return sign1;
  const value = codec.decode(sign1.value.payload);
  return value.ok ? accepted({ value: value.value, sign1: sign1.value }) : value;
}

export function checkSignature(
  verifier: Verifier,
  key: PublicKey,
  message: SignedMessage<unknown>,
  whose: string,
): Checked<true> {
  return verifySign1(verifier, key, message.sign1)
    ? accepted(true)
    : refused('BAD_SIGNATURE', `the signature of the ${whose} does not verify`);
}
