/**
 * What one message of an issuer does to our files and lines (settlement.md 4.4). Each is answered by the state it
 * finds: it moves something, it was known, or it is refused with a code and moves nothing. So the order in which
 * files come never decides what is booked, and one message that fits nothing holds up no other.
 */
import { bytesEqual } from '../../protocol/bytes.ts';
import type { Books } from './books.ts';
import { chargebackFault } from './core/dispute-rules.ts';
import type { DisputeLimits, DisputeRefusal } from './core/dispute-rules.ts';
import { FILE_TABLE } from './core/file-states.ts';
import type { FileEvent, FileRefusal, FileState } from './core/file-states.ts';
import type { FeeRefusal } from './core/fee-states.ts';
import type { FileAcknowledgement } from './core/inbound-documents.ts';
import type {
  Chargeback,
  InboundMessage,
  Reconciliation,
  Retrieval,
} from './core/inbound-message.ts';
import { SEVERITY } from './core/inbound-reasons.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import { PRESENTMENT_TABLE } from './core/presentment-states.ts';
import type { PresentmentEvent, PresentmentRefusal } from './core/presentment-states.ts';
import { decline } from './declined.ts';
import { closeDispute, openDispute } from './disputes.ts';
import { bookFee } from './fee-book.ts';
import {
  comparePositions,
  fileCurrency,
  fileTotals,
  keepPosition,
  linesInFile,
} from './file-positions.ts';
import type { InboundPlace } from './file-positions.ts';
import { acknowledgeLines, chargeBack, takeBack } from './merchant-answers.ts';
import { happen, lineByAggregate, lineByArn } from './line-book.ts';
import type { Line } from './line-book.ts';
import { bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Why a message moved nothing. The list is closed. */
type ReadBackRefusal =
  | PresentmentRefusal
  | FileRefusal
  | DisputeRefusal
  | FeeRefusal
  | 'UNKNOWN_FILE'
  | 'FILE_NAME_MISMATCH'
  | 'HASH_MISMATCH'
  | 'TOTALS_MISMATCH'
  | 'LINES_MOVED_ON'
  | 'HEADER_NAMED'
  | 'UNKNOWN_RECORD'
  | 'ARN_MISMATCH'
  | 'LINE_MOVED_ON'
  | 'UNKNOWN_ARN';

/** What became of one message. */
export type MessageOutcome =
  | { readonly kind: 'moved' | 'repeated'; readonly reference: string; readonly detail: string }
  | {
      readonly kind: 'refused';
      readonly code: ReadBackRefusal;
      readonly reference: string;
      readonly detail: string;
    };

/** What reading back goes by. */
export type ReadBackRules = {
  readonly limits: DisputeLimits;
  /** SHA-256 that the issuer must have got, by file name: another than ours where a vault filled in DE2. */
  readonly finalHash?: (session: SqlSession, fileName: string) => Promise<Uint8Array | undefined>;
};

type MessageReject = Extract<InboundMessage, { readonly kind: 'message-reject' }>;

type OurFile = {
  readonly fileName: string;
  readonly state: FileState;
  readonly sha256: Uint8Array | undefined;
};

const fileById = async (session: SqlSession, fileId: string): Promise<OurFile | undefined> => {
  const [row] = await session.all(
    'SELECT file_name, state, sha256 FROM files WHERE file_id = ?',
    fileId,
  );
  return (
    row && {
      fileName: textOf(row, 'file_name'),
      state: textOf(row, 'state') as FileState,
      sha256: row['sha256'] === null ? undefined : bytesOf(row, 'sha256'),
    }
  );
};

/** A reject of the first presentment does not reach the second one: a line that was disputed had been taken. */
const isAnsweredElsewhere = ({ state, secondFile }: Line, fileName: string): boolean =>
  SECOND.has(state) && secondFile !== fileName;

const SECOND: ReadonlySet<string> = new Set([
  'secondQueued',
  'secondInFile',
  'secondPresented',
  'secondFinal',
]);

/** Applies messages inside one transaction; what they find is what the ones before them left. */
export class MessageReader {
  readonly #session: SqlSession;
  readonly #books: Books;
  readonly #rules: ReadBackRules;
  readonly #nowS: number;
  /** Files of ours that a message was about. */
  readonly #touched = new Set<string>();

  constructor(session: SqlSession, books: Books, rules: ReadBackRules, nowS: number) {
    this.#session = session;
    this.#books = books;
    this.#rules = rules;
    this.#nowS = nowS;
  }

  /** The issuer's word on one of our files: its final hash and totals must be ours before it counts. */
  async acknowledge(ack: FileAcknowledgement): Promise<MessageOutcome> {
    const { fileId, verdict } = ack;
    const reference = fileId;
    const refused = (code: ReadBackRefusal, detail: string): MessageOutcome => ({
      kind: 'refused',
      code,
      reference,
      detail,
    });
    const file = await this.#file(fileId);
    if (!file) return refused('UNKNOWN_FILE', 'no file of ours has this id');
    if (ack.fileName !== `${file.fileName}.ipm`) return refused('FILE_NAME_MISMATCH', ack.fileName);
    const { finalHash } = this.#rules;
    const expected = finalHash ? await finalHash(this.#session, file.fileName) : file.sha256;
    const isOurs = expected !== undefined && bytesEqual(expected, ack.fileSha256);
    // What was damaged on the way is refused for that very reason, so a rejection needs no hash of ours.
    if (verdict !== 'rejected' && file.state !== 'assigned') {
      if (!isOurs) return refused('HASH_MISMATCH', 'the issuer took other bytes than we sent');
      const { records, totals } = await fileTotals(this.#session, file.fileName);
      const stated = ack.totals.map(
        (one) => `${one.currency} ${one.sign} ${one.lines} ${one.amountMinor}`,
      );
      if (ack.records !== records || stated.toSorted().join() !== totals.join()) {
        return refused('TOTALS_MISMATCH', `${stated.join(', ')}; ours ${totals.join(', ')}`);
      }
    }
    const detail = isOurs ? verdict : `${verdict}; the issuer’s bytes are not ours`;
    const outcome = await this.#fileEvent(file, verdict, reference, detail);
    if (outcome.kind !== 'refused' && verdict !== 'rejected') {
      await acknowledgeLines(this.#session, file.fileName, this.#nowS);
    }
    return outcome;
  }

  /** Writes what was booked, and holds the issuer's positions against it. */
  async flush(): Promise<void> {
    await this.#books.flush();
    for (const fileName of this.#touched) await comparePositions(this.#session, fileName);
  }

  async #file(fileId: string): Promise<OurFile | undefined> {
    const file = await fileById(this.#session, fileId);
    if (file) this.#touched.add(file.fileName);
    return file;
  }

  async apply(
    message: InboundMessage,
    place: InboundPlace,
    profile: IpmProfile,
  ): Promise<MessageOutcome> {
    switch (message.kind) {
      case 'file-reject': {
        const reference = message.sourceFileId;
        const file = await this.#file(reference);
        if (!file) return { kind: 'refused', code: 'UNKNOWN_FILE', reference, detail: '699' };
        const detail = message.errors.map((one) => `${one.element} ${one.code}`).join(', ');
        return this.#fileEvent(file, 'fileReject', reference, detail);
      }
      case 'message-reject':
        return this.#messageReject(message, profile);
      case 'reconciliation':
        return this.#reconcile(message, place);
      case 'chargeback':
        return this.#chargeback(message, profile);
      case 'retrieval':
        return this.#retrieve(message, place);
      case 'fee':
        return bookFee(this.#session, message, place, this.#nowS);
    }
  }

  async #fileEvent(
    file: OurFile,
    event: FileEvent,
    reference: string,
    detail: string,
  ): Promise<MessageOutcome> {
    const answer = FILE_TABLE[file.state][event];
    if (answer.kind === 'refused') {
      return { kind: 'refused', code: answer.code, reference, detail: `${event} in ${file.state}` };
    }
    if (answer.kind === 'repeated') return { kind: 'repeated', reference, detail };
    if (answer.to === 'rejected') {
      const isWhole = await this.#rejectLines(file.fileName);
      if (!isWhole) {
        const said = 'lines of the file were disputed already';
        return { kind: 'refused', code: 'LINES_MOVED_ON', reference, detail: said };
      }
    }
    await this.#setFile(file, answer.to);
    return { kind: 'moved', reference, detail };
  }

  async #setFile(file: OurFile, state: FileState): Promise<void> {
    await this.#session.run('UPDATE files SET state = ? WHERE file_name = ?', state, file.fileName);
  }

  /** All lines of a file that were not refused by themselves go back to the queue, or none does. */
  async #rejectLines(fileName: string): Promise<boolean> {
    const lines: Line[] = [];
    for (const id of await linesInFile(this.#session, fileName)) {
      const line = await lineByAggregate(this.#session, id);
      if (line) lines.push(line);
    }
    const refused = lines.some(
      (line) =>
        PRESENTMENT_TABLE[line.state].fileReject.kind === 'refused' ||
        isAnsweredElsewhere(line, fileName),
    );
    if (refused) return false;
    for (const line of lines) {
      await happen(this.#session, this.#books, line, 'fileReject', `reject ${fileName}`);
    }
    return true;
  }

  async #messageReject(message: MessageReject, profile: IpmProfile): Promise<MessageOutcome> {
    const { sourceFileId, sourceRecordNumber, arn, errors } = message;
    const reference = `${sourceFileId}/${sourceRecordNumber}`;
    const codes = errors.filter((one) => one.severity === SEVERITY.record).map((one) => one.code);
    const detail = `${arn ?? ''} ${errors.map((one) => `${one.element} ${one.code}`).join(', ')}`;
    const refused = (code: ReadBackRefusal): MessageOutcome => ({
      kind: 'refused',
      code,
      reference,
      detail,
    });
    const file = await this.#file(sourceFileId);
    if (!file) return refused('UNKNOWN_FILE');
    const ofFile = FILE_TABLE[file.state].messageReject;
    if (ofFile.kind === 'refused') return refused(ofFile.code);
    if (sourceRecordNumber < 2) return refused('HEADER_NAMED');
    const [row] = await this.#session.all(
      'SELECT aggregate_id, cycle FROM file_lines WHERE file_name = ? AND number = ?',
      file.fileName,
      BigInt(sourceRecordNumber),
    );
    const line = row && (await lineByAggregate(this.#session, textOf(row, 'aggregate_id')));
    if (!row || !line) return refused('UNKNOWN_RECORD');
    if (arn !== undefined && arn !== line.arn) return refused('ARN_MISMATCH');
    const isSecond = numberOf(row, 'cycle') === 2;
    const current = isSecond ? line.secondFile : line.fileName;
    if (current !== file.fileName) return refused('LINE_MOVED_ON');
    if (isAnsweredElsewhere(line, file.fileName)) return refused('DISPUTED');
    const answer = await this.#happen(line, 'messageReject', `reject ${reference}`);
    if (answer.kind === 'refused') return refused(answer.code);
    if (ofFile.kind === 'move') await this.#setFile(file, ofFile.to);
    if (answer.kind === 'move') {
      await takeBack(this.#session, line, { fileName: file.fileName, isSecond }, this.#nowS);
    }
    const declining = codes.find(
      (code) => profile.inbound.rejects.find((rule) => rule.code === code)?.declines,
    );
    if (declining !== undefined && answer.kind === 'move') {
      await decline(this.#session, line, declining, this.#nowS);
    }
    return { kind: answer.kind === 'move' ? 'moved' : 'repeated', reference, detail };
  }

  async #happen(
    line: Line,
    event: PresentmentEvent,
    cause: string,
    sumMicro?: bigint,
  ): ReturnType<typeof happen> {
    return happen(this.#session, this.#books, line, event, cause, sumMicro);
  }

  async #reconcile(message: Reconciliation, place: InboundPlace): Promise<MessageOutcome> {
    const reference = message.sourceFileId;
    const detail = `${message.position} position`;
    const file = await this.#file(reference);
    if (!file) return { kind: 'refused', code: 'UNKNOWN_FILE', reference, detail };
    const answer = FILE_TABLE[file.state].reconciliation;
    if (answer.kind === 'refused') {
      return { kind: 'refused', code: answer.code, reference, detail };
    }
    if (Number(message.currency) !== (await fileCurrency(this.#session, file.fileName))) {
      return { kind: 'refused', code: 'CURRENCY_MISMATCH', reference, detail };
    }
    await keepPosition(this.#session, file.fileName, message, place, this.#nowS);
    return { kind: 'moved', reference, detail };
  }

  async #chargeback(message: Chargeback, profile: IpmProfile): Promise<MessageOutcome> {
    const { arn, cycle, reason, amountMinor } = message;
    const detail = `${cycle} ${reason} ${amountMinor} of ${message.originalMinor}`;
    const refused = (code: ReadBackRefusal): MessageOutcome => ({
      kind: 'refused',
      code,
      reference: arn,
      detail,
    });
    const line = await lineByArn(this.#session, arn);
    if (!line) return refused('UNKNOWN_ARN');
    const event = cycle === 'first' ? 'chargeback' : 'arbitration';
    const answer = PRESENTMENT_TABLE[line.state][event];
    if (answer.kind === 'refused') return refused(answer.code);
    const { sign, currency, fundingReference } = line.record;
    const fault = chargebackFault(
      {
        sign,
        currency,
        fundingReference,
        amountMinor: line.amountMicro / line.unitMicro,
        presentedS: line.presentedS ?? this.#nowS,
        secondMinor: line.secondMicro / line.unitMicro,
      },
      message,
      this.#rules.limits,
      this.#nowS,
    );
    if (fault) return refused(fault);
    const sumMicro = amountMinor * line.unitMicro;
    const rule = profile.inbound.reasons.find((one) => one.code === reason);
    await this.#happen(line, event, `${event} ${arn} ${reason}`, sumMicro);
    await chargeBack(this.#session, line, cycle, sumMicro, this.#nowS);
    const work = { session: this.#session, books: this.#books, nowS: this.#nowS };
    let words = detail;
    if (cycle === 'first') {
      const answerByS = this.#nowS + this.#rules.limits.answerS;
      const opened = await openDispute(work, line, { reason, sumMicro, answerByS, rule });
      const covered = opened.refundedMicro / line.unitMicro;
      if (covered > 0n) words = `${detail}; refunds cover ${covered}`;
      if (opened.isAnswered) words = `${words}, presented again by itself`;
    } else {
      const chargedBackMicro = line.chargedBackMicro + sumMicro;
      await closeDispute(work, line, { chargedBackMicro, arbitratedMicro: sumMicro });
    }
    if (rule?.declines) await decline(this.#session, line, reason, this.#nowS);
    return { kind: 'moved', reference: arn, detail: words };
  }

  async #retrieve({ arn, reason }: Retrieval, place: InboundPlace): Promise<MessageOutcome> {
    const line = await lineByArn(this.#session, arn);
    const refused = (code: ReadBackRefusal): MessageOutcome => ({
      kind: 'refused',
      code,
      reference: arn,
      detail: `retrieval ${reason}`,
    });
    if (!line) return refused('UNKNOWN_ARN');
    const answer = PRESENTMENT_TABLE[line.state].retrieval;
    if (answer.kind === 'refused') return refused(answer.code);
    if (this.#nowS - (line.presentedS ?? this.#nowS) > this.#rules.limits.evidenceS) {
      return refused('EVIDENCE_EXPIRED');
    }
    await this.#session.run(
      `INSERT INTO retrievals (issuer, number, record, aggregate_id, arn, reason, asked_s)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      place.issuer,
      BigInt(place.number),
      BigInt(place.record),
      line.aggregateId,
      arn,
      reason,
      BigInt(this.#nowS),
    );
    return { kind: 'moved', reference: arn, detail: `retrieval ${reason}` };
  }
}
