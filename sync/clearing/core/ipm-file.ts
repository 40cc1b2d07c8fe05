import { coded, inRecord, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import type { IpmProfile } from './ipm-profile.ts';
import {
  PresentmentWriter,
  checkHeader,
  headerMessage,
  readHeader,
  readPresentment,
  trailerMessage,
} from './ipm-record.ts';
import type { FileHeader, IpmTotals, PresentmentRecord } from './ipm-record.ts';
import { decodeMessage } from './iso8583.ts';
import type { IsoMessage } from './iso8583.ts';
import { MessageWriter } from './message-writer.ts';
import { decodeVbs, fileOffset } from './vbs.ts';

export type SettlementFile = {
  readonly header: FileHeader;
  readonly presentments: readonly PresentmentRecord[];
};

/** DE71 and PDS0306 hold eight digits. */
const FILE_RECORDS_MAX = 99_999_999;

/** What a written file holds: the unsigned sum of the trailer, and lines and sum of each sign. */
export type WrittenTotals = IpmTotals & {
  readonly signs: Readonly<Record<PresentmentRecord['sign'], SignTotal>>;
};
type SignTotal = { lines: number; sumMinor: bigint };

/**
 * Writes a settlement file line by line, holding one chunk; chunks are handed out in file order as they fill up. The
 * totals of the trailer are counted from what was written. After a fault what was handed out is not a file.
 */
export class IpmFileWriter {
  readonly #fileId: string;
  readonly #writer: MessageWriter;
  readonly #lines: PresentmentWriter;
  readonly #signs = { debit: { lines: 0, sumMinor: 0n }, credit: { lines: 0, sumMinor: 0n } };
  #records = 1;

  private constructor(fileId: string, profile: IpmProfile, emit: (chunk: Uint8Array) => void) {
    this.#fileId = fileId;
    this.#writer = new MessageWriter(profile, profile.blocking, emit);
    this.#lines = new PresentmentWriter(profile, this.#writer);
  }

  /** Opens a file with its header record. */
  static open(
    header: FileHeader,
    profile: IpmProfile,
    emit: (chunk: Uint8Array) => void,
  ): Coded<IpmFileWriter> {
    const fileId = checkHeader(header);
    if (!fileId.ok) return fileId;
    const file = new IpmFileWriter(fileId.value, profile, emit);
    const fault = file.#writer.message(headerMessage(header, fileId.value));
    return fault ? inRecord(fault, 1) : coded(file);
  }

  /** The next line; its record number follows on that of the line before. A fault names the record. */
  add(line: PresentmentRecord): Coded<void> {
    const record = this.#records + 1;
    if (record >= FILE_RECORDS_MAX) {
      return refused('OVERFLOW', 0, 'DE71', `more than ${FILE_RECORDS_MAX} records`);
    }
    const fault = this.#lines.put(line, record);
    if (fault) return inRecord(fault, record);
    this.#records = record;
    const total = this.#signs[line.sign];
    total.lines += 1;
    total.sumMinor += line.amountMinor;
    return WRITTEN;
  }

  /** Writes the trailer and hands out what is left. */
  end(): Coded<WrittenTotals> {
    const records = this.#records + 1;
    const { debit, credit } = this.#signs;
    const totals = { records, sumMinor: debit.sumMinor + credit.sumMinor };
    const fault = this.#writer.message(trailerMessage(this.#fileId, totals));
    if (fault) return inRecord(fault, records);
    this.#writer.close();
    return coded({ ...totals, signs: { debit, credit } });
  }
}

const WRITTEN: Coded<void> = coded(undefined);

/** One message of a file with its place: record number from 1 and file offset of its first byte. */
export type LocatedMessage = {
  readonly record: number;
  readonly offset: number;
  readonly message: IsoMessage;
};

/** Reads framing, blocking and every message; meaning (order, totals) is the verifier's. Offsets are of the file. */
export const readIpmMessages = (file: Uint8Array, profile: IpmProfile): Coded<LocatedMessage[]> => {
  const stream = decodeVbs(file, profile.blocking);
  if (!stream.ok) return stream;
  const messages: LocatedMessage[] = [];
  for (const [index, { offset, bytes }] of stream.value.entries()) {
    const message = decodeMessage(bytes, profile, offset);
    if (!message.ok) {
      const { code, field, detail } = message.fault;
      const at = fileOffset(message.fault.offset, profile.blocking);
      return refused(code, at, field, `record ${index + 1}: ${detail}`);
    }
    const located = { record: index + 1, message: message.value };
    messages.push({ ...located, offset: fileOffset(offset, profile.blocking) });
  }
  return coded(messages);
};

/**
 * Reads a file of ours back into the value it was written from. Stricter than {@link readIpmMessages}: every record
 * must be exactly what the profile writes. Totals and order are checked by `verifyIpm`.
 */
export const readSettlementFile = (
  file: Uint8Array,
  profile: IpmProfile,
): Coded<SettlementFile> => {
  const messages = readIpmMessages(file, profile);
  if (!messages.ok) return messages;
  const first = messages.value[0];
  if (!first || messages.value.length < 2)
    return refused('MISSING_FIELD', 0, 'header', 'no records');
  const header = readHeader(first.message);
  if (!header.ok) return header;
  const presentments: PresentmentRecord[] = [];
  for (const { record, offset, message } of messages.value.slice(1, -1)) {
    const line = readPresentment(message, profile);
    if (!line.ok) {
      return refused(
        line.fault.code,
        offset,
        line.fault.field,
        `record ${record}: ${line.fault.detail}`,
      );
    }
    presentments.push(line.value);
  }
  return coded({ header: header.value, presentments });
};
