import { claims, ISSUED, type ClaimsCodec, type Issued } from '../../../protocol/claims.ts';
import { bytes, text, U32 } from '../../../protocol/schema.ts';
import { CLAIM_LOG_POLICY } from './standard.ts';

/** Letters of one policy text: the document stays below the limit of all documents. */
const MAX_TEXT = 12_288;

/**
 * One version of the rule that makes a log's checkpoint final (DESIGN §5). Signed by the issuer. It
 * holds from `inForceFromS` until the next version does; the last one has no end.
 */
export interface LogPolicy extends Issued {
  /** 1, 2, 3, … without a gap. */
  readonly version: number;
  readonly inForceFromS: number;
  /** C2SP tlog-policy. */
  readonly text: string;
  /** Hash of the version before; absent in the first. */
  readonly previous?: Uint8Array;
}

export const LOG_POLICY: ClaimsCodec<LogPolicy> = claims<Issued, LogPolicy>(
  'kiri/log-policy',
  CLAIM_LOG_POLICY,
  ISSUED,
  {
    version: [1, U32],
    inForceFromS: [2, U32],
    text: [3, text(MAX_TEXT)],
    previous: [4, bytes(32), 'optional'],
  },
  ({ version, previous }) => {
    if (version === 0) return 'versions begin with 1';
    return (version === 1) === (previous === undefined)
      ? undefined
      : 'the first version, and no other, has nothing before it';
  },
);
