/** What the second bookkeeper is told and keeps: payments, lanes and a calendar of its own. */
import type { Line } from './second-lines.ts';

/** What a device, an approver and a log say of one payment. Amounts in micro-units, times in UTC seconds. */
export type Fact = {
  /** Names the Payment; two receipts of one Payment share it. */
  readonly name: string;
  readonly line: string;
  readonly counter: number;
  readonly amount: bigint;
  readonly charge: bigint;
  readonly total: bigint;
  readonly isFinal: boolean;
  readonly isHandedInLate: boolean;
  readonly isAfterClosing: boolean;
  readonly paidS: number;
  readonly origin: string;
  readonly leaf: number;
  readonly account: AccountName;
};

/** What a payee says it gave back of a payment in all, in micro-units. */
export type Refund = {
  readonly name: string;
  readonly of: string;
  readonly refunded: bigint;
  readonly paidS: number;
};

/** Whose money goes where; `currency` is ISO 4217 numeric. */
export type AccountName = {
  readonly merchant: string;
  readonly account: string;
  readonly programme: string;
  readonly currency: number;
  readonly sign: 'debit' | 'credit';
};

/** What the bookkeeper must know of a merchant and a programme. */
export type Terms = {
  readonly merchants: Readonly<Record<string, { readonly member: string }>>;
  readonly programmes: Readonly<
    Record<
      string,
      {
        readonly threshold: bigint;
        readonly windowMinimum: bigint;
        readonly maxAgeS: number;
        readonly fee: { readonly basisPoints: number; readonly fixedMicro: bigint };
      }
    >
  >;
  /** Micro-units in a minor unit, and the alphabetic code, by currency. */
  readonly currencies: Readonly<Record<number, { readonly unit: bigint; readonly alpha: string }>>;
};

export type LaneName = 'normal' | 'late' | 'conflict';
export type Stand = 'awaiting' | 'pending' | 'withheld' | 'forked' | 'aggregated' | 'reversed';

export type Paid = {
  readonly fact: Fact;
  origin: string;
  leaf: number;
  stand: Stand;
  lane: LaneName | undefined;
  /** It was held against the others of its line and contradicts none. */
  isInOrder: boolean;
  /** The line that it is presented in; undefined where several share it. */
  line: Line | undefined;
  /** Of what is given back: the payment, and why. */
  readonly of?: string;
  readonly cause?: 'refund' | 'void';
  /** Other logs that brought it: origin → leaf. */
  readonly elsewhere: Map<string, number>;
};

export type LaneState = {
  readonly account: AccountName;
  readonly lane: LaneName;
  rest: bigint;
  firstPaidS: number;
  firstSeenS: number;
};

export type State = {
  readonly paid: Map<string, Paid>;
  readonly voids: Set<string>;
  readonly closedThroughS: Map<string, number>;
  readonly lanes: Map<string, LaneState>;
  readonly waiting: Map<string, Refund[]>;
  /** Payments whose charge the approver's operator bears. */
  readonly borne: Set<string>;
  readonly stops: Map<string, number>;
};

export const DAY_S: number = 86_400;
const TOKYO_S = 9 * 3600;
/** Twelve digits of DE4. */
export const LARGEST_MINOR: bigint = 999_999_999_999n;
export const BUCKET_OF: Readonly<Record<LaneName, string>> = {
  normal: 'carried',
  late: 'late',
  conflict: 'conflict',
};

export const accountText = (account: AccountName): string =>
  [account.merchant, account.account, account.programme, account.currency, account.sign].join(' ');

export const dayStart = (timeS: number): number =>
  Math.floor((timeS + TOKYO_S) / DAY_S) * DAY_S - TOKYO_S;

export const emptyState = (): State => ({
  paid: new Map(),
  voids: new Set(),
  closedThroughS: new Map(),
  lanes: new Map(),
  waiting: new Map(),
  borne: new Set(),
  stops: new Map(),
});

/**
 * Whether a signed Payment contradicts another one on its line (DESIGN section 4): any on its counter, or the nearest below
 * and above that were judged and contradict none themselves.
 */
export const isContradicted = (fact: Fact, all: Iterable<Paid>): boolean => {
  let below: Fact | undefined;
  let above: Fact | undefined;
  for (const { fact: other, isInOrder } of all) {
    if (other.line !== fact.line || other.name === fact.name) continue;
    if (other.counter === fact.counter) return true;
    if (!isInOrder) continue;
    if (other.counter < fact.counter) {
      if (!below || other.counter >= below.counter) below = other;
    } else if (!above || other.counter < above.counter) above = other;
  }
  return (
    (below !== undefined && fact.total - fact.amount < below.total) ||
    (above !== undefined && above.total - above.amount < fact.total)
  );
};
