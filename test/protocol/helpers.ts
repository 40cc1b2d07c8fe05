import {
  createPrivateKey,
  createPublicKey,
  sign as nodeSign,
  verify as nodeVerify,
} from 'node:crypto';
import {
  publicKey,
  ALG_EDDSA,
  type PublicKey,
  type Signer,
  type Verifier,
} from '../../protocol/public-key.ts';

/** Ed25519 on node:crypto from a one-byte seed: enough for codec tests, independent of identity/. */
export function testSigner(seed: number): Signer {
  const pkcs8 = Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.alloc(32, seed),
  ]);
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  const own = publicKey(ALG_EDDSA, new Uint8Array(Buffer.from(jwk.x!, 'base64url')))!;
  return { key: own, sign: (message) => new Uint8Array(nodeSign(null, message, key)) };
}

export const testVerifier: Verifier = {
  verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key.point).toString('base64url') };
    return nodeVerify(null, message, createPublicKey({ key: jwk, format: 'jwk' }), signature);
  },
};

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
export const fill = (length: number, value: number): Uint8Array =>
  new Uint8Array(length).fill(value);
