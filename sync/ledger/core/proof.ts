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
  decodeUtf8,
  encodeBase64,
  ok,
  parseDecimal,
} from './text.ts';

const HEADER = 'c2sp.org/tlog-proof@v1';
const MAX_PROOF_BYTES = 262_144;
/** A path is never longer than the bits of an index; 63 is what tlog-witness allows for its proofs. */
const MAX_PATH = 63;
const MAX_HEADER_LINES = 3 + MAX_PATH;

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
  const head = `${HEADER}\n${extra}index ${proof.index}\n${path}\n`;
  return concatBytes(utf8ToBytes(head), proof.checkpoint);
};

/** Splits off the first `count` hashes' worth of header: everything before the first empty line, and the rest. */
const splitAtEmptyLine = (
  bytes: Uint8Array,
): { lines: readonly string[]; rest: Uint8Array } | undefined => {
  let end = bytes.indexOf(0x0a);
  while (end >= 0 && bytes[end + 1] !== 0x0a) end = bytes.indexOf(0x0a, end + 1);
  const head = end < 0 ? undefined : decodeUtf8(bytes.subarray(0, end));
  if (head === undefined) return undefined;
  return { lines: head.split('\n'), rest: bytes.slice(end + 2) };
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

export const parseProof = (bytes: Uint8Array): Outcome<InclusionProof> => {
  if (bytes.length > MAX_PROOF_BYTES) return bad(`proof over ${MAX_PROOF_BYTES} bytes`);
  const parts = splitAtEmptyLine(bytes);
  if (parts === undefined || parts.lines.length > MAX_HEADER_LINES) return bad('malformed proof');
  const [header, ...lines] = parts.lines;
  if (header !== HEADER) return bad('not a tlog-proof file');
  const extraText = lines[0]?.startsWith('extra ') === true ? lines.shift()?.slice(6) : undefined;
  const extra = extraText === undefined ? undefined : decodeBase64(extraText);
  if (extraText !== undefined && extra === undefined) return bad('malformed extra line');
  const indexLine = lines.shift() ?? '';
  const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice(6)) : undefined;
  if (index === undefined) return bad('malformed index line');
  const path = parseHashLines(lines);
  if (path === undefined) return bad('malformed inclusion path');
  return ok({ index, path, checkpoint: parts.rest, ...(extra === undefined ? {} : { extra }) });
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
