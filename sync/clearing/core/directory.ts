import { toHex } from '../../../protocol/bytes.ts';
import type { AggregateKey, Programme } from './aggregate.ts';
import type { SettlementDetails } from './line-record.ts';
import { programmeFor, programmesWith } from './programmes.ts';
import type { Registry } from './registry.ts';

/** The acquirers' and merchants' side of a cut. Undefined = not known (yet): the lane waits, nothing is lost. */
export type SettlementDirectory = {
  /** The rules for a category under a programme; another programme's where the category does not belong there. */
  programme(name: string, mcc?: string): Programme | undefined;
  details(key: AggregateKey): SettlementDetails | undefined;
  /** When the funding account's last credential ends or is revoked, UTC seconds; absent or undefined: not known. */
  accountEndsS?(key: AggregateKey): number | undefined;
  /** The account that the issuer gave the party for one that has ended by then; undefined: none, or it goes on. */
  accountAfter?(key: AggregateKey, nowS: number): string | undefined;
};

const BIN_DIGITS = 6;
const MEMBER_DIGITS = 11;

/** "Minato JPN": the city, and the country in ISO 3166 alpha-3 as settlement files want it. */
const PLACE = /^(.+) ([A-Z]{3})$/;

/** One funding account of a party: from when to when a credential states it, renewals and revocations included. */
type Account = { readonly account: string; readonly fromS: number; readonly endsS: number };

const ownerOf = (issuer: string, party: string, currency: number): string =>
  JSON.stringify([issuer, party, currency]);

/** The accounts of every party. One that is revoked ends then: for each device's chain, the last of them counts. */
function accountsOf(registry: Registry): Map<string, Map<string, Account>> {
  const owners = new Map<string, Map<string, Account>>();
  for (const payer of [...registry.payers.values()].flat()) {
    const { party, partyHex, allowance, revokedS = Number.POSITIVE_INFINITY } = payer;
    const owner = ownerOf(toHex(allowance.issuer), partyHex, party.currency);
    const accounts = owners.get(owner) ?? new Map<string, Account>();
    owners.set(owner, accounts);
    const account = party.fundingAccount;
    const known = accounts.get(account);
    const fromS = Math.min(known?.fromS ?? Number.POSITIVE_INFINITY, party.notBeforeS);
    const endsS = Math.max(known?.endsS ?? 0, Math.min(party.expiresS, revokedS));
    accounts.set(account, { account, fromS, endsS });
  }
  return owners;
}

/** The party's account in force that began last, after the one that has ended. */
function following(
  accounts: ReadonlyMap<string, Account>,
  ended: Account,
  nowS: number,
): Account[] {
  return [...accounts.values()]
    .filter(({ fromS, endsS }) => ended.fromS < fromS && fromS <= nowS && nowS < endsS)
    .toSorted((a, b) => b.fromS - a.fromS || (a.account < b.account ? -1 : 1));
}

/**
 * The settlement side of the registry's merchants, from their acquirers' credentials.
 * @param programmes by name; by default those that every clearing knows
 */
export function directoryOf(
  registry: Registry,
  programmes: ReadonlyMap<string, Programme> = programmesWith([]),
): SettlementDirectory {
  const owners = accountsOf(registry);
  const accountsOfKey = ({ issuer, party, currency }: AggregateKey): ReadonlyMap<string, Account> =>
    owners.get(ownerOf(issuer, party, currency)) ?? new Map<string, Account>();
  const byMerchant = new Map(
    [...registry.payees.values()]
      .flatMap((chains) => chains.slice(0, 1))
      .map((payee) => [payee.merchant.merchantId, payee]),
  );
  return {
    programme: (name, mcc) =>
      mcc === undefined ? programmes.get(name) : programmeFor(programmes, name, mcc),
    accountEndsS: (key) => accountsOfKey(key).get(key.account)?.endsS,
    accountAfter: (key, nowS) => {
      const accounts = accountsOfKey(key);
      const own = accounts.get(key.account);
      return own && own.endsS <= nowS ? following(accounts, own, nowS)[0]?.account : undefined;
    },
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
