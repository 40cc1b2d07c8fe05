import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { encodeEnrolment, type EnrolmentRules } from '../../sync/ledger/core/enrol.ts';
import { statusFile } from '../../sync/ledger/enrol-status.ts';
import type { Config } from './config.ts';

/**
 * Who may enrol at a witness or mirror: whoever has a mandate by `issuerKey`. With `statusList` (the issuer's list as
 * a file, replaced at any time) a revoked mandate enrols nothing. Absent where no issuer is named.
 */
export function enrolmentRules(config: Config): Omit<EnrolmentRules, 'needsUrl'> | undefined {
  if (!config.has('issuerKey')) return undefined;
  const trust = { issuerKey: config.publicKey('issuerKey'), verifier: nodeVerifier() };
  const statusOf = config.has('statusList')
    ? statusFile(config.path('statusList'), trust)
    : () => 'valid' as const;
  return { trust, statusOf };
}

/** Configured logs beside the enrolled ones; none is needed where logs may enrol. */
export function configuredLogs(config: Config): readonly Config[] {
  return config.has('logs') || !config.has('issuerKey') ? config.parts('logs') : [];
}

/** What a log writer sends to a witness that does not know it: `enrolment` and `mandate` are files. */
export function enrolmentRequest(config: Config): Uint8Array | undefined {
  return config.has('enrolment')
    ? encodeEnrolment(config.bytes('mandate'), config.bytes('enrolment'))
    : undefined;
}
