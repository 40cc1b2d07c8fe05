import { REJECT_CODES, SEVERITY } from '../../clearing/core/inbound-reasons.ts';
import type { RejectError } from '../../clearing/core/inbound-message.ts';
import type { IpmFindingCode } from '../../clearing/core/verify-ipm.ts';

/** PDS0005 holds ten errors. */
const ERRORS_MAX = 10;

type Named = readonly [element: string, code: string];

/** `D0000` stands for the whole: no single element can be named. */
const WHOLE = 'D0000';

const OF_FINDING: Readonly<Record<IpmFindingCode, Named>> = {
  UNREADABLE: [WHOLE, REJECT_CODES.unreadable],
  NO_HEADER: ['D0024', REJECT_CODES.roles],
  NO_TRAILER: ['D0024', REJECT_CODES.roles],
  NO_PRESENTMENT: ['D0024', REJECT_CODES.roles],
  WRONG_MESSAGE: ['D0024', REJECT_CODES.roles],
  SEQUENCE: ['D0071', REJECT_CODES.order],
  FILE_ID: ['P0105', REJECT_CODES.roles],
  FILE_ID_USED: ['P0105', REJECT_CODES.fileIdUsed],
  COUNT: ['P0306', REJECT_CODES.count],
  SUM: ['P0301', REJECT_CODES.sum],
  DUPLICATE_ARN: ['D0031', REJECT_CODES.duplicateArn],
  BAD_ARN: ['D0031', REJECT_CODES.field],
  CARD_NUMBER: ['D0002', REJECT_CODES.field],
  CURRENCY: ['D0049', REJECT_CODES.field],
  AMOUNT: ['D0004', REJECT_CODES.field],
  DATE: ['D0012', REJECT_CODES.field],
  FUTURE: ['D0012', REJECT_CODES.field],
  MISSING_FIELD: [WHOLE, REJECT_CODES.field],
  UNEXPECTED_PDS: ['D0048', REJECT_CODES.field],
};

const toErrors = (named: readonly Named[], severity: string): RejectError[] => {
  const errors = new Map<string, RejectError>();
  for (const [element, code] of named) {
    errors.set(element + code, { element, severity, code, subfield: '000' });
  }
  return [...errors.values()].slice(0, ERRORS_MAX);
};

/** More lines refused than a file of answers holds. */
export const tooManyErrors = (): RejectError[] =>
  toErrors([[WHOLE, REJECT_CODES.tooManyRefused]], SEVERITY.file);

/** Why nothing of a file is taken: each kind of finding once; with none, manifest and file disagree. */
export const fileErrors = (findings: readonly IpmFindingCode[]): RejectError[] =>
  toErrors(
    findings.length > 0
      ? findings.map((code) => OF_FINDING[code])
      : [[WHOLE, REJECT_CODES.manifest]],
    SEVERITY.file,
  );

/** Why one line is not taken. */
export type LineTrouble =
  | 'unknownAccount'
  | 'closedAccount'
  | 'evidenceMissing'
  | 'evidenceWrong'
  | 'arnPresented'
  | 'nothingChargedBack';

const LINE_ELEMENT: Readonly<Record<LineTrouble, string>> = {
  unknownAccount: 'P9501',
  closedAccount: 'P9501',
  evidenceMissing: 'D0037',
  evidenceWrong: 'D0037',
  arnPresented: 'D0031',
  nothingChargedBack: 'D0031',
};

export const lineErrors = (troubles: readonly LineTrouble[]): RejectError[] =>
  toErrors(
    troubles.map((trouble) => [LINE_ELEMENT[trouble], REJECT_CODES[trouble]]),
    SEVERITY.record,
  );
