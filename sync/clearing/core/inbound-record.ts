import { currencyOf } from '../../../protocol/currency.ts';
import { arnFault } from './arn.ts';
import { isYymmdd } from './civil-time.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import type {
  Chargeback,
  FeeCollection,
  InboundBody,
  PositionTotal,
  Reconciliation,
  RejectError,
  Retrieval,
} from './inbound-message.ts';
import { SEVERITY } from './inbound-reasons.ts';
import type { RejectRule } from './inbound-reasons.ts';
import { amountMinorMax } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import { isFileId } from './ipm-record.ts';
import type { FieldValue, IsoMessage } from './iso8583.ts';

export const FUNCTION_FILE_REJECT = '699';
export const FUNCTION_MESSAGE_REJECT = '691';
export const FUNCTION_RETRIEVAL = '603';
export const POSITION_CODES: Readonly<Record<Reconciliation['position'], string>> = {
  financial: '685',
  settlement: '688',
};
/** DE24 of a 1442: cycle, full or partial. */
type ChargebackCodes = { readonly full: string; readonly partial: string };
export const CHARGEBACK_CODES: Readonly<Record<Chargeback['cycle'], ChargebackCodes>> = {
  first: { full: '450', partial: '453' },
  arbitration: { full: '451', partial: '454' },
};

/** PDS0005 holds one to ten errors of 14 characters: element 5, severity 2, code 4, subfield 3. */
const REJECT_ERRORS_MAX = 10;
export const REJECT_ERROR_LENGTH: number = 14;
export const REJECT_ERROR: RegExp = /^([DP]\d{4})(04|08|12)(\d{4})(\d{3})$/;
/** DE72 is for people; what decides stands in elements of its own. */
const TEXT_LENGTH_MAX = 100;
export const COUNT_DIGITS: number = 8;
const SUM_DIGITS = 16;
const PURCHASE = '000000';
/** DE3 of a fee: 1x takes from whom it is sent to, 2x gives. */
export const FEE_DIRECTIONS: Readonly<Record<FeeCollection['direction'], string>> = {
  charged: '190000',
  paid: '290000',
};
/** PDS of a fee's reference (fee collection control number). */
export const FEE_REFERENCE_PDS: string = '0137';
export const FEE_REFERENCE: RegExp = /^[A-Z0-9]{1,20}$/;

const digits = (value: bigint | number, width: number): string =>
  String(value).padStart(width, '0');

/** What every message of a file shares. */
export type RecordPlace = { readonly recordNumber: number; readonly member: string };

type Content = {
  readonly mti: string;
  readonly fields: readonly (readonly [number, FieldValue])[];
  readonly pds: readonly (readonly [string, string])[];
};

const errorsText = (errors: readonly RejectError[]): string =>
  errors.map((one) => one.element + one.severity + one.code + one.subfield).join('');

const totalText = (total: PositionTotal): string =>
  digits(total.count, COUNT_DIGITS) + digits(total.amountMinor, SUM_DIGITS);

/** Decimals of a three-digit ISO 4217 code, undefined where there is none. */
const exponentOf = (currency: string): number | undefined =>
  /^\d{3}$/.test(currency) ? currencyOf(Number(currency))?.exponent : undefined;

const exponentText = (currency: string): string => `${currency}${exponentOf(currency) ?? ''}`;

const chargebackContent = (body: Chargeback, place: RecordPlace, profile: IpmProfile): Content => ({
  mti: '1442',
  fields: [
    [3, PURCHASE],
    [4, body.amountMinor],
    [24, CHARGEBACK_CODES[body.cycle][body.isPartial ? 'partial' : 'full']],
    [25, body.reason],
    [30, digits(body.originalMinor, 12) + digits(0, 12)],
    [31, body.arn],
    [49, body.currency],
    ...(body.text === undefined ? [] : ([[72, body.text]] as const)),
    [94, place.member],
  ],
  pds: [
    ['0148', exponentText(body.currency)],
    [profile.fundingPds, body.fundingReference],
  ],
});

const retrievalContent = (body: Retrieval, place: RecordPlace): Content => ({
  mti: '1644',
  fields: [
    [24, FUNCTION_RETRIEVAL],
    [25, body.reason],
    [31, body.arn],
    ...(body.text === undefined ? [] : ([[72, body.text]] as const)),
    [94, place.member],
  ],
  pds: [],
});

const feeContent = (body: FeeCollection, place: RecordPlace, profile: IpmProfile): Content => ({
  mti: '1740',
  fields: [
    [3, FEE_DIRECTIONS[body.direction]],
    [4, body.amountMinor],
    [24, profile.inbound.fees[body.use] ?? ''],
    [25, body.reason],
    ...(body.arn === undefined ? [] : ([[31, body.arn]] as const)),
    [49, body.currency],
    ...(body.text === undefined ? [] : ([[72, body.text]] as const)),
    [73, body.date],
    [94, place.member],
  ],
  pds: [
    [FEE_REFERENCE_PDS, body.reference],
    ['0148', exponentText(body.currency)],
  ],
});

const contentOf = (body: InboundBody, place: RecordPlace, profile: IpmProfile): Content => {
  switch (body.kind) {
    case 'file-reject':
      return {
        mti: '1644',
        fields: [[24, FUNCTION_FILE_REJECT]],
        pds: [
          ['0005', errorsText(body.errors)],
          ['0280', body.sourceFileId],
        ],
      };
    case 'message-reject':
      return {
        mti: '1644',
        fields: [
          [24, FUNCTION_MESSAGE_REJECT],
          ...(body.arn === undefined ? [] : ([[31, body.arn]] as const)),
        ],
        pds: [
          ['0005', errorsText(body.errors)],
          ['0138', digits(body.sourceRecordNumber, 8)],
          ['0280', body.sourceFileId],
        ],
      };
    case 'reconciliation':
      return {
        mti: '1644',
        fields: [
          [24, POSITION_CODES[body.position]],
          [49, body.currency],
        ],
        pds: [
          ['0148', exponentText(body.currency)],
          ['0280', body.sourceFileId],
          ['0390', totalText(body.debit)],
          ['0391', totalText(body.credit)],
        ],
      };
    case 'chargeback':
      return chargebackContent(body, place, profile);
    case 'retrieval':
      return retrievalContent(body, place);
    case 'fee':
      return feeContent(body, place, profile);
  }
};

/** What is wrong with a body under the profile: field and words. The one rule for writing and reading. */
const bodyFault = (
  body: InboundBody,
  profile: IpmProfile,
): readonly [field: string, detail: string] | undefined => {
  if ('sourceFileId' in body && !isFileId(body.sourceFileId)) return ['PDS0280', 'no file id'];
  if ('errors' in body) {
    const { errors } = body;
    const scope = body.kind === 'file-reject' ? 'file' : 'record';
    if (errors.length < 1 || errors.length > REJECT_ERRORS_MAX) return ['PDS0005', 'not 1 to 10'];
    for (const error of errors) {
      const { code } = error;
      if (!REJECT_ERROR.test(errorsText([error]))) return ['PDS0005', 'not 5, 2, 4 and 3'];
      const rule = profile.inbound.rejects.find((one) => one.code === code);
      if (rule?.scope !== scope) return ['PDS0005', `${code} is no code of a ${scope} reject`];
    }
    const refuses = (what: RejectRule['scope']): boolean =>
      errors.some((error) => error.severity === SEVERITY[what]);
    if (!refuses(scope)) return ['PDS0005', `no error refuses the ${scope}`];
    if (scope === 'record' && refuses('file')) return ['PDS0005', 'refuses the file, not a record'];
  }
  if ('currency' in body && exponentOf(body.currency) === undefined) return ['DE49', 'no currency'];
  if ('arn' in body && body.arn !== undefined) {
    const fault = arnFault(body.arn, profile.arn);
    if (fault !== undefined) return ['DE31', fault];
  }
  if ('reason' in body) {
    const rule = profile.inbound.reasons.find((one) => one.code === body.reason);
    if (rule?.use !== body.kind) return ['DE25', `${body.reason} is no reason of a ${body.kind}`];
  }
  if ('text' in body && (body.text?.length ?? 0) > TEXT_LENGTH_MAX) return ['DE72', 'too long'];
  if (body.kind === 'message-reject' && body.sourceRecordNumber < 2) {
    return ['PDS0138', 'names no line: record 1 is the header'];
  }
  if (body.kind === 'fee') return feeFault(body, profile);
  return body.kind === 'chargeback' ? amountFault(body) : undefined;
};

const feeFault = (
  body: FeeCollection,
  profile: IpmProfile,
): readonly [field: string, detail: string] | undefined => {
  const { amountMinor, use, reference, date } = body;
  if (profile.inbound.fees[use] === undefined) return ['DE24', `no ${use} of fees here`];
  if (amountMinor < 1n) return ['DE4', 'a fee of nothing'];
  if (amountMinor > amountMinorMax(profile)) return ['DE4', `${amountMinor} is above the limit`];
  if (!FEE_REFERENCE.test(reference)) {
    return [`PDS${FEE_REFERENCE_PDS}`, 'not 1 to 20 letters and digits'];
  }
  return isYymmdd(date) ? undefined : ['DE73', 'not a day YYMMDD'];
};

const amountFault = (body: Chargeback): readonly [field: string, detail: string] | undefined => {
  const { amountMinor, originalMinor, isPartial } = body;
  if (amountMinor < 1n) return ['DE4', 'a chargeback of nothing'];
  if (amountMinor > originalMinor) return ['DE4', `${amountMinor} is above ${originalMinor}`];
  if (isPartial === (amountMinor === originalMinor)) return ['DE24', 'full and partial mixed up'];
  return undefined;
};

/** The message of one body at its place in a file. */
export const inboundMessage = (
  body: InboundBody,
  place: RecordPlace,
  profile: IpmProfile,
): Coded<IsoMessage> => {
  const fault = bodyFault(body, profile);
  if (fault) return refused('WRONG_VALUE', 0, fault[0], fault[1]);
  const { mti, fields, pds } = contentOf(body, place, profile);
  const own = new Map<number, FieldValue>([...fields, [71, digits(place.recordNumber, 8)]]);
  return coded({ mti, fields: own, pds: new Map(pds) });
};
