/**
 * Proof files (C2SP tlog-proof) for receipts of a log, made from its static files alone: no key is needed, the log's own
 * writer, a mirror and anybody with a copy make the same. The `extra` line carries the payload record, from which the
 * entry follows; it opens to nobody but the issuer and the party.
 */
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { HASH_BYTES, type Sha256 } from './core/merkle.ts';
import type { Verify } from './core/note-key.ts';
import type { FinalityRules } from './core/policy-book.ts';
import { encodeProof, verifyProof } from './core/proof.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { inclusionProof, readCheckpoint, readPayloads } from './log-folder.ts';
import type { LogSource } from './log-source.ts';
import { leafOfRecord } from './payload-record.ts';

/** Receipts of one call; a settlement's proof is a range, not one file per receipt. */
const MAX_PROVEN = 100_000;

/** What the proofs are made under. */
export interface ProvingPorts {
  readonly policy: FinalityRules;
  readonly verify: Verify;
  readonly hash?: Sha256;
}

/**
 * Proof files by the hex SHA-256 of the Receipt's payload; a receipt that is not under the published checkpoint has none.
 * Every proof is verified before it is given. Reads every payload bundle of the log once.
 * @param receipts hex SHA-256 of Receipt payloads
 * @throws KiriError LOG_NOT_FINAL where the published checkpoint does not meet the policy, LOG_*, and what the source throws
 */
export const proveReceipts = async (
  source: LogSource,
  receipts: ReadonlySet<string>,
  { policy, verify, hash }: ProvingPorts,
): Promise<ReadonlyMap<string, Uint8Array>> => {
  if (receipts.size > MAX_PROVEN) {
    throw new RangeError(`more than ${MAX_PROVEN} receipts at once`);
  }
  const checkpoint = await readCheckpoint(source);
  if (checkpoint === undefined) {
    throw new KiriError('LOG_NOT_FINAL', `${source.place}: no checkpoint is there`);
  }
  const head = verifyFinalCheckpoint(checkpoint, policy, verify);
  if (!head.ok) throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${head.reason}`);
  const { size } = head.value;
  const proofs = new Map<string, Uint8Array>();
  for (let bundle = 0; bundle * TILE_WIDTH < size && proofs.size < receipts.size; bundle += 1) {
    for (const [at, record] of (await readPayloads(source, bundle, size)).entries()) {
      const name = toHex(record.subarray(0, HASH_BYTES));
      const entry = receipts.has(name) ? leafOfRecord(record, hash) : undefined;
      if (entry === undefined || proofs.has(name)) continue;
      const index = bundle * TILE_WIDTH + at;
      const path = await inclusionProof(source, index, size, hash);
      const proof = encodeProof({ index, path, checkpoint, extra: record });
      const proven = verifyProof(proof, entry, policy, verify, hash);
      if (!proven.ok) throw new KiriError('LOG_CORRUPT', `entry ${index}: ${proven.reason}`);
      proofs.set(name, proof);
    }
  }
  return proofs;
};
