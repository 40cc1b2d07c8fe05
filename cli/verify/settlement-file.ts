import { policyAt } from '../../sync/ledger/core/policy-book.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { readSettlementFile } from '../../sync/clearing/core/ipm-file.ts';
import {
  ipmProfile,
  isPreStage,
  preProfile,
  type IpmProfile,
} from '../../sync/clearing/core/ipm-profile.ts';
import { fileIdOf, type PresentmentRecord } from '../../sync/clearing/core/ipm-record.ts';
import { shortIdOf } from '../../sync/clearing/core/aggregate.ts';
import { parseLines, type LinesFile } from '../../sync/clearing/core/lines-file.ts';
import {
  MANIFEST,
  MANIFEST_TYP,
  manifestView,
  type Manifest,
} from '../../sync/clearing/core/manifest.ts';
import { verifyIpm, type IpmReport } from '../../sync/clearing/core/verify-ipm.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { MAX_ARTEFACT_BYTES, nativeSha256, type Artefacts } from './artefacts.ts';
import { openOfClearing } from './clearing-document.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { TrustStore } from './trust.ts';
import { checkFinalFile, checkVaultStatement, type PreFile } from './vault-file.ts';

/** Everything that the check of one settlement file rests on; without logs its anchors are not compared. */
export interface SettlementContext {
  readonly files: Artefacts;
  readonly store: TrustStore;
  readonly logs: readonly LogView[] | undefined;
  readonly findings: Findings;
  /** Ids of the files seen before: a file is never presented twice. */
  readonly fileIds: Set<string>;
  /** The reader's clock, UTC seconds; without it no file is held to be from the future. */
  readonly nowS: number | undefined;
  /** Where the file with card numbers stands that the vault made of this one; only in the partner's own zone. */
  readonly finalFile?: string | undefined;
}

/** One settlement file as it stands on the disk. */
export interface SettlementFileView {
  readonly fileName: string;
  /** In hex. */
  readonly sha256: string;
  /** With header and trailer. */
  readonly records: number;
  readonly sumMinor: bigint;
  readonly lines: LinesFile | undefined;
}

/** The signed manifest; every way in which it is none is a fault at its path. */
function openManifest(context: SettlementContext, base: string): Manifest | undefined {
  const { files, store, findings } = context;
  const path = `${base}.manifest`;
  if (files.has(path)) findings.count('manifests');
  const manifest = openOfClearing(context, path, {
    typ: MANIFEST_TYP,
    codec: MANIFEST,
    timeOf: ({ cutS }) => cutS,
  });
  if (!manifest) return undefined;
  const { fileName, policyHash, cutS, stage } = manifest;
  const ending = stage === undefined ? '.ipm' : `.${stage}.ipm`;
  if (fileName !== base.slice(base.lastIndexOf('/') + 1) + ending) {
    findings.fault(path, `is the manifest of ${fileName}`);
    return undefined;
  }
  if (store.policy && !bytesEqual(policyHash, policyAt(store.policy, cutS).hash)) {
    findings.fault(store.policyPath, 'is not the policy whose hash the manifest names');
  }
  return manifest;
}

interface Ipm {
  readonly bytes: Uint8Array;
  readonly report: IpmReport;
  readonly presentments: readonly PresentmentRecord[];
}

function readIpm(context: SettlementContext, path: string, profile: IpmProfile): Ipm | undefined {
  const { files, findings, fileIds, nowS } = context;
  const bytes = files.read(path, MAX_ARTEFACT_BYTES);
  if (!bytes) return undefined;
  findings.count('settlement files');
  const report = verifyIpm(bytes, profile, fileIds, nowS);
  if (report.header) fileIds.add(fileIdOf(report.header));
  for (const { code, record, offset, detail } of report.findings) {
    findings.fault(path, `${code} at record ${record}, byte ${offset}: ${detail}`);
  }
  const strict = readSettlementFile(bytes, profile);
  if (!strict.ok) {
    const { code, field, detail, offset } = strict.fault;
    findings.fault(path, `${code} ${field} at byte ${offset}: ${detail}`);
  }
  const presentments = strict.ok ? strict.value.presentments : [];
  findings.count('settlement lines', report.presentments);
  return { bytes, report, presentments };
}

/** The totals per sign that the records give, in the manifest's form. */
function totalsText(presentments: readonly PresentmentRecord[]): string {
  const totals: string[] = [];
  for (const sign of ['debit', 'credit']) {
    const of = presentments.filter((one) => one.sign === sign);
    const sum = of.reduce((total, one) => total + one.amountMinor, 0n);
    if (of.length > 0) totals.push(`${Number(of[0]?.currency)} ${sign} ${of.length} ${sum}`);
  }
  return totals.join(', ');
}

function compareWithManifest(
  { findings }: SettlementContext,
  path: string,
  manifest: Manifest,
  { bytes, report, presentments }: Ipm,
  profile: IpmProfile,
): void {
  const stated = manifest.totals
    .map(({ currency, sign, lines, amountMinor }) => `${currency} ${sign} ${lines} ${amountMinor}`)
    .join(', ');
  const checks: readonly (readonly [boolean, string])[] = [
    [bytesEqual(nativeSha256(bytes), manifest.fileSha256), 'SHA-256'],
    [bytes.length === manifest.fileBytes, 'length'],
    [report.records === manifest.records, 'number of records'],
    [totalsText(presentments) === stated, 'totals'],
    [report.header !== undefined && fileIdOf(report.header) === manifest.fileId, 'file id'],
    [profile.version === manifest.profileVersion, 'profile version'],
    [profile.charset === manifest.charset && profile.blocking === manifest.blocking, 'encoding'],
  ];
  for (const [holds, what] of checks) {
    if (!holds) findings.fault(path, `${what} is not what the signed manifest states`);
  }
}

function readLines(
  { files, findings }: SettlementContext,
  path: string,
  manifest: Manifest | undefined,
): LinesFile | undefined {
  const bytes = files.read(path, MAX_ARTEFACT_BYTES);
  if (!bytes) return undefined;
  if (manifest && !bytesEqual(nativeSha256(bytes), manifest.linesSha256)) {
    findings.fault(path, 'SHA-256 is not what the signed manifest states');
    return undefined;
  }
  const text = decodeUtf8(bytes);
  const lines = text === undefined ? undefined : parseLines(text);
  const isLines =
    lines !== undefined && Array.isArray(lines.anchors) && Array.isArray(lines.silent);
  if (isLines) return lines;
  findings.fault(path, 'is not a lines file');
  return undefined;
}

/** Every record of the file has its line, and every line its record. */
function compareLines(
  { findings }: SettlementContext,
  path: string,
  { lines }: LinesFile,
  presentments: readonly PresentmentRecord[],
): void {
  if (lines.length !== presentments.length) {
    findings.fault(path, `${lines.length} lines for ${presentments.length} records`);
  }
  lines.forEach((line, at) => {
    const record = presentments[at];
    const same =
      record !== undefined &&
      line.number === at + 2 &&
      line.arn === record.arn &&
      line.sign === record.sign &&
      line.amountMinor === record.amountMinor &&
      line.currency === record.currency &&
      (line.cycle === 2) === (record.second !== undefined) &&
      shortIdOf(line.aggregateId) === record.aggregateShortId;
    if (!same) findings.fault(path, `line ${at + 2} is not its record of the settlement file`);
  });
}

/** The log heads that the file was cut under are heads of the very logs in the folder. */
function checkAnchors(context: SettlementContext, path: string, { anchors }: LinesFile): void {
  const { logs, findings } = context;
  if (anchors.length === 0) findings.fault(path, 'no ledger anchor');
  for (const { origin, size, root } of anchors) {
    const log = logs?.find((one) => one.origin === origin);
    if (logs && !log) findings.fault(path, `anchor ${origin} is no log of this folder`);
    else if (log && (size > log.size || log.rootAt(size) !== root)) {
      findings.fault(path, `anchor ${origin} at ${size} is no head of that log`);
    }
  }
}

/** What a vault made of a file: nothing of an on-us file, the final form of a pre-file. */
function checkVault(context: SettlementContext, base: string, pre: PreFile): void {
  const { files, findings, finalFile } = context;
  const path = `${base}.vault`;
  if (!isPreStage(pre.profile)) {
    if (files.has(path)) findings.fault(path, `no vault has a part in ${pre.profile.name}`);
    if (finalFile !== undefined) findings.fault(finalFile, 'the file has no other final form');
    return;
  }
  const isStated = files.has(path);
  if (!isStated) findings.count('pre-files without a statement of their vault');
  const statement = isStated ? checkVaultStatement(context, path, pre) : undefined;
  if (finalFile !== undefined) checkFinalFile(findings, finalFile, pre, statement);
}

/** Checks one settlement file with manifest, view and lines; `base` is the path without ending. */
export function checkSettlementFile(
  context: SettlementContext,
  base: string,
): SettlementFileView | undefined {
  const { files, findings } = context;
  const manifest = openManifest(context, base);
  const profileName = manifest?.profile ?? base.slice(base.lastIndexOf('/') + 1).split('.')[1];
  const final = ipmProfile(profileName ?? '');
  if (!final) {
    findings.fault(`${base}.ipm`, `there is no profile ${profileName}`);
    return undefined;
  }
  const isPre = isPreStage(final);
  const path = `${base}${isPre ? '.pre' : ''}.ipm`;
  if (manifest && (manifest.stage === 'pre') !== isPre) {
    findings.fault(path, `stage ${manifest.stage ?? 'final'} does not go with ${final.name}`);
  }
  const profile = preProfile(final);
  const ipm = findings.guard(path, () => readIpm(context, path, profile));
  if (ipm && manifest) compareWithManifest(context, path, manifest, ipm, profile);
  const viewPath = `${base}.manifest.json`;
  const view = files.read(viewPath);
  if (view && manifest && decodeUtf8(view) !== manifestView(manifest)) {
    findings.fault(viewPath, 'does not say what the signed manifest says');
  }
  const linesPath = `${base}.lines.jsonl`;
  const lines = findings.guard(linesPath, () => readLines(context, linesPath, manifest));
  if (lines) {
    findings.guard(linesPath, () => {
      compareLines(context, linesPath, lines, ipm?.presentments ?? []);
      checkAnchors(context, linesPath, lines);
    });
  }
  if (!ipm) return undefined;
  if (manifest) checkVault(context, base, { bytes: ipm.bytes, manifest, profile: final });
  const { records, sumMinor } = ipm.report;
  const fileName = path.slice(path.lastIndexOf('/') + 1);
  const sha256 = toHex(nativeSha256(ipm.bytes));
  return { fileName, sha256, records, sumMinor, lines };
}

const ENDING = /^(.*?)\.(?:(?:pre\.)?ipm|manifest|manifest\.json|lines\.jsonl|vault)$/;

/** What a file of `clearing/` belongs to. */
export function settlementBase(path: string): string | undefined {
  return ENDING.exec(path)?.[1];
}
