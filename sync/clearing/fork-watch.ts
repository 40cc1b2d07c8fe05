/** Finds out that a log signed two histories: from what its sources publish, and from what was booked of it before. */
import { bytesEqual, utf8ToBytes } from '../../protocol/bytes.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import {
  type ProvenFork,
  encodeForkEvidence,
  readForkEvidence,
} from '../ledger/core/fork-evidence.ts';
import { noteVerify } from '../ledger/core/note-ports.ts';
import { type FinalityRules, policySpans } from '../ledger/core/policy-book.ts';
import { keysOfLog } from '../ledger/core/shard.ts';
import { type SignedHead, parseSignedHead } from '../ledger/core/signed-head.ts';
import type { Outcome } from '../ledger/core/text.ts';
import type { LogSource } from '../ledger/log-source.ts';
import { type ShownHead, rootWithin, showFork } from '../ledger/show-fork.ts';
import type { ClearingService } from './clearing-service.ts';
import type { StoppedLog } from './stopped-logs.ts';

/** Pairs of heads known not to contradict each other. */
const MAX_AGREED = 256;

/** What a source publishes, under the log's signature alone. */
export interface SeenHead {
  readonly source: LogSource;
  readonly signed: SignedHead;
}

interface WatchOptions {
  readonly origin: string;
  readonly policy: FinalityRules;
  readonly verifier: Verifier;
}

const keysUnder = (policy: FinalityRules) => (origin: string) =>
  policySpans(policy).flatMap((span) => keysOfLog(span.policy, origin));

/** Checks an evidence file under the keys that the policy gives its log. */
export const checkForkEvidence = (
  bytes: Uint8Array,
  policy: FinalityRules,
  verifier: Verifier,
): Outcome<ProvenFork> => readForkEvidence(bytes, keysUnder(policy), noteVerify(verifier));

/** The stop that holds for a log, if one does. */
export const stopOf = async (
  clearing: ClearingService,
  origin: string,
): Promise<StoppedLog | undefined> =>
  (await clearing.stoppedLogs()).find((stopped) => stopped.origin === origin);

/** Who serves the tree of a head: whoever publishes it, or one whose larger tree has it. */
const sourceOf = async (
  head: SignedHead,
  seen: readonly SeenHead[],
): Promise<LogSource | undefined> => {
  for (const { source, signed } of seen) {
    if (signed.size < head.size) continue;
    const root = await rootWithin(source, head.size, signed.size).catch(() => undefined);
    if (root && bytesEqual(root, head.root)) return source;
  }
  return undefined;
};

export class ForkWatch {
  readonly #options: WatchOptions;
  readonly #agreed = new Set<string>();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** A note's head under the log's own signature. */
  signed(note: Uint8Array): SignedHead | undefined {
    const { origin, policy, verifier } = this.#options;
    const signed = parseSignedHead(note, keysUnder(policy)(origin), noteVerify(verifier));
    return signed.ok ? signed.value : undefined;
  }

  /**
   * Holds every head that was not seen before against the largest one, and the largest against what was booked. Two that
   * contradict each other stop the log, with the evidence kept in the store.
   * @param seen the largest first
   */
  async look(
    clearing: ClearingService,
    seen: readonly SeenHead[],
    nowS: number,
  ): Promise<StoppedLog | undefined> {
    const { origin, policy, verifier } = this.#options;
    const [largest] = seen;
    if (!largest) return undefined;
    const others: ShownHead[] = seen
      .slice(1)
      .map(({ signed, source }) => ({ head: signed, source }));
    const { note } = await clearing.cursor(origin);
    const booked = note === undefined ? undefined : this.signed(utf8ToBytes(note));
    if (booked) {
      const source = await sourceOf(booked, seen);
      others.push({ head: booked, ...(source ? { source } : {}) });
    }
    for (const other of others) {
      const name = `${largest.signed.note}${other.head.note}`;
      if (this.#agreed.has(name) || largest.signed.note === other.head.note) continue;
      const shown = await showFork({ head: largest.signed, source: largest.source }, other);
      const evidence = shown && encodeForkEvidence(shown);
      const proven = evidence && checkForkEvidence(utf8ToBytes(evidence), policy, verifier);
      if (!evidence || !proven || !proven.ok) {
        if (this.#agreed.size >= MAX_AGREED) this.#agreed.clear();
        this.#agreed.add(name);
        continue;
      }
      await clearing.stopLog(proven.value, evidence, nowS);
      return stopOf(clearing, origin);
    }
    return undefined;
  }
}
