import { HASH_BYTES, ID_BYTES } from '../ids.ts';
import { bytes, message, text, U32, U53, type Codec } from '../schema.ts';
import { TYPE_FINAL_THROUGH } from './types.ts';

/** Longest log origin that a gateway tells its devices. */
const MAX_ORIGIN = 200;

/**
 * "L2 through sequence n" (DESIGN §5), signed by the approver: every Receipt and Void of its row up to here is final under
 * the named policy. It is shown and kept; no money depends on it, and no receipt is dropped for it: only a Statement
 * lets one go.
 */
export interface FinalThrough {
  readonly approver: Uint8Array;
  readonly sequence: number;
  readonly origin: string;
  /** Leaves of the final checkpoint. */
  readonly size: number;
  /** SHA-256 of the policy text. */
  readonly policyHash: Uint8Array;
  readonly timeS: number;
}

export const FINAL_THROUGH: Codec<FinalThrough> = message<FinalThrough>(TYPE_FINAL_THROUGH, {
  approver: [1, bytes(ID_BYTES)],
  sequence: [2, U32],
  origin: [3, text(MAX_ORIGIN)],
  size: [4, U53],
  policyHash: [5, bytes(HASH_BYTES)],
  timeS: [6, U32],
});
