/**
 * The account of one line as the clearing knows it (DESIGN section 6): which counters are recorded and what became of each.
 * The issuer makes Statements of it. Pure: the shell hands over the line's rows in the order of their counters.
 */
import { amountMicro, type AmountMicro } from '../../../protocol/amount.ts';
import { HASH_BYTES, ID_BYTES } from '../../../protocol/ids.ts';
import {
  AMOUNT,
  bytes,
  listOf,
  message,
  record,
  text,
  U32,
  U53,
  uint,
  type Codec,
  type Field,
} from '../../../protocol/schema.ts';

/**
 * Runs of one account; beyond them it ends early and says through which counter it is complete. With these limits an account
 * and the Statement made of it stay below the largest message.
 */
const MAX_RUNS = 240;
/** Disputed payments and credits listed, each. */
export const MAX_LISTED = 64;
/** Logs named at most: those that brought the line's last receipts. */
export const MAX_HEADS = 8;
/** Voids in a row without a receipt that are held; beyond it the gaps between them stay unknown. */
const MAX_WAITING = 4_096;

/** Presented to the issuer in a file that was not sent back. */
export const RUN_SETTLED = 0;
/** Recorded and final, not presented yet. */
export const RUN_OPEN = 1;
/** Refused for good, never used, or jumped over so long ago that no receipt can come any more: nobody is charged. */
export const RUN_NOT_CHARGED = 2;
/** Nothing certain is known: a receipt may come, or one is held back. */
export const RUN_UNKNOWN = 3;

/** Counters `from` … `to`, both with, of which the same is to be said. */
export interface LineRun {
  readonly kind: number;
  readonly from: number;
  readonly to: number;
  /** Charged for them. */
  readonly sumMicro: AmountMicro;
  /** In the device's gross total and not charged. */
  readonly releasedMicro: AmountMicro;
}

/** One payment and a sum of it, by Payment hash. */
export interface ListedPayment {
  readonly paymentHash: Uint8Array;
  readonly amountMicro: AmountMicro;
}

/** A log as far as it is booked. */
export interface BookedHead {
  readonly origin: string;
  /** Leaves. */
  readonly size: number;
  readonly root: Uint8Array;
}

/** Sums in micro-units over the whole life of the line unless they say otherwise. */
export interface LineAccount {
  readonly line: Uint8Array;
  /** Liable party, as the books name it. */
  readonly party: string;
  readonly currency: number;
  /** Runs begin after this counter; what lies before is in the sums alone. */
  readonly afterCounter: number;
  /** Given back for counters through `afterCounter`. */
  readonly releasedBeforeMicro: AmountMicro;
  /** The runs are complete through this counter. */
  readonly throughCounter: number;
  readonly runs: readonly LineRun[];
  readonly highestCounter: number;
  /** Highest gross total that the device has signed. */
  readonly totalMicro: AmountMicro;
  /** Charged, whether presented or not. */
  readonly chargedMicro: AmountMicro;
  readonly settledMicro: AmountMicro;
  /** What totals say was signed for and no log has brought. */
  readonly missingMicro: AmountMicro;
  /** Highest total less released that an approver has accepted: shows which allowance the device holds. */
  readonly highestNetMicro: AmountMicro;
  readonly lastPaidS: number;
  /** Payments that contradict another one of the line. */
  readonly conflicts: number;
  readonly credits: readonly ListedPayment[];
  readonly disputes: readonly ListedPayment[];
  readonly heads: readonly BookedHead[];
}

const RUN: Field<LineRun> = record<LineRun>('run', {
  kind: [1, uint(RUN_UNKNOWN)],
  from: [2, U32],
  to: [3, U32],
  sumMicro: [4, AMOUNT],
  releasedMicro: [5, AMOUNT],
});
const LISTED: Field<ListedPayment> = record<ListedPayment>('payment and sum', {
  paymentHash: [1, bytes(HASH_BYTES)],
  amountMicro: [2, AMOUNT],
});

const HEAD: Field<BookedHead> = record<BookedHead>('booked head', {
  origin: [1, text(128)],
  size: [2, U53],
  root: [3, bytes(HASH_BYTES)],
});

export const LINE_ACCOUNT: Codec<LineAccount> = message<LineAccount>(90, {
  line: [1, bytes(ID_BYTES)],
  party: [2, text(64)],
  currency: [3, U32],
  afterCounter: [4, U32],
  releasedBeforeMicro: [5, AMOUNT],
  throughCounter: [6, U32],
  runs: [7, listOf(RUN, MAX_RUNS)],
  highestCounter: [8, U32],
  totalMicro: [9, AMOUNT],
  chargedMicro: [10, AMOUNT],
  settledMicro: [11, AMOUNT],
  missingMicro: [12, AMOUNT],
  highestNetMicro: [13, AMOUNT],
  lastPaidS: [14, U53],
  conflicts: [15, U32],
  credits: [16, listOf(LISTED, MAX_LISTED)],
  disputes: [17, listOf(LISTED, MAX_LISTED)],
  heads: [18, listOf(HEAD, MAX_HEADS)],
});

/** One receipt or Void of the line. */
export type LineFact =
  | {
      readonly kind: 'receipt';
      readonly counter: number;
      readonly amountMicro: bigint;
      readonly chargeMicro: bigint;
      readonly totalMicro: bigint;
      readonly releasedMicro: bigint;
      readonly paidS: number;
      readonly state: 'settled' | 'open' | 'held' | 'voided';
      /** Its total contradicts others and is no measure of gaps. */
      readonly inConflict: boolean;
    }
  | { readonly kind: 'void'; readonly counter: number; readonly amountMicro: bigint };

type Receipt = Extract<LineFact, { kind: 'receipt' }>;
type Run = { -readonly [P in keyof LineRun]: LineRun[P] extends number ? number : bigint };

/** What is said of one counter; two contradicting receipts stand on one. */
interface AtCounter {
  readonly counter: number;
  kind: number;
  sumMicro: bigint;
  releasedMicro: bigint;
}

const KIND_OF: Readonly<Record<Receipt['state'], number>> = {
  settled: RUN_SETTLED,
  open: RUN_OPEN,
  held: RUN_UNKNOWN,
  voided: RUN_NOT_CHARGED,
};

/** What the account says besides its runs and sums. */
export type AccountHead = Pick<
  LineAccount,
  'line' | 'party' | 'currency' | 'credits' | 'disputes' | 'heads'
>;

/** Builds one account; facts come in the order of their counters, on one counter receipts before Voids. */
export class LineAccountBuilder {
  readonly #afterCounter: number;
  /** A gap before a receipt that was paid before this is given up. */
  readonly #lapsedBeforeS: number;
  readonly #runs: Run[] = [];
  /** Known counters from the last receipt whose total counts; they wait for what lies between them to be known. */
  #waiting: AtCounter[] = [];
  /** The first counter of which nothing is in the runs. */
  #next = 1;
  #measuredCounter = 0;
  #measuredTotalMicro = 0n;
  #voidedMicro = 0n;
  #releasedBeforeMicro = 0n;
  #totalMicro = 0n;
  #chargedMicro = 0n;
  #settledMicro = 0n;
  #missingMicro = 0n;
  #highestNetMicro = 0n;
  #highestCounter = 0;
  #lastPaidS = 0;
  #conflicts = 0;
  #isFull = false;
  #throughCounter: number;

  constructor(afterCounter: number, lapsedBeforeS: number) {
    this.#afterCounter = afterCounter;
    this.#throughCounter = afterCounter;
    this.#lapsedBeforeS = lapsedBeforeS;
  }

  add(fact: LineFact): void {
    this.#highestCounter = Math.max(this.#highestCounter, fact.counter);
    if (this.#waiting.length >= MAX_WAITING) this.#pushBelow(fact.counter, RUN_UNKNOWN);
    if (fact.kind === 'void') {
      this.#note(fact.counter, RUN_NOT_CHARGED, 0n, fact.amountMicro);
      if (fact.counter > this.#measuredCounter) this.#voidedMicro += fact.amountMicro;
      return;
    }
    const isCharged = fact.state === 'settled' || fact.state === 'open';
    const sumMicro = isCharged ? fact.chargeMicro : 0n;
    this.#count(fact, sumMicro);
    const kind = KIND_OF[fact.state];
    if (fact.inConflict) {
      this.#conflicts += 1;
      this.#note(fact.counter, kind, sumMicro, 0n);
      return;
    }
    const jumpMicro = this.#measure(fact);
    const notChargedMicro = fact.state === 'held' ? 0n : fact.amountMicro - sumMicro;
    this.#note(fact.counter, kind, sumMicro, notChargedMicro + jumpMicro);
  }

  finish(head: AccountHead): LineAccount {
    // Behind the last receipt nothing measures a gap.
    this.#pushBelow(this.#highestCounter + 1, RUN_UNKNOWN);
    return {
      ...head,
      afterCounter: this.#afterCounter,
      releasedBeforeMicro: amountMicro(this.#releasedBeforeMicro),
      throughCounter: this.#throughCounter,
      runs: this.#runs.map((run) => ({
        ...run,
        sumMicro: amountMicro(run.sumMicro),
        releasedMicro: amountMicro(run.releasedMicro),
      })),
      highestCounter: this.#highestCounter,
      totalMicro: amountMicro(this.#totalMicro),
      chargedMicro: amountMicro(this.#chargedMicro),
      settledMicro: amountMicro(this.#settledMicro),
      missingMicro: amountMicro(this.#missingMicro),
      highestNetMicro: amountMicro(this.#highestNetMicro),
      lastPaidS: this.#lastPaidS,
      conflicts: this.#conflicts,
    };
  }

  #count(fact: Receipt, sumMicro: bigint): void {
    this.#chargedMicro += sumMicro;
    if (fact.state === 'settled') this.#settledMicro += sumMicro;
    this.#lastPaidS = Math.max(this.#lastPaidS, fact.paidS);
    if (fact.totalMicro > this.#totalMicro) this.#totalMicro = fact.totalMicro;
    const net = fact.totalMicro - fact.releasedMicro;
    if (net > this.#highestNetMicro) this.#highestNetMicro = net;
  }

  /**
   * total − amount − total before, less the Voids between: what was signed for in between and is not here. Returns what of
   * it is given back: nobody can hand in a receipt any more, or no counter is left that one could have.
   */
  #measure(fact: Receipt): bigint {
    const { counter, totalMicro } = fact;
    const gap = totalMicro - fact.amountMicro - this.#measuredTotalMicro - this.#voidedMicro;
    const gapMicro = gap > 0n ? gap : 0n;
    const known = this.#waiting.filter((at) => at.counter < counter).length;
    const hasFreeCounter = known < counter - this.#next;
    const isMissing = gapMicro > 0n && hasFreeCounter && fact.paidS >= this.#lapsedBeforeS;
    if (isMissing) this.#missingMicro += gapMicro;
    this.#pushBelow(counter, isMissing ? RUN_UNKNOWN : RUN_NOT_CHARGED);
    this.#measuredCounter = counter;
    this.#measuredTotalMicro = totalMicro;
    this.#voidedMicro = 0n;
    return isMissing ? 0n : gapMicro;
  }

  /** Says of every counter below `before` what is known, and `kind` where nothing is. */
  #pushBelow(before: number, kind: number): void {
    const gapThrough = (to: number): void => {
      if (to < this.#next) return;
      this.#push({ kind, from: this.#next, to, sumMicro: 0n, releasedMicro: 0n });
      this.#next = to + 1;
    };
    while (this.#waiting[0] && this.#waiting[0].counter < before) {
      const { counter: at, ...said } = this.#waiting.shift()!;
      gapThrough(at - 1);
      this.#push({ ...said, from: at, to: at });
      this.#next = at + 1;
    }
    gapThrough(before - 1);
  }

  #note(counter: number, kind: number, sumMicro: bigint, releasedMicro: bigint): void {
    const last = this.#waiting.at(-1);
    if (last?.counter !== counter) {
      this.#waiting.push({ counter, kind, sumMicro, releasedMicro });
      return;
    }
    // Of two on one counter a charge outweighs a Void, and the less certain word stands.
    if (last.kind === RUN_NOT_CHARGED) last.kind = kind;
    else if (kind !== RUN_NOT_CHARGED) last.kind = Math.max(last.kind, kind);
    last.sumMicro += sumMicro;
    last.releasedMicro += releasedMicro;
  }

  #push(run: Run): void {
    if (run.to <= this.#afterCounter) {
      this.#releasedBeforeMicro += run.releasedMicro;
      return;
    }
    const last = this.#runs.at(-1);
    if (this.#isFull) return;
    if (last && joins(last, run)) {
      last.to = run.to;
      last.sumMicro += run.sumMicro;
      last.releasedMicro += run.releasedMicro;
    } else if (this.#runs.length < MAX_RUNS) this.#runs.push({ ...run });
    else {
      this.#isFull = true;
      return;
    }
    this.#throughCounter = run.to;
  }
}

/** A run of open counters with something given back stands alone: a Statement may end in the middle of a run. */
const joins = (last: Run, run: Run): boolean =>
  last.kind === run.kind &&
  last.to + 1 === run.from &&
  (run.kind !== RUN_OPEN || (last.releasedMicro === 0n && run.releasedMicro === 0n));
