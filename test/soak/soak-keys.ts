/** Keys, names and journal records that the processes of the soak share; few imports, since it starts them by the thousand. */
import { createHash, createPrivateKey } from 'node:crypto';
import { nodeSigner, nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { logSigner, noteVerify, witnessSigner } from '../../sync/ledger/core/note-ports.ts';
import { type Signer, type Verify, encodeVerifierKey } from '../../sync/ledger/core/note-key.ts';
import type { EntrySource } from '../../sync/ledger/ledger-types.ts';

export const ORIGIN = 'kiri.example/soak/2026q4';

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

const sha256 = (bytes: Uint8Array | string): Buffer => createHash('sha256').update(bytes).digest();

const keyOf = (name: string): ReturnType<typeof nodeSigner> => {
  const der = Buffer.concat([PKCS8_ED25519, sha256(`soak ${name}`)]);
  return nodeSigner(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
};

export const LOG: Signer = logSigner(ORIGIN, keyOf('log'));
export const WITNESS: Signer = witnessSigner('witness.example/soak', keyOf('witness'));
export const MIRROR: Signer = witnessSigner('mirror.example/soak', keyOf('mirror'));
export const verifyNow: Verify = noteVerify(nodeVerifier());

/** Both must have signed. */
export const POLICY: string = [
  `log ${encodeVerifierKey(LOG.key)}`,
  `witness w1 ${encodeVerifierKey(WITNESS.key)}`,
  `witness m1 ${encodeVerifierKey(MIRROR.key)}`,
  'group both all w1 m1',
  'quorum both',
  '',
].join('\n');

/** Every journal record becomes one entry. */
export const source: EntrySource = (record) => [
  {
    receiptPayloadHash: new Uint8Array(sha256(record)),
    payloadPlain: record,
    partyRef: Uint8Array.of(1),
    acceptedAtMs: 0,
  },
];

export type Role = 'writer' | 'witness' | 'mirror';

/** What a process is told, as JSON on its command line. */
export interface SoakTask {
  readonly role: Role;
  /** Of this rig: journal, log, witness and mirror stand below it. */
  readonly base: string;
  /** The issuer's P-256 public key for content keys, hex of x ‖ y. */
  readonly issuer: string;
  /** Addresses that stay the same however often their processes die. */
  readonly witnessUrl: string;
  readonly mirrorUrl: string;
  readonly logUrl: string;
}
