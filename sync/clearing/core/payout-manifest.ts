import { U32, U53, bytes, message, text } from '../../../protocol/schema.ts';
import type { Codec } from '../../../protocol/schema.ts';

/**
 * What the clearing signs beside a payout file. The lines file, bound by hash, says which merchant each transfer is for
 * and what fee was taken before it; the bank's file itself has no room for that. Times are UTC seconds.
 */
export type PayoutManifest = {
  readonly fileName: string;
  /** `zengin-sougou`, and its version. */
  readonly profile: string;
  readonly profileVersion: number;
  /** `none` or `crlf` behind every record. */
  readonly lineEnd: string;
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
  readonly transfers: number;
  /** Whole yen, as decimal text. */
  readonly totalYen: string;
  readonly linesSha256: Uint8Array;
  readonly cutS: number;
};

const PAYOUT_MANIFEST_TYPE = 68;
/** The `typ` header of the signed manifest. */
export const PAYOUT_MANIFEST_TYP = 'kiri-payout-manifest';

export const PAYOUT_MANIFEST: Codec<PayoutManifest> = message<PayoutManifest>(
  PAYOUT_MANIFEST_TYPE,
  {
    fileName: [1, text(96)],
    profile: [2, text(32)],
    profileVersion: [3, U32],
    lineEnd: [4, text(8)],
    fileSha256: [5, bytes(32)],
    fileBytes: [6, U53],
    transfers: [7, U32],
    totalYen: [8, text(20)],
    linesSha256: [9, bytes(32)],
    cutS: [10, U53],
  },
);
