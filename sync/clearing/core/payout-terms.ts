import { KiriError } from '../../../protocol/kiri-error.ts';
import { civilTime, dayStartS, yymmdd } from './civil-time.ts';
import { JST } from './civil-time.ts';
import type { PayoutAccount } from './payout.ts';
import { writeZenginFile } from './zengin-file.ts';
import type { ZenginAccount, ZenginFile, ZenginProfile } from './zengin-file.ts';

/** How one acquirer pays its merchants: the account the money leaves, and where each merchant is paid. */
export type PayoutTerms = {
  /** As in aggregation keys: the id of the acquirer's credential in hex. */
  readonly acquirer: string;
  readonly profile: ZenginProfile;
  /** Ten digits that the bank gave for this service. */
  readonly clientCode: string;
  /** In the bank's characters. */
  readonly clientName: string;
  readonly account: ZenginAccount;
  /** Below it, a merchant waits for the next payout. */
  readonly minimumYen: bigint;
  readonly payees: ReadonlyMap<string, PayoutAccount>;
};

/** The head of a payout file. */
export const payoutHeader = (terms: PayoutTerms, transferDay: string): ZenginFile['header'] => {
  const { clientCode, clientName, account } = terms;
  return { clientCode, clientName, transferDay, account };
};

/**
 * Refuses terms that no file could be written from, before anything is assigned: one transfer of one yen to each payee is
 * written and thrown away.
 * @throws KiriError CONFIG_INVALID, with the payee and the field
 */
export const checkPayoutTerms = (terms: PayoutTerms): void => {
  if (!/^\d{10}$/.test(terms.clientCode)) {
    throw new KiriError('CONFIG_INVALID', 'payouts: clientCode is not ten digits');
  }
  const header = payoutHeader(terms, '0101');
  for (const [merchant, { account, name: payeeName, reference }] of terms.payees) {
    const transfers = [{ account, payeeName, amountYen: 1n, reference }];
    const written = writeZenginFile({ header, transfers }, terms.profile);
    if (written.ok) continue;
    const { field, detail } = written.fault;
    throw new KiriError('CONFIG_INVALID', `payouts: payee ${merchant}: ${field} ${detail}`);
  }
};

const SATURDAY = 6;
const DAYS_A_WEEK = 7;
/** 1970-01-01 was a Thursday. */
const FIRST_WEEKDAY = 4;

/** The next day from Monday to Friday in Japan, MMDD. Bank holidays are not known here: then the operator says the day. */
export const nextWeekday = (nowS: number): string => {
  let { dayNumber } = civilTime(nowS, JST);
  do dayNumber += 1;
  while ([0, SATURDAY].includes((dayNumber + FIRST_WEEKDAY) % DAYS_A_WEEK));
  return yymmdd(civilTime(dayStartS(dayNumber, JST), JST)).slice(2);
};
