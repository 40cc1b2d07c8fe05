import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { amountMinorMax } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import type { FieldValue, IsoMessage } from './iso8583.ts';

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

/** The six parts of DE43. Postcode at most 10, region and country at most 3 characters; none holds the delimiter. */
export type AcceptorLocation = {
  readonly name: string;
  readonly street: string;
  readonly city: string;
  readonly postcode: string;
  readonly region: string;
  readonly country: string;
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

/** PDS0262 of a second presentment: supporting documents follow, here the evidence of the aggregate. */
const DOCUMENTS_FOLLOW = '1';
/** Digits of the transaction amount in DE30; the reconciliation amount behind it stays zero. */
const ORIGINAL_DIGITS = 12;

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

const locationText = (place: AcceptorLocation, delimiter: string): Coded<string> => {
  const widths: readonly [keyof AcceptorLocation, number][] = [
    ['name', 22],
    ['street', 45],
    ['city', 13],
    ['postcode', 10],
    ['region', 3],
    ['country', 3],
  ];
  for (const [part, width] of widths) {
    const text = place[part];
    if (text.includes(delimiter))
      return refused('WRONG_CHARACTER', 0, 'DE43', `${part}: delimiter`);
    if (text.length > width) return refused('TOO_LONG', 0, 'DE43', `${part}: at most ${width}`);
    if (text !== text.trim()) return refused('WRONG_CHARACTER', 0, 'DE43', `${part}: blank edge`);
  }
  if (!place.name || !place.street || !place.city || place.country.length !== 3) {
    return refused('WRONG_LENGTH', 0, 'DE43', 'name, street, city and country must stand');
  }
  const tail = place.postcode.padEnd(10) + place.region.padEnd(3) + place.country;
  return coded([place.name, place.street, place.city, tail].join(delimiter));
};

const readLocation = (text: string, delimiter: string): Coded<AcceptorLocation> => {
  const [name, street, city, tail, ...more] = text.split(delimiter);
  if (!name || !street || !city || tail?.length !== 16 || more.length > 0) {
    return refused('WRONG_VALUE', 0, 'DE43', 'not name, street, city and 16 characters');
  }
  const place = {
    name,
    street,
    city,
    postcode: tail.slice(0, 10).trimEnd(),
    region: tail.slice(10, 13).trimEnd(),
    country: tail.slice(13),
  };
  // Writing it again checks every part; equal parts and widths give the same text.
  const again = locationText(place, delimiter);
  return again.ok ? coded(place) : again;
};

/** DE24, DE25, DE30 and PDS0262 of a line; of a first presentment DE24 alone. */
const cycleFields = (
  line: PresentmentRecord,
): Coded<{ fields: readonly [number, string][]; pds: readonly [string, string][] }> => {
  const { second, amountMinor } = line;
  if (!second) return coded({ fields: [[24, FUNCTION_PRESENTMENT]], pds: [] });
  const { originalMinor, reason } = second;
  if (!/^\d{4}$/.test(reason)) return refused('WRONG_VALUE', 0, 'DE25', 'not four digits');
  const original = originalMinor.toString().padStart(ORIGINAL_DIGITS, '0');
  if (amountMinor > originalMinor || original.length > ORIGINAL_DIGITS) {
    return refused('WRONG_VALUE', 0, 'DE30', `${amountMinor} presented again of ${originalMinor}`);
  }
  const isFull = amountMinor === originalMinor;
  return coded({
    fields: [
      [24, isFull ? FUNCTION_SECOND_FULL : FUNCTION_SECOND_PARTIAL],
      [25, reason],
      [30, original.padEnd(2 * ORIGINAL_DIGITS, '0')],
    ],
    pds: [['0262', DOCUMENTS_FOLLOW]],
  });
};

const isSecond = (functionCode: string): boolean =>
  functionCode === FUNCTION_SECOND_FULL || functionCode === FUNCTION_SECOND_PARTIAL;

/** Elements and PDS that a 1240 with this DE24 has beside those of every line; undefined: no such 1240. */
export const cycleElements = (
  functionCode: string,
): { readonly fields: readonly number[]; readonly pds: readonly string[] } | undefined => {
  if (functionCode === FUNCTION_PRESENTMENT) return { fields: [], pds: [] };
  return isSecond(functionCode) ? { fields: [25, 30], pds: ['0262'] } : undefined;
};

/** The 1240 of one line under the profile: function 200, or 205 and 282 where it is presented again. */
export const presentmentMessage = (
  line: PresentmentRecord,
  number: number,
  profile: IpmProfile,
): Coded<IsoMessage> => {
  const location = locationText(line.acceptor, profile.delimiter);
  if (!location.ok) return location;
  if (line.amountMinor === 0n) return refused('WRONG_VALUE', 0, 'DE4', 'a zero presentment');
  if (line.amountMinor > amountMinorMax(profile)) {
    return refused('OVERFLOW', 0, 'DE4', `${line.amountMinor} is above the profile's limit`);
  }
  const cycle = cycleFields(line);
  if (!cycle.ok) return cycle;
  const fields = new Map<number, FieldValue>([
    [3, line.sign === 'debit' ? PROCESSING_PURCHASE : PROCESSING_REFUND],
    [4, line.amountMinor],
    [12, line.firstPaidAt],
    [22, profile.pointOfService],
    ...cycle.value.fields,
    [26, line.mcc],
    [31, line.arn],
    [33, line.forwardingMember],
    [37, line.aggregateShortId],
    [41, line.terminalId],
    [42, line.merchantId],
    [43, location.value],
    [49, line.currency],
    [71, messageNumber(number)],
    [94, line.forwardingMember],
  ]);
  const pds = new Map<string, string>([
    ['0148', `${line.currency}${line.exponent}`],
    ['0165', profile.settlementIndicator],
    [profile.fundingPds, line.fundingReference],
    ...cycle.value.pds,
  ]);
  return coded({ mti: '1240', fields, pds });
};

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
  const needed = [3, 4, 12, 22, 24, 26, 31, 33, 37, 41, 42, 43, 49, 71, 94, ...cycle.fields];
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
  const again = presentmentMessage(line, Number(text(71)), profile);
  if (!again.ok) return again;
  const same =
    message.mti === '1240' &&
    [...again.value.fields].every(([de, value]) => message.fields.get(de) === value) &&
    message.pds.size === again.value.pds.size &&
    [...again.value.pds].every(([tag, value]) => message.pds.get(tag) === value);
  return same ? coded(line) : refused('WRONG_VALUE', 0, 'record', 'not a record of this profile');
};
