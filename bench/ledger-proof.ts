import { createPublicKey, generateKeyPairSync, sign, verify, hash } from 'node:crypto';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
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

const ORIGIN = 'gw1.kiri.example/2026q4';
const SIZES = [10_000, 1_000_000];
const ENTRY_BYTES = 33;
/** A payload record of an ordinary payment: hash, headers, ciphertext. */
const RECORD_BYTES = 620;
/** The log, four witnesses and a mirror. */
const WITNESSES = 5;
/** Proof check as a multiple of its own signatures and hashes (issue: figures of the ledger). */
const CHECK_GOAL = 1.2;
/** Checks per round of a measurement. */
const CHECKS = 200;

const sha256: Sha256 = (bytes) => new Uint8Array(hash('sha256', bytes, 'buffer'));

const newSigner = (): ReturnType<typeof nodeSigner> =>
  nodeSigner(generateKeyPairSync('ed25519').privateKey);

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
  const lines = witnesses.map((witness) => cosign(text, witness, 1_790_000_000)).join('');
  const checkpoint = Buffer.from(signNote(text, log) + lines);
  const proof = encodeProof({ index, path, checkpoint, extra: record });
  return { proof, entry, path: path.length };
}

/** What no check can do without: its signatures over messages of that length, and its hashes, called directly. */
function floorOf(path: number): (count: number) => void {
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = createPublicKey(privateKey);
  const message = new Uint8Array(120);
  const signature = sign(null, message, privateKey);
  const leaf = new Uint8Array(1 + ENTRY_BYTES);
  const node = new Uint8Array(65);
  return (count) => {
    for (let n = 0; n < count; n += 1) {
      for (let s = 0; s <= WITNESSES; s += 1) {
        if (!verify(null, message, key, signature)) throw new Error('bad signature');
      }
      sha256(leaf);
      for (let h = 0; h < path; h += 1) sha256(node);
    }
  };
}

/** Size of a proof file and cost of checking it, at two log sizes. */
export function measureLedgerProof(rounds: number): readonly Figure[] {
  const figure = section('Inclusion proofs (log, 4 witnesses, 1 mirror)');
  const log = logSigner(ORIGIN, newSigner());
  const witnesses = Array.from({ length: WITNESSES }, (_, at) =>
    witnessSigner(`witness-${at + 1}.example`, newSigner()),
  );
  const names = witnesses.map((_, at) => `w${at + 1}`);
  const text = [
    `log ${encodeVerifierKey(log.key)}`,
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
    const { proof, entry, path } = makeProof(size, log, witnesses, new Uint8Array(RECORD_BYTES));
    const floor = floorOf(path);
    const whole = (count: number): void => {
      for (let n = 0; n < count; n += 1) {
        const proven = verifyProof(proof, entry, policy.value, check, sha256);
        if (!proven.ok) throw new Error(proven.reason);
      }
    };
    const ratios: number[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const started = cpuMicros();
      floor(CHECKS);
      const between = cpuMicros();
      whole(CHECKS);
      if (round > 0) ratios.push((cpuMicros() - between) / (between - started));
    }
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
