import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import type { IpmProfile } from './ipm-profile.ts';
import {
  checkHeader,
  headerMessage,
  presentmentMessage,
  readHeader,
  readPresentment,
  trailerMessage,
} from './ipm-record.ts';
import type { FileHeader, IpmTotals, PresentmentRecord } from './ipm-record.ts';
import { decodeMessage, encodeMessage } from './iso8583.ts';
import type { IsoMessage } from './iso8583.ts';
import { VBS_TERMINATOR, blocked, decodeVbs, fileOffset, frameRecord } from './vbs.ts';

export type SettlementFile = {
  readonly header: FileHeader;
  readonly presentments: readonly PresentmentRecord[];
};

/** DE71 and PDS0306 hold eight digits. */
const FILE_RECORDS_MAX = 99_999_999;

const framed = (message: Coded<IsoMessage>, profile: IpmProfile): Coded<Uint8Array> => {
  if (!message.ok) return message;
  const bytes = encodeMessage(message.value, profile);
  return bytes.ok ? frameRecord(bytes.value) : bytes;
};

/**
 * Writes a settlement file, chunk by chunk in file order, holding one block. The totals of the trailer are counted
 * from what was written. The generator returns the totals, or the first fault (`record` counts from 1); after a
 * fault what was yielded is not a file.
 */
export function* writeIpmFile(
  header: FileHeader,
  presentments: Iterable<PresentmentRecord>,
  profile: IpmProfile,
): Generator<Uint8Array, Coded<IpmTotals>> {
  const state: { result: Coded<IpmTotals> } = { result: coded({ records: 0, sumMinor: 0n }) };
  yield* blocked(records(header, presentments, profile, state), profile.blocking);
  return state.result;
}

function* records(
  header: FileHeader,
  presentments: Iterable<PresentmentRecord>,
  profile: IpmProfile,
  state: { result: Coded<IpmTotals> },
): Generator<Uint8Array> {
  const fileId = checkHeader(header);
  let count = 0;
  let sumMinor = 0n;
  const put = (message: Coded<IsoMessage>): Coded<Uint8Array> => {
    const bytes = framed(message, profile);
    if (bytes.ok) return bytes;
    const { fault } = bytes;
    return refused(fault.code, fault.offset, fault.field, `record ${count}: ${fault.detail}`);
  };
  if (!fileId.ok) {
    state.result = fileId;
    return;
  }
  count = 1;
  const first = put(coded(headerMessage(header, fileId.value)));
  if (!first.ok) {
    state.result = first;
    return;
  }
  yield first.value;
  for (const line of presentments) {
    count++;
    sumMinor += line.amountMinor;
    const bytes =
      count < FILE_RECORDS_MAX
        ? put(presentmentMessage(line, count, profile))
        : refused('OVERFLOW', 0, 'DE71', `more than ${FILE_RECORDS_MAX} records`);
    if (!bytes.ok) {
      state.result = bytes;
      return;
    }
    yield bytes.value;
  }
  count++;
  const totals = { records: count, sumMinor };
  const last = put(coded(trailerMessage(fileId.value, totals)));
  state.result = last.ok ? coded(totals) : last;
  if (!last.ok) return;
  yield last.value;
  yield VBS_TERMINATOR;
}

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
