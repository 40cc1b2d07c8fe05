/** What the log writer knows of one witness: what it cosigned, whether a request is under way, when to try again. */
import type { VerifierKey } from './note-key.ts';
import type { Policy } from './policy.ts';

/** First pause after a failed request; doubles up to the longest. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 5_000;

export interface WitnessLink {
  /** The policy's name of the witness. */
  readonly name: string;
  readonly key: VerifierKey;
  /** The size that the next request names as `old`: what we believe the witness cosigned last. */
  oldSize: number;
  /** Largest size whose cosignature we verified, in this run or on the checkpoint that it found. */
  cosignedSize: number;
  /** Size of the request under way; one at a time. */
  askedSize: number | undefined;
  failures: number;
  /** Answers in a row that named another size than was asked from. */
  conflicts: number;
  retryAtMs: number;
  /** Why the last request failed; cleared by a success. */
  trouble: string | undefined;
  /** The witness answered with a smaller size than it had cosigned: its state is lost, it is not asked again. */
  lost: boolean;
  /** Answers under this name that a key of an earlier policy version still owes. */
  ignoredAnswers: number;
}

/** One link per witness of the policy. `headSize` is the best first guess of what they cosigned. */
export const witnessLinks = (policy: Policy, headSize: number): WitnessLink[] =>
  policy.witnesses.map(({ name, key }) => ({
    name,
    key,
    oldSize: headSize,
    cosignedSize: 0,
    askedSize: undefined,
    failures: 0,
    conflicts: 0,
    retryAtMs: 0,
    trouble: undefined,
    lost: false,
    ignoredAnswers: 0,
  }));

export const mayAsk = (link: WitnessLink, nowMs: number): boolean =>
  !link.lost &&
  link.askedSize === undefined &&
  link.ignoredAnswers === 0 &&
  nowMs >= link.retryAtMs;

/** Ends a request that brought no cosignature. */
export const failRequest = (link: WitnessLink, trouble: string, nowMs: number): void => {
  link.askedSize = undefined;
  link.trouble = trouble;
  link.retryAtMs = nowMs + Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** link.failures);
  link.failures += 1;
};

/** Ends a request that brought a valid cosignature on `size`. */
export const finishRequest = (link: WitnessLink, size: number): void => {
  link.askedSize = undefined;
  link.trouble = undefined;
  link.failures = 0;
  link.conflicts = 0;
  link.oldSize = size;
  link.cosignedSize = size;
};
