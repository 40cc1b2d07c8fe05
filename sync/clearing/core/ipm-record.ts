import { readLocation } from './acceptor-location.ts';
import type { AcceptorLocation } from './acceptor-location.ts';
import { coded, refused } from './fault.ts';
import type { CodecFault, Coded } from './fault.ts';
import { amountMinorMax } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import type { FieldValue, IsoMessage } from './iso8583.ts';
import { messagePlan } from './message-plan.ts';
import type { MessagePlan } from './message-plan.ts';
import { recordBy } from './message-writer.ts';
import type { ElementValue, MessageWriter } from './message-writer.ts';

/** DE24 of the messages a settlement file is made of. */
const FUNCTION_PRESENTMENT = '200';
/** A second presentment of the whole first one, and of a part of it. */
const FUNCTION_SECOND_FULL = '205';
const FUNCTION_SECOND_PARTIAL = '282';
export const FUNCTION_HEADER = '697';
export const FUNCTION_TRAILER = '695';

/** PDS0105 taken apart, and PDS0122. `member` is 11 digits, `date` YYMMDD, `sequence` 1 … 99999. */
export type FileHeader = {
  readonly fileType: '001' | '002';
  readonly date: string;
  readonly member: string;
  readonly sequence: number;
  /** P production, T test. */
  readonly mode: 'P' | 'T';
};

/** What a second presentment says of the line it presents again. */
type SecondPresentment = {
  /** DE30: minor units of the first presentment. Function 205 presents all of them again, 282 a part. */
  readonly originalMinor: bigint;
  /** DE25, four digits. */
  readonly reason: string;
};

/** One line of the file: one aggregate's whole minor units for one merchant, party and currency. */
export type PresentmentRecord = {
  readonly arn: string;
  readonly sign: 'debit' | 'credit';
  /** Minor units, > 0; the sign stands in DE3, never here. */
  readonly amountMinor: bigint;
  /** ISO 4217 numeric, three digits, and its exponent. */
  readonly currency: string;
  readonly exponent: number;
  /** YYMMDDhhmmss of the first payment in the merchant's business zone. */
  readonly firstPaidAt: string;
  readonly mcc: string;
  readonly terminalId: string;
  readonly merchantId: string;
  readonly acceptor: AcceptorLocation;
  /** Twelve characters that name the aggregate. */
  readonly aggregateShortId: string;
  readonly forwardingMember: string;
  /** The issuer's own reference of the account that funds this; never a card number. */
  readonly fundingReference: string;
  /** Absent on a first presentment. */
  readonly second?: SecondPresentment;
};

/** What the writer counted: records with header and trailer, and the unsigned sum of DE4. */
export type IpmTotals = { readonly records: number; readonly sumMinor: bigint };

const FILE_SEQUENCE_MAX = 99_999;
const PROCESSING_PURCHASE = '000000';
const PROCESSING_REFUND = '200000';

/** The PDS of currency and exponent. */
const CURRENCY_TAG = '0148';
/** PDS0262 of a second presentment: supporting documents follow, here the evidence of the aggregate. */
const DOCUMENTS_FOLLOW = '1';
/** Digits of the transaction amount in DE30; the reconciliation amount behind it stays zero. */
const ORIGINAL_DIGITS = 12;
const ORIGINAL_MAX = 10n ** BigInt(ORIGINAL_DIGITS) - 1n;

/** PDS0105: the file's name inside the file. */
export const fileIdOf = (header: FileHeader): string =>
  header.fileType + header.date + header.member + String(header.sequence).padStart(5, '0');

const FILE_ID = /^(001|002)(\d{6})(\d{11})(\d{5})$/;

/** Whether a text is a PDS0105 in form. */
export const isFileId = (text: string): boolean => FILE_ID.test(text);

/** The file id, or what is wrong with the header's parts. */
export const checkHeader = (header: FileHeader): Coded<string> => {
  const id = fileIdOf(header);
  const inRange = header.sequence >= 1 && header.sequence <= FILE_SEQUENCE_MAX;
  if (!FILE_ID.test(id) || !inRange) return refused('WRONG_VALUE', 0, 'PDS0105', id);
  return coded(id);
};

const messageNumber = (sequence: number): string => String(sequence).padStart(8, '0');

const isSecond = (functionCode: string): boolean =>
  functionCode === FUNCTION_SECOND_FULL || functionCode === FUNCTION_SECOND_PARTIAL;

/** Elements and PDS that a 1240 with this DE24 has beside those of every line; undefined: no such 1240. */
export const cycleElements = (
  functionCode: string,
): { readonly fields: readonly number[]; readonly pds: readonly string[] } | undefined => {
  if (functionCode === FUNCTION_PRESENTMENT) return { fields: [], pds: [] };
  return isSecond(functionCode) ? { fields: SECOND_FIELDS, pds: ['0262'] } : undefined;
};

const functionOf = ({ amountMinor, second }: PresentmentRecord): string => {
  if (!second) return FUNCTION_PRESENTMENT;
  return amountMinor === second.originalMinor ? FUNCTION_SECOND_FULL : FUNCTION_SECOND_PARTIAL;
};

const FIRST_FIELDS: readonly number[] = [3, 4, 12, 22, 24, 26, 31, 33, 37, 41, 42, 43, 49, 71, 94];
const SECOND_FIELDS: readonly number[] = [25, 30];

/** What a line says of itself that no presentment can: the one rule for writing and reading. */
const lineFault = (line: PresentmentRecord, amountMax: bigint): CodecFault | undefined => {
  const { second, amountMinor } = line;
  if (amountMinor === 0n) return refused('WRONG_VALUE', 0, 'DE4', 'a zero presentment').fault;
  if (amountMinor > amountMax) {
    return refused('OVERFLOW', 0, 'DE4', `${amountMinor} is above the profile's limit`).fault;
  }
  if (!second) return undefined;
  const { originalMinor, reason } = second;
  if (!/^\d{4}$/.test(reason)) {
    return refused('WRONG_VALUE', 0, 'DE25', 'not four digits').fault;
  }
  if (amountMinor > originalMinor || originalMinor > ORIGINAL_MAX) {
    const detail = `${amountMinor} presented again of ${originalMinor}`;
    return refused('WRONG_VALUE', 0, 'DE30', detail).fault;
  }
  return undefined;
};

/** The elements of a line's 1240 by number. */
const setFields = (
  into: (ElementValue | undefined)[],
  line: PresentmentRecord,
  number: number,
  profile: IpmProfile,
): void => {
  into[3] = line.sign === 'debit' ? PROCESSING_PURCHASE : PROCESSING_REFUND;
  into[4] = line.amountMinor;
  into[12] = line.firstPaidAt;
  into[22] = profile.pointOfService;
  into[24] = functionOf(line);
  into[26] = line.mcc;
  into[31] = line.arn;
  into[33] = line.forwardingMember;
  into[37] = line.aggregateShortId;
  into[41] = line.terminalId;
  into[42] = line.merchantId;
  into[43] = line.acceptor;
  into[49] = line.currency;
  into[71] = number;
  into[94] = line.forwardingMember;
  if (!line.second) return;
  const original = line.second.originalMinor.toString().padStart(ORIGINAL_DIGITS, '0');
  into[25] = line.second.reason;
  into[30] = original.padEnd(2 * ORIGINAL_DIGITS, '0');
};

/** The text of one PDS of a line's 1240. */
const pdsText = (tag: string, line: PresentmentRecord, profile: IpmProfile): string => {
  switch (tag) {
    case CURRENCY_TAG:
      return `${line.currency}${line.exponent}`;
    case '0165':
      return profile.settlementIndicator;
    case '0262':
      return DOCUMENTS_FOLLOW;
    default:
      return line.fundingReference;
  }
};

const tagsOf = (profile: IpmProfile, isAgain: boolean): readonly string[] => [
  CURRENCY_TAG,
  '0165',
  profile.fundingPds,
  ...(isAgain ? ['0262'] : []),
];

/** Writes the 1240s of a profile: function 200, or 205 and 282 where a line is presented again. */
export class PresentmentWriter {
  readonly #profile: IpmProfile;
  readonly #writer: MessageWriter;
  readonly #amountMax: bigint;
  readonly #first: MessagePlan;
  readonly #again: MessagePlan;
  // One object for all lines: the next line overwrites every value that its plan names.
  readonly #values = {
    fields: Array.from({ length: 129 }, (): ElementValue | undefined => undefined),
    pds: [] as string[],
  };

  #last = { currency: '', exponent: -1, text: '' };

  constructor(profile: IpmProfile, writer: MessageWriter) {
    const planOf = (isAgain: boolean): MessagePlan => {
      const fields = isAgain ? [...FIRST_FIELDS, ...SECOND_FIELDS] : FIRST_FIELDS;
      const plan = messagePlan(writer.rule, '1240', fields, tagsOf(profile, isAgain));
      if (!plan.ok) throw new TypeError(`profile ${profile.name}: ${plan.fault.detail}`);
      return plan.value;
    };
    this.#profile = profile;
    this.#writer = writer;
    this.#amountMax = amountMinorMax(profile);
    this.#first = planOf(false);
    this.#again = planOf(true);
  }

  /** The same text for line after line: a file has one currency. */
  #currency(line: PresentmentRecord): string {
    const { currency, exponent } = line;
    if (currency !== this.#last.currency || exponent !== this.#last.exponent) {
      this.#last = { currency, exponent, text: pdsText(CURRENCY_TAG, line, this.#profile) };
    }
    return this.#last.text;
  }

  /** @param number DE71 */
  put(line: PresentmentRecord, number: number): CodecFault | undefined {
    const fault = lineFault(line, this.#amountMax);
    if (fault) return fault;
    const plan = line.second ? this.#again : this.#first;
    const { fields, pds } = this.#values;
    setFields(fields, line, number, this.#profile);
    const { tags } = plan;
    for (let at = 0; at < tags.length; at++) {
      const tag = tags[at] as string;
      pds[at] = tag === CURRENCY_TAG ? this.#currency(line) : pdsText(tag, line, this.#profile);
    }
    return this.#writer.put(plan, this.#values);
  }
}

/** The 1240 of one line by itself. */
export const encodePresentment = (
  line: PresentmentRecord,
  number: number,
  profile: IpmProfile,
): Coded<Uint8Array> =>
  recordBy(profile, (writer) => new PresentmentWriter(profile, writer).put(line, number));

/** The 1644/697 that opens a file. */
export const headerMessage = (header: FileHeader, fileId: string): IsoMessage => ({
  mti: '1644',
  fields: new Map<number, FieldValue>([
    [24, FUNCTION_HEADER],
    [71, messageNumber(1)],
  ]),
  pds: new Map([
    ['0105', fileId],
    ['0122', header.mode],
  ]),
});

/** The 1644/695 that closes a file. */
export const trailerMessage = (fileId: string, totals: IpmTotals): IsoMessage => ({
  mti: '1644',
  fields: new Map<number, FieldValue>([
    [24, FUNCTION_TRAILER],
    [71, messageNumber(totals.records)],
  ]),
  pds: new Map([
    ['0105', fileId],
    ['0301', totals.sumMinor.toString().padStart(16, '0')],
    ['0306', String(totals.records).padStart(8, '0')],
  ]),
});

/** Takes PDS0105 and PDS0122 of a header message apart. */
export const readHeader = (message: IsoMessage): Coded<FileHeader> => {
  const parts = FILE_ID.exec(message.pds.get('0105') ?? '');
  if (!parts) return refused('WRONG_VALUE', 0, 'PDS0105', 'not type, date, member and sequence');
  const mode = message.pds.get('0122');
  if (mode !== 'P' && mode !== 'T') return refused('WRONG_VALUE', 0, 'PDS0122', 'neither P nor T');
  const [, fileType, date, member, sequence] = parts as unknown as [
    string,
    '001',
    string,
    string,
    string,
  ];
  return coded({ fileType, date, member, sequence: Number(sequence), mode });
};

/** The line a 1240 was written from; refuses any message the profile would not have written just so. */
export const readPresentment = (
  message: IsoMessage,
  profile: IpmProfile,
): Coded<PresentmentRecord> => {
  const text = (de: number): string => String(message.fields.get(de) ?? '');
  const cycle = cycleElements(text(24));
  if (!cycle) return refused('WRONG_VALUE', 0, 'DE24', `${text(24)} is no presentment`);
  const needed = [...FIRST_FIELDS, ...cycle.fields];
  for (const de of needed) {
    if (!message.fields.has(de)) return refused('MISSING_FIELD', 0, `DE${de}`, 'missing');
  }
  for (const de of message.fields.keys()) {
    if (!needed.includes(de))
      return refused('UNEXPECTED_FIELD', 0, `DE${de}`, 'not of the profile');
  }
  const acceptor = readLocation(text(43), profile.delimiter);
  if (!acceptor.ok) return acceptor;
  const exponent = message.pds.get('0148') ?? '';
  if (!/^\d{4}$/.test(exponent))
    return refused('WRONG_VALUE', 0, 'PDS0148', 'not currency and exponent');
  const line: PresentmentRecord = {
    arn: text(31),
    sign: text(3) === PROCESSING_REFUND ? 'credit' : 'debit',
    amountMinor: message.fields.get(4) as bigint,
    currency: text(49),
    exponent: Number(exponent.charAt(3)),
    firstPaidAt: text(12),
    mcc: text(26),
    terminalId: text(41),
    merchantId: text(42),
    acceptor: acceptor.value,
    aggregateShortId: text(37),
    forwardingMember: text(33),
    fundingReference: message.pds.get(profile.fundingPds) ?? '',
    ...(isSecond(text(24)) && {
      second: { originalMinor: BigInt(text(30).slice(0, ORIGINAL_DIGITS)), reason: text(25) },
    }),
  };
  const fault = lineFault(line, amountMinorMax(profile));
  if (fault) return { ok: false, fault };
  const written: ElementValue[] = [];
  setFields(written, line, Number(text(71)), profile);
  const tags = tagsOf(profile, line.second !== undefined);
  const same =
    message.mti === '1240' &&
    // DE43 was held part by part, DE71 is eight digits.
    needed.every((de) => de === 43 || de === 71 || message.fields.get(de) === written[de]) &&
    message.pds.size === tags.length &&
    tags.every((tag) => message.pds.get(tag) === pdsText(tag, line, profile));
  return same ? coded(line) : refused('WRONG_VALUE', 0, 'record', 'not a record of this profile');
};
