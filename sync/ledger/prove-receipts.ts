/**
 * Proof files (C2SP tlog-proof) for receipts of a log, made from its static files alone: no key is needed, the log's own
 * writer, a mirror and anybody with a copy make the same. The `extra` line carries the payload record, from which the
 * entry follows; it opens to nobody but the issuer and the party.
 */
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { type FinalHead, verifyFinalCheckpoint } from './core/final-checkpoint.ts';
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

/** A wanted receipt's place in a log. */
interface FoundReceipt {
  /** Hex SHA-256 of the Receipt's payload. */
  readonly name: string;
  readonly index: number;
  readonly record: Uint8Array;
  readonly entry: Uint8Array;
}

/**
 * The wanted receipts among the first `size` entries, each once, in the log's order.
 * @param receipts hex SHA-256 of Receipt payloads
 * @throws RangeError for more than MAX_PROVEN, KiriError LOG_* and what the source throws
 */
export async function* findWanted(
  source: LogSource,
  receipts: ReadonlySet<string>,
  size: number,
  hash?: Sha256,
): AsyncGenerator<FoundReceipt> {
  if (receipts.size > MAX_PROVEN) {
    throw new RangeError(`more than ${MAX_PROVEN} receipts at once`);
  }
  const found = new Set<string>();
  for (let bundle = 0; bundle * TILE_WIDTH < size && found.size < receipts.size; bundle += 1) {
    for (const [at, record] of (await readPayloads(source, bundle, size)).entries()) {
      const name = toHex(record.subarray(0, HASH_BYTES));
      const entry = receipts.has(name) ? leafOfRecord(record, hash) : undefined;
      if (entry === undefined || found.has(name)) continue;
      found.add(name);
      yield { name, index: bundle * TILE_WIDTH + at, record, entry };
    }
  }
}

/**
 * The published checkpoint, which must be final.
 * @throws KiriError LOG_NOT_FINAL, and what the source throws
 */
export const finalNote = async (
  source: LogSource,
  { policy, verify }: ProvingPorts,
): Promise<{ readonly checkpoint: Uint8Array; readonly head: FinalHead }> => {
  const checkpoint = await readCheckpoint(source);
  if (checkpoint === undefined) {
    throw new KiriError('LOG_NOT_FINAL', `${source.place}: no checkpoint is there`);
  }
  const head = verifyFinalCheckpoint(checkpoint, policy, verify);
  if (!head.ok) throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${head.reason}`);
  return { checkpoint, head: head.value };
};

/**
 * Proof files by the hex SHA-256 of the Receipt's payload; a receipt that is not under the published checkpoint has none.
 * Every proof is verified before it is given. Reads every payload bundle of the log once.
 * @param receipts hex SHA-256 of Receipt payloads
 * @throws KiriError LOG_NOT_FINAL where the published checkpoint does not meet the policy, LOG_*, and what the source throws
 */
export const proveReceipts = async (
  source: LogSource,
  receipts: ReadonlySet<string>,
  ports: ProvingPorts,
): Promise<ReadonlyMap<string, Uint8Array>> => {
  const { policy, verify, hash } = ports;
  const { checkpoint, head } = await finalNote(source, ports);
  const proofs = new Map<string, Uint8Array>();
  for await (const found of findWanted(source, receipts, head.size, hash)) {
    const { name, index, record, entry } = found;
    const path = await inclusionProof(source, index, head.size, hash);
    const proof = encodeProof({ index, path, checkpoint, extra: record });
    const proven = verifyProof(proof, entry, policy, verify, hash);
    if (!proven.ok) throw new KiriError('LOG_CORRUPT', `entry ${index}: ${proven.reason}`);
    proofs.set(name, proof);
  }
  return proofs;
};
