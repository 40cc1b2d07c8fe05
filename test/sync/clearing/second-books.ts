/**
 * A second bookkeeper, in plain arithmetic over lists: where every micro-unit of a history must stand by DESIGN section 6.
 * It shares no code with the clearing and keeps no balances: it adds them up anew from payments, remainders and lines each
 * time it is asked. What it holds is data, so that a state can be copied.
 */

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
      { readonly threshold: bigint; readonly windowMinimum: bigint; readonly maxAgeS: number }
    >
  >;
  /** Micro-units in a minor unit, and the alphabetic code, by currency. */
  readonly currencies: Readonly<Record<number, { readonly unit: bigint; readonly alpha: string }>>;
};

type LaneName = 'normal' | 'late' | 'conflict';
type Stand = 'awaiting' | 'pending' | 'withheld' | 'forked' | 'aggregated';

type Paid = {
  readonly fact: Fact;
  origin: string;
  leaf: number;
  stand: Stand;
  lane: LaneName | undefined;
  isInConflict: boolean;
  /** Other logs that brought it: origin → leaf. */
  readonly elsewhere: Map<string, number>;
};

type LaneState = {
  readonly account: AccountName;
  readonly lane: LaneName;
  rest: bigint;
  firstPaidS: number;
  firstSeenS: number;
};

/** One line of a file. */
type Line = {
  readonly account: AccountName;
  readonly file: number;
  readonly minor: bigint;
  readonly micro: bigint;
};

type BookedFile = {
  readonly member: string;
  readonly currency: number;
  readonly sequence: number;
};

type State = {
  readonly paid: Map<string, Paid>;
  readonly voids: Set<string>;
  readonly closedThroughS: Map<string, number>;
  readonly lanes: Map<string, LaneState>;
  readonly lines: Line[];
  readonly files: BookedFile[];
  readonly stops: Map<string, number>;
};

const DAY_S = 86_400;
const TOKYO_S = 9 * 3600;
/** Twelve digits of DE4. */
const LARGEST_MINOR = 999_999_999_999n;
const BUCKET_OF: Readonly<Record<LaneName, string>> = {
  normal: 'carried',
  late: 'late',
  conflict: 'conflict',
};

export const accountText = (account: AccountName): string =>
  [account.merchant, account.account, account.programme, account.currency, account.sign].join(' ');

const dayStart = (timeS: number): number => Math.floor((timeS + TOKYO_S) / DAY_S) * DAY_S - TOKYO_S;

const emptyState = (): State => ({
  paid: new Map(),
  voids: new Set(),
  closedThroughS: new Map(),
  lanes: new Map(),
  lines: [],
  files: [],
  stops: new Map(),
});

export class SecondBooks {
  state: State = emptyState();
  readonly #terms: Terms;

  constructor(terms: Terms) {
    this.#terms = terms;
  }

  #lane(account: AccountName, lane: LaneName): LaneState {
    const name = `${accountText(account)} ${lane}`;
    const known = this.state.lanes.get(name);
    if (known) return known;
    const fresh = { account, lane, rest: 0n, firstPaidS: 0, firstSeenS: 0 };
    this.state.lanes.set(name, fresh);
    return fresh;
  }

  #waiting({ account, lane }: LaneState): Paid[] {
    const name = accountText(account);
    return [...this.state.paid.values()].filter(
      (one) =>
        one.stand === 'pending' && one.lane === lane && accountText(one.fact.account) === name,
    );
  }

  #sumOf(lane: LaneState): bigint {
    return this.#waiting(lane).reduce((sum, one) => sum + one.fact.charge, 0n);
  }

  #enter(paid: Paid, name: LaneName, nowS: number): void {
    const lane = this.#lane(paid.fact.account, name);
    const isFirst = this.#sumOf(lane) === 0n;
    lane.firstPaidS = isFirst ? paid.fact.paidS : Math.min(lane.firstPaidS, paid.fact.paidS);
    if (isFirst) lane.firstSeenS = nowS;
    paid.stand = 'pending';
    paid.lane = name;
  }

  /**
   * Whether a signed Payment contradicts another one on its line (DESIGN section 4): any on its counter, or the nearest below
   * and above that contradict none themselves.
   */
  #isContradicted(fact: Fact): boolean {
    let below: Fact | undefined;
    let above: Fact | undefined;
    for (const { fact: other, isInConflict } of this.state.paid.values()) {
      if (other.line !== fact.line || other.name === fact.name) continue;
      if (other.counter === fact.counter) return true;
      if (isInConflict) continue;
      if (other.counter < fact.counter) {
        if (!below || other.counter >= below.counter) below = other;
      } else if (!above || other.counter < above.counter) above = other;
    }
    return (
      (below !== undefined && fact.total - fact.amount < below.total) ||
      (above !== undefined && above.total - above.amount < fact.total)
    );
  }

  #place(paid: Paid, nowS: number): void {
    const { fact } = paid;
    paid.lane = undefined;
    paid.isInConflict = false;
    if (!fact.isFinal) paid.stand = 'awaiting';
    else if (this.state.voids.has(fact.name) || fact.isAfterClosing) paid.stand = 'withheld';
    else {
      const closed = this.state.closedThroughS.get(fact.account.programme) ?? 0;
      const isLate = fact.isHandedInLate || fact.paidS < closed;
      paid.isInConflict = this.#isContradicted(fact);
      const lane = paid.isInConflict ? 'conflict' : isLate ? 'late' : 'normal';
      this.#enter(paid, lane, nowS);
    }
  }

  receipt(fact: Fact, nowS: number): void {
    if (fact.charge > fact.amount || fact.total < fact.amount) return;
    const known = this.state.paid.get(fact.name);
    if (!known) {
      const paid: Paid = {
        fact,
        origin: fact.origin,
        leaf: fact.leaf,
        stand: 'awaiting',
        lane: undefined,
        isInConflict: false,
        elsewhere: new Map(),
      };
      this.#place(paid, nowS);
      this.state.paid.set(fact.name, paid);
      return;
    }
    const isElsewhere = known.origin !== fact.origin;
    const waits = known.stand === 'awaiting' || (known.stand === 'forked' && isElsewhere);
    if (waits && fact.isFinal) {
      const paid = { ...known, fact, origin: fact.origin, leaf: fact.leaf };
      this.state.paid.set(fact.name, paid);
      this.#place(paid, nowS);
    } else if (isElsewhere && !known.elsewhere.has(fact.origin)) {
      known.elsewhere.set(fact.origin, fact.leaf);
    }
  }

  voided(name: string, nowS: number): void {
    if (this.state.voids.has(name)) return;
    this.state.voids.add(name);
    const paid = this.state.paid.get(name);
    if (!paid || paid.stand === 'forked') return;
    if (paid.stand === 'aggregated') {
      this.#giveBack(paid.fact, nowS);
      return;
    }
    paid.stand = 'withheld';
    paid.lane = undefined;
  }

  /** What stands in a line already goes back in a credit record. */
  #giveBack(fact: Fact, nowS: number): void {
    if (fact.charge === 0n) return;
    const account: AccountName = { ...fact.account, sign: 'credit' };
    const name = `credit of ${fact.name}`;
    const credit: Paid = {
      fact: { ...fact, name, account, line: name, paidS: nowS },
      origin: '',
      leaf: 0,
      stand: 'awaiting',
      lane: undefined,
      isInConflict: true,
      elsewhere: new Map(),
    };
    this.#enter(credit, 'conflict', nowS);
    this.state.paid.set(name, credit);
  }

  /** The log signed two histories that agree on its first `size` entries. */
  stop(origin: string, size: number): void {
    const before = this.state.stops.get(origin);
    if (before !== undefined && before <= size) return;
    this.state.stops.set(origin, size);
    for (const paid of this.state.paid.values()) {
      if (paid.stand !== 'pending' || paid.origin !== origin || paid.leaf < size) continue;
      const other = [...paid.elsewhere].find(
        ([place, leaf]) => place !== origin && leaf < (this.state.stops.get(place) ?? Infinity),
      );
      if (other) [paid.origin, paid.leaf] = other;
      else paid.stand = 'forked';
    }
  }

  lift(origin: string, nowS: number): void {
    if (!this.state.stops.delete(origin)) return;
    const freed = [...this.state.paid.values()]
      .filter((paid) => paid.stand === 'forked' && paid.origin === origin)
      .toSorted((a, b) => a.leaf - b.leaf);
    for (const paid of freed) {
      if (this.state.voids.has(paid.fact.name)) {
        paid.stand = 'withheld';
        paid.lane = undefined;
      } else this.#enter(paid, paid.lane ?? 'normal', nowS);
    }
  }

  #isDue(lane: LaneState, nowS: number, closeOut: boolean): boolean {
    const rule = this.#terms.programmes[lane.account.programme];
    if (!rule || !this.#terms.merchants[lane.account.merchant]) return false;
    const sum = lane.rest + this.#sumOf(lane);
    const isWindowOver = nowS >= dayStart(lane.firstSeenS) + DAY_S;
    return (
      closeOut ||
      sum >= rule.threshold ||
      (isWindowOver && sum >= rule.windowMinimum) ||
      nowS - lane.firstPaidS >= rule.maxAgeS
    );
  }

  cut(nowS: number, closeOut: boolean): void {
    const groups = new Map<string, { lane: LaneState; minors: bigint[]; unit: bigint }[]>();
    for (const lane of this.state.lanes.values()) {
      const { unit, alpha } = this.#terms.currencies[lane.account.currency]!;
      const sum = lane.rest + this.#sumOf(lane);
      if (sum < unit || !this.#isDue(lane, nowS, closeOut)) continue;
      for (const one of this.#waiting(lane)) one.stand = 'aggregated';
      lane.rest = sum % unit;
      const minors: bigint[] = [];
      for (let left = sum / unit; left > 0n; left -= minors.at(-1)!) {
        minors.push(left < LARGEST_MINOR ? left : LARGEST_MINOR);
      }
      const { member } = this.#terms.merchants[lane.account.merchant]!;
      const name = `${member} ${alpha}`;
      groups.set(name, [...(groups.get(name) ?? []), { lane, minors, unit }]);
    }
    for (const name of [...groups.keys()].toSorted()) {
      const [member] = name.split(' ') as [string];
      const parts = groups.get(name)!;
      const earlier = this.state.files.filter((file) => file.member === member).length;
      const { currency } = parts[0]!.lane.account;
      const file = this.state.files.push({ member, currency, sequence: earlier + 1 }) - 1;
      for (const { lane, minors, unit } of parts) {
        for (const minor of minors) {
          this.state.lines.push({ account: lane.account, file, minor, micro: minor * unit });
        }
      }
    }
    const through = closeOut ? nowS : dayStart(nowS);
    for (const { fact } of this.state.paid.values()) {
      const { programme } = fact.account;
      const before = this.state.closedThroughS.get(programme) ?? 0;
      this.state.closedThroughS.set(programme, Math.max(before, through));
    }
  }

  /** Account → bucket → micro-units above zero, `source` among them. */
  balances(): Map<string, Map<string, bigint>> {
    const found = new Map<string, Map<string, bigint>>();
    const add = (account: AccountName, bucket: string, micro: bigint): void => {
      const name = accountText(account);
      const buckets = found.get(name) ?? new Map<string, bigint>();
      found.set(name, buckets);
      const sum = (buckets.get(bucket) ?? 0n) + micro;
      if (sum !== 0n) buckets.set(bucket, sum);
    };
    for (const { fact, stand, lane } of this.state.paid.values()) {
      add(fact.account, 'source', fact.charge);
      if (stand === 'awaiting') add(fact.account, 'awaitingL2', fact.charge);
      if (stand === 'withheld' || stand === 'forked') add(fact.account, 'withheld', fact.charge);
      if (stand === 'pending') add(fact.account, BUCKET_OF[lane!], fact.charge);
    }
    for (const { account, lane, rest } of this.state.lanes.values()) {
      add(account, BUCKET_OF[lane], rest);
    }
    for (const { account, micro } of this.state.lines) add(account, 'presentedOpen', micro);
    return found;
  }
}
