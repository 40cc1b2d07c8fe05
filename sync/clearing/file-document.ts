import { isPreStage } from './core/ipm-profile.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import type { FileHeader, PresentmentRecord } from './core/ipm-record.ts';
import type { LedgerAnchor } from './core/lines-file.ts';

/**
 * Everything about a file that is not in its lines, as it stood when the file was assigned. It is stored with the
 * profile in full, so the file rebuilds byte for byte after profiles and directories have changed.
 */
export type FileDocument = {
  readonly header: FileHeader;
  readonly profile: IpmProfile;
  readonly currency: number;
  readonly anchors: readonly LedgerAnchor[];
  readonly policyHash: string;
  readonly cutS: number;
};

export const encodeFileDocument = (document: FileDocument): string => JSON.stringify(document);

export const decodeFileDocument = (text: string): FileDocument => JSON.parse(text) as FileDocument;

type StoredRecord = Omit<PresentmentRecord, 'amountMinor' | 'second'> & {
  readonly amountMinor: string;
  readonly second?: { readonly originalMinor: string; readonly reason: string };
};

/** A line as stored: JSON with the amounts as decimal text. */
export const encodeRecord = (record: PresentmentRecord): string =>
  JSON.stringify(record, (_name, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );

export const decodeRecord = (text: string): PresentmentRecord => {
  const { second, ...stored } = JSON.parse(text) as StoredRecord;
  return {
    ...stored,
    amountMinor: BigInt(stored.amountMinor),
    ...(second && { second: { ...second, originalMinor: BigInt(second.originalMinor) } }),
  };
};

/** `KIRI.<profile>.<member11>.D<yymmdd>.S<seq5>.<P|T>`; the file itself adds `.ipm`. */
export const baseName = (profile: IpmProfile, header: FileHeader): string =>
  [
    'KIRI',
    profile.name,
    header.member,
    `D${header.date}`,
    `S${String(header.sequence).padStart(5, '0')}`,
    header.mode,
  ].join('.');

/** What stands in the output folder: a pre-file is named as one, the vault's final file takes the plain name. */
export const ipmName = (fileName: string, profile: IpmProfile): string =>
  `${fileName}${isPreStage(profile) ? '.pre' : ''}.ipm`;
