import { readForkEvidence } from '../../sync/ledger/core/fork-evidence.ts';
import { policySpans } from '../../sync/ledger/core/policy-book.ts';
import { keysOfLog } from '../../sync/ledger/core/shard.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/** Evidence that a log signed two histories, against the log's key in the trusted policy. Two true heads are none. */
export function checkFork(
  files: Artefacts,
  path: string,
  store: TrustStore,
  findings: Findings,
): void {
  const bytes = files.read(path);
  const { policy } = store;
  if (!bytes || !policy) return;
  findings.count('evidence of a fork');
  const keysOf = (origin: string): ReturnType<typeof keysOfLog> =>
    policySpans(policy).flatMap((span) => keysOfLog(span.policy, origin));
  const proven = readForkEvidence(bytes, keysOf, store.noteVerify);
  if (!proven.ok) findings.fault(path, `no evidence of a fork: ${proven.reason}`);
}
