import { bytes, message, U32, U53, type Codec } from '../../../protocol/schema.ts';

/** What the clearing signs beside a file of line accounts. Without it the file is not ready. */
export interface LineAccountsManifest {
  /** Of the whole file: each account behind its length, four bytes big-endian. */
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
  readonly lines: number;
  /** When the store was read, UTC seconds. */
  readonly asOfS: number;
}

/** The `typ` header of the signed manifest. */
export const LINE_ACCOUNTS_TYP = 'kiri-line-accounts';

export const LINE_ACCOUNTS_MANIFEST: Codec<LineAccountsManifest> = message<LineAccountsManifest>(
  91,
  {
    fileSha256: [1, bytes(32)],
    fileBytes: [2, U53],
    lines: [3, U32],
    asOfS: [4, U53],
  },
);
