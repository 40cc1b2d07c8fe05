import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../../protocol/cose.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { verifyEvidence } from './evidence.ts';
import type { Evidence } from './evidence.ts';
import { ipmProfile, isPreStage, preProfile } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import { fileIdOf } from './ipm-record.ts';
import type { PresentmentRecord } from './ipm-record.ts';
import { readSettlementFile } from './ipm-file.ts';
import { shortIdOf } from './aggregate.ts';
import { parseLines } from './lines-file.ts';
import type { LinesFile } from './lines-file.ts';
import { MANIFEST, MANIFEST_TYP, manifestView } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { verifyIpm } from './verify-ipm.ts';

/** The artefacts of one settlement file as they lie in a folder, found by the name of the manifest. */
export type SettlementArtefacts = {
  /** Without folder: `KIRI.….ipm`. */
  readonly fileName: string;
  readonly manifest: Uint8Array;
  /** The manifest's text for people; absent where it was not handed over. */
  readonly manifestView?: string;
  readonly file: Uint8Array;
  readonly lines: string;
  /** The evidence document of an aggregate; undefined where there is none. */
  evidence(aggregateId: string): Uint8Array | undefined;
};

/** Which artefact is wrong, and how. */
type SettlementFinding = {
  readonly artefact: 'manifest' | 'manifest view' | 'settlement file' | 'lines' | 'evidence';
  readonly detail: string;
  /** Number of the record, where it is one line's evidence that is wrong. */
  readonly record?: number;
};

/** The outcome; `manifest`, `presentments` and `lines` are there as far as they could be read. */
export type SettlementReport = {
  readonly findings: readonly SettlementFinding[];
  readonly manifest?: Manifest;
  readonly presentments?: readonly PresentmentRecord[];
  readonly lines?: LinesFile;
};

/** Clearings whose manifests are believed. */
type ClearingTrust = { readonly verifier: Verifier; readonly clearings: readonly PublicKey[] };

type Note = (artefact: SettlementFinding['artefact'], detail: string, record?: number) => void;

/** The manifest, if one of these clearings signed it; else why not, in words. */
export const openManifest = (bytes: Uint8Array, trust: ClearingTrust): Manifest | string => {
  const sign1 = decodeSign1(bytes);
  const decoded = sign1.ok ? MANIFEST.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !decoded.ok) return decoded.ok ? 'unreadable' : decoded.reason;
  const { kid, typ } = sign1.value.header;
  const key = trust.clearings.find((known) => kid && bytesEqual(known.id, kid));
  const isSigned = typ === MANIFEST_TYP && key && verifySign1(trust.verifier, key, sign1.value);
  return isSigned ? decoded.value : 'not signed as a manifest by a known clearing';
};

const checkTotals = (
  manifest: Manifest,
  presentments: readonly PresentmentRecord[],
  note: Note,
): void => {
  const sums = new Map<string, { lines: number; sum: bigint }>();
  for (const { currency, sign, amountMinor } of presentments) {
    const name = `${Number(currency)} ${sign}`;
    const { lines, sum } = sums.get(name) ?? { lines: 0, sum: 0n };
    sums.set(name, { lines: lines + 1, sum: sum + amountMinor });
  }
  const isSame =
    manifest.totals.length === sums.size &&
    manifest.totals.every(({ currency, sign, lines, amountMinor }) => {
      const counted = sums.get(`${currency} ${sign}`);
      return counted?.lines === lines && counted.sum.toString() === amountMinor;
    });
  if (!isSame) note('manifest', 'totals are not those of the file');
};

const checkFile = (
  artefacts: SettlementArtefacts,
  manifest: Manifest,
  profile: IpmProfile,
  note: Note,
): readonly PresentmentRecord[] => {
  const { file, fileName } = artefacts;
  if (manifest.fileName !== fileName) note('manifest', `is for ${manifest.fileName}`);
  if (!bytesEqual(sha256(file), manifest.fileSha256)) note('settlement file', 'SHA-256 differs');
  if (file.length !== manifest.fileBytes) note('settlement file', 'length differs');
  const report = verifyIpm(file, profile);
  for (const { code, record, detail } of report.findings) {
    note('settlement file', `record ${record}: ${code} ${detail}`);
  }
  if (report.records !== manifest.records) note('settlement file', 'record count differs');
  const read = readSettlementFile(file, profile);
  if (!read.ok) {
    note('settlement file', `${read.fault.code} ${read.fault.field}`);
    return [];
  }
  if (fileIdOf(read.value.header) !== manifest.fileId) note('settlement file', 'file id differs');
  checkTotals(manifest, read.value.presentments, note);
  return read.value.presentments;
};

/** One line against the record of the file and against its evidence. */
const checkLine = (
  line: LinesFile['lines'][number],
  record: PresentmentRecord | undefined,
  evidence: Evidence,
  note: Note,
): void => {
  const { arn, sign, amountMinor, currency, aggregateId, cycle } = line;
  const isOfFile =
    (cycle === 2) === (record?.second !== undefined) &&
    record?.arn === arn &&
    record.sign === sign &&
    record.amountMinor === amountMinor &&
    record.currency === currency &&
    record.aggregateShortId === shortIdOf(aggregateId);
  if (!isOfFile) note('lines', `line ${line.number} is not that record of the file`);
  const isProven =
    // A second presentment presents at most the line that the evidence is of.
    evidence.amountMinor === (record?.second?.originalMinor ?? amountMinor) &&
    evidence.key.sign === sign &&
    evidence.key.currency === Number(currency) &&
    evidence.key.mcc === record?.mcc;
  if (!isProven) note('evidence', `${aggregateId} does not prove line ${line.number}`, line.number);
};

const checkEvidence = (
  artefacts: SettlementArtefacts,
  lines: LinesFile,
  presentments: readonly PresentmentRecord[],
  note: Note,
): void => {
  const open = (aggregateId: string, record?: number): Evidence | undefined => {
    const document = artefacts.evidence(aggregateId);
    const check = document && verifyEvidence(document);
    if (check?.ok && check.id === aggregateId) return check.value;
    const reason = check ? (check.ok ? 'is another aggregate' : check.fault) : 'is missing';
    note('evidence', `${aggregateId} ${reason}`, record);
    return undefined;
  };
  for (const [at, line] of lines.lines.entries()) {
    if (line.number !== at + 2) note('lines', `line ${line.number} stands at ${at + 2}`);
    const evidence = open(line.aggregateId, line.number);
    if (evidence) checkLine(line, presentments[at], evidence, note);
  }
  for (const aggregateId of lines.silent) {
    const evidence = open(aggregateId);
    if (evidence && evidence.amountMinor !== 0n) {
      note('lines', `${aggregateId} presents something and has no line`);
    }
  }
  if (lines.lines.length !== presentments.length) note('lines', 'not one line per presentment');
};

/**
 * Checks a settlement file with everything beside it: the clearing's signature, every hash, what the file means,
 * and that each line's evidence adds up to its amount. Nothing of the machine that wrote it is asked.
 */
export const verifySettlement = (
  artefacts: SettlementArtefacts,
  trust: ClearingTrust,
): SettlementReport => {
  const findings: SettlementFinding[] = [];
  const note: Note = (artefact, detail, record) =>
    findings.push({ artefact, detail, ...(record === undefined ? {} : { record }) });
  const manifest = openManifest(artefacts.manifest, trust);
  if (typeof manifest === 'string') {
    note('manifest', manifest);
    return { findings };
  }
  const view = artefacts.manifestView;
  if (view !== undefined && manifestView(manifest) !== view) {
    note('manifest view', 'does not say what the signed manifest says');
  }
  const profile = ipmProfile(manifest.profile);
  if (profile?.version !== manifest.profileVersion) {
    note('manifest', `profile ${manifest.profile} ${manifest.profileVersion} is not known here`);
    return { findings, manifest };
  }
  if ((manifest.stage === 'pre') !== isPreStage(profile)) {
    note('manifest', `stage ${manifest.stage ?? 'final'} does not go with ${manifest.profile}`);
  }
  const presentments = checkFile(artefacts, manifest, preProfile(profile), note);
  if (!bytesEqual(sha256(utf8ToBytes(artefacts.lines)), manifest.linesSha256)) {
    note('lines', 'SHA-256 differs');
  }
  const lines = parseLines(artefacts.lines);
  if (!lines) {
    note('lines', 'unreadable');
    return { findings, manifest, presentments };
  }
  checkEvidence(artefacts, lines, presentments, note);
  return { findings, manifest, presentments, lines };
};
