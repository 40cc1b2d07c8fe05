import type { AggregateKey, Programme } from './aggregate.ts';
import type { SettlementDetails } from './line-record.ts';
import { programmeFor, programmesWith } from './programmes.ts';
import type { Registry } from './registry.ts';

/** The acquirers' and merchants' side of a cut. Undefined = not known (yet): the lane waits, nothing is lost. */
export type SettlementDirectory = {
  /** The rules for a category under a programme; another programme's where the category does not belong there. */
  programme(name: string, mcc?: string): Programme | undefined;
  details(key: AggregateKey): SettlementDetails | undefined;
  /** When the funding account's last credential ends, UTC seconds; absent or undefined: not known. */
  accountEndsS?(key: AggregateKey): number | undefined;
};

const BIN_DIGITS = 6;
const MEMBER_DIGITS = 11;

/** "Minato JPN": the city, and the country in ISO 3166 alpha-3 as settlement files want it. */
const PLACE = /^(.+) ([A-Z]{3})$/;

/** The end of every party's account: the latest that a credential of it states, renewals included. */
function accountEnds(registry: Registry): Map<string, number> {
  const ends = new Map<string, number>();
  for (const { party, partyHex } of [...registry.payers.values()].flat()) {
    const name = JSON.stringify([partyHex, party.fundingAccount]);
    ends.set(name, Math.max(ends.get(name) ?? 0, party.expiresS));
  }
  return ends;
}

/**
 * The settlement side of the registry's merchants, from their acquirers' credentials.
 * @param programmes by name; by default those that every clearing knows
 */
export function directoryOf(
  registry: Registry,
  programmes: ReadonlyMap<string, Programme> = programmesWith([]),
): SettlementDirectory {
  const ends = accountEnds(registry);
  const byMerchant = new Map(
    [...registry.payees.values()]
      .flatMap((chains) => chains.slice(0, 1))
      .map((payee) => [payee.merchant.merchantId, payee]),
  );
  return {
    programme: (name, mcc) =>
      mcc === undefined ? programmes.get(name) : programmeFor(programmes, name, mcc),
    accountEndsS: ({ party, account }) => ends.get(JSON.stringify([party, account])),
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
