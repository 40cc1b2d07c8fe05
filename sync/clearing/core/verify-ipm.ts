import { currencyOf } from '../../../protocol/currency.ts';
import { arnFault, isLuhnValid } from './arn.ts';
import { isCardNumber } from './card-number.ts';
import { civilTime, yymmdd } from './civil-time.ts';
import type { IpmProfile } from './ipm-profile.ts';
import { FUNCTION_HEADER, FUNCTION_TRAILER, cycleElements, readHeader } from './ipm-record.ts';
import type { FileHeader } from './ipm-record.ts';
import { readIpmMessages } from './ipm-file.ts';
import type { LocatedMessage } from './ipm-file.ts';
import type { IsoMessage } from './iso8583.ts';

/** What a file can say wrongly although every byte of it reads. The list is closed. */
export type IpmFindingCode =
  | 'UNREADABLE'
  | 'NO_HEADER'
  | 'NO_TRAILER'
  | 'NO_PRESENTMENT'
  | 'WRONG_MESSAGE'
  | 'SEQUENCE'
  | 'FILE_ID'
  | 'FILE_ID_USED'
  | 'COUNT'
  | 'SUM'
  | 'DUPLICATE_ARN'
  | 'BAD_ARN'
  | 'CARD_NUMBER'
  | 'CURRENCY'
  | 'AMOUNT'
  | 'DATE'
  | 'FUTURE'
  | 'MISSING_FIELD'
  | 'UNEXPECTED_PDS';

/** One finding: record number from 1 (0 = the file), file offset, and what is wrong in words. */
type IpmFinding = {
  readonly code: IpmFindingCode;
  readonly record: number;
  readonly offset: number;
  readonly detail: string;
};

/** Counted from the file itself. Empty findings = the file means what it says. */
export type IpmReport = {
  readonly findings: readonly IpmFinding[];
  readonly header: FileHeader | undefined;
  readonly records: number;
  readonly presentments: number;
  readonly sumMinor: bigint;
  readonly arns: readonly string[];
};

/** Findings kept; a file with more is broken in one way throughout. */
const FINDINGS_MAX = 1000;

const REQUIRED: readonly number[] = [3, 4, 12, 22, 24, 26, 31, 33, 41, 42, 43, 49, 71];
// Text that could smuggle a card number. DE31 and the numeric PDS are digits by nature and exempt.
const SCANNED: readonly number[] = [37, 38, 41, 43, 54, 63, 72, 95, 105, 127];
const NUMERIC_PDS: ReadonlySet<string> = new Set([
  '0005',
  '0105',
  '0138',
  '0148',
  '0262',
  '0280',
  '0301',
  '0306',
  '0390',
  '0391',
]);

/** Takes one finding. */
export type Note = (code: IpmFindingCode, at: LocatedMessage | undefined, detail: string) => void;

const fieldText = (message: IsoMessage, de: number): string => String(message.fields.get(de) ?? '');

/** A run of 13 to 19 digits that ends in its Luhn digit. */
const holdsCardNumber = (text: string): boolean =>
  (text.match(/\d+/g) ?? []).some(
    (run) => run.length >= 13 && run.length <= 19 && isLuhnValid(run),
  );

/** The element or PDS of text that hides a card number; undefined if none does. DE2 is not looked at. */
export const hiddenCardNumber = ({ fields, pds }: IsoMessage): string | undefined => {
  const de = SCANNED.find((one) => holdsCardNumber(String(fields.get(one) ?? '')));
  if (de !== undefined) return `DE${de}`;
  const tag = [...pds].find(([name, value]) => !NUMERIC_PDS.has(name) && holdsCardNumber(value));
  return tag && `PDS${tag[0]}`;
};

/** No card number where the profile forbids one, a right one where it wants one. */
export const checkCardNumber = (at: LocatedMessage, profile: IpmProfile, note: Note): void => {
  if (profile.cardNumber === 'required') {
    if (!isCardNumber(fieldText(at.message, 2))) {
      note('CARD_NUMBER', at, 'DE2 missing or its check digit wrong');
    }
  } else if (at.message.fields.has(2)) {
    note('CARD_NUMBER', at, 'DE2 in a file without card numbers');
  }
  const hidden = hiddenCardNumber(at.message);
  if (hidden !== undefined) note('CARD_NUMBER', at, hidden);
};

const isCalendarTime = (text: string): boolean => {
  const parts = text.match(/\d\d/g) ?? [];
  const [year, month, day, hour, minute, second] = parts.map(Number);
  const leap = (year ?? 1) % 4 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][(month ?? 0) - 1];
  const dayIn = days !== undefined && (day ?? 0) >= 1 && (day ?? 99) <= days;
  return dayIn && (hour ?? 99) < 24 && (minute ?? 99) < 60 && (second ?? 99) < 60;
};

const checkPresentment = (at: LocatedMessage, profile: IpmProfile, note: Note): void => {
  const { message } = at;
  const cycle = cycleElements(fieldText(message, 24)) ?? { fields: [], pds: [] };
  for (const de of [...REQUIRED, ...cycle.fields]) {
    if (!message.fields.has(de)) note('MISSING_FIELD', at, `DE${de}`);
  }
  const expected = [...profile.presentmentPds, ...cycle.pds];
  for (const tag of message.pds.keys()) {
    if (!expected.includes(tag)) note('UNEXPECTED_PDS', at, `PDS${tag}`);
  }
  for (const tag of expected) {
    if (!message.pds.has(tag)) note('MISSING_FIELD', at, `PDS${tag}`);
  }
  const fault = arnFault(fieldText(message, 31), profile.arn);
  if (fault !== undefined) note('BAD_ARN', at, fault);
  if (message.fields.get(4) === 0n) note('AMOUNT', at, 'DE4 is zero');
  if (!isCalendarTime(fieldText(message, 12))) note('DATE', at, `DE12 ${fieldText(message, 12)}`);
  checkCardNumber(at, profile, note);
};

/** DE71 is the record's number. */
export const checkSequence = (messages: readonly LocatedMessage[], note: Note): void => {
  for (const at of messages) {
    const expected = String(at.record).padStart(8, '0');
    const found = fieldText(at.message, 71);
    if (found !== expected) note('SEQUENCE', at, `DE71 is ${found || 'missing'}, not ${expected}`);
  }
};

/** The trailer says what was counted. */
export const checkTrailer = (
  trailer: LocatedMessage,
  header: LocatedMessage,
  counted: { readonly records: number; readonly sumMinor: bigint },
  note: Note,
): void => {
  const { pds } = trailer.message;
  if (pds.get('0105') !== header.message.pds.get('0105')) {
    note('FILE_ID', trailer, 'PDS0105 differs from the header');
  }
  const count = String(counted.records).padStart(8, '0');
  if (pds.get('0306') !== count) note('COUNT', trailer, `PDS0306 ${pds.get('0306')}, not ${count}`);
  const sum = counted.sumMinor.toString().padStart(16, '0');
  if (pds.get('0301') !== sum) note('SUM', trailer, `PDS0301 ${pds.get('0301')}, not ${sum}`);
};

/**
 * Every line has one currency and its exponent of ISO 4217; the files of this project hold one currency each, because
 * PDS0301 adds without looking at currencies.
 */
const checkCurrency = (lines: readonly LocatedMessage[], note: Note): void => {
  const first = lines[0];
  if (!first) return;
  const currency = fieldText(first.message, 49);
  const exponent = currencyOf(Number(currency))?.exponent;
  for (const at of lines) {
    if (fieldText(at.message, 49) !== currency) note('CURRENCY', at, `not ${currency} as record 2`);
    const stated = at.message.pds.get('0148');
    if (exponent === undefined || stated !== `${currency}${exponent}`) {
      note('CURRENCY', at, `PDS0148 ${stated} beside DE49 ${currency}`);
    }
  }
};

/** The easternmost clocks are fourteen hours ahead of UTC. */
const EARLIEST_ZONE_S = 50_400;

/** YYMMDD of the day that has begun somewhere: a date after it lies in the future of every business zone. */
const latestDate = (nowS: number): string =>
  yymmdd(civilTime(nowS + EARLIEST_ZONE_S, { name: 'UTC', offsets: [] }));

/** Neither the file nor a payment in it may be of a day that has begun nowhere yet. */
const checkFuture = (messages: readonly LocatedMessage[], nowS: number, note: Note): void => {
  const latest = latestDate(nowS);
  const [header, ...others] = messages;
  const date = header?.message.pds.get('0105')?.slice(3, 9) ?? '';
  if (date > latest) note('FUTURE', header, `file date ${date}, the last day begun is ${latest}`);
  for (const at of others) {
    const paid = fieldText(at.message, 12).slice(0, 6);
    if (paid > latest) note('FUTURE', at, `DE12 ${paid}, the last day begun is ${latest}`);
  }
};

const is = (at: LocatedMessage | undefined, mti: string, code: string): boolean =>
  at?.message.mti === mti && fieldText(at.message, 24) === code;

/** Function code by place: header first, trailer last, presentments between. */
const checkRoles = (messages: readonly LocatedMessage[], note: Note): void => {
  if (!is(messages[0], '1644', FUNCTION_HEADER))
    note('NO_HEADER', messages[0], 'no 1644/697 first');
  const last = messages.at(-1);
  if (!is(last, '1644', FUNCTION_TRAILER)) note('NO_TRAILER', last, 'no 1644/695 last');
  if (messages.length < 3) note('NO_PRESENTMENT', undefined, 'no record between them');
  for (const at of messages.slice(1, -1)) {
    const { mti } = at.message;
    const code = fieldText(at.message, 24);
    if (mti !== '1240' || !cycleElements(code)) {
      note('WRONG_MESSAGE', at, `${mti}/${code} between them`);
    }
  }
};

/**
 * Checks what a file means, apart from the codec, because readers in the field do not: order, totals, counts,
 * identity, check digits, currencies, and that no card number stands in it. `usedFileIds` are ids seen before; `nowS` is
 * the reader's clock (UTC seconds), without it nothing is held against time.
 */
export const verifyIpm = (
  file: Uint8Array,
  profile: IpmProfile,
  usedFileIds: ReadonlySet<string> = new Set(),
  nowS?: number,
): IpmReport => {
  const findings: IpmFinding[] = [];
  const note: Note = (code, at, detail) => {
    if (findings.length === FINDINGS_MAX) return;
    findings.push({ code, record: at?.record ?? 0, offset: at?.offset ?? 0, detail });
  };
  const read = readIpmMessages(file, profile);
  if (!read.ok) {
    const { code, offset, field, detail } = read.fault;
    findings.push({ code: 'UNREADABLE', record: 0, offset, detail: `${code} ${field}: ${detail}` });
    return { findings, header: undefined, records: 0, presentments: 0, sumMinor: 0n, arns: [] };
  }
  const messages = read.value;
  checkRoles(messages, note);
  checkSequence(messages, note);
  const lines = messages.slice(1, -1);
  for (const at of lines) checkPresentment(at, profile, note);
  checkCurrency(lines, note);
  if (nowS !== undefined) checkFuture(messages, nowS, note);
  const arns: string[] = [];
  const seen = new Set<string>();
  let sumMinor = 0n;
  for (const at of lines) {
    const arn = fieldText(at.message, 31);
    if (seen.has(arn)) note('DUPLICATE_ARN', at, arn);
    seen.add(arn);
    arns.push(arn);
    const amount = at.message.fields.get(4);
    if (typeof amount === 'bigint') sumMinor += amount;
  }
  const first = messages[0];
  const last = messages.at(-1);
  const header = first ? readHeader(first.message) : undefined;
  if (header && !header.ok) note('FILE_ID', first, header.fault.detail);
  const fileId = first?.message.pds.get('0105') ?? '';
  if (usedFileIds.has(fileId)) note('FILE_ID_USED', first, fileId);
  if (header?.ok && header.value.fileType !== profile.fileType) {
    note('FILE_ID', first, `file type ${header.value.fileType}, profile ${profile.fileType}`);
  }
  if (first && last && first !== last) {
    checkTrailer(last, first, { records: messages.length, sumMinor }, note);
  }
  const value = header?.ok ? header.value : undefined;
  return {
    findings,
    header: value,
    records: messages.length,
    presentments: lines.length,
    sumMinor,
    arns,
  };
};
