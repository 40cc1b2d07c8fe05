/**
 * Evidence that a log signed two histories (DESIGN section 5): complete in itself, so that anybody who has the log's
 * vkey can check it offline. Its text is canonical and everything in it is checked, so no byte can be changed unseen.
 */
import { bytesEqual, fromHex, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import type { TreeHead } from './checkpoint.ts';
import { EMPTY_ROOT, HASH_BYTES, verifyConsistency, verifyInclusion } from './merkle.ts';
import type { Verify, VerifierKey } from './note-key.ts';
import { parseSignedHead } from './signed-head.ts';
import { type Outcome, bad, decodeUtf8, ok } from './text.ts';

/** Longest evidence that is read: five proofs of 64 hashes and two checkpoints are below it. */
export const MAX_FORK_EVIDENCE_BYTES = 65_536;
/** Levels of the largest tree there can be. */
const MAX_PROOF_HASHES = 64;
const CHECKPOINT_BYTES = 4_096;

/** The last head that both histories have, shown against one of them: all hashes in hex. */
export interface PartingSide {
  /** RFC 6962 consistency proof from the common head; empty for size 0. */
  readonly consistency: readonly string[];
  /** Hash of the first entry that the other history does not have, with its inclusion proof. */
  readonly leaf: string;
  readonly inclusion: readonly string[];
}

/** The last common head: both histories go on from it, with different entries at index `size`. */
export interface CommonHead {
  readonly size: number;
  readonly root: string;
  readonly inFirst: PartingSide;
  readonly inSecond: PartingSide;
}

/** A log's two signed checkpoints that cannot both be true, and what shows it to anybody. */
export interface ForkEvidence {
  readonly origin: string;
  /** Signed notes, the one of the smaller tree first. */
  readonly first: string;
  readonly second: string;
  /** Root that the second tree has at the first one's size; another than the first checkpoint says. */
  readonly rootInSecond: string;
  /** RFC 6962 consistency proof from the first size, with `rootInSecond`, to the second; empty for equal sizes. */
  readonly proof: readonly string[];
  /** Absent where no tiles of one of the two could be had: then nothing is known to be common. */
  readonly common?: CommonHead;
}

/** Evidence that was checked. */
export interface ProvenFork {
  readonly origin: string;
  readonly first: TreeHead;
  readonly second: TreeHead;
  readonly common?: { readonly size: number; readonly root: Uint8Array };
}

/** Whether tiles that the log serves prove that its `later` head does not extend our `own`. */
export const isProvenFork = (
  own: TreeHead,
  later: TreeHead,
  rootInLater: Uint8Array,
  proof: readonly Uint8Array[],
): boolean => {
  if (bytesEqual(own.root, rootInLater)) return false;
  if (own.size === later.size) return bytesEqual(rootInLater, later.root) && proof.length === 0;
  return verifyConsistency(own.size, later.size, rootInLater, later.root, proof);
};

/** Evidence in the form that is stored. */
export const forkEvidence = (
  origin: string,
  notes: readonly [string, string],
  rootInSecond: Uint8Array,
  proof: readonly Uint8Array[],
  common?: CommonHead,
): ForkEvidence => ({
  origin,
  first: notes[0],
  second: notes[1],
  rootInSecond: toHex(rootInSecond),
  proof: proof.map(toHex),
  ...(common ? { common } : {}),
});

const sideOf = ({ consistency, leaf, inclusion }: PartingSide): PartingSide => ({
  consistency,
  leaf,
  inclusion,
});

/** The one text of an evidence file: JSON with these fields in this order, two blanks deep, and a newline. */
export const encodeForkEvidence = (evidence: ForkEvidence): string => {
  const { origin, first, second, rootInSecond, proof, common } = evidence;
  const whole = { origin, first, second, rootInSecond, proof };
  const shown = common && {
    size: common.size,
    root: common.root,
    inFirst: sideOf(common.inFirst),
    inSecond: sideOf(common.inSecond),
  };
  return `${JSON.stringify(shown ? { ...whole, common: shown } : whole, undefined, 2)}\n`;
};

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= CHECKPOINT_BYTES;
const isHash = (value: unknown): value is string =>
  typeof value === 'string' && value.length === 2 * HASH_BYTES && /^[0-9a-f]+$/.test(value);
const isProof = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= MAX_PROOF_HASHES && value.every(isHash);
const isSide = (value: unknown): value is PartingSide =>
  isFields(value) &&
  isProof(value['consistency']) &&
  isHash(value['leaf']) &&
  isProof(value['inclusion']);
const isCommon = (value: unknown): value is CommonHead =>
  isFields(value) &&
  Number.isSafeInteger(value['size']) &&
  isHash(value['root']) &&
  isSide(value['inFirst']) &&
  isSide(value['inSecond']);

const isEvidence = (value: unknown): value is ForkEvidence =>
  isFields(value) &&
  [value['origin'], value['first'], value['second']].every(isText) &&
  isHash(value['rootInSecond']) &&
  isProof(value['proof']) &&
  (value['common'] === undefined || isCommon(value['common']));

const parse = (bytes: Uint8Array): ForkEvidence | undefined => {
  const text = bytes.length > MAX_FORK_EVIDENCE_BYTES ? undefined : decodeUtf8(bytes);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isEvidence(value) && encodeForkEvidence(value) === text ? value : undefined;
};

const isShownIn = (
  common: { readonly size: number; readonly root: Uint8Array },
  { consistency, leaf, inclusion }: PartingSide,
  head: TreeHead,
): boolean => {
  const { size, root } = common;
  const isPrefix =
    size === 0
      ? consistency.length === 0 && bytesEqual(root, EMPTY_ROOT)
      : verifyConsistency(size, head.size, root, head.root, consistency.map(fromHex));
  return (
    isPrefix && verifyInclusion(size, head.size, fromHex(leaf), inclusion.map(fromHex), head.root)
  );
};

/** Whether a claimed last common head is one: in both trees, and followed by different entries. */
export const isLastCommon = (common: CommonHead, first: TreeHead, second: TreeHead): boolean => {
  const shown = { size: common.size, root: fromHex(common.root) };
  return (
    common.inFirst.leaf !== common.inSecond.leaf &&
    isShownIn(shown, common.inFirst, first) &&
    isShownIn(shown, common.inSecond, second)
  );
};

/**
 * Checks an evidence file: both checkpoints signed by a key of the log, the contradiction, and the last common head
 * where it is claimed. A smaller head that is a prefix of a larger one (an old copy) contradicts nothing and is refused.
 * @param keysOf the keys that may sign for an origin, as the verifier trusts them
 */
export const readForkEvidence = (
  bytes: Uint8Array,
  keysOf: (origin: string) => readonly VerifierKey[],
  verify: Verify,
): Outcome<ProvenFork> => {
  const evidence = parse(bytes);
  if (!evidence) return bad('not the text of evidence of a fork');
  const { origin } = evidence;
  const heads: TreeHead[] = [];
  for (const note of [evidence.first, evidence.second]) {
    const head = parseSignedHead(utf8ToBytes(note), keysOf(origin), verify);
    if (!head.ok) return bad(`a checkpoint of it: ${head.reason}`);
    if (head.value.note !== note)
      return bad('a checkpoint of it has more than the log’s signature');
    if (head.value.origin !== origin) return bad('a checkpoint of it is of another log');
    heads.push(head.value);
  }
  const [first, second] = heads as [TreeHead, TreeHead];
  if (first.size > second.size) return bad('the larger checkpoint stands first');
  const rootInSecond = fromHex(evidence.rootInSecond);
  if (!isProvenFork(first, second, rootInSecond, evidence.proof.map(fromHex))) {
    return bad('the two checkpoints do not contradict each other as the proof says');
  }
  const { common } = evidence;
  if (!common) return ok({ origin, first, second });
  const shown = { size: common.size, root: fromHex(common.root) };
  return isLastCommon(common, first, second)
    ? ok({ origin, first, second, common: shown })
    : bad('the last common head is not proven');
};
