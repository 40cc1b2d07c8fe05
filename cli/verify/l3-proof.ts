import { toHex } from '../../protocol/bytes.ts';
import {
  MAX_L3_PROOF_BYTES,
  verifyL3Proof,
  type ProvenL3,
} from '../../sync/ledger/core/l3-proof.ts';
import { nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import { checkReceiptBeside } from './inclusion.ts';
import type { TrustStore } from './trust.ts';

const ENDING = '.l3-proof';

export const isL3Proof = (path: string): boolean => path.endsWith(ENDING);

/** What an L3 proof of a receipt is called: beside `<stem>.receipt.cbor`. */
export const l3ProofPath = (stem: string): string => `${stem}${ENDING}`;

/** What is proven, for people. */
function told({ receiptPayloadHash, receipt, rollUp, anchor, anchored }: ProvenL3): string {
  const at = new Date(anchored.anchoredAtS * 1_000).toISOString();
  return (
    `receipt ${toHex(receiptPayloadHash)} is entry ${receipt.index} of ${receipt.head.origin}, ` +
    `rolled up in ${rollUp.head.origin} and anchored at ${anchor} by ${at} (${anchored.by})`
  );
}

/**
 * An `.l3-proof` file (core/l3-proof.ts): the policy must name the gateway's log and the roll-up log, and
 * `trust/anchors/<name>.json` the anchor. Beside `<stem>.receipt.cbor` it must be that Receipt's.
 */
export function checkL3Proof(
  files: Artefacts,
  name: string,
  store: TrustStore,
  to: Findings,
): void {
  const bytes = files.read(name, MAX_L3_PROOF_BYTES);
  if (!bytes || !store.policy) return;
  to.count('L3 proofs');
  const rules = { policy: store.policy, verify: store.noteVerify, hash: nativeSha256 };
  const proven = verifyL3Proof(bytes, rules, store.anchors);
  if (!proven.ok) {
    to.fault(name, proven.reason);
    return;
  }
  to.proven(told(proven.value));
  const stem = name.slice(0, -ENDING.length);
  checkReceiptBeside(files, { name, stem }, proven.value.receiptPayloadHash, to);
}
