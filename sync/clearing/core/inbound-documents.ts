import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../../protocol/cose.ts';
import { currencyOf } from '../../../protocol/currency.ts';
import type { PublicKey, Signer, Verifier } from '../../../protocol/public-key.ts';
import { U32, U53, bytes, listOf, message, text } from '../../../protocol/schema.ts';
import type { Codec, Field } from '../../../protocol/schema.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { isFileId } from './ipm-record.ts';
import { MANIFEST_TOTAL, MANIFEST_TOTALS_MAX } from './manifest.ts';
import type { ManifestTotal } from './manifest.ts';

/**
 * `accepted`: every line was taken. `partly`: the file was taken but for the lines that a 691 each names.
 * `rejected`: nothing was taken, a 699 says why.
 */
export type Verdict = 'accepted' | 'partly' | 'rejected';

/** What both documents of an issuer say of themselves. */
type Addressed = {
  /** Id of the clearing's key: nobody can show the document to another clearing. */
  readonly clearing: Uint8Array;
  /** Runs per issuer and clearing over acknowledgements and files together, from 1 without gaps. */
  readonly number: number;
};

/** The issuer's word on one of our files. Times are UTC seconds. */
export type FileAcknowledgement = Addressed & {
  /** PDS0105 of our file. */
  readonly fileId: string;
  readonly fileName: string;
  /** The final file as the issuer got it. */
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
  /** Records with header and trailer. */
  readonly records: number;
  /** As counted by the issuer, lines that it refused included. */
  readonly totals: readonly ManifestTotal[];
  readonly verdict: Verdict;
  readonly receivedS: number;
};

/** What the issuer signs beside each of its files; a file without it is quarantined. */
export type InboundManifest = Addressed & {
  readonly fileName: string;
  /** PDS0105 of the issuer's file. */
  readonly fileId: string;
  readonly profile: string;
  readonly profileVersion: number;
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
  readonly records: number;
  readonly createdS: number;
};

/** Who may sign, whom it must be addressed to, and the time here. */
export type InboundTrust = {
  readonly verifier: Verifier;
  readonly issuers: readonly PublicKey[];
  /** Id of our own clearing key. */
  readonly clearing: Uint8Array;
  readonly nowS: number;
  /** Who may have taken the card numbers out of a file; only profiles with card numbers need one. */
  readonly vaults?: readonly PublicKey[];
  /** PDS0122 that the issuer's files must have: tests and production never answer one another. Absent: either. */
  readonly mode?: 'P' | 'T';
};

/** A document whose signature holds, and who signed it. */
export type FromIssuer<T> = { readonly value: T; readonly issuer: PublicKey };

export const ACKNOWLEDGEMENT_TYP = 'kiri-file-acknowledgement';
export const INBOUND_MANIFEST_TYP = 'kiri-inbound-manifest';
const ACKNOWLEDGEMENT_TYPE = 62;
const INBOUND_MANIFEST_TYPE = 63;
/** Clocks of issuer and clearing may differ by this much. */
export const CLOCK_SKEW_S = 300;

const VERDICTS: readonly Verdict[] = ['accepted', 'partly', 'rejected'];

const VERDICT: Field<Verdict> = {
  name: 'verdict',
  write: (value) => value,
  read: (value) => VERDICTS.find((one) => one === value),
};

export const FILE_ACKNOWLEDGEMENT: Codec<FileAcknowledgement> = message<FileAcknowledgement>(
  ACKNOWLEDGEMENT_TYPE,
  {
    clearing: [1, bytes(16)],
    number: [2, U53],
    fileId: [3, text(25)],
    fileName: [4, text(96)],
    fileSha256: [5, bytes(32)],
    fileBytes: [6, U53],
    records: [7, U32],
    totals: [8, listOf(MANIFEST_TOTAL, MANIFEST_TOTALS_MAX)],
    verdict: [9, VERDICT],
    receivedS: [10, U53],
  },
);

export const INBOUND_MANIFEST: Codec<InboundManifest> = message<InboundManifest>(
  INBOUND_MANIFEST_TYPE,
  {
    clearing: [1, bytes(16)],
    number: [2, U53],
    fileName: [3, text(96)],
    fileId: [4, text(25)],
    profile: [5, text(32)],
    profileVersion: [6, U32],
    fileSha256: [7, bytes(32)],
    fileBytes: [8, U53],
    records: [9, U32],
    createdS: [10, U53],
  },
);

/** A name that can be a file's in one folder and nowhere else. */
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,91}\.ipm$/;

/** Whether an acknowledgement or a manifest could name such a file. */
export const isFileName = (name: string): boolean => FILE_NAME.test(name);

type Named = Addressed & { readonly fileName: string; readonly fileId: string };

const namedFault = (value: Named, trust: InboundTrust, atS: number): Coded<void> => {
  if (!bytesEqual(value.clearing, trust.clearing)) {
    return refused('BAD_SIGNATURE', 0, 'clearing', 'is addressed to another clearing');
  }
  if (value.number < 1) return refused('WRONG_VALUE', 0, 'number', 'numbers begin with 1');
  if (!isFileName(value.fileName)) return refused('WRONG_VALUE', 0, 'fileName', 'no file name');
  if (!isFileId(value.fileId)) return refused('WRONG_VALUE', 0, 'fileId', 'no file id');
  if (atS > trust.nowS + CLOCK_SKEW_S) {
    return refused('IN_FUTURE', 0, 'time', `${atS} is after ${trust.nowS}`);
  }
  return coded(undefined);
};

const open = <T>(
  cose: Uint8Array,
  codec: Codec<T>,
  typ: string,
  trust: InboundTrust,
): Coded<FromIssuer<T>> => {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return refused('BAD_SIGNATURE', 0, typ, sign1.reason);
  const { kid, typ: stated } = sign1.value.header;
  const issuer = trust.issuers.find((known) => kid && bytesEqual(known.id, kid));
  if (stated !== typ || !issuer || !verifySign1(trust.verifier, issuer, sign1.value)) {
    return refused('BAD_SIGNATURE', 0, typ, 'not signed as such by a known issuer');
  }
  const decoded = codec.decode(sign1.value.payload);
  return decoded.ok
    ? coded({ value: decoded.value, issuer })
    : refused('WRONG_VALUE', 0, typ, decoded.reason);
};

const isTotal = (total: ManifestTotal): boolean =>
  currencyOf(total.currency) !== undefined &&
  (total.sign === 'debit' || total.sign === 'credit') &&
  /^[1-9]\d{0,19}$/.test(total.amountMinor) &&
  total.lines > 0;

/** Checks signature, addressee and every field of an acknowledgement. Whether it fits our file is the store's. */
export const openAcknowledgement = (
  cose: Uint8Array,
  trust: InboundTrust,
): Coded<FromIssuer<FileAcknowledgement>> => {
  const opened = open(cose, FILE_ACKNOWLEDGEMENT, ACKNOWLEDGEMENT_TYP, trust);
  if (!opened.ok) return opened;
  const { value } = opened.value;
  const named = namedFault(value, trust, value.receivedS);
  if (!named.ok) return named;
  const keys = new Set(value.totals.map(({ currency, sign }) => `${currency} ${sign}`));
  if (!value.totals.every(isTotal) || keys.size !== value.totals.length) {
    return refused('WRONG_VALUE', 0, 'totals', 'not one total above zero per currency and sign');
  }
  return opened;
};

/** Checks signature, addressee and every field of the manifest of an issuer's file. */
export const openInboundManifest = (
  cose: Uint8Array,
  trust: InboundTrust,
): Coded<FromIssuer<InboundManifest>> => {
  const opened = open(cose, INBOUND_MANIFEST, INBOUND_MANIFEST_TYP, trust);
  if (!opened.ok) return opened;
  const { value } = opened.value;
  const named = namedFault(value, trust, value.createdS);
  return named.ok ? opened : named;
};

/** @throws KiriError FIELD_MISSING, FIELD_OUT_OF_RANGE on a caller's bad value */
export const signAcknowledgement = (signer: Signer, value: FileAcknowledgement): Uint8Array =>
  signSign1(signer, FILE_ACKNOWLEDGEMENT.encode(value), {
    kid: signer.key.id,
    typ: ACKNOWLEDGEMENT_TYP,
  });

/** @throws KiriError FIELD_MISSING, FIELD_OUT_OF_RANGE on a caller's bad value */
export const signInboundManifest = (signer: Signer, value: InboundManifest): Uint8Array =>
  signSign1(signer, INBOUND_MANIFEST.encode(value), {
    kid: signer.key.id,
    typ: INBOUND_MANIFEST_TYP,
  });
