import { generateKeyPairSync, hash, verify, type KeyObject } from 'node:crypto';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import type { Signer as KeySigner } from '../protocol/public-key.ts';
import { encodeCheckpoint } from '../sync/ledger/core/checkpoint.ts';
import { cosign } from '../sync/ledger/core/cosignature.ts';
import { leafHash, nodeHash, type Sha256 } from '../sync/ledger/core/merkle.ts';
import { encodeVerifierKey, type Signer } from '../sync/ledger/core/note-key.ts';
import { logSigner, noteVerify, witnessSigner } from '../sync/ledger/core/note-ports.ts';
import { signNote } from '../sync/ledger/core/note.ts';
import { parsePolicy } from '../sync/ledger/core/policy.ts';
import { encodeProof, verifyProof } from '../sync/ledger/core/proof.ts';
import { section, type Figure } from './figure.ts';
import { cpuMicros, quantile } from './measure.ts';

/** What the policy's log line names: the prefix of the gateway's shards. */
const PREFIX = 'gw1.kiri.example';
const ORIGIN = `${PREFIX}/2026q4`;
const SIZES = [10_000, 1_000_000];
const ENTRY_BYTES = 33;
/** A payload record of an ordinary payment: hash, headers, ciphertext. */
const RECORD_BYTES = 620;
/** The log, four witnesses and a mirror. */
const WITNESSES = 5;
/** Proof check as a multiple of its own signatures and hashes (issue: figures of the ledger). */
const CHECK_GOAL = 1.2;
/** Checks per round of a measurement, taken in turn with the floor a few at a time: load then meets both alike. */
const CHECKS = 200;
const TURN = 5;

const sha256: Sha256 = (bytes) => new Uint8Array(hash('sha256', bytes, 'buffer'));

interface Signed {
  readonly key: KeyObject;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** A new signer that keeps what it signed. */
function recordingSigner(signed: Signed[]): KeySigner {
  const { privateKey, publicKey: key } = generateKeyPairSync('ed25519');
  const signer = nodeSigner(privateKey);
  const sign = (message: Uint8Array): Uint8Array => {
    const signature = signer.sign(message);
    signed.push({ key, message, signature });
    return signature;
  };
  return { key: signer.key, sign };
}

interface MadeProof {
  readonly proof: Uint8Array;
  readonly entry: Uint8Array;
  readonly path: number;
}

/** A proof of the middle entry of a tree whose other subtrees are any hashes: as long and as dear as a real one. */
function makeProof(
  size: number,
  log: Signer,
  witnesses: readonly Signer[],
  record: Uint8Array,
): MadeProof {
  const entry = new Uint8Array(ENTRY_BYTES).fill(1);
  const path: Uint8Array[] = [];
  let root = leafHash(entry, sha256);
  const index = Math.floor(size / 2);
  let [at, last] = [index, size - 1];
  while (last > 0) {
    if (at % 2 === 1 || at < last) {
      const sibling = sha256(Uint8Array.of(path.length));
      path.push(sibling);
      root = at % 2 === 1 ? nodeHash(sibling, root, sha256) : nodeHash(root, sibling, sha256);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  const text = encodeCheckpoint({ origin: ORIGIN, size, root });
  const lines = witnesses.map((witness, n) => cosign(text, witness, 1_790_000_000 + n)).join('');
  const checkpoint = Buffer.from(signNote(text, log) + lines);
  const proof = encodeProof({ index, path, checkpoint, extra: record });
  return { proof, entry, path: path.length };
}

/**
 * What no check can do without, called directly: the proof's own signatures with keys that are already imported, and as
 * many hashes of as many bytes, by the same implementations.
 */
function floorOf(signed: readonly Signed[], path: number): () => void {
  const leaf = new Uint8Array(1 + ENTRY_BYTES);
  const node = new Uint8Array(65);
  return () => {
    for (const { key, message, signature } of signed) {
      if (!verify(null, message, key, signature)) throw new Error('bad signature');
    }
    sha256(leaf);
    for (let h = 0; h < path; h += 1) sha256(node);
  };
}

/** CPU of `whole` by that of `floor`: they take turns of a few calls, and who begins changes. */
function ratioInTurn(whole: () => void, floor: () => void): number {
  const taken = { whole: 0, floor: 0 };
  const turn = (which: 'whole' | 'floor'): void => {
    const task = which === 'whole' ? whole : floor;
    const before = cpuMicros();
    for (let n = 0; n < TURN; n += 1) task();
    taken[which] += cpuMicros() - before;
  };
  for (let done = 0; done < CHECKS; done += 2 * TURN) {
    for (const which of ['floor', 'whole', 'whole', 'floor'] as const) turn(which);
  }
  return taken.whole / taken.floor;
}

/** Size of a proof file and cost of checking it, at two log sizes. */
export function measureLedgerProof(rounds: number): readonly Figure[] {
  const figure = section('Inclusion proofs (log, 4 witnesses, 1 mirror)');
  const signed: Signed[] = [];
  const logKey = recordingSigner(signed);
  const witnesses = Array.from({ length: WITNESSES }, (_, at) =>
    witnessSigner(`witness-${at + 1}.example`, recordingSigner(signed)),
  );
  const names = witnesses.map((_, at) => `w${at + 1}`);
  const text = [
    `log ${encodeVerifierKey(logSigner(PREFIX, logKey).key)}`,
    ...witnesses.map((one, at) => `witness ${names[at]} ${encodeVerifierKey(one.key)}`),
    `group all all ${names.join(' ')}`,
    'quorum all',
    '',
  ].join('\n');
  const policy = parsePolicy(Buffer.from(text));
  if (!policy.ok) throw new Error(policy.reason);
  const check = noteVerify(nodeVerifier());
  const figures: Figure[] = [];
  for (const size of SIZES) {
    const log = logSigner(ORIGIN, logKey);
    const { proof, entry, path } = makeProof(size, log, witnesses, new Uint8Array(RECORD_BYTES));
    const floor = floorOf(signed.splice(0), path);
    const whole = (): void => {
      const proven = verifyProof(proof, entry, policy.value, check, sha256);
      if (!proven.ok) throw new Error(proven.reason);
    };
    ratioInTurn(whole, floor); // compiled before it counts
    const ratios = Array.from({ length: rounds }, () => ratioInTurn(whole, floor));
    const name = size.toLocaleString('en');
    const extra = Math.ceil(RECORD_BYTES / 3) * 4 + 'extra \n'.length;
    figures.push(
      figure(`proof at ${name} entries, with its payload record`, proof.length, 'B'),
      figure('  without the record', proof.length - extra, 'B'),
      figure(`  of it the path (${path} hashes)`, path * 45, 'B'),
      figure('check ÷ (its signatures + hashes)', quantile(ratios, 0.5), '×', CHECK_GOAL),
    );
  }
  return figures;
}
