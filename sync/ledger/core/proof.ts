/** C2SP tlog-proof: a file that proves offline that an entry is in a log which the policy's witnesses have seen. */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { type FinalHead, verifyFinalCheckpoint } from './final-checkpoint.ts';
import { HASH_BYTES, type Sha256, leafHash, verifyInclusion } from './merkle.ts';
import type { Verify } from './note-key.ts';
import type { FinalityRules } from './policy-book.ts';
import {
  type Outcome,
  bad,
  decodeBase64,
  decodeBase64In,
  decodeUtf8,
  encodeBase64,
  ok,
  parseDecimal,
} from './text.ts';

const HEADER = 'c2sp.org/tlog-proof@v1\n';
const NEWLINE = 0x0a;
const MAX_PROOF_BYTES = 262_144;
/** A path is never longer than the bits of an index; 63 is what tlog-witness allows for its proofs. */
const MAX_PATH = 63;

/** The parts of a proof file. */
export interface InclusionProof {
  readonly index: number;
  readonly path: readonly Uint8Array[];
  /** The checkpoint note, verbatim. */
  readonly checkpoint: Uint8Array;
  /** Opaque and not authenticated (tlog-proof). */
  readonly extra?: Uint8Array;
}

export const encodeProof = (proof: InclusionProof): Uint8Array => {
  const extra = proof.extra === undefined ? '' : `extra ${encodeBase64(proof.extra)}\n`;
  const path = proof.path.map((hash) => `${encodeBase64(hash)}\n`).join('');
  const head = `${HEADER}${extra}index ${proof.index}\n${path}\n`;
  return concatBytes(utf8ToBytes(head), proof.checkpoint);
};

/** Reads hash lines; `undefined` where one of them is malformed or there are too many. */
export const parseHashLines = (lines: readonly string[]): readonly Uint8Array[] | undefined => {
  if (lines.length > MAX_PATH) return undefined;
  const hashes: Uint8Array[] = [];
  for (const line of lines) {
    const hash = decodeBase64(line);
    if (hash?.length !== HASH_BYTES) return undefined;
    hashes.push(hash);
  }
  return hashes;
};

/** Whether the bytes at `at` spell `word`, which is ASCII. */
const spells = (bytes: Uint8Array, at: number, word: string): boolean => {
  for (let i = 0; i < word.length; i += 1) {
    if (bytes[at + i] !== word.charCodeAt(i)) return false;
  }
  return true;
};

/** The first line after `word`, which begins at `at`: where its value begins and where it ends. */
const valueAfter = (
  bytes: Uint8Array,
  at: number,
  word: string,
): { readonly from: number; readonly to: number } | undefined => {
  const to = spells(bytes, at, word) ? bytes.indexOf(NEWLINE, at + word.length) : -1;
  return to < 0 ? undefined : { from: at + word.length, to };
};

/** Reads hash lines up to the empty line that ends a proof's header, and where the checkpoint behind it begins. */
const readPath = (
  bytes: Uint8Array,
  start: number,
): { readonly path: readonly Uint8Array[]; readonly end: number } | undefined => {
  const path: Uint8Array[] = [];
  let at = start;
  while (bytes[at] !== NEWLINE) {
    const to = bytes.indexOf(NEWLINE, at);
    const hash = to < 0 ? undefined : decodeBase64In(bytes, at, to);
    if (hash?.length !== HASH_BYTES || path.length === MAX_PATH) return undefined;
    path.push(hash);
    at = to + 1;
  }
  return { path, end: at + 1 };
};

/** Reads the header where it stands: every line of it is one fixed word, base64 or a decimal. */
export const parseProof = (bytes: Uint8Array): Outcome<InclusionProof> => {
  if (bytes.length > MAX_PROOF_BYTES) return bad(`proof over ${MAX_PROOF_BYTES} bytes`);
  if (!spells(bytes, 0, HEADER)) return bad('not a tlog-proof file');
  const extraLine = valueAfter(bytes, HEADER.length, 'extra ');
  const extra = extraLine && decodeBase64In(bytes, extraLine.from, extraLine.to);
  if (extraLine && !extra) return bad('malformed extra line');
  const indexLine = valueAfter(bytes, extraLine ? extraLine.to + 1 : HEADER.length, 'index ');
  const indexText = indexLine && decodeUtf8(bytes.subarray(indexLine.from, indexLine.to));
  const index = indexText === undefined ? undefined : parseDecimal(indexText);
  if (!indexLine || index === undefined) return bad('malformed index line');
  const read = readPath(bytes, indexLine.to + 1);
  if (read === undefined) return bad('malformed inclusion path');
  const checkpoint = bytes.subarray(read.end);
  return ok({ index, path: read.path, checkpoint, ...(extra === undefined ? {} : { extra }) });
};

/** What a verified proof says. */
export interface ProvenEntry {
  readonly index: number;
  readonly head: FinalHead;
}

/**
 * Verifies a proof file offline.
 * @param entry the log entry whose inclusion is claimed (for Kiri the 33-byte leaf)
 */
export const verifyProof = (
  bytes: Uint8Array,
  entry: Uint8Array,
  policy: FinalityRules,
  verify: Verify,
  hash?: Sha256,
): Outcome<ProvenEntry> => {
  const proof = parseProof(bytes);
  if (!proof.ok) return proof;
  const head = verifyFinalCheckpoint(proof.value.checkpoint, policy, verify);
  if (!head.ok) return head;
  const { index, path } = proof.value;
  const { size, root } = head.value;
  return verifyInclusion(index, size, leafHash(entry, hash), path, root, hash)
    ? ok({ index, head: head.value })
    : bad('the inclusion path does not lead to the root');
};
