/** Adapts the project's one signature rule (protocol/public-key.ts) to notes, so that the log knows no other. */
import { ALG_EDDSA, type PublicKey, publicKey } from '../../../protocol/public-key.ts';
import type { Signer as KeySigner, Verifier } from '../../../protocol/public-key.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import {
  type Signer,
  type Verify,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  verifierKey,
} from './note-key.ts';

/** Keys remembered in their imported form; a policy holds fewer. */
const MAX_REMEMBERED_KEYS = 512;

/** Where a key is looked for: found only if all of it is equal, so two keys may share their place, one at a time. */
const firstWord = (point: Uint8Array): number =>
  (point[0]! << 24) | (point[1]! << 16) | (point[2]! << 8) | point[3]!;

/** A note verifier on top of the project's verifier. */
export const noteVerify = (verifier: Verifier): Verify => {
  const known = new Map<number, PublicKey>();
  const keyOf = (point: Uint8Array): PublicKey | undefined => {
    const place = firstWord(point);
    const held = known.get(place);
    if (held !== undefined && bytesEqual(held.point, point)) return held;
    const key = publicKey(ALG_EDDSA, point);
    if (key === undefined) return undefined;
    if (known.size >= MAX_REMEMBERED_KEYS) known.clear();
    known.set(place, key);
    return key;
  };
  return (point, message, signature) => {
    const key = keyOf(point);
    return key !== undefined && verifier.verify(key, message, signature);
  };
};

const noteSigner = (
  name: string,
  type: typeof TYPE_ED25519 | typeof TYPE_COSIGNATURE,
  signer: KeySigner,
): Signer => {
  invariant(signer.key.alg === ALG_EDDSA, 'logs and witnesses sign with Ed25519');
  return {
    key: verifierKey(name, type, signer.key.point),
    sign: (message) => signer.sign(message),
  };
};

/** The log's signer: its name is the origin (tlog-checkpoint). */
export const logSigner = (origin: string, signer: KeySigner): Signer =>
  noteSigner(origin, TYPE_ED25519, signer);

/** A witness's signer. Its key must serve nothing else (tlog-cosignature). */
export const witnessSigner = (name: string, signer: KeySigner): Signer =>
  noteSigner(name, TYPE_COSIGNATURE, signer);
