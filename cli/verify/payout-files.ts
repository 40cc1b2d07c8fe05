import { bytesEqual } from '../../protocol/bytes.ts';
import { JST, civilTime, yymmdd } from '../../sync/clearing/core/civil-time.ts';
import {
  PAYOUT_MANIFEST,
  PAYOUT_MANIFEST_TYP,
  type PayoutManifest,
} from '../../sync/clearing/core/payout-manifest.ts';
import {
  ZENGIN_PROFILE,
  readZenginFile,
  type ZenginFile,
} from '../../sync/clearing/core/zengin-file.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { MAX_ARTEFACT_BYTES, nativeSha256, type Artefacts } from './artefacts.ts';
import { openOfClearing } from './clearing-document.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/** Where merchants' transfers stand in an output folder. */
const PAYOUTS = 'payouts/';

/** What the check of payouts rests on. */
export interface PayoutContext {
  readonly files: Artefacts;
  readonly store: TrustStore;
  readonly findings: Findings;
  /** The reader's clock, UTC seconds; without it no payout is held to be from the future. */
  readonly nowS: number | undefined;
  /** Client code and number of the files seen before, with their path: a bank must never get a number twice. */
  readonly numbers: Map<string, string>;
}

const PART = /^(.*?KIRI\.zengin-sougou\.[^/]*)\.(?:txt|lines\.jsonl|manifest)$/;
const NAME = /^KIRI\.zengin-sougou\.(\d{10})\.D(\d{6})\.S(\d{5})\.[PT]$/;

/** What a file of `payouts/` belongs to; undefined for any other. */
export function payoutBase(path: string): string | undefined {
  return PART.exec(path)?.[1];
}

const nameOf = (base: string): string => base.slice(base.lastIndexOf('/') + 1);

function openManifest(context: PayoutContext, base: string): PayoutManifest | undefined {
  const { findings, nowS } = context;
  const path = `${base}.manifest`;
  const manifest = openOfClearing(context, path, {
    typ: PAYOUT_MANIFEST_TYP,
    codec: PAYOUT_MANIFEST,
    timeOf: ({ cutS }) => cutS,
  });
  if (!manifest) return undefined;
  const { fileName, cutS, profile, profileVersion, lineEnd } = manifest;
  const checks: readonly (readonly [holds: boolean, reason: string])[] = [
    [fileName === `${nameOf(base)}.txt`, `is the manifest of ${fileName}`],
    [profile === ZENGIN_PROFILE.name, `there is no profile ${profile}`],
    [profileVersion === ZENGIN_PROFILE.version, `there is no version ${profileVersion}`],
    [lineEnd === 'none' || lineEnd === 'crlf', `there is no line end ${lineEnd}`],
    [nowS === undefined || cutS <= nowS, 'is of the future'],
  ];
  for (const [holds, reason] of checks) if (!holds) findings.fault(path, reason);
  return checks.every(([holds]) => holds) ? manifest : undefined;
}

/** The bank's file under the strict reader, and against name and manifest. */
function checkFile(
  { files, findings }: PayoutContext,
  base: string,
  manifest: PayoutManifest,
): ZenginFile | undefined {
  const path = `${base}.txt`;
  const bytes = files.read(path, MAX_ARTEFACT_BYTES);
  if (!bytes) return undefined;
  const isSigned =
    bytesEqual(nativeSha256(bytes), manifest.fileSha256) && bytes.length === manifest.fileBytes;
  if (!isSigned) findings.fault(path, 'SHA-256 is not what the signed manifest states');
  const lineEnd = manifest.lineEnd === 'crlf' ? 'crlf' : 'none';
  const read = readZenginFile(bytes, { ...ZENGIN_PROFILE, lineEnd });
  if (!read.ok) {
    const { code, field, offset, detail } = read.fault;
    findings.fault(path, `${code} ${field} at byte ${offset}: ${detail}`);
    return undefined;
  }
  const { header, transfers } = read.value;
  findings.count('transfers to merchants', transfers.length);
  const total = transfers.reduce((sum, one) => sum + one.amountYen, 0n);
  const [, clientCode, date] = NAME.exec(nameOf(base)) ?? [];
  const checks: readonly (readonly [holds: boolean, what: string])[] = [
    [transfers.length === manifest.transfers, 'number of transfers'],
    [total.toString() === manifest.totalYen, 'sum of the transfers'],
  ];
  for (const [holds, what] of checks) {
    if (!holds) findings.fault(path, `${what} is not what the signed manifest states`);
  }
  if (header.clientCode !== clientCode) findings.fault(path, 'its name has another client code');
  if (yymmdd(civilTime(manifest.cutS, JST)) !== date) {
    findings.fault(path, 'its name has another date than its manifest');
  }
  return read.value;
}

const LINE =
  /^\{"number":(\d{1,6}),"merchant":("(?:[^"\\]|\\.)*"),"amountYen":"(\d{1,10})","feeMicro":"(\d{1,39})"\}$/;

/** Each transfer has its line, for one merchant, with the very sum; no merchant stands twice. */
function checkLines(
  { files, findings }: PayoutContext,
  base: string,
  manifest: PayoutManifest,
  file: ZenginFile | undefined,
): void {
  const path = `${base}.lines.jsonl`;
  const bytes = files.read(path, MAX_ARTEFACT_BYTES);
  if (!bytes) return;
  if (!bytesEqual(nativeSha256(bytes), manifest.linesSha256)) {
    findings.fault(path, 'SHA-256 is not what the signed manifest states');
  }
  const rows = (decodeUtf8(bytes) ?? '').split('\n');
  if (rows.pop() !== '') findings.fault(path, 'is not lines of UTF-8');
  if (file && rows.length !== file.transfers.length) {
    findings.fault(path, `${rows.length} lines for ${file.transfers.length} transfers`);
  }
  const merchants = new Set<string>();
  for (const [at, row] of rows.entries()) {
    const [, number, merchant = '', amountYen] = LINE.exec(row) ?? [];
    if (number !== String(at + 1)) {
      findings.fault(path, `line ${at + 1} is not a transfer's`);
      continue;
    }
    if (merchants.has(merchant)) findings.fault(path, `line ${at + 1}: its merchant stands twice`);
    merchants.add(merchant);
    const transfer = file?.transfers[at];
    if (transfer && transfer.amountYen !== BigInt(amountYen ?? -1)) {
      findings.fault(path, `line ${at + 1} pays another sum than its transfer`);
    }
  }
}

/** Checks one payout: the bank's file, the lines behind it and the signed manifest; `base` is the path without ending. */
export function checkPayout(context: PayoutContext, base: string): void {
  const { findings, numbers } = context;
  findings.count('payouts');
  const [, clientCode, , number] = NAME.exec(nameOf(base)) ?? [];
  if (clientCode === undefined) {
    findings.fault(`${base}.txt`, 'is not named as a payout');
    return;
  }
  const seen = numbers.get(`${clientCode} ${number}`);
  if (seen !== undefined) findings.fault(`${base}.txt`, `has the number of ${nameOf(seen)}`);
  numbers.set(`${clientCode} ${number}`, base);
  const manifest = openManifest(context, base);
  if (!manifest) return;
  const file = findings.guard(`${base}.txt`, () => checkFile(context, base, manifest));
  findings.guard(`${base}.lines.jsonl`, () => checkLines(context, base, manifest, file));
}

/** Checks everything in `payouts/`. */
export function checkPayouts(context: Omit<PayoutContext, 'numbers'>): void {
  const { files, findings } = context;
  const bases = new Set<string>();
  for (const path of files.below(PAYOUTS)) {
    const base = payoutBase(path);
    if (base === undefined) findings.fault(path, 'is no part of a payout');
    else bases.add(base);
  }
  const numbers = new Map<string, string>();
  for (const base of bases) checkPayout({ ...context, numbers }, base);
}
