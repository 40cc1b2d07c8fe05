/** Keys and texts that the ledger's tests share. */
import { sha256 } from '@noble/hashes/sha2.js';
import { nobleSigner, nobleVerifier } from '../../../identity/core/noble-signatures.ts';
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import { logSigner, noteVerify, witnessSigner } from '../../../sync/ledger/core/note-ports.ts';
import {
  type Signer,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  type Verify,
  encodeVerifierKey,
  verifierKey,
} from '../../../sync/ledger/core/note-key.ts';
import { type Policy, parsePolicy } from '../../../sync/ledger/core/policy.ts';

export const ORIGIN = 'kiri.example/gw1/2026q4';

const seedOf = (name: string): Uint8Array => sha256(utf8ToBytes(`seed of ${name}`));

/** Real Ed25519 signers and verifier. */
export const realLog = (origin: string = ORIGIN): Signer =>
  logSigner(origin, nobleSigner(ALG_EDDSA, seedOf(origin)));
export const realWitness = (name: string): Signer =>
  witnessSigner(name, nobleSigner(ALG_EDDSA, seedOf(name)));
export const realVerify: Verify = noteVerify(nobleVerifier());

/** A stand-in for signatures in bulk tests: a hash over key and message, 64 bytes. */
const standIn = (publicKey: Uint8Array, message: Uint8Array): Uint8Array => {
  const half = sha256(concatBytes(publicKey, message));
  return concatBytes(half, half);
};
export const fakeVerify: Verify = (publicKey, message, signature) =>
  Buffer.from(standIn(publicKey, message)).equals(signature);
const fakeSigner = (name: string, type: typeof TYPE_ED25519 | typeof TYPE_COSIGNATURE): Signer => {
  const publicKey = seedOf(name);
  return {
    key: verifierKey(name, type, publicKey),
    sign: (message) => standIn(publicKey, message),
  };
};
export const fakeLog = (origin: string = ORIGIN): Signer => fakeSigner(origin, TYPE_ED25519);
export const fakeWitness = (name: string): Signer => fakeSigner(name, TYPE_COSIGNATURE);

/** A policy text with one log and the given witnesses; `rule` is what follows them. */
export const policyText = (log: Signer, witnesses: readonly Signer[], rule: string): string =>
  [
    `log ${encodeVerifierKey(log.key)}`,
    ...witnesses.map((one, at) => `witness w${at + 1} ${encodeVerifierKey(one.key)}`),
    rule,
    '',
  ].join('\n');

/** The parsed form of {@link policyText}; throws where it is wrong. */
export const policyOf = (log: Signer, witnesses: readonly Signer[], rule: string): Policy => {
  const policy = parsePolicy(utf8ToBytes(policyText(log, witnesses, rule)));
  if (!policy.ok) throw new Error(policy.reason);
  return policy.value;
};
