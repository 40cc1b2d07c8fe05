import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import type { Currency } from '../../../protocol/currency.ts';
import type { AcceptorLocation } from './acceptor-location.ts';
import type { AggregateKey } from './aggregate.ts';
import { isSafeText, toSafeText } from './charset.ts';
import type { IpmProfile } from './ipm-profile.ts';
import { PresentmentWriter } from './ipm-record.ts';
import type { PresentmentRecord } from './ipm-record.ts';
import { MessageWriter } from './message-writer.ts';

/** What the acquirer's documents say of a merchant, as a settlement line needs it. */
export type SettlementDetails = {
  /** The acquirer's member id, 11 digits, and the six digits its ARNs begin with. */
  readonly member: string;
  readonly bin: string;
  /** At most 15 and 8 characters of the safe set. */
  readonly merchantId: string;
  readonly terminalId: string;
  /** Free text; brought into the safe set on the way into the file. */
  readonly acceptor: AcceptorLocation;
};

/** What an account in hex looks like; an account with such a name is written in hex too, so that no two read alike. */
const IN_HEX = /^X(?:[\dA-F]{2})*$/;

/** The funding account in the file's characters: as it is, or as hex where it has others. */
const fundingReference = (account: string): string =>
  account !== '' && isSafeText(account) && !IN_HEX.test(account)
    ? account
    : `X${toHex(utf8ToBytes(account)).toUpperCase()}`;

const safeLocation = (place: AcceptorLocation, profile: IpmProfile): AcceptorLocation => {
  const part = (text: string, width: number): string =>
    toSafeText(text.replaceAll(profile.delimiter, ' '), width);
  return {
    // DE43 must have its first three parts; a missing one is written as a dash.
    name: part(place.name, 22) || '-',
    street: part(place.street, 45) || '-',
    city: part(place.city, 13) || '-',
    postcode: part(place.postcode, 10),
    region: part(place.region, 3),
    country: part(place.country, 3),
  };
};

/** What one line says, from the aggregate's key and the merchant's details. */
export const lineRecord = (
  parts: {
    readonly key: AggregateKey;
    readonly details: SettlementDetails;
    readonly currency: Currency;
  } & Pick<PresentmentRecord, 'arn' | 'amountMinor' | 'firstPaidAt' | 'aggregateShortId'>,
  profile: IpmProfile,
): PresentmentRecord => {
  const { key, details, currency, arn, amountMinor, firstPaidAt, aggregateShortId } = parts;
  return {
    arn,
    sign: key.sign,
    amountMinor,
    currency: String(currency.numeric).padStart(3, '0'),
    exponent: currency.exponent,
    firstPaidAt,
    mcc: key.mcc,
    terminalId: details.terminalId,
    merchantId: details.merchantId,
    acceptor: safeLocation(details.acceptor, profile),
    aggregateShortId,
    forwardingMember: details.member,
    fundingReference: fundingReference(key.account),
  };
};

const SAMPLE = {
  arn: '0'.repeat(23),
  amountMinor: 1n,
  firstPaidAt: '0'.repeat(12),
  aggregateShortId: '0'.repeat(12),
} as const;

/**
 * Whether lines for a merchant can be written at all. Asked before anything is assigned, so that one bad entry in a
 * directory holds up its own lanes and nobody's file. One writer for each profile: making one costs more than a line.
 */
export class LineCheck {
  readonly #writers = new Map<IpmProfile, PresentmentWriter>();

  isWritable(
    key: AggregateKey,
    details: SettlementDetails,
    currency: Currency,
    profile: IpmProfile,
  ): boolean {
    if (!/^\d{11}$/.test(details.member) || !/^\d{6}$/.test(details.bin)) return false;
    const record = lineRecord({ key, details, currency, ...SAMPLE }, profile);
    return this.#writer(profile).put(record, 2) === undefined;
  }

  #writer(profile: IpmProfile): PresentmentWriter {
    const known = this.#writers.get(profile);
    if (known) return known;
    const writer = new PresentmentWriter(profile, new MessageWriter(profile, 'none', () => {}));
    this.#writers.set(profile, writer);
    return writer;
  }
}
