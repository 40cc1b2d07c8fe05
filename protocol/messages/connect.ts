import { bytesEqual } from '../bytes.ts';
import { COSE_KEY } from '../claims.ts';
import { decodeSign1, signSign1, verifySign1 } from '../cose.ts';
import { ID_BYTES } from '../ids.ts';
import type { PublicKey, Signer, Verifier } from '../public-key.ts';
import { accepted, refused, type Checked } from '../refusal.ts';
import { bytes, message, U32, type Codec } from '../schema.ts';
import { TYPE_CONNECT_TOKEN } from './types.ts';

const CONNECT_NONCE_BYTES = 16;

/**
 * MQTT password of a device: proof that it holds the key whose thumbprint is its client id, so
 * that an id cannot be taken over without the key. The key travels inside, because a gateway may
 * never have seen the device. MQTT 3.1.1 has no challenge: freshness is time and nonce.
 */
export interface ConnectToken {
  readonly approver: Uint8Array;
  readonly key: PublicKey;
  /** Seconds since 1970; 0 where the device does not know the time. */
  readonly timeS: number;
  readonly nonce: Uint8Array;
}

const CONNECT_TOKEN: Codec<ConnectToken> = message<ConnectToken>(TYPE_CONNECT_TOKEN, {
  approver: [1, bytes(ID_BYTES)],
  key: [2, COSE_KEY],
  timeS: [3, U32],
  nonce: [4, bytes(CONNECT_NONCE_BYTES)],
});

/** A fresh token for one connection; the client id is `signer.key.hex`, the user name the same. */
export function makeConnectToken(
  signer: Signer,
  token: { readonly approver: Uint8Array; readonly timeS: number; readonly nonce: Uint8Array },
): Uint8Array {
  return signSign1(signer, CONNECT_TOKEN.encode({ ...token, key: signer.key }));
}

/** Checks everything but freshness, which is the broker's to judge. */
export function checkConnectToken(
  verifier: Verifier,
  input: Uint8Array,
  expected: { readonly approver: Uint8Array; readonly clientHex: string },
): Checked<ConnectToken> {
  const sign1 = decodeSign1(input);
  if (!sign1.ok) return sign1;
  const token = CONNECT_TOKEN.decode(sign1.value.payload);
  if (!token.ok) return token;
  const { key, approver } = token.value;
  if (!bytesEqual(approver, expected.approver)) {
    return refused('WRONG_GATEWAY', 'the connect token is for another approver');
  }
  if (key.hex !== expected.clientHex) {
    return refused('CREDENTIAL_INVALID', 'the client id is not the thumbprint of the key');
  }
  return verifySign1(verifier, key, sign1.value)
    ? accepted(token.value)
    : refused('BAD_SIGNATURE', 'the connect token is not signed by its key');
}
