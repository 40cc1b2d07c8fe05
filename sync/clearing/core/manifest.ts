import { toHex } from '../../../protocol/bytes.ts';
import { U32, U53, bytes, listOf, message, record, text } from '../../../protocol/schema.ts';
import type { Codec, Field } from '../../../protocol/schema.ts';

/** Sum of one currency and sign in a file, in minor units (a decimal text: sums go beyond 2⁵³). */
export type ManifestTotal = {
  readonly currency: number;
  readonly sign: string;
  readonly lines: number;
  readonly amountMinor: string;
};

/**
 * What the clearing signs beside a settlement file. The map ARN → aggregate and the ledger anchors stand in the
 * lines file, which this binds by hash, because a file may have a million lines. Times are UTC seconds.
 */
export type Manifest = {
  readonly fileName: string;
  readonly fileId: string;
  readonly profile: string;
  readonly profileVersion: number;
  readonly charset: string;
  readonly blocking: string;
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
  /** Records with header and trailer. */
  readonly records: number;
  readonly totals: readonly ManifestTotal[];
  readonly linesSha256: Uint8Array;
  /** SHA-256 of the finality policy under which every receipt in the file is L2. */
  readonly policyHash: Uint8Array;
  readonly cutS: number;
  /** `pre` where a vault fills in DE2 before the issuer gets the file; absent where this is the file he gets. */
  readonly stage?: string;
};

/** Currencies × signs; the files of this project hold one currency. */
export const MANIFEST_TOTALS_MAX = 16;
const MANIFEST_TYPE = 60;
/** The `typ` header of the signed manifest. */
export const MANIFEST_TYP = 'kiri-settlement-manifest';

export const MANIFEST_TOTAL: Field<ManifestTotal> = record<ManifestTotal>('total', {
  currency: [1, U32],
  sign: [2, text(6)],
  lines: [3, U32],
  amountMinor: [4, text(20)],
});

export const MANIFEST: Codec<Manifest> = message<Manifest>(MANIFEST_TYPE, {
  fileName: [1, text(96)],
  fileId: [2, text(25)],
  profile: [3, text(32)],
  profileVersion: [4, U32],
  charset: [5, text(8)],
  blocking: [6, text(8)],
  fileSha256: [7, bytes(32)],
  fileBytes: [8, U53],
  records: [9, U32],
  totals: [10, listOf(MANIFEST_TOTAL, MANIFEST_TOTALS_MAX)],
  linesSha256: [11, bytes(32)],
  policyHash: [12, bytes(32)],
  cutS: [13, U53],
  stage: [14, text(8), 'optional'],
});

/** The manifest as text for people; made from the signed one and compared with it, never read as truth. */
export const manifestView = (manifest: Manifest): string =>
  `${JSON.stringify(
    {
      ...manifest,
      fileSha256: toHex(manifest.fileSha256),
      linesSha256: toHex(manifest.linesSha256),
      policyHash: toHex(manifest.policyHash),
    },
    undefined,
    2,
  )}\n`;

/** True if both say the same sums in the same order. */
export const isSameTotals = (a: readonly ManifestTotal[], b: readonly ManifestTotal[]): boolean =>
  a.length === b.length &&
  a.every(
    (one, at) =>
      one.currency === b[at]?.currency &&
      one.sign === b[at].sign &&
      one.lines === b[at].lines &&
      one.amountMinor === b[at].amountMinor,
  );
