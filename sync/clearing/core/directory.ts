import type { AggregateKey, Programme } from './aggregate.ts';
import { JST } from './civil-time.ts';
import type { SettlementDetails } from './line-record.ts';
import type { Registry } from './registry.ts';

/** The acquirers' and merchants' side of a cut. Undefined = not known (yet): the lane waits, nothing is lost. */
export type SettlementDirectory = {
  programme(name: string): Programme | undefined;
  details(key: AggregateKey): SettlementDetails | undefined;
};

const DAY_S = 86_400;
const BIN_DIGITS = 6;
const MEMBER_DIGITS = 11;

/** One yen in micro-units; programmes state their sums in major units of the currency. */
const MAJOR = 1_000_000n;

/**
 * The bilateral on-us programme (reference default): presented once a day, at the latest after five,
 * at once from 10,000 major units on.
 */
const BILATERAL: Programme = {
  name: 'BILATERAL',
  zone: JST,
  thresholdMicro: 10_000n * MAJOR,
  windowMinimumMicro: 1n * MAJOR,
  maxAgeS: 5 * DAY_S,
};

/** "Minato JPN": the city, and the country in ISO 3166 alpha-3 as settlement files want it. */
const PLACE = /^(.+) ([A-Z]{3})$/;

/** The settlement side of the registry's merchants, from their acquirers' credentials. */
export function directoryOf(registry: Registry): SettlementDirectory {
  const byMerchant = new Map(
    [...registry.payees.values()]
      .flatMap((chains) => chains.slice(0, 1))
      .map((payee) => [payee.merchant.merchantId, payee]),
  );
  return {
    programme: (name) => (name === BILATERAL.name ? BILATERAL : undefined),
    details: (key) => {
      const payee = byMerchant.get(key.merchant);
      if (!payee) return undefined;
      const { merchant, acquirer } = payee;
      const [, city = merchant.place, country = 'ZZZ'] = PLACE.exec(merchant.place) ?? [];
      const institution = acquirer.institution.padStart(MEMBER_DIGITS, '0');
      return {
        member: institution,
        bin: institution.slice(-BIN_DIGITS),
        merchantId: merchant.merchantId,
        terminalId: 'KIRI0001',
        acceptor: {
          name: merchant.name,
          street: city,
          city,
          postcode: '',
          region: '',
          country,
        },
      };
    },
  };
}
