/** What an issuer may state in DE25 of a chargeback, a retrieval request or a fee. */
export type ReasonRule = {
  /** Four digits. */
  readonly code: string;
  readonly use: 'chargeback' | 'retrieval' | 'fee';
  readonly meaning: string;
  /** True if a second presentment with evidence may answer it. */
  readonly isRepresentable: boolean;
  /** True if the account pays for nothing further: its devices go on the gateways' deny list. */
  readonly declines: boolean;
};

/** DE25 of a second presentment that the clearing sends by itself: refunds in lines of their own gave the sum back. */
export const SECOND_REASON_REFUNDED = '2701';

/** What an issuer may state in the code part of PDS0005. */
export type RejectRule = {
  readonly code: string;
  /** `file` in a 699, `record` in a 691. */
  readonly scope: 'file' | 'record';
  readonly meaning: string;
  /** True if the same line may come again (same ARN, new file); false = it is parked for a person. */
  readonly isResubmittable: boolean;
  readonly declines: boolean;
};

/** Severity in PDS0005 that refuses the file or the record; `04` is only to know. */
export const SEVERITY: Readonly<Record<RejectRule['scope'], string>> = { file: '12', record: '08' };

/** Codes of the desk's own findings, by what was found. */
export const REJECT_CODES = {
  unreadable: '0501',
  roles: '0502',
  order: '0503',
  fileIdUsed: '0504',
  field: '0510',
  duplicateArn: '0511',
  sum: '0519',
  count: '0520',
  manifest: '0540',
  tooManyRefused: '0550',
  unknownAccount: '2001',
  closedAccount: '2002',
  evidenceMissing: '2003',
  evidenceWrong: '2004',
  arnPresented: '2005',
  nothingChargedBack: '2006',
} as const;

const chargeback = (code: string, meaning: string, declines = false): ReasonRule => ({
  code,
  use: 'chargeback',
  meaning,
  isRepresentable: !declines,
  declines,
});

const retrieval = (code: string, meaning: string): ReasonRule => ({
  code,
  use: 'retrieval',
  meaning,
  isRepresentable: true,
  declines: false,
});

const fee = (code: string, meaning: string): ReasonRule => ({
  code,
  use: 'fee',
  meaning,
  isRepresentable: false,
  declines: false,
});

/** Agreed between issuer and clearing under the on-us profile; a member agrees its own list. */
export const ON_US_REASONS: readonly ReasonRule[] = [
  chargeback('4808', 'no valid approval for a payment of the line'),
  chargeback('4812', 'account not on file', true),
  chargeback('4831', 'amount differs from what was approved'),
  chargeback('4834', 'charged twice'),
  chargeback('4837', 'the liable party denies the payments; account stopped', true),
  chargeback('4842', 'presented late'),
  chargeback('4853', 'goods or service not as described'),
  chargeback('4855', 'goods or service not provided'),
  chargeback('4860', 'refund not processed'),
  retrieval('6321', 'the liable party does not recognise the line'),
  retrieval('6323', 'the liable party asks for its records'),
  retrieval('6341', 'suspected fraud'),
  retrieval('6342', 'documents for a chargeback'),
  fee('7601', 'interchange or other fee of the programme'),
  fee('7602', 'handling of a chargeback'),
  fee('7603', 'handling of a retrieval request'),
  fee('7604', 'files and messages of a period'),
  fee('7605', 'incentive of the programme'),
  fee('7606', 'correction of what was settled'),
];

const ofFile = (code: string, meaning: string): RejectRule => ({
  code,
  scope: 'file',
  meaning,
  isResubmittable: true,
  declines: false,
});

const ofRecord = (
  code: string,
  meaning: string,
  part: Partial<Pick<RejectRule, 'isResubmittable' | 'declines'>> = {},
): RejectRule => ({
  code,
  scope: 'record',
  meaning,
  isResubmittable: false,
  declines: false,
  ...part,
});

export const ON_US_REJECTS: readonly RejectRule[] = [
  ofFile(REJECT_CODES.unreadable, 'framing or an element does not read'),
  ofFile(REJECT_CODES.roles, 'header, trailer or a message type is not as the profile has it'),
  ofFile(REJECT_CODES.order, 'DE71 does not ascend by one'),
  ofFile(REJECT_CODES.fileIdUsed, 'the file id was used for other bytes'),
  ofFile(REJECT_CODES.field, 'an element holds a wrong value'),
  ofFile(REJECT_CODES.duplicateArn, 'an ARN stands twice in the file'),
  ofFile(REJECT_CODES.sum, 'PDS0301 is not the sum of the amounts'),
  ofFile(REJECT_CODES.count, 'PDS0306 is not the number of records'),
  ofFile(REJECT_CODES.manifest, 'manifest, lines file and settlement file disagree'),
  ofFile(REJECT_CODES.tooManyRefused, 'more lines are refused than one answer holds'),
  ofRecord(REJECT_CODES.unknownAccount, 'funding reference unknown', { declines: true }),
  ofRecord(REJECT_CODES.closedAccount, 'account closed', { declines: true }),
  ofRecord(REJECT_CODES.evidenceMissing, 'no evidence for the line', { isResubmittable: true }),
  ofRecord(REJECT_CODES.evidenceWrong, 'the evidence does not prove the line'),
  ofRecord(REJECT_CODES.arnPresented, 'the ARN was taken with an earlier file'),
  ofRecord(REJECT_CODES.nothingChargedBack, 'no chargeback that a second presentment could answer'),
];
