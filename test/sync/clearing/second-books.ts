/**
 * A second bookkeeper, in plain arithmetic over lists: where every micro-unit of a history must stand by DESIGN section 6.
 * It shares no code with the clearing and keeps no balances: it adds them up anew from payments, remainders and lines each
 * time it is asked. Lines and what issuers answer are in second-lines.ts.
 */
import {
  DAY_S,
  LARGEST_MINOR,
  accountText,
  dayStart,
  emptyState,
  isContradicted,
} from './second-facts.ts';
import type {
  AccountName,
  Fact,
  LaneName,
  LaneState,
  Paid,
  Refund,
  Stand,
  State,
  Terms,
} from './second-facts.ts';
import {
  correctionOf,
  hasRoom,
  isRefundOut,
  refundSums,
  refundedOf,
  refundsIn,
  refundsOf,
} from './second-refunds.ts';
import { balancesOf } from './second-balances.ts';
import { SecondDesk } from './second-desk.ts';
import { SecondLines, newLine } from './second-lines.ts';
import type { FileLine, Line } from './second-lines.ts';

export class SecondBooks {
  readonly state: State = emptyState();
  readonly lines: SecondLines = new SecondLines({
    refundsOf: (line) => refundSums(this.state, line),
    returned: (line) => this.#takeBackRefunds(line),
  });
  readonly desk: SecondDesk = new SecondDesk(this.lines);
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

  #place(paid: Paid, nowS: number): void {
    const { fact } = paid;
    paid.lane = undefined;
    paid.isInOrder = false;
    if (!fact.isFinal) paid.stand = 'awaiting';
    else if (this.#isWithdrawn(fact.name)) {
      paid.stand = 'withheld';
      const left = fact.charge - refundedOf(this.state, fact.name);
      this.#bear(fact, left, left);
    } else if (fact.isAfterClosing) paid.stand = 'withheld';
    else {
      const closed = this.state.closedThroughS.get(fact.account.programme) ?? 0;
      const isLate = fact.isHandedInLate || fact.paidS < closed;
      paid.isInOrder = !isContradicted(fact, this.state.paid.values());
      const lane = !paid.isInOrder ? 'conflict' : isLate ? 'late' : 'normal';
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
        isInOrder: false,
        line: undefined,
        elsewhere: new Map(),
      };
      this.#place(paid, nowS);
      this.state.paid.set(fact.name, paid);
      this.#refundWaiting(fact.name, nowS);
      return;
    }
    const isElsewhere = known.origin !== fact.origin;
    const waits = known.stand === 'awaiting' || (known.stand === 'forked' && isElsewhere);
    if (waits && fact.isFinal) {
      const paid = { ...known, fact, origin: fact.origin, leaf: fact.leaf };
      this.state.paid.set(fact.name, paid);
      this.#place(paid, nowS);
      if (paid.stand === 'pending') this.#moveRefunds(fact.name, 'forked', 'pending', nowS);
      if (paid.stand === 'pending' && this.state.voids.has(fact.name)) this.#correct(paid, nowS);
      this.#refundWaiting(fact.name, nowS);
    } else if (isElsewhere && !known.elsewhere.has(fact.origin)) {
      known.elsewhere.set(fact.origin, fact.leaf);
    }
  }

  /** The payer has the charge back already, or was never asked for it. */
  #isReturned({ line, stand }: Paid): boolean {
    if (stand !== 'aggregated' || !line) return false;
    return line.stand === 'released' || (line.stand === 'over' && line.chargedBack === line.micro);
  }

  #isWithdrawn(name: string): boolean {
    return this.state.voids.has(name) && !isRefundOut(this.state, name);
  }

  /** What waits for a cut is given back to nobody once the charge itself went back: as far as the line reaches. */
  #takeBackRefunds(line: Line): void {
    const back = line.stand === 'released' ? line.micro : line.chargedBack;
    if (back === 0n) return;
    let gone = back + refundSums(this.state, line).out;
    for (const refund of refundsIn(this.state, line)) {
      if (refund.stand !== 'pending') continue;
      const { charge, account } = refund.fact;
      if (gone < line.micro && gone + charge < line.micro + line.unit) {
        gone += charge;
        continue;
      }
      refund.stand = 'reversed';
      if (refund.cause === 'void') this.lines.merchant(account).borne += charge;
    }
  }

  /** Once per payment; `unpaid`: what nothing else pays the merchant. */
  #bear({ name, account }: Fact, micro: bigint, unpaid: bigint): void {
    if (micro === 0n || this.state.borne.has(name)) return;
    this.state.borne.add(name);
    this.lines.merchant(account).borne += unpaid;
  }

  #moveRefunds(name: string, from: Stand, to: Stand, nowS: number): void {
    for (const refund of refundsOf(this.state, name)) {
      if (refund.stand !== from) continue;
      if (to === 'pending') this.#enter(refund, refund.lane!, nowS);
      else refund.stand = to;
    }
  }

  /** A payee's refund: cumulative, never above the charge, and only of what is charged. */
  refund(refund: Refund, nowS: number): void {
    const { of, refunded } = refund;
    const paid = this.state.paid.get(of);
    const before = refundedOf(this.state, of);
    if (refunded <= before || this.state.voids.has(of)) return;
    if (paid && (refunded > paid.fact.charge || this.#isReturned(paid))) return;
    if (paid && !hasRoom(this.state, paid, refunded - before)) return;
    if (paid?.stand !== 'pending' && paid?.stand !== 'aggregated') {
      this.#keepWaiting(refund, paid);
      return;
    }
    const { fact } = paid;
    const closed = this.state.closedThroughS.get(fact.account.programme) ?? 0;
    const lane = refund.paidS < closed ? 'late' : 'normal';
    this.#giveBack(fact, { ...refund, cause: 'refund', micro: refunded - before, lane }, nowS);
  }

  /** Where the charge is known, the highest refund that is not above it stands for the lower ones. */
  #keepWaiting(refund: Refund, paid: Paid | undefined): void {
    const { name, of, refunded } = refund;
    const waiting = this.state.waiting.get(of) ?? [];
    if (waiting.some((one) => one.name === name)) return;
    const limit = paid?.fact.charge;
    if (
      waiting.some(
        (one) => limit !== undefined && one.refunded >= refunded && one.refunded <= limit,
      )
    ) {
      return;
    }
    const others = paid ? waiting.filter((one) => one.refunded > refunded) : waiting;
    this.state.waiting.set(of, [...others, refund]);
  }

  #refundWaiting(of: string, nowS: number): void {
    const stand = this.state.paid.get(of)?.stand;
    const isPayable = stand === 'pending' || stand === 'aggregated';
    const waiting = this.state.waiting.get(of);
    if (!waiting || !(isPayable || this.state.voids.has(of))) return;
    this.state.waiting.delete(of);
    for (const refund of waiting) this.refund(refund, nowS);
  }

  voided(name: string, nowS: number): void {
    if (this.state.voids.has(name)) return;
    this.state.voids.add(name);
    this.#void(this.state.paid.get(name), nowS);
    this.#refundWaiting(name, nowS);
  }

  #void(paid: Paid | undefined, nowS: number): void {
    if (!paid || paid.stand === 'forked' || paid.stand === 'withheld') return;
    const { fact } = paid;
    const left = fact.charge - refundedOf(this.state, fact.name);
    if (this.#isReturned(paid)) this.#bear(fact, left, left);
    else if (paid.stand === 'aggregated' || isRefundOut(this.state, fact.name))
      this.#correct(paid, nowS);
    else {
      paid.stand = 'withheld';
      paid.lane = undefined;
      this.#moveRefunds(fact.name, 'pending', 'withheld', nowS);
      this.#bear(fact, left, left);
    }
  }

  /** What was charged and neither refunded nor charged back goes back; the operator bears all of it. */
  #correct(paid: Paid, nowS: number): void {
    const { fact } = paid;
    const { left, micro } = correctionOf(this.state, paid);
    const name = `credit of ${fact.name}`;
    this.#giveBack(fact, { name, cause: 'void', micro, lane: 'conflict', paidS: nowS }, nowS);
    this.#bear(fact, left, left - micro);
  }

  /** In a credit record of its own, on the account of the charge. */
  #giveBack(
    fact: Fact,
    entry: Pick<Refund, 'name' | 'paidS'> & {
      readonly cause: 'refund' | 'void';
      readonly micro: bigint;
      readonly lane: LaneName;
    },
    nowS: number,
  ): void {
    const { name, cause, micro, lane, paidS } = entry;
    if (micro === 0n) return;
    const account: AccountName = { ...fact.account, sign: 'credit' };
    const credit: Paid = {
      fact: { ...fact, name, account, line: name, charge: micro, paidS },
      origin: '',
      leaf: 0,
      stand: 'awaiting',
      lane: undefined,
      isInOrder: false,
      line: undefined,
      of: fact.name,
      cause,
      elsewhere: new Map(),
    };
    this.#enter(credit, lane, nowS);
    this.state.paid.set(name, credit);
  }

  /** The log signed two histories that agree on its first `size` entries. */
  stop(origin: string, size: number, nowS: number): void {
    const before = this.state.stops.get(origin);
    if (before !== undefined && before <= size) return;
    this.state.stops.set(origin, size);
    for (const paid of this.state.paid.values()) {
      if (paid.stand !== 'pending' || paid.origin !== origin || paid.leaf < size) continue;
      const other = [...paid.elsewhere].find(
        ([place, leaf]) => place !== origin && leaf < (this.state.stops.get(place) ?? Infinity),
      );
      if (other) [paid.origin, paid.leaf] = other;
      else {
        paid.stand = 'forked';
        this.#moveRefunds(paid.fact.name, 'pending', 'forked', nowS);
      }
    }
  }

  lift(origin: string, nowS: number): void {
    if (!this.state.stops.delete(origin)) return;
    const freed = [...this.state.paid.values()]
      .filter((paid) => paid.stand === 'forked' && paid.origin === origin)
      .toSorted((a, b) => a.leaf - b.leaf);
    for (const paid of freed) {
      const { name, charge } = paid.fact;
      if (this.#isWithdrawn(name)) {
        paid.stand = 'withheld';
        paid.lane = undefined;
        const left = charge - refundedOf(this.state, name);
        this.#bear(paid.fact, left, left);
        continue;
      }
      this.#enter(paid, paid.lane ?? 'normal', nowS);
      this.#moveRefunds(name, 'forked', 'pending', nowS);
      if (this.state.voids.has(name)) this.#correct(paid, nowS);
      this.#refundWaiting(name, nowS);
    }
  }

  #isDue(lane: LaneState, nowS: number, closeOut: boolean): boolean {
    const rule = this.#terms.programmes[lane.account.programme];
    if (!rule || !this.#terms.merchants[lane.account.merchant]) return false;
    const { account, sign } = lane.account;
    if (sign === 'debit' && this.desk.declined.has(account)) return false;
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
    const groups = new Map<string, FileLine[]>();
    const add = (entry: FileLine): void => {
      const { merchant, currency } = entry.line.account;
      const { member } = this.#terms.merchants[merchant]!;
      const name = `${member} ${this.#terms.currencies[currency]!.alpha}`;
      groups.set(name, [...(groups.get(name) ?? []), entry]);
    };
    for (const entry of this.lines.waiting()) add(entry);
    for (const lane of this.state.lanes.values()) {
      const { unit } = this.#terms.currencies[lane.account.currency]!;
      const sum = lane.rest + this.#sumOf(lane);
      if (sum < unit || !this.#isDue(lane, nowS, closeOut)) continue;
      for (const line of this.#cutLane(lane, sum, unit)) {
        add({ line, cycle: 1, minor: line.minor });
      }
    }
    for (const name of [...groups.keys()].toSorted()) {
      this.lines.book(name.split(' ')[0]!, groups.get(name)!, nowS);
    }
    const through = closeOut ? nowS : dayStart(nowS);
    for (const { fact } of this.state.paid.values()) {
      const { programme } = fact.account;
      const before = this.state.closedThroughS.get(programme) ?? 0;
      this.state.closedThroughS.set(programme, Math.max(before, through));
    }
  }

  #cutLane(lane: LaneState, sum: bigint, unit: bigint): Line[] {
    const { account } = lane;
    const { fee } = this.#terms.programmes[account.programme]!;
    const isPiece = sum / unit > LARGEST_MINOR;
    const made: Line[] = [];
    for (let left = sum / unit; left > 0n; left -= made.at(-1)!.minor) {
      const minor = left < LARGEST_MINOR ? left : LARGEST_MINOR;
      made.push(newLine({ account, lane: lane.lane, isPiece, minor, unit }, fee));
    }
    for (const one of this.#waiting(lane)) {
      one.stand = 'aggregated';
      one.line = isPiece ? undefined : made[0];
    }
    lane.rest = sum % unit;
    this.lines.lines.push(...made);
    return made;
  }

  balances(): Map<string, Map<string, bigint>> {
    return balancesOf(this.state, this.lines);
  }
}
