import type { ArnRule } from './arn.ts';
import type { FeeUse } from './inbound-message.ts';
import { ON_US_REASONS, ON_US_REJECTS } from './inbound-reasons.ts';
import type { ReasonRule, RejectRule } from './inbound-reasons.ts';
import type { TextRule } from './iso8583.ts';
import type { Blocking } from './vbs.ts';

/**
 * What one kind of settlement file looks like, as data. A profile is stored with every file made under it, so a
 * file rebuilds byte for byte after the profile has moved on. IPM-style, uncertified.
 */
export type IpmProfile = TextRule & {
  readonly name: string;
  readonly version: number;
  readonly blocking: Blocking;
  /** First three digits of PDS0105: 002 is made by a member. */
  readonly fileType: '001' | '002';
  readonly arn: ArnRule;
  /** DE22 of every record: unattended, card absent, stored reference. */
  readonly pointOfService: string;
  /** PDS0165: `C` settled on us or under a bilateral agreement, `M` cleared and settled by the system. */
  readonly settlementIndicator: 'C' | 'M';
  /** Whether a presentment must or must not carry DE2 in the file that the issuer gets. */
  readonly cardNumber: 'forbidden' | 'required';
  /** The PDS that carries the issuer's funding reference; agreed between issuer and acquirer. */
  readonly fundingPds: string;
  /** The PDS a record may carry; any other is refused by the verifier. */
  readonly presentmentPds: readonly string[];
  /** Digits of DE4 in use; a larger total is split over records, never cut. */
  readonly amountDigits: number;
  /** What comes back under this profile; anything else that an issuer states is refused. */
  readonly inbound: InboundRule;
};

/** The issuer's side of a profile. */
type InboundRule = {
  /** First three digits of PDS0105 in the issuer's files: never that of ours, so that ids cannot meet. */
  readonly fileType: '001' | '002';
  /** DE25. */
  readonly reasons: readonly ReasonRule[];
  /** Codes in PDS0005. */
  readonly rejects: readonly RejectRule[];
  /** DE24 of a 1740; a use without a code is none of the profile. */
  readonly fees: Readonly<Partial<Record<FeeUse, string>>>;
};

const ON_US: IpmProfile = {
  name: 'kiri-ipm-onus',
  version: 1,
  charset: 'latin1',
  text: 'safe',
  delimiter: '\\',
  blocking: '1014',
  fileType: '002',
  arn: { firstDigit: '0', check: 'luhn' },
  pointOfService: '000210W00110',
  settlementIndicator: 'C',
  cardNumber: 'forbidden',
  fundingPds: '9501',
  presentmentPds: ['0148', '0165', '9501'],
  amountDigits: 12,
  inbound: {
    fileType: '001',
    reasons: ON_US_REASONS,
    rejects: ON_US_REJECTS,
    fees: { collection: '700', return: '780' },
  },
};

/** Cleared by the card system: what Kiri writes is a pre-file, the partner's vault fills in DE2. */
const MEMBER: IpmProfile = {
  ...ON_US,
  name: 'kiri-ipm-member',
  settlementIndicator: 'M',
  cardNumber: 'required',
  // Here a card system stands between: it charges fees of its own.
  inbound: { ...ON_US.inbound, fees: { ...ON_US.inbound.fees, system: '783' } },
};

const PROFILES: readonly IpmProfile[] = [
  ON_US,
  // The same records for a host: cp500, and `/` in DE43 because `\` differs between EBCDIC pages.
  { ...ON_US, name: 'kiri-ipm-onus-cp500', charset: 'cp500', delimiter: '/' },
  MEMBER,
  { ...MEMBER, name: 'kiri-ipm-member-cp500', charset: 'cp500', delimiter: '/' },
];

/** The names of all profiles. */
export const IPM_PROFILE_NAMES: readonly string[] = PROFILES.map(({ name }) => name);

/** The default: on-us or bilateral, no card number, latin1, 1014 blocks. */
export const DEFAULT_IPM_PROFILE: IpmProfile = ON_US;

/** By name; undefined for a profile that does not exist. */
export const ipmProfile = (name: string): IpmProfile | undefined =>
  PROFILES.find((profile) => profile.name === name);

/** True if what Kiri writes under the profile still lacks DE2: a pre-file, its manifest says stage `pre`. */
export const isPreStage = (profile: IpmProfile): boolean => profile.cardNumber === 'required';

/** The form in which Kiri itself writes and reads the files of a profile: without card numbers, always. */
export const preProfile = (profile: IpmProfile): IpmProfile =>
  isPreStage(profile) ? { ...profile, cardNumber: 'forbidden' } : profile;

/** Which profile a line is presented under: the first rule that fits it. */
export type ProfileRule = {
  /** References as the aggregation key has them; absent fits all. */
  readonly acquirer?: string;
  readonly programme?: string;
  readonly profile: IpmProfile;
};

/** The profile that the rules choose for a line; undefined where none fits. */
export const chosenProfile = (
  rules: readonly ProfileRule[],
  key: { readonly acquirer: string; readonly programme: string },
): IpmProfile | undefined =>
  rules.find(
    ({ acquirer, programme }) =>
      (acquirer === undefined || acquirer === key.acquirer) &&
      (programme === undefined || programme === key.programme),
  )?.profile;

/** The largest amount of one record, in minor units. */
export const amountMinorMax = (profile: IpmProfile): bigint =>
  10n ** BigInt(profile.amountDigits) - 1n;
