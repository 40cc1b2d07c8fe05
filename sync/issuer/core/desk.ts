import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { currencyOf } from '../../../protocol/currency.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { isFileName } from '../../clearing/core/inbound-documents.ts';
import type { Verdict } from '../../clearing/core/inbound-documents.ts';
import { INBOUND_RECORDS_MAX } from '../../clearing/core/inbound.ts';
import type {
  InboundBody,
  PositionTotal,
  RejectError,
} from '../../clearing/core/inbound-message.ts';
import { ipmProfile } from '../../clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../clearing/core/ipm-profile.ts';
import { fileIdOf, isFileId } from '../../clearing/core/ipm-record.ts';
import type { FileHeader, PresentmentRecord } from '../../clearing/core/ipm-record.ts';
import { MANIFEST_TOTALS_MAX } from '../../clearing/core/manifest.ts';
import type { Manifest, ManifestTotal } from '../../clearing/core/manifest.ts';
import { verifyIpm } from '../../clearing/core/verify-ipm.ts';
import type { IpmFindingCode } from '../../clearing/core/verify-ipm.ts';
import { openManifest, verifySettlement } from '../../clearing/core/verify-settlement.ts';
import type {
  SettlementArtefacts,
  SettlementReport,
} from '../../clearing/core/verify-settlement.ts';
import { fileErrors, lineErrors, tooManyErrors } from './desk-errors.ts';
import type { LineTrouble } from './desk-errors.ts';
import { finalName, tiedToManifest } from './final-form.ts';

/** What a clearing handed over; `hasEvidence` is false where its evidence stayed behind. */
export type Arrival = SettlementArtefacts & {
  readonly hasEvidence: boolean;
  /** COSE_Sign1 of the vault that filled DE2 in; only files with card numbers have one. */
  readonly vaultStatement?: Uint8Array;
};

/** A file that arrived as its clearing signed it, whatever it says. */
export type Received = {
  readonly manifest: Manifest;
  /** As it came here: of a pre-file the name without its mark. */
  readonly fileName: string;
  readonly profile: IpmProfile;
  readonly header: FileHeader | undefined;
  /** With header and trailer; 0 where the file does not read. */
  readonly records: number;
  readonly report: SettlementReport;
  readonly fileFindings: readonly IpmFindingCode[];
  readonly presentments: readonly PresentmentRecord[];
  readonly hasEvidence: boolean;
  /** Of the file as it came, with card numbers where its profile has them. */
  readonly fileSha256: Uint8Array;
  readonly fileBytes: number;
};

/** Whose signatures count at the desk. */
export type DeskTrust = {
  readonly verifier: Verifier;
  readonly clearings: readonly PublicKey[];
  /** Who may have filled card numbers in. */
  readonly vaults: readonly PublicKey[];
};

/** Why a file is not answered at all: nothing that could be answered has arrived. */
export type NotReceived = { readonly ok: false; readonly reason: string };

const notReceived = (reason: string): NotReceived => ({ ok: false, reason });

/**
 * Checks what arrived. Not received is a file without its clearing's signature, and one whose bytes are not those
 * that were signed: it was damaged or cut on the way and comes again. Everything else is answered.
 */
export const receive = (
  arrival: Arrival,
  trust: DeskTrust,
  nowS: number,
): { readonly ok: true; readonly value: Received } | NotReceived => {
  const { fileName, file, hasEvidence, vaultStatement: statement } = arrival;
  const manifest = openManifest(arrival.manifest, trust);
  if (typeof manifest === 'string') return notReceived(manifest);
  if (finalName(manifest) !== fileName) {
    return notReceived(`the manifest is of ${manifest.fileName}`);
  }
  const profile = ipmProfile(manifest.profile);
  if (!profile) return notReceived(`profile ${manifest.profile} is not known here`);
  const forms = tiedToManifest(file, manifest, profile, { ...trust, statement });
  if (typeof forms === 'string') return notReceived(forms);
  if (!bytesEqual(sha256(utf8ToBytes(arrival.lines)), manifest.linesSha256)) {
    return notReceived('the lines file is not the one that was signed; fetch it again');
  }
  if (!isFileName(fileName) || !isFileId(manifest.fileId)) {
    return notReceived('its name or id is none');
  }
  const signed = { ...arrival, fileName: manifest.fileName, file: forms.signed };
  const report = verifySettlement(signed, trust);
  const { findings, header, records } = verifyIpm(file, profile, new Set(), nowS);
  return {
    ok: true,
    value: {
      manifest,
      fileName,
      profile,
      header,
      records,
      report,
      fileFindings: findings.map((one) => one.code),
      presentments: report.presentments ?? [],
      hasEvidence,
      fileSha256: forms.sha256,
      fileBytes: file.length,
    },
  };
};

/** Lines that one file of answers can refuse, beside header, trailer and reconciliation. */
const REFUSED_LINES_MAX: number = INBOUND_RECORDS_MAX - 3;

/** `unknown`: no such funding reference at this issuer. */
export type AccountState = 'open' | 'closed' | 'unknown';

/** A line that was taken with an earlier file, or is taken with this one. */
export type TakenLine = {
  readonly arn: string;
  /** 1 first presentment, 2 second. */
  readonly cycle: 1 | 2;
  readonly recordNumber: number;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly sign: 'debit' | 'credit';
  readonly account: string;
};

/** What the desk knows beside the file. */
export type DeskFacts = {
  readonly account: (reference: string) => AccountState;
  /** Whether this line was taken with an earlier file. */
  readonly isTaken: (arn: string, cycle: 1 | 2) => boolean;
  /** Minor units charged back of a line, and not presented again. */
  readonly chargedBackMinor: (arn: string) => bigint;
  /** Whether the file id came before with other bytes. */
  readonly isFileIdUsed: boolean;
};

/** The desk's answer, before it has its number. */
export type Judgement = {
  readonly verdict: Verdict;
  /** As counted from the file, refused lines included. */
  readonly totals: readonly ManifestTotal[];
  readonly taken: readonly TakenLine[];
  readonly bodies: readonly InboundBody[];
  /** For the desk's people: what was found, in words. */
  readonly remarks: readonly string[];
};

const cycleOf = (record: PresentmentRecord): 1 | 2 => (record.second ? 2 : 1);

/** What is wrong with lines' evidence, by record; empty where no evidence came along. */
const evidenceTroubles = ({ report, hasEvidence }: Received): Map<number, LineTrouble> => {
  const troubles = new Map<number, LineTrouble>();
  if (!hasEvidence) return troubles;
  for (const { record, detail } of report.findings) {
    if (record === undefined) continue;
    troubles.set(record, detail.endsWith('is missing') ? 'evidenceMissing' : 'evidenceWrong');
  }
  return troubles;
};

const troublesOf = (
  record: PresentmentRecord,
  proof: LineTrouble | undefined,
  facts: DeskFacts,
): LineTrouble[] => {
  const troubles: LineTrouble[] = [];
  const state = facts.account(record.fundingReference);
  if (state === 'unknown') troubles.push('unknownAccount');
  if (state === 'closed') troubles.push('closedAccount');
  if (facts.isTaken(record.arn, cycleOf(record))) troubles.push('arnPresented');
  if (record.second && record.amountMinor > facts.chargedBackMinor(record.arn)) {
    troubles.push('nothingChargedBack');
  }
  if (proof) troubles.push(proof);
  return troubles;
};

const positionOf = (lines: readonly TakenLine[], sign: 'debit' | 'credit'): PositionTotal => {
  const own = lines.filter((line) => line.sign === sign);
  return {
    count: own.length,
    amountMinor: own.reduce((sum, line) => sum + line.amountMinor, 0n),
  };
};

const totalsOf = (presentments: readonly PresentmentRecord[]): ManifestTotal[] => {
  const sums = new Map<string, { currency: number; sign: string; lines: number; sum: bigint }>();
  for (const one of presentments) {
    const currency = Number(one.currency);
    // Of a file that is rejected: what is no currency cannot be totalled.
    if (!currencyOf(currency)) continue;
    const name = `${currency} ${one.sign}`;
    const { lines, sum } = sums.get(name) ?? { lines: 0, sum: 0n };
    sums.set(name, { currency, sign: one.sign, lines: lines + 1, sum: sum + one.amountMinor });
  }
  return [...sums.values()].slice(0, MANIFEST_TOTALS_MAX).map(({ sum, ...total }) => ({
    ...total,
    amountMinor: sum.toString(),
  }));
};

const rejected = (received: Received, errors: readonly RejectError[]): Judgement => ({
  verdict: 'rejected',
  totals: totalsOf(received.presentments),
  taken: [],
  bodies: [
    {
      kind: 'file-reject',
      sourceFileId: received.manifest.fileId,
      errors,
    },
  ],
  remarks: received.report.findings.map((one) => `${one.artefact}: ${one.detail}`),
});

/** The mode that the name of a file states. */
export const modeOf = (manifest: Manifest): 'P' | 'T' =>
  finalName(manifest).endsWith('.P.ipm') ? 'P' : 'T';

/** Whether the file is inside what its manifest says outside. */
const isNamed = ({ header, manifest }: Received): boolean =>
  header !== undefined && fileIdOf(header) === manifest.fileId && header.mode === modeOf(manifest);

/** What concerns no line: said to people, refuses nothing. */
const generalRemarks = ({ report, hasEvidence }: Received): string[] => {
  if (!hasEvidence) return ['no evidence came along: no line was proven'];
  return report.findings
    .filter((one) => one.record === undefined)
    .map((one) => `${one.artefact}: ${one.detail}`);
};

/**
 * Answers a file that arrived. A file that is wrong as a whole is rejected by a 699 and books nothing. Otherwise each
 * line is taken or refused by a 691 of its own, and a 688 states what was taken.
 */
export const judge = (received: Received, facts: DeskFacts): Judgement => {
  const { report, manifest, presentments, fileFindings } = received;
  if (facts.isFileIdUsed) {
    return rejected(received, fileErrors(['FILE_ID_USED', ...fileFindings]));
  }
  const isWrong = report.findings.some(
    ({ artefact }) => artefact !== 'evidence' && artefact !== 'manifest view',
  );
  if (isWrong || !isNamed(received) || fileFindings.length > 0) {
    return rejected(received, fileErrors(fileFindings));
  }
  const taken: TakenLine[] = [];
  const bodies: InboundBody[] = [];
  const proofs = evidenceTroubles(received);
  const remarks = generalRemarks(received);
  for (const [at, record] of presentments.entries()) {
    const recordNumber = at + 2;
    const troubles = troublesOf(record, proofs.get(recordNumber), facts);
    const { arn, amountMinor, currency, sign, fundingReference: account } = record;
    if (troubles.length === 0) {
      const cycle = cycleOf(record);
      taken.push({ arn, cycle, recordNumber, amountMinor, currency, sign, account });
      continue;
    }
    remarks.push(`record ${recordNumber}: ${troubles.join(', ')}`);
    bodies.push({
      kind: 'message-reject',
      sourceFileId: manifest.fileId,
      sourceRecordNumber: recordNumber,
      arn,
      errors: lineErrors(troubles),
    });
  }
  if (bodies.length > REFUSED_LINES_MAX) return rejected(received, tooManyErrors());
  const reconciliation: InboundBody = {
    kind: 'reconciliation',
    position: 'settlement',
    sourceFileId: manifest.fileId,
    currency: presentments[0]?.currency ?? '',
    debit: positionOf(taken, 'debit'),
    credit: positionOf(taken, 'credit'),
  };
  const verdict = bodies.length === 0 ? 'accepted' : 'partly';
  const totals = totalsOf(presentments);
  return { verdict, totals, taken, bodies: [...bodies, reconciliation], remarks };
};

/** Sequences missing between the first and the last that came: files that were cut and have not arrived. */
export const missingSequences = (sequences: readonly number[], most = 16): number[] => {
  const sorted = [...new Set(sequences)].toSorted((a, b) => a - b);
  const missing: number[] = [];
  for (const [at, sequence] of sorted.entries()) {
    const next = sorted[at + 1];
    if (next === undefined) break;
    for (let one = sequence + 1; one < next && missing.length < most; one++) missing.push(one);
  }
  return missing;
};
