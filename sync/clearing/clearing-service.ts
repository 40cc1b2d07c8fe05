import type { ClearingOptions } from './clearing-options.ts';
import { writeFileDurable, writeFilesDurable } from '../../platform/durable-file.ts';
import { assignPayout } from './assign-payout.ts';
import type { PayoutAssignment } from './assign-payout.ts';
import { CutAssigner } from './assign-cut.ts';
import { JST } from './core/civil-time.ts';
import type { ElsewhereItem, RejectedItem, VerifiedItem } from './core/ingest.ts';
import type { Taken } from './core/log-row.ts';
import { readTaken } from './taken-rows.ts';
import { DEFAULT_IPM_PROFILE } from './core/ipm-profile.ts';
import type { PayoutTerms } from './core/payout-terms.ts';
import { claimPart } from './part-of-store.ts';
import type { LedgerAnchor } from './core/lines-file.ts';
import {
  anchorsOf,
  asWhole,
  evidenceName,
  EVIDENCE_FOLDER,
  oneByOne,
  rebuildFile,
  statementArtefact,
  writeAssigned,
} from './cut-file.ts';
import type { Artefact, Put, StreamFile, WrittenFile } from './cut-file.ts';
import type { SettlementDirectory } from './core/directory.ts';
import { DISPUTE_LIMITS } from './core/dispute-rules.ts';
import type { DisputeLimits } from './core/dispute-rules.ts';
import { lapseDisputes } from './disputes.ts';
import { decideLine, represent, resubmit } from './line-desk.ts';
import type { Decided, LineDecision, Resubmitted, SecondAnswer } from './line-desk.ts';
import { takeInbound } from './read-back.ts';
import type { Inbound, Taken as TakenInbound } from './read-back.ts';
import { markSilent, readAlerts } from './read-back-alerts.ts';
import type { Alerts } from './read-back-alerts.ts';
import { closeAlert, keepApart, type KeptApart } from './quarantine.ts';
import { answerRefused, answerTaken, writeAnswers } from './inbound-answers.ts';
import { answerRetrievals } from './retrievals.ts';
import type { AnsweredRetrieval } from './retrievals.ts';
import { IngestBatch } from './ingest-batch.ts';
import { moveCursor, readCursor } from './ingest-cursor.ts';
import type { IngestCursor } from './ingest-cursor.ts';
import { noCounts } from './ingest-scope.ts';
import type { IngestCounts } from './ingest-scope.ts';
import { rebuildPayout, writePayouts } from './payout-file.ts';
import type { WrittenPayout } from './payout-file.ts';
import { reconcileStore } from './reconcile.ts';
import type { Reconciliation } from './reconcile.ts';
import { migrate } from './schema.ts';
import type { ProvenFork } from '../ledger/core/fork-evidence.ts';
import { liftStop, readStopped, stopLog, type StoppedLog } from './stopped-logs.ts';
import type { SqlSession } from './sql.ts';
import type { AccountingTerms } from './core/closed-books.ts';
import { deleteExpired } from './delete-expired.ts';
import type { DeletionRun } from './delete-expired.ts';
import { eraseExpired } from './retention.ts';
import { sealSegments } from './seal-segments.ts';
import type { Segment } from './segments.ts';
import type { RetentionRun } from './retention.ts';
import { finalHashOf, takeVaultStatement } from './vault-statements.ts';
import type { StatementOutcome } from './vault-statements.ts';

export type { ClearingOptions } from './clearing-options.ts';

/** The result of one cut. */
export type CutResult = {
  readonly files: readonly WrittenFile[];
  /** Aggregation keys that are due but whose programme or merchant is not known or not writable. */
  readonly blocked: readonly string[];
};

/** The result of one payout. */
export type PayoutResult = {
  readonly files: readonly WrittenPayout[];
  /** What stays with its merchant, and why. */
  readonly carried: PayoutAssignment['carried'];
};

/** How long an issuer may leave a file without an acknowledgement before it counts as silent. */
const ACK_WITHIN_S = 86_400;

/** Items in one transaction: an account that comes up again costs its balances and lane once,
 * and the synchronous commit costs a microsecond an item. */
const BATCH_ITEMS = 2_048;

/**
 * The clearing over one store. Every method is durable when its promise resolves and safe to repeat: an item that
 * was ingested before is a duplicate, a file that was assigned before is written again as it was.
 */
export class ClearingService {
  readonly #options: ClearingOptions;
  readonly #writeFile: StreamFile;
  #directory: SettlementDirectory;

  private constructor(options: ClearingOptions) {
    this.#options = options;
    this.#directory = options.directory;
    this.#writeFile = options.writeFile ? asWhole(options.writeFile) : writeFileDurable;
  }

  /** Opens the store at its newest schema and finishes files that a crash left unwritten. */
  static async open(options: ClearingOptions, nowS: number): Promise<ClearingService> {
    await migrate(options.database);
    await claimPart(options.database, options.part);
    const service = new ClearingService(options);
    await service.#writeFiles(nowS);
    await service.#writePayouts();
    return service;
  }

  /** From the next batch or cut on: documents have changed. */
  follow(directory: SettlementDirectory): void {
    this.#directory = directory;
  }

  /**
   * Books verified items. With `cursor`, the position in the log moves in the transaction of the last batch, so a
   * crash in between repeats items (as duplicates) and never skips one.
   */
  async ingestBatch(
    items: readonly (VerifiedItem | RejectedItem | ElsewhereItem)[],
    nowS: number,
    cursor?: IngestCursor,
  ): Promise<IngestCounts> {
    const counts = noCounts();
    const directory = this.#directory;
    const batches = Math.max(1, Math.ceil(items.length / BATCH_ITEMS));
    for (let index = 0; index < batches; index++) {
      const part = items.slice(index * BATCH_ITEMS, (index + 1) * BATCH_ITEMS);
      const isLast = index === batches - 1;
      const done = await this.#options.database.transaction(async (session) => {
        const batch = new IngestBatch(session, nowS, directory);
        await batch.add(part);
        await batch.flush();
        if (isLast && cursor) await moveCursor(session, cursor);
        return batch.counts;
      });
      for (const name of Object.keys(counts) as (keyof IngestCounts)[]) counts[name] += done[name];
    }
    return counts;
  }

  /** Where the next ingest of a log begins; at 0 for a log that was never read. */
  async cursor(origin: string): Promise<IngestCursor> {
    return this.within((session) => readCursor(session, origin));
  }

  /** Stops a log that signed two histories: see stopped-logs.ts. Returns whether anything is new. */
  async stopLog(fork: ProvenFork, evidence: string, nowS: number): Promise<boolean> {
    const directory = this.#directory;
    return this.within((session) => stopLog({ session, nowS, directory }, fork, evidence));
  }

  /** A person's decision to follow a stopped log again; false where it was not stopped. */
  async liftStop(origin: string, nowS: number): Promise<boolean> {
    const directory = this.#directory;
    return this.within((session) => liftStop({ session, nowS, directory }, origin));
  }

  /** Logs that are stopped now. */
  async stoppedLogs(): Promise<readonly StoppedLog[]> {
    return this.#options.database.transaction(readStopped);
  }

  /** What of each approver's rows is here, by its id in hex: from all logs together. */
  async taken(): Promise<ReadonlyMap<string, Taken>> {
    return this.#options.database.transaction(readTaken);
  }

  /**
   * Presents what is due and writes its files. `anchors` are the log heads under which the receipts were ingested;
   * `closeOut` ends the running window early. Nothing due: no file.
   */
  async cut(nowS: number, anchors: readonly LedgerAnchor[], closeOut = false): Promise<CutResult> {
    // A crash may have left assigned files; they leave first, in their own order.
    const earlier = await this.#writeFiles(nowS);
    const { blocked } = await this.#options.database.transaction((session) =>
      this.#assigner(session, nowS, anchors, closeOut).run(),
    );
    return { files: [...earlier, ...(await this.#writeFiles(nowS))], blocked };
  }

  /** Takes in one document of the issuer; see read-back.ts. */
  async readBack(inbound: Inbound, nowS: number): Promise<TakenInbound> {
    const { database, signer } = this.#options;
    await this.#lapse(nowS);
    const rules = { limits: this.#limits, finalHash: finalHashOf };
    return takeInbound(database, inbound, rules, nowS, (session, taken) =>
      answerTaken(session, signer, taken, nowS),
    );
  }

  /** Keeps apart what is not read and answers `issuer` (id in hex); false where as many as may be are kept already. */
  async keepApart(one: KeptApart, issuer: string, nowS: number): Promise<boolean> {
    const { signer } = this.#options;
    return this.within(async (session) => {
      if (!(await keepApart(session, one, nowS))) return false;
      await answerRefused(session, signer, { ...one, issuer }, nowS);
      return true;
    });
  }

  /** Writes what issuers are told about their documents; see inbound-answers.ts. @returns paths below the output folder */
  async writeAnswers(nowS: number): Promise<string[]> {
    const { database, outFolder } = this.#options;
    return writeAnswers(database, outFolder, this.#writeFile, nowS);
  }

  /** Everything that is done in the store alone, in one transaction: what is kept apart, answered, lifted. */
  async within<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#options.database.transaction(work);
  }

  /** A person's decision about a refused or disputed line. */
  async decideLine(arn: string, decision: LineDecision, nowS: number): Promise<Decided> {
    return this.within((session) => decideLine(session, arn, decision, nowS));
  }

  /** Answers a chargeback; the second presentment leaves with the next cut. */
  async represent(answer: SecondAnswer, nowS: number): Promise<Decided> {
    return this.within((session) => represent(session, answer, this.#limits, nowS));
  }

  /** Writes the lines of a refused file into a new one, under the heads that they were cut under. */
  async resubmit(fileName: string, nowS: number): Promise<Resubmitted> {
    const done = await this.within(async (session) => {
      const anchors = await anchorsOf(session, fileName);
      return resubmit(session, fileName, this.#assigner(session, nowS, anchors, false));
    });
    await this.#writeFiles(nowS);
    return done;
  }

  /** Closes an alert that a person has looked at; see quarantine.ts. */
  async closeAlert(reference: string, nowS: number): Promise<boolean> {
    return this.within((session) => closeAlert(session, reference, nowS));
  }

  /** Writes the evidence that the issuer asked for. */
  async answerRetrievals(nowS: number): Promise<AnsweredRetrieval[]> {
    const { database, outFolder } = this.#options;
    return answerRetrievals(database, outFolder, this.#writeFile, nowS);
  }

  /** What is open between clearing and issuer. Files that waited too long become silent first. */
  async alerts(nowS: number): Promise<Alerts> {
    const { ackWithinS } = this.#options;
    return this.within(async (session) => {
      await markSilent(session, nowS, ackWithinS ?? ACK_WITHIN_S);
      return readAlerts(session, nowS);
    });
  }

  /** Keeps what a vault signed about a pre-file, in the store and beside the file. Safe to repeat. */
  async takeVaultStatement(cose: Uint8Array, nowS: number): Promise<StatementOutcome> {
    const { database, vaults, outFolder } = this.#options;
    const trust = vaults ?? { verifier: { verify: () => false }, vaults: [] };
    const outcome = await database.transaction((session) =>
      takeVaultStatement(session, cose, trust, nowS),
    );
    if (outcome.kind !== 'refused') {
      const artefact = statementArtefact(outcome.fileName, cose);
      await this.#writeFile(`${outFolder}/${artefact.path}`, artefact.bytes);
    }
    return outcome;
  }

  /** Erases time of day and payee of receipts past the dispute horizon; see retention.ts. */
  async eraseExpired(horizonDays: number, nowS: number): Promise<RetentionRun> {
    const { database, signer, zone } = this.#options;
    await this.#lapse(nowS);
    return eraseExpired(database, { signer, zone: zone ?? JST, horizonDays }, nowS);
  }

  /** Puts settled receipts of past months away into segments; see seal-segments.ts. */
  async seal(afterDays: number, nowS: number): Promise<Segment[]> {
    await this.#lapse(nowS);
    return sealSegments(this.#options.database, afterDays, nowS);
  }

  /** Deletes accounting records after the years for which they are kept; see delete-expired.ts. */
  async deleteExpired(
    terms: Partial<Omit<AccountingTerms, 'zone'>>,
    nowS: number,
  ): Promise<DeletionRun> {
    const { database, zone, ...parts } = this.#options;
    const options = {
      ...parts,
      writeFile: this.#writeFile,
      terms: { ...terms, zone: zone ?? JST },
    };
    return deleteExpired(database, options, nowS);
  }

  /** The artefacts of a file cut before, byte for byte as they were. @throws KiriError UNKNOWN_FILE */
  async rebuild(fileName: string): Promise<Artefact[]> {
    return rebuildFile(this.#options.database, fileName, this.#options.signer);
  }

  /**
   * Pays an acquirer's merchants what they are owed, into files for its bank. `transferDay` is MMDD, a working day of the
   * bank; nothing payable: no file. What a crash left assigned is written first.
   */
  async payout(terms: PayoutTerms, transferDay: string, nowS: number): Promise<PayoutResult> {
    const { database, mode } = this.#options;
    const earlier = await this.#writePayouts();
    const { carried } = await database.transaction((session) =>
      assignPayout({ session, terms, transferDay, mode, nowS }),
    );
    return { files: [...earlier, ...(await this.#writePayouts())], carried };
  }

  /** The artefacts of a payout made before, byte for byte as they were. @throws KiriError UNKNOWN_FILE */
  async rebuildPayout(fileName: string): Promise<Artefact[]> {
    return rebuildPayout(this.#options.database, fileName, this.#options.signer);
  }

  async #writePayouts(): Promise<WrittenPayout[]> {
    const { database, signer, outFolder } = this.#options;
    return writePayouts(database, signer, outFolder, this.#writeFile);
  }

  async reconcile(): Promise<Reconciliation> {
    return this.#options.database.transaction(reconcileStore);
  }

  async close(): Promise<void> {
    await this.#options.database.close();
  }

  /** Before anything that asks whether a dispute is over. */
  async #lapse(nowS: number): Promise<void> {
    await lapseDisputes(this.#options.database, this.#limits.arbitrationS, nowS);
  }

  get #limits(): DisputeLimits {
    return this.#options.disputes ?? DISPUTE_LIMITS;
  }

  #assigner(
    session: SqlSession,
    nowS: number,
    anchors: readonly LedgerAnchor[],
    closeOut: boolean,
  ): CutAssigner {
    const { policyHash, mode, zone } = this.#options;
    const { profiles = [], profile = DEFAULT_IPM_PROFILE } = this.#options;
    return new CutAssigner(session, {
      nowS,
      closeOut,
      profile,
      profiles,
      mode,
      zone: zone ?? JST,
      directory: this.#directory,
      anchors,
      policyHash: typeof policyHash === 'function' ? policyHash(nowS) : policyHash,
    });
  }

  async #writeFiles(nowS: number): Promise<WrittenFile[]> {
    const { database, signer } = this.#options;
    return writeAssigned(database, signer, this.#put, nowS);
  }

  get #put(): Put {
    const { outFolder, writeFile } = this.#options;
    const one: StreamFile = (path, content) => this.#writeFile(`${outFolder}/${path}`, content);
    if (writeFile) return { one, evidence: oneByOne(one) };
    const evidence: Put['evidence'] = (documents) =>
      writeFilesDurable(
        `${outFolder}/${EVIDENCE_FOLDER}`,
        documents.map(({ id, document }) => ({ name: evidenceName(id), bytes: document })),
      );
    return { one, evidence };
  }
}
