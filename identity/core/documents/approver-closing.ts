import {
  CLAIM_SUBJECT,
  claims,
  HEX_ID,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { text, U32 } from '../../../protocol/schema.ts';
import { CLAIM_APPROVER_CLOSING } from './standard.ts';

interface OfApprover extends Issued {
  /** `sub`: the approver that approves no more. */
  readonly approver: Uint8Array;
}

/**
 * Ends an approver at a sequence: its board is dead, stolen, or moved to a new key. Whatever its key
 * signs above that sequence is withheld until somebody has looked at it, and opens no gate; what
 * stands below stays payable from whichever side it comes. Signed by the issuer; of two closings of
 * one approver the one issued later counts.
 */
export interface ApproverClosing extends OfApprover {
  /** The last sequence that is paid without question; 0: none. */
  readonly throughSequence: number;
  /** For people: "board dead", "stolen". */
  readonly reason: string;
}

export const APPROVER_CLOSING: ClaimsCodec<ApproverClosing> = claims<OfApprover, ApproverClosing>(
  'kiri/approver-closing',
  CLAIM_APPROVER_CLOSING,
  { ...ISSUED, approver: [CLAIM_SUBJECT, HEX_ID] },
  { throughSequence: [1, U32], reason: [2, text(64)] },
);
