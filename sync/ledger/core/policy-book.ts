/**
 * Policies as versioned data (DESIGN section 5): the issuer signs every version of the policy text, each names the one
 * before, and an old head counts only if it was final while its policy was in force. Replacing a witness key is a new
 * version, never a reset.
 */
import { openDocument } from '../../../identity/core/document.ts';
import { LOG_POLICY } from '../../../identity/core/documents/log-policy.ts';
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import type { VerifierKey } from './note-key.ts';
import { type Policy, parsePolicy } from './policy.ts';
import { keysOfLog } from './shard.ts';
import { type Outcome, bad, ok } from './text.ts';

/** Versions of one book: a change a month for twenty years. */
const MAX_VERSIONS = 256;
const MAX_BOOK_BYTES = 1024 * 1024;
/** CBOR major type 4: a book is an array, and no policy text begins with such a byte. */
const ARRAY_TYPE = 0b100;

/**
 * Clocks of witnesses may differ from the issuer's by this much: a cosignature counts for a version from so long before
 * its beginning until so long after its end.
 */
export const POLICY_SKEW_S = 60;

interface PolicyVersion {
  readonly version: number;
  readonly inForceFromS: number;
  readonly policy: Policy;
}

/** All versions in order; the last one has no end. */
export interface PolicyBook {
  readonly versions: readonly PolicyVersion[];
}

/** What decides that a head is final: one policy for ever, or a book of versions. */
export type FinalityRules = Policy | PolicyBook;

/** A policy with the time in which it holds, POSIX seconds, end excluded. */
export interface PolicySpan {
  readonly policy: Policy;
  readonly fromS: number;
  readonly untilS: number;
}

/** The spans of a book in order; one without bounds for a plain policy. */
export const policySpans = (rules: FinalityRules): readonly PolicySpan[] =>
  'quorum' in rules
    ? [{ policy: rules, fromS: -Infinity, untilS: Infinity }]
    : rules.versions.map(({ policy, inForceFromS }, at) => ({
        policy,
        fromS: inForceFromS,
        untilS: rules.versions[at + 1]?.inForceFromS ?? Infinity,
      }));

/** What is in force at a time; the first version before its beginning, so that there always is one. */
export const spanAt = (rules: FinalityRules, timeS: number): PolicySpan => {
  const spans = policySpans(rules);
  const found = spans.findLast(({ fromS }) => timeS >= fromS) ?? spans[0];
  if (found === undefined) throw new RangeError('a policy book without a version');
  return found;
};

/** The policy in force at a time, see {@link spanAt}. */
export const policyAt = (rules: FinalityRules, timeS: number): Policy =>
  spanAt(rules, timeS).policy;

/** Every key that some version lets sign for an origin. */
export const logKeys = (rules: FinalityRules, origin: string): readonly VerifierKey[] =>
  policySpans(rules).flatMap(({ policy }) => keysOfLog(policy, origin));

/** Submission prefixes that the versions state, by witness name; the last version that states one counts. */
export const statedUrls = (rules: FinalityRules): ReadonlyMap<string, string> =>
  new Map(
    policySpans(rules).flatMap(({ policy }) =>
      policy.witnesses.flatMap(({ name, url }) => (url === undefined ? [] : [[name, url]])),
    ),
  );

/** Whether a cosignature of that time may count in the span. */
export const countsIn = ({ fromS, untilS }: PolicySpan, timeS: number): boolean =>
  timeS >= fromS - POLICY_SKEW_S && timeS < untilS + POLICY_SKEW_S;

/** Whether the bytes are a book rather than a policy's text; nothing is verified. */
export const isPolicyBook = (bytes: Uint8Array): boolean => (bytes[0] ?? 0) >>> 5 === ARRAY_TYPE;

/** The file `policies`: the signed versions in order. */
export const encodePolicyBook = (documents: readonly Uint8Array[]): Uint8Array =>
  encodeCanonical([...documents]);

/** Reads a book: every version signed by the issuer, numbered without a gap, each naming the one before. */
export const openPolicyBook = (
  bytes: Uint8Array,
  issuer: PublicKey,
  verifier: Verifier,
): Outcome<PolicyBook> => {
  if (bytes.length > MAX_BOOK_BYTES) return bad(`policy book over ${MAX_BOOK_BYTES} bytes`);
  const decoded = decodeCanonical(bytes, { maxBytes: MAX_BOOK_BYTES });
  const documents = decoded.ok ? decoded.value : undefined;
  if (!Array.isArray(documents) || documents.length === 0 || documents.length > MAX_VERSIONS) {
    return bad(`a policy book is a CBOR array of 1 to ${MAX_VERSIONS} versions`);
  }
  const versions: PolicyVersion[] = [];
  let before: Uint8Array | undefined;
  for (const [at, cose] of documents.entries()) {
    const where = `policy version ${at + 1}`;
    if (!(cose instanceof Uint8Array)) return bad(`${where} is no document`);
    const opened = openDocument(verifier, issuer, LOG_POLICY, cose);
    if (!opened.ok) return bad(`${where}: ${opened.reason}`);
    const { version, inForceFromS, text, previous } = opened.value.value;
    if (version !== at + 1) return bad(`${where}: is numbered ${version}`);
    if (before !== undefined && !bytesEqual(previous ?? before.subarray(1), before)) {
      return bad(`${where}: does not follow the version before it`);
    }
    if (inForceFromS <= (versions.at(-1)?.inForceFromS ?? -1)) {
      return bad(`${where}: is not later than the version before it`);
    }
    const policy = parsePolicy(utf8ToBytes(text));
    if (!policy.ok) return bad(`${where}: ${policy.reason}`);
    versions.push({ version, inForceFromS, policy: policy.value });
    before = opened.value.hash;
  }
  return ok({ versions });
};
