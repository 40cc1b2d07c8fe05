/**
 * One file that proves a single receipt's L3 (DESIGN section 5) with nothing but the trust files beside it. Five lines
 * of text, each closed by a newline, base64 as in RFC 4648 section 4:
 *
 *   kiri/l3-proof/v1
 *   receipt B64      tlog-proof of the receipt up to a checkpoint of the gateway's log; `extra`: the payload record
 *   roll-up B64      tlog-proof of that checkpoint up to an anchored checkpoint of the roll-up log; no `extra`
 *   anchor NAME B64  evidence that the anchor NAME gave for the second proof's checkpoint, in its bytes
 *   sha256 B64       of all lines above
 *
 * The first checkpoint is the one that was rolled up, so no consistency proof is needed. The last line proves nothing: it
 * finds damage in bytes that no signature covers, such as a cosignature beyond the quorum.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { isAnchorName } from './anchor-file.ts';
import { type AnchoredNote, MAX_EVIDENCE_BYTES, type VerifyAnchor } from './anchor-port.ts';
import { encodeLeaf, encodeNoteLeaf } from './leaf.ts';
import { HASH_BYTES, type Sha256 } from './merkle.ts';
import type { Verify } from './note-key.ts';
import type { FinalityRules } from './policy-book.ts';
import { type ProvenEntry, parseProof, verifyProof } from './proof.ts';
import { type Outcome, bad, decodeBase64, decodeUtf8, encodeBase64, ok } from './text.ts';

const HEADER = 'kiri/l3-proof/v1';
const RECEIPT = 'receipt ';
const ROLL_UP = 'roll-up ';
const ANCHOR = 'anchor ';
const DIGEST = 'sha256 ';
/** `sha256 `, 44 characters of base64, a newline. */
const DIGEST_LINE_BYTES = 52;
const LINES = 5;
/** Two tlog-proofs of 262,144 bytes and 1 MiB of evidence in base64, and the words around them. */
export const MAX_L3_PROOF_BYTES = 2_097_664;

/** The parts of the file. */
export interface L3Proof {
  /** tlog-proof file in the gateway's log. */
  readonly receipt: Uint8Array;
  /** tlog-proof file in the roll-up log. */
  readonly rollUp: Uint8Array;
  readonly anchor: string;
  readonly evidence: Uint8Array;
}

/** What verified proofs say: a receipt in a log's checkpoint, and that checkpoint in a roll-up log's. */
export interface ProvenRollUp {
  readonly receiptPayloadHash: Uint8Array;
  readonly receipt: ProvenEntry;
  readonly rollUp: ProvenEntry;
  /** The roll-up log's checkpoint, verbatim: what the anchor has to hold. */
  readonly note: Uint8Array;
}

export interface ProvenL3 extends ProvenRollUp {
  readonly anchor: string;
  readonly anchored: AnchoredNote;
}

/** What proofs are judged by: the verifier's own knowledge. */
export interface L3Rules {
  /** Of the gateway's log and of the roll-up log. */
  readonly policy: FinalityRules;
  readonly verify: Verify;
  readonly hash?: Sha256;
}

/** @throws RangeError where the name is no anchor's, or the parts are too long for a reader */
export const encodeL3Proof = (proof: L3Proof, hash: Sha256 = sha256): Uint8Array => {
  const { receipt, rollUp, anchor, evidence } = proof;
  if (!isAnchorName(anchor)) throw new RangeError('not the name of an anchor');
  const above = utf8ToBytes(
    `${HEADER}\n${RECEIPT}${encodeBase64(receipt)}\n${ROLL_UP}${encodeBase64(rollUp)}\n` +
      `${ANCHOR}${anchor} ${encodeBase64(evidence)}\n`,
  );
  const bytes = concatBytes(above, utf8ToBytes(`${DIGEST}${encodeBase64(hash(above))}\n`));
  if (bytes.length > MAX_L3_PROOF_BYTES) throw new RangeError('the proof is too long');
  return bytes;
};

const valueOf = (line: string | undefined, word: string): Uint8Array | undefined =>
  line?.startsWith(word) === true ? decodeBase64(line.slice(word.length)) : undefined;

/** Takes a file apart. Every part has one spelling; nothing of it is proven yet. */
export const parseL3Proof = (bytes: Uint8Array, hash: Sha256 = sha256): Outcome<L3Proof> => {
  if (bytes.length > MAX_L3_PROOF_BYTES) return bad(`a proof over ${MAX_L3_PROOF_BYTES} bytes`);
  const lines = decodeUtf8(bytes)?.split('\n') ?? [];
  if (lines[0] !== HEADER) return bad('not an L3 proof');
  if (lines.length !== LINES + 1 || lines[LINES] !== '') return bad('cut short, or more follows');
  const stated = valueOf(lines[4], DIGEST);
  const above = bytes.subarray(0, bytes.length - DIGEST_LINE_BYTES);
  if (stated?.length !== HASH_BYTES || !bytesEqual(stated, hash(above))) {
    return bad('it was changed: the SHA-256 in its last line is another');
  }
  const receipt = valueOf(lines[1], RECEIPT);
  const rollUp = valueOf(lines[2], ROLL_UP);
  const [anchor = ''] = lines[3]?.slice(ANCHOR.length).split(' ', 1) ?? [];
  const evidence = valueOf(lines[3], `${ANCHOR}${anchor} `);
  if (!receipt || !rollUp || !evidence || !isAnchorName(anchor)) return bad('a malformed line');
  if (evidence.length > MAX_EVIDENCE_BYTES) return bad(`evidence over ${MAX_EVIDENCE_BYTES} bytes`);
  return ok({ receipt, rollUp, anchor, evidence });
};

/** Verifies the way from the receipt to the roll-up log's checkpoint; the evidence is not looked at. */
export const verifyRollUp = (
  proof: Pick<L3Proof, 'receipt' | 'rollUp'>,
  { policy, verify, hash }: L3Rules,
): Outcome<ProvenRollUp> => {
  const parts = parseProof(proof.receipt);
  if (!parts.ok) return bad(`receipt: ${parts.reason}`);
  const record = parts.value.extra ?? new Uint8Array(0);
  if (record.length <= HASH_BYTES) return bad('receipt: its extra line holds no payload record');
  const receiptPayloadHash = record.subarray(0, HASH_BYTES);
  const entry = encodeLeaf(receiptPayloadHash, record.subarray(HASH_BYTES), hash);
  const receipt = verifyProof(proof.receipt, entry, policy, verify, hash);
  if (!receipt.ok) return bad(`receipt: ${receipt.reason}`);
  const rolled = parseProof(proof.rollUp);
  if (!rolled.ok) return bad(`roll-up: ${rolled.reason}`);
  if (rolled.value.extra !== undefined) return bad('roll-up: an extra line');
  const rolledEntry = encodeNoteLeaf('rollUp', receipt.value.head.note.text, hash);
  const rollUp = verifyProof(proof.rollUp, rolledEntry, policy, verify, hash);
  if (!rollUp.ok) return bad(`roll-up: ${rollUp.reason}`);
  const note = rolled.value.checkpoint;
  return ok({ receiptPayloadHash, receipt: receipt.value, rollUp: rollUp.value, note });
};

/**
 * Verifies a proof file offline.
 * @param anchors what evidence is checked against, by the name of the anchor
 */
export const verifyL3Proof = (
  bytes: Uint8Array,
  rules: L3Rules,
  anchors: ReadonlyMap<string, VerifyAnchor>,
): Outcome<ProvenL3> => {
  const parsed = parseL3Proof(bytes, rules.hash);
  if (!parsed.ok) return parsed;
  const { anchor, evidence } = parsed.value;
  const verifyAnchor = anchors.get(anchor);
  if (verifyAnchor === undefined) return bad(`nothing is trusted for the anchor ${anchor}`);
  const proven = verifyRollUp(parsed.value, rules);
  if (!proven.ok) return proven;
  const anchored = verifyAnchor(evidence, proven.value.note);
  if (!anchored.ok) return bad(`anchor ${anchor}: ${anchored.reason}`);
  return ok({ ...proven.value, anchor, anchored: anchored.value });
};
