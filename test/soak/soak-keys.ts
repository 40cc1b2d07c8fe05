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
/** By its name in the policy: w1 to w4, and m1, which is the mirror. */
export const witnessOf = (name: string): Signer =>
  witnessSigner(`${name}.example/soak`, keyOf(name));
export const MIRROR_NAME = 'm1';
export const verifyNow: Verify = noteVerify(nodeVerifier());

/** `pair`: one witness and the mirror, both needed. `full`: 3 of 4 witnesses and the mirror (DESIGN section 5). */
export type Shape = 'pair' | 'full';

/** Processes that are killed: `witnesses` is one process that holds three. */
export type Role = 'writer' | 'mirror' | 'witness' | 'witnesses';

/** Which witnesses each process holds. */
export const HELD: Readonly<Record<Shape, Readonly<Partial<Record<Role, readonly string[]>>>>> = {
  pair: { writer: [], mirror: [MIRROR_NAME], witness: ['w1'] },
  full: {
    writer: [],
    mirror: [MIRROR_NAME],
    witness: ['w4'],
    witnesses: ['w1', 'w2', 'w3'],
  },
};

const GROUPS: Readonly<Record<Shape, string>> = {
  pair: 'group Q all m1 w1',
  full: 'group W 3 w1 w2 w3 w4\ngroup Q all m1 W',
};

export const policyOf = (shape: Shape): string =>
  [
    `log ${encodeVerifierKey(LOG.key)}`,
    ...Object.values(HELD[shape])
      .flat()
      .map((name) => `witness ${name} ${encodeVerifierKey(witnessOf(name).key)}`),
    GROUPS[shape],
    'quorum Q',
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

/** What a process is told, as JSON on its command line. */
export interface SoakTask {
  readonly role: Role;
  readonly shape: Shape;
  /** Of this rig: journal, log, witnesses and mirror stand below it. */
  readonly base: string;
  /** The issuer's P-256 public key for content keys, hex of x ‖ y. */
  readonly issuer: string;
  /** Addresses by witness name, the same however often their processes die. */
  readonly urls: Readonly<Record<string, string>>;
  /** The log's static files. */
  readonly logUrl: string;
}
