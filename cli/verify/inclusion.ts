import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { HASH_BYTES } from '../../sync/ledger/core/merkle.ts';
import { parseProof, verifyProof } from '../../sync/ledger/core/proof.ts';
import { leafOfRecord } from '../../sync/ledger/payload-record.ts';
import { nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

const ENDING = '.tlog-proof';

export const isInclusionProof = (path: string): boolean => path.endsWith(ENDING);

/** What a proof file of a receipt is called: beside `<stem>.receipt.cbor`. */
export const inclusionProofPath = (stem: string): string => `${stem}${ENDING}`;

/**
 * A `.tlog-proof` file (C2SP tlog-proof) whose `extra` line holds the payload record of the entry: hash of the Receipt
 * payload and ciphertext, from which the 33-byte leaf follows. Beside `<stem>.receipt.cbor` it must be that Receipt's.
 */
export function checkInclusionProof(
  files: Artefacts,
  name: string,
  store: TrustStore,
  to: Findings,
): void {
  const bytes = files.read(name);
  if (!bytes || !store.policy) return;
  to.count('inclusion proofs');
  const proof = parseProof(bytes);
  if (!proof.ok) return to.fault(name, proof.reason);
  const record = proof.value.extra ?? new Uint8Array(0);
  const leaf = leafOfRecord(record, nativeSha256);
  if (!leaf) return to.fault(name, 'its extra line holds no payload record');
  const proven = verifyProof(bytes, leaf, store.policy, store.noteVerify, nativeSha256);
  if (!proven.ok) return to.fault(name, proven.reason);
  const stem = name.slice(0, -ENDING.length);
  return checkReceiptBeside(files, { name, stem }, record.subarray(0, HASH_BYTES), to);
}

/** Where `<stem>.receipt.cbor` stands beside a proof, it must be the Receipt that the proof is of. */
export function checkReceiptBeside(
  files: Artefacts,
  { name, stem }: { readonly name: string; readonly stem: string },
  stated: Uint8Array,
  to: Findings,
): void {
  const receipt = `${stem}.receipt.cbor`;
  const cose = files.has(receipt) ? files.read(receipt) : undefined;
  const message = cose && decodeSign1(cose);
  if (message?.ok && !bytesEqual(payloadHash(message.value.payload), stated)) {
    to.fault(name, `proves entry ${toHex(stated)}, which is not the Receipt beside it`);
  }
}
