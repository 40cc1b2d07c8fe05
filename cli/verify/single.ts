import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from '../command.ts';
import { checkAnchors } from './anchors.ts';
import { Artefacts } from './artefacts.ts';
import { CONTENTS_FILE } from './contents.ts';
import { checkEvidence } from './evidence.ts';
import { Findings, type VerifyReport } from './findings.ts';
import { checkFork } from './fork.ts';
import {
  checkProofFile,
  isProof,
  TRUST_FOLDER,
  verifyFolder,
  type FolderOptions,
} from './folder.ts';
import { isInboundAnswer, proveInboundAnswer } from './inbound-answers.ts';
import { checkInclusionProof, isInclusionProof } from './inclusion.ts';
import { checkL3Proof, isL3Proof } from './l3-proof.ts';
import { checkCheckpoint, checkLog } from './log.ts';
import { checkPayout, payoutBase } from './payout-files.ts';
import { checkReceipts, receiptStem } from './receipts.ts';
import { checkSettlementFile, settlementBase } from './settlement-file.ts';
import { SUMMARY_FILE } from './summary.ts';
import { loadTrust, type TrustStore } from './trust.ts';

/** Folders above an artefact that are searched for a `trust/`. */
const MAX_LEVELS = 12;

/** The nearest `trust/` above a path: inside an output folder no option is needed. */
function findTrust(path: string): string | undefined {
  let folder = resolve(path);
  for (let level = 0; level < MAX_LEVELS; level += 1, folder = dirname(folder)) {
    const candidate = join(folder, TRUST_FOLDER);
    if (existsSync(join(candidate, 'issuer.cosekey'))) return candidate;
  }
  return undefined;
}

export interface VerifyOptions extends FolderOptions {
  /** The final file of a pre-file: a file with card numbers, in the zone where they may be. */
  readonly finalFile?: string | undefined;
}

/** One file, told by its name. */
function checkFile(
  files: Artefacts,
  name: string,
  { store, nowS, finalFile }: VerifyOptions & { readonly store: TrustStore },
  findings: Findings,
): void {
  const stem = receiptStem(name);
  const payout = payoutBase(name);
  const base = payout === undefined ? settlementBase(name) : undefined;
  if (finalFile !== undefined && base === undefined) {
    throw new UsageError('--final goes with one pre-file of a settlement');
  }
  if (stem !== undefined) {
    checkReceipts(files, [stem], store.book, findings);
  } else if (isInclusionProof(name)) {
    checkInclusionProof(files, name, store, findings);
  } else if (isL3Proof(name)) {
    checkL3Proof(files, name, store, findings);
  } else if (payout !== undefined) {
    checkPayout({ files, store, findings, nowS, numbers: new Map() }, payout);
  } else if (base !== undefined) {
    const context = { files, store, logs: undefined, findings, fileIds: new Set<string>() };
    checkSettlementFile({ ...context, nowS, finalFile }, base);
  } else if (isInboundAnswer(name)) {
    proveInboundAnswer({ files, store, findings }, name);
  } else if (isProof(name)) {
    checkProofFile(files, name, store, findings);
  } else if (name.endsWith('.cbor')) {
    checkEvidence({ files, findings }, [name]);
  } else if (name.endsWith('.json')) {
    checkFork(files, name, store, findings);
  } else if (name === 'checkpoint') {
    const bytes = files.read(name);
    if (bytes) checkCheckpoint(name, bytes, store, findings);
  } else {
    throw new UsageError(`${name} is no artefact that kiri verify knows`);
  }
}

/**
 * Checks one artefact of any kind: an output folder, a log folder, a set of receipts, a proof, evidence, a settlement file.
 * @param options `trustDir`: folder with issuer.cosekey, policy.txt and documents; default: the nearest `trust/`
 *   above the path
 * @throws UsageError where there is nothing at the path, no trust folder, or no known artefact
 */
export async function verifyPath(path: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new UsageError(`there is nothing at ${path}`);
  const isOutput = [CONTENTS_FILE, SUMMARY_FILE, TRUST_FOLDER].some((name) =>
    existsSync(join(path, name)),
  );
  if (stat.isDirectory() && options.finalFile !== undefined) {
    throw new UsageError('--final goes with one pre-file, not with a folder');
  }
  if (stat.isDirectory() && isOutput) {
    return verifyFolder(path, options);
  }
  const trust = options.trustDir ?? findTrust(path);
  if (trust === undefined)
    throw new UsageError(`no trust folder above ${path}: name one by --trust`);
  const findings = new Findings();
  const store = loadTrust(new Artefacts(trust, findings), '', findings);
  if (!store) return findings.report();
  if (stat.isDirectory()) {
    const files = new Artefacts(path, findings);
    const isLog = files.below('tlog/').length > 0;
    if (!isLog) throw new UsageError(`${path} is neither an output folder nor a log folder`);
    const place = { prefix: '', isClosed: false };
    await findings.guardAsync('.', async () => {
      const log = await checkLog(files, place, store, findings);
      if (log) checkAnchors(files, '', log, store, findings);
    });
  } else {
    const files = new Artefacts(dirname(path), findings, false);
    findings.guard(basename(path), () =>
      checkFile(files, basename(path), { ...options, store }, findings),
    );
  }
  return findings.report();
}
