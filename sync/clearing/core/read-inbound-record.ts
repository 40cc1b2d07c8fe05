import { refused, coded } from './fault.ts';
import type { Coded, CodecFault } from './fault.ts';
import type {
  Chargeback,
  FeeCollection,
  FeeUse,
  InboundBody,
  PositionTotal,
  RejectError,
  Retrieval,
} from './inbound-message.ts';
import {
  CHARGEBACK_CODES,
  COUNT_DIGITS,
  FEE_DIRECTIONS,
  FEE_REFERENCE,
  FEE_REFERENCE_PDS,
  FUNCTION_FILE_REJECT,
  FUNCTION_MESSAGE_REJECT,
  FUNCTION_RETRIEVAL,
  POSITION_CODES,
  REJECT_ERROR,
  REJECT_ERROR_LENGTH,
  inboundMessage,
} from './inbound-record.ts';
import type { RecordPlace } from './inbound-record.ts';
import type { IpmProfile } from './ipm-profile.ts';
import type { IsoMessage } from './iso8583.ts';

type Refusal = { readonly ok: false; readonly fault: CodecFault };

/** Reads values with the first fault kept; a missing one reads as empty. */
class Values {
  fault: Refusal | undefined;
  readonly #message: IsoMessage;

  constructor(message: IsoMessage) {
    this.#message = message;
  }

  #missing(field: string): void {
    this.fault ??= refused('MISSING_FIELD', 0, field, 'missing');
  }

  wrong(field: string, detail: string): void {
    this.fault ??= refused('WRONG_VALUE', 0, field, detail);
  }

  de(number: number): string {
    const value = this.#message.fields.get(number);
    if (value === undefined) this.#missing(`DE${number}`);
    return String(value ?? '');
  }

  optional(number: number): string | undefined {
    return this.#message.fields.has(number) ? this.de(number) : undefined;
  }

  amount(number: number): bigint {
    const value = this.#message.fields.get(number);
    if (typeof value === 'bigint') return value;
    this.#missing(`DE${number}`);
    return 0n;
  }

  /** Empty where it is missing or not of its form: callers make numbers of it. */
  pds(tag: string, form: RegExp): string {
    const value = this.#message.pds.get(tag);
    if (value === undefined) this.#missing(`PDS${tag}`);
    else if (form.test(value)) return value;
    else this.wrong(`PDS${tag}`, 'not of its form');
    return '';
  }
}

const readErrors = (values: Values): RejectError[] => {
  const text = values.pds('0005', /^[DP0-9]{14,140}$/);
  if (text.length % REJECT_ERROR_LENGTH !== 0) values.wrong('PDS0005', 'not 14 characters each');
  const errors: RejectError[] = [];
  for (let at = 0; at + REJECT_ERROR_LENGTH <= text.length; at += REJECT_ERROR_LENGTH) {
    const parts = REJECT_ERROR.exec(text.slice(at, at + REJECT_ERROR_LENGTH));
    if (!parts) values.wrong('PDS0005', `error at ${at} is not element, severity, code, subfield`);
    const [, element = '', severity = '', code = '', subfield = ''] = parts ?? [];
    errors.push({ element, severity, code, subfield });
  }
  return errors;
};

const readTotal = (values: Values, tag: string): PositionTotal => {
  const text = values.pds(tag, /^\d{24}$/);
  return {
    count: Number(text.slice(0, COUNT_DIGITS)),
    amountMinor: BigInt(text.slice(COUNT_DIGITS) || 0),
  };
};

const FILE_ID_FORM = /^\d{25}$/;

const readAdministrative = (values: Values, code: string): InboundBody | undefined => {
  const sourceFileId = (): string => values.pds('0280', FILE_ID_FORM);
  if (code === FUNCTION_FILE_REJECT) {
    return { kind: 'file-reject', errors: readErrors(values), sourceFileId: sourceFileId() };
  }
  if (code === FUNCTION_MESSAGE_REJECT) {
    const arn = values.optional(31);
    return {
      kind: 'message-reject',
      errors: readErrors(values),
      sourceRecordNumber: Number(values.pds('0138', /^\d{8}$/)),
      sourceFileId: sourceFileId(),
      ...(arn === undefined ? {} : { arn }),
    };
  }
  const position = (['financial', 'settlement'] as const).find(
    (one) => POSITION_CODES[one] === code,
  );
  if (position) {
    return {
      kind: 'reconciliation',
      position,
      sourceFileId: sourceFileId(),
      currency: values.de(49),
      debit: readTotal(values, '0390'),
      credit: readTotal(values, '0391'),
    };
  }
  if (code !== FUNCTION_RETRIEVAL) return undefined;
  const text = values.optional(72);
  const body: Retrieval = { kind: 'retrieval', arn: values.de(31), reason: values.de(25) };
  return text === undefined ? body : { ...body, text };
};

const readChargeback = (
  values: Values,
  code: string,
  profile: IpmProfile,
): Chargeback | undefined => {
  const cycle = (['first', 'arbitration'] as const).find((one) =>
    Object.values<string>(CHARGEBACK_CODES[one]).includes(code),
  );
  if (!cycle) return undefined;
  const text = values.optional(72);
  return {
    kind: 'chargeback',
    arn: values.de(31),
    cycle,
    isPartial: CHARGEBACK_CODES[cycle].partial === code,
    amountMinor: values.amount(4),
    originalMinor: BigInt(values.de(30).slice(0, 12) || 0),
    currency: values.de(49),
    reason: values.de(25),
    fundingReference: values.pds(profile.fundingPds, /^/),
    ...(text === undefined ? {} : { text }),
  };
};

const readFee = (values: Values, code: string, profile: IpmProfile): FeeCollection | undefined => {
  const uses = Object.entries(profile.inbound.fees) as [FeeUse, string][];
  const use = uses.find(([, one]) => one === code)?.[0];
  if (!use) return undefined;
  const [arn, text] = [values.optional(31), values.optional(72)];
  return {
    kind: 'fee',
    use,
    // Any other code is found when the message is held against the one that the profile writes.
    direction: values.de(3) === FEE_DIRECTIONS.paid ? 'paid' : 'charged',
    amountMinor: values.amount(4),
    currency: values.de(49),
    reason: values.de(25),
    reference: values.pds(FEE_REFERENCE_PDS, FEE_REFERENCE),
    date: values.de(73),
    ...(arn === undefined ? {} : { arn }),
    ...(text === undefined ? {} : { text }),
  };
};

const readBody = (
  mti: string,
  values: Values,
  code: string,
  profile: IpmProfile,
): InboundBody | undefined => {
  switch (mti) {
    case '1442':
      return readChargeback(values, code, profile);
    case '1644':
      return readAdministrative(values, code);
    case '1740':
      return readFee(values, code, profile);
    default:
      return undefined;
  }
};

/** Says what should stand there, never what does: that is an outsider's text. */
const otherwise = (field: string, expected: string | bigint | undefined): Refusal =>
  refused('WRONG_VALUE', 0, field, `not as the profile writes it: ${expected}`);

/** An element that the form has and this message has not, or the other way round; undefined if none. */
const strange = (message: IsoMessage, like: IsoMessage): Refusal | undefined => {
  for (const [de, value] of message.fields) {
    if (!like.fields.has(de))
      return refused('UNEXPECTED_FIELD', 0, `DE${de}`, 'not of the profile');
    const expected = like.fields.get(de);
    if (expected !== value) return otherwise(`DE${de}`, expected);
  }
  for (const [tag, value] of message.pds) {
    if (!like.pds.has(tag))
      return refused('UNEXPECTED_FIELD', 0, `PDS${tag}`, 'not of the profile');
    const expected = like.pds.get(tag);
    if (expected !== value) return otherwise(`PDS${tag}`, expected);
  }
  const de = [...like.fields.keys()].find((one) => !message.fields.has(one));
  if (de !== undefined) return refused('MISSING_FIELD', 0, `DE${de}`, 'missing');
  const tag = [...like.pds.keys()].find((one) => !message.pds.has(one));
  return tag === undefined ? undefined : refused('MISSING_FIELD', 0, `PDS${tag}`, 'missing');
};

/** The body a message was written from; refuses any message that the profile would not have written just so. */
export const readInboundBody = (
  message: IsoMessage,
  place: RecordPlace,
  profile: IpmProfile,
): Coded<InboundBody> => {
  const values = new Values(message);
  const code = values.de(24);
  const body = readBody(message.mti, values, code, profile);
  if (!body)
    return refused('WRONG_VALUE', 0, 'DE24', `${message.mti}/${code} is nothing an issuer sends`);
  if (values.fault) return values.fault;
  const again = inboundMessage(body, place, profile);
  if (!again.ok) return again;
  return strange(message, again.value) ?? coded(body);
};
