import { checkAnswers } from './answers.ts';
import { toHex } from '../../protocol/bytes.ts';
import { FLAG_TIME_QUALITY } from '../../protocol/messages/receipt.ts';
import type { FileLine } from '../../sync/clearing/core/lines-file.ts';
import { judgeMissing } from '../../sync/ledger/core/merge-delay.ts';
import { anchoredSizes, checkAnchors, type AnchoredLog } from './anchors.ts';
import { checkArchive, readArchiveStatement } from './archive-statement.ts';
import { Artefacts } from './artefacts.ts';
import { readClosedBooks } from './closed-books.ts';
import { checkContents } from './contents.ts';
import type { DocumentBook } from './documents.ts';
import { checkEvidence } from './evidence.ts';
import { Findings, type VerifyReport } from './findings.ts';
import { checkInclusionProof, isInclusionProof } from './inclusion.ts';
import { checkL3Proof, isL3Proof } from './l3-proof.ts';
import { checkLog, logPrefixes, type LogView } from './log.ts';
import { checkInboundAnswers } from './inbound-answers.ts';
import { checkPayouts } from './payout-files.ts';
import { checkProof } from './proofs.ts';
import { type CheckedReceipt, checkReceipts, receiptStem, type ReceiptBook } from './receipts.ts';
import {
  checkSettlementFile,
  settlementBase,
  type SettlementContext,
  type SettlementFileView,
} from './settlement-file.ts';
import { checkShards, type PlacedLog } from './shards.ts';
import { checkSummary } from './summary.ts';
import { loadPinned, loadTrust, type Pinned, type TrustStore } from './trust.ts';

/** Where things stand in an output folder (DESIGN §9). */
export const TRUST_FOLDER = 'trust';
const RECEIPTS = 'receipts/';
const LEDGER = 'ledger/';
const CLEARING = 'clearing/';
const EVIDENCE = 'evidence/';
const PROOF_NAME = /(?:^|\/)proof-[^/]*\.cbor$/;

export const isProof = (path: string): boolean => PROOF_NAME.test(path);

export interface FolderOptions {
  /** A folder with issuer.cosekey (and policy.txt) from elsewhere; default: the folder's own `trust/`. */
  readonly trustDir?: string;
  /** The reader's clock, UTC seconds; without it no file is held to be from the future. */
  readonly nowS?: number;
}

/** One proof of misbehaviour at its path. */
export function checkProofFile(
  files: Artefacts,
  path: string,
  store: TrustStore,
  findings: Findings,
): void {
  const bytes = files.read(path);
  if (!bytes) return;
  findings.count('proofs of misbehaviour');
  const proven = findings.guard(path, () => checkProof(store.book, bytes));
  if (proven && !proven.ok) findings.fault(path, `${proven.code}: ${proven.reason}`);
}

/** Who answers for a Receipt that the approver's own logs should hold by now; undefined: it may still come. */
function lateOperator(
  { payment, receipt }: CheckedReceipt,
  logs: readonly LogView[],
  book: DocumentBook,
): string | undefined {
  // An approver without a clock has said no time.
  if ((receipt.flags & FLAG_TIME_QUALITY) === 0) return undefined;
  const mandates = book.approvers.get(toHex(payment.approver)) ?? [];
  const late = mandates.find(({ mandate }) => {
    const own = logs.filter(({ origin }) => origin.startsWith(mandate.logOriginPrefix));
    const checkpointS = Math.max(...own.map((log) => log.cosignedS));
    return judgeMissing({ acceptedS: receipt.timeS, checkpointS }) === 'passed';
  });
  return late?.mandate.operator;
}

/** The approver's clock and the witnesses' may differ by this much. */
const CLOCK_SLACK_S = 86_400;

/** Whether a log of its approver, retired since, was written at the Receipt's time or later: nobody can tell any more. */
function mayBeRetired(
  { payment, receipt }: CheckedReceipt,
  logs: readonly LogView[],
  book: DocumentBook,
): boolean {
  const mandates = book.approvers.get(toHex(payment.approver)) ?? [];
  return logs.some(
    (log) =>
      log.isRetired &&
      receipt.timeS <= log.cosignedS + CLOCK_SLACK_S &&
      mandates.some(({ mandate }) => log.origin.startsWith(mandate.logOriginPrefix)),
  );
}

/** Every receipt lies in a log under its cosigned checkpoint. */
function checkRecorded(
  receipts: ReceiptBook,
  logs: readonly LogView[],
  { book }: TrustStore,
  findings: Findings,
): void {
  for (const [hash, receipt] of receipts) {
    if (logs.some((log) => log.places.has(hash))) continue;
    if (mayBeRetired(receipt, logs, book)) {
      findings.count('receipts that only a retired log can hold');
      continue;
    }
    const operator = lateOperator(receipt, logs, book);
    const whose =
      operator === undefined ? '' : `: MERGE_DELAY_PASSED, its operator ${operator} answers for it`;
    findings.fault(`${receipt.stem}.receipt.cbor`, `is in no log of this folder${whose}`);
  }
}

/** Settlement files, and what they name in `evidence/`. */
function checkClearing(context: SettlementContext): {
  readonly views: readonly SettlementFileView[];
  readonly named: ReadonlyMap<string, FileLine | undefined> | undefined;
} {
  const { files, findings } = context;
  const bases = new Set<string>();
  for (const path of files.below(CLEARING)) {
    const base = settlementBase(path);
    if (base === undefined) findings.fault(path, 'is no part of a settlement file');
    else bases.add(base);
  }
  const views: SettlementFileView[] = [];
  const named = new Map<string, FileLine | undefined>();
  let isWhole = true;
  for (const base of bases) {
    const view = checkSettlementFile(context, base);
    if (view) views.push(view);
    if (!view?.lines) {
      isWhole = false;
      continue;
    }
    for (const line of view.lines.lines) {
      // The line that presents the whole aggregate is the first one; a second may be a part of it.
      if (line.cycle === undefined || !named.has(line.aggregateId)) {
        named.set(line.aggregateId, line);
      }
    }
    for (const id of view.lines.silent) named.set(id, undefined);
  }
  // With a broken lines file nobody can say which evidence is named by none.
  return { views, named: isWhole ? named : undefined };
}

/** All logs; undefined where one of them does not hold, so that nothing is blamed for lying in a broken log. */
async function checkLogs(
  files: Artefacts,
  store: TrustStore,
  findings: Findings,
): Promise<readonly LogView[] | undefined> {
  const placed: PlacedLog[] = [];
  const rollUps: AnchoredLog[] = [];
  let isWhole = true;
  for (const prefix of logPrefixes(files, LEDGER)) {
    const place = { prefix, origin: prefix.slice(LEDGER.length, -1), isClosed: true };
    const log = await findings.guardAsync(prefix, () => checkLog(files, place, store, findings));
    if (!log) {
      isWhole = false;
      continue;
    }
    placed.push({ prefix, log });
    const anchoredSize = checkAnchors(files, prefix, log, store, findings);
    if (log.rolledNotes.length > 0) rollUps.push({ prefix, log, anchoredSize });
  }
  checkShards(placed, store, findings);
  if (!isWhole) return undefined;
  const logs = placed.map(({ log }) => log);
  for (const [origin, size] of anchoredSizes(rollUps, logs, findings)) {
    findings.count(`anchored in ${origin}`, size);
  }
  return logs;
}

async function checkAll(
  files: Artefacts,
  findings: Findings,
  { pinned, nowS }: { readonly pinned: Pinned | undefined; readonly nowS: number | undefined },
): Promise<void> {
  const store = loadTrust(files, `${TRUST_FOLDER}/`, findings, pinned);
  if (!store) {
    checkContents(files, [], { verify: () => false }, findings);
    return;
  }
  const clearings = store.book.clearings.map(({ key }) => key);
  checkContents(files, clearings, store.book.trust.verifier, findings);
  const stems: string[] = [];
  for (const path of files.below(RECEIPTS)) {
    const stem = receiptStem(path);
    if (isInclusionProof(path)) checkInclusionProof(files, path, store, findings);
    else if (isL3Proof(path)) checkL3Proof(files, path, store, findings);
    else if (stem === undefined)
      findings.fault(path, 'is no Payment, Offer, Receipt or proof by its name');
    else stems.push(stem);
  }
  const receipts = checkReceipts(files, stems, store.book, findings);
  const logs = await checkLogs(files, store, findings);
  if (logs) checkRecorded(receipts, logs, store, findings);
  const context = { files, store, logs, findings, fileIds: new Set<string>(), nowS };
  const { views, named } = checkClearing(context);
  checkAnswers(context, views);
  checkPayouts(context);
  checkInboundAnswers(context);
  const closed = readClosedBooks(context);
  const evidence = files.below(EVIDENCE);
  for (const path of evidence.filter(isProof)) checkProofFile(files, path, store, findings);
  const archive = readArchiveStatement(files, findings);
  const presentedMicro = checkEvidence(
    {
      files,
      findings,
      receipts,
      accounts: store.book.accounts,
      ...(logs ? { logs } : {}),
      ...(named ? { named } : {}),
      earlier: new Set([...(archive?.earlier ?? []), ...closed]),
    },
    evidence.filter((path) => !isProof(path)),
  );
  if (archive) checkArchive(files, archive, views, findings);
  else checkSummary(files, { store, receipts, logs, files: views, presentedMicro }, findings);
}

/**
 * Checks a whole output folder, offline: every byte against the signed contents, and, independently of them, what every
 * artefact means under the trust files. Never throws for what is in the files.
 * @throws Error where the folder itself cannot be listed
 */
export async function verifyFolder(
  outDir: string,
  { trustDir, nowS }: FolderOptions = {},
): Promise<VerifyReport> {
  const findings = new Findings();
  const files = new Artefacts(outDir, findings);
  const pinned =
    trustDir === undefined ? undefined : loadPinned(new Artefacts(trustDir, findings), findings);
  if (trustDir === undefined || pinned) {
    await findings.guardAsync('.', () => checkAll(files, findings, { pinned, nowS }));
  }
  return findings.report();
}
