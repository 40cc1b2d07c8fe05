import {
  claims,
  COSE_KEY,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { ALG_EDDSA, type PublicKey } from '../../../protocol/public-key.ts';
import { text } from '../../../protocol/schema.ts';
import { keyFault } from '../key-check.ts';
import { CLAIM_LOG_ENROLMENT } from './standard.ts';

/** Letters of a log's address at most. */
const MAX_URL = 256;
/** An address in ASCII without user name, query or last slash: the paths of the log's files follow it. */
const LOG_URL = /^(?=[!-~]+$)https?:\/\/[^/@?#]+(?:\/[^/@?#]+)*$/;

/**
 * Which log is an approver's: what a witness or a mirror enrols it by, together with the mandate (DESIGN
 * section 5). Signed by the gateway's key. It does not expire: what was approved under the mandate must
 * become final whenever the line is up again.
 */
export interface LogEnrolment extends Issued {
  /** Of the log, or the prefix of a chain of quarterly shards. */
  readonly origin: string;
  /** Signs the log's checkpoints; Ed25519. */
  readonly logKey: PublicKey;
  /** Where the log's static files are served; a mirror copies them from there. */
  readonly url?: string;
}

function enrolmentFault({ origin, logKey, url }: LogEnrolment): string | undefined {
  if (origin === '') return 'no log';
  if (logKey.alg !== ALG_EDDSA) return 'logs sign with Ed25519';
  if (url !== undefined && !LOG_URL.test(url)) return 'the address is none';
  return keyFault(logKey);
}

export const LOG_ENROLMENT: ClaimsCodec<LogEnrolment> = claims<Issued, LogEnrolment>(
  'kiri/log-enrolment',
  CLAIM_LOG_ENROLMENT,
  ISSUED,
  {
    origin: [1, text(128)],
    logKey: [2, COSE_KEY],
    url: [3, text(MAX_URL), 'optional'],
  },
  enrolmentFault,
);
