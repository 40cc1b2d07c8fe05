/**
 * The second bookkeeper's lines and files, and what an issuer's answers and a person's decisions do to them, by the rules of
 * docs/clearing.md. Merchants' accounts follow from the same. Whatever does not fit moves nothing.
 */
import type { AccountName } from './second-facts.ts';

const DAY_S = 86_400;
const DISPUTE_WINDOW_S = 120 * DAY_S;
const ANSWER_WINDOW_S = 45 * DAY_S;
const ARBITRATION_WINDOW_S = 45 * DAY_S;
export const EVIDENCE_S: number = 548 * DAY_S;

type LineStand =
  'queued' | 'open' | 'parked' | 'released' | 'disputed' | 'secondQueued' | 'second' | 'over';

/** One ARN. Amounts in micro-units but for `minor`. */
export type Line = {
  readonly account: AccountName;
  readonly lane: string;
  /** Of a sum above what one line holds. */
  readonly isPiece: boolean;
  readonly minor: bigint;
  readonly micro: bigint;
  readonly unit: bigint;
  arn: string;
  stand: LineStand;
  file: number;
  secondFile: number | undefined;
  disputed: bigint;
  chargedBack: bigint;
  second: bigint;
  presentedS: number;
  answerByS: number;
  isArbitrated: boolean;
  /** Accepted when the time to answer was over. */
  isAcceptedLate: boolean;
  /** Ten-thousandths of a micro-unit. */
  feeDue: bigint;
};

export type FileLine = { readonly line: Line; readonly cycle: 1 | 2; readonly minor: bigint };

export type BookedFile = {
  readonly member: string;
  readonly currency: number;
  readonly sequence: number;
  readonly lines: readonly FileLine[];
  readonly writtenS: number;
  stand: 'written' | 'partlyRefused' | 'accepted' | 'partly' | 'rejected' | 'resubmitted';
};

export type MerchantSums = {
  acknowledged: bigint;
  borne: bigint;
  chargedBack: bigint;
  fees: bigint;
  paid: bigint;
  due: bigint;
};

/** A line of so much, as a cut makes it. */
export const newLine = (
  part: Pick<Line, 'account' | 'lane' | 'isPiece' | 'minor' | 'unit'>,
  fee: { readonly basisPoints: number; readonly fixedMicro: bigint },
): Line => {
  const micro = part.minor * part.unit;
  const isCharge = part.account.sign === 'debit';
  return {
    ...part,
    micro,
    arn: '',
    stand: 'open',
    file: -1,
    secondFile: undefined,
    disputed: 0n,
    chargedBack: 0n,
    second: 0n,
    presentedS: 0,
    answerByS: 0,
    isArbitrated: false,
    isAcceptedLate: false,
    feeDue: isCharge ? micro * BigInt(fee.basisPoints) + fee.fixedMicro * 10_000n : 0n,
  };
};

type SignSum = { readonly count: number; readonly amountMinor: bigint };
export type Taken = { readonly debit: SignSum; readonly credit: SignSum };

/** What the bookkeeper of payments says of a line, and is told of it. */
type Payments = {
  /** Refunds of what it charges, in micro-units: in lines of their own, and waiting for one. */
  readonly refundsOf: (line: Line) => { readonly out: bigint; readonly waiting: bigint };
  readonly returned: (line: Line) => void;
};

export class SecondLines {
  readonly lines: Line[] = [];
  readonly files: BookedFile[] = [];
  readonly merchants: Map<string, MerchantSums> = new Map();
  readonly #given = new Set<string>();
  readonly #payments: Payments;

  constructor(payments: Payments) {
    this.#payments = payments;
  }

  merchant({ merchant, currency }: AccountName): MerchantSums {
    const name = `${merchant} ${currency}`;
    const known = this.merchants.get(name);
    if (known) return known;
    const fresh = { acknowledged: 0n, borne: 0n, chargedBack: 0n, fees: 0n, paid: 0n, due: 0n };
    this.merchants.set(name, fresh);
    return fresh;
  }

  /** Lines that the next cut presents again: those of a rejected file wait for their own. */
  waiting(): FileLine[] {
    return this.#waitingWhere(
      (from) => from === undefined || this.files[from]?.stand !== 'rejected',
    );
  }

  #waitingWhere(isMeant: (from: number | undefined) => boolean): FileLine[] {
    return this.lines.flatMap((line): FileLine[] => {
      if (line.stand === 'queued') {
        return isMeant(line.file) ? [{ line, cycle: 1, minor: line.minor }] : [];
      }
      if (line.stand !== 'secondQueued' || !isMeant(line.secondFile)) return [];
      return [{ line, cycle: 2, minor: line.second / line.unit }];
    });
  }

  /** A file and all that stands in it, on the disk. */
  book(member: string, lines: readonly FileLine[], nowS: number): void {
    const sequence = this.files.filter((file) => file.member === member).length + 1;
    const { currency } = lines[0]!.line.account;
    const file = { member, currency, sequence, lines, writtenS: nowS, stand: 'written' } as const;
    const at = this.files.push({ ...file }) - 1;
    for (const { line, cycle } of lines) {
      if (cycle === 1) {
        line.file = at;
        line.stand = 'open';
        line.presentedS = nowS;
      } else {
        line.secondFile = at;
        line.stand = 'second';
        line.disputed = 0n;
      }
    }
  }

  resubmit(at: number, nowS: number): void {
    const file = this.files[at]!;
    if (file.stand !== 'rejected') return;
    const lines = this.#waitingWhere((from) => from === at);
    if (lines.length === 0) return;
    file.stand = 'resubmitted';
    this.book(file.member, lines, nowS);
  }

  #isCurrent({ line, cycle }: FileLine, at: number): boolean {
    return (cycle === 1 ? line.file : line.secondFile) === at;
  }

  acknowledge(at: number, verdict: 'accepted' | 'partly' | 'rejected'): void {
    if (verdict === 'rejected') return this.reject(at);
    const file = this.files[at]!;
    if (file.stand === 'rejected' || file.stand === 'resubmitted') return;
    const isPartly = verdict === 'partly' || file.stand === 'partlyRefused';
    if (file.stand !== 'partly') file.stand = isPartly ? 'partly' : 'accepted';
    for (const entry of this.#taken(at)) this.#give(entry, at);
  }

  /** Lines of a file that were not refused in it. */
  #taken(at: number): FileLine[] {
    return this.files[at]!.lines.filter((entry) => {
      const { line, cycle } = entry;
      const isRefused = ['queued', 'parked', 'released'].includes(line.stand);
      const isSecondTaken = line.stand === 'second' || (line.stand === 'over' && line.isArbitrated);
      return this.#isCurrent(entry, at) && (cycle === 1 ? !isRefused : isSecondTaken);
    });
  }

  /** How many lines of a file the issuer did not refuse, and their sum in minor units. */
  taken(at: number): Taken {
    const sum = (sign: string): Taken['debit'] => {
      const of = this.#taken(at).filter(({ line }) => line.account.sign === sign);
      return { count: of.length, amountMinor: of.reduce((total, { minor }) => total + minor, 0n) };
    };
    return { debit: sum('debit'), credit: sum('credit') };
  }

  #give({ line, cycle }: FileLine, at: number): void {
    const name = `${at} ${line.arn}`;
    if (this.#given.has(name) || (line.account.sign === 'credit' && line.lane === 'conflict')) {
      return;
    }
    this.#given.add(name);
    const sums = this.merchant(line.account);
    if (line.account.sign === 'credit') sums.acknowledged -= line.micro;
    else if (cycle === 2) sums.chargedBack -= line.second;
    else {
      sums.acknowledged += line.micro;
      sums.due += line.feeDue;
      line.feeDue = 0n;
    }
  }

  /** 699, or an acknowledgement that rejects: all of the file that was not refused line by line, or nothing. */
  reject(at: number): void {
    const file = this.files[at]!;
    if (file.stand !== 'written' && file.stand !== 'partlyRefused') return;
    const lines = file.lines.filter((entry) => this.#isCurrent(entry, at));
    const isPast = ({ line, cycle }: FileLine): boolean =>
      cycle === 1
        ? ['disputed', 'secondQueued', 'second', 'over'].includes(line.stand)
        : line.stand === 'over' && line.isArbitrated;
    if (lines.some(isPast)) return;
    file.stand = 'rejected';
    for (const { line, cycle } of lines) {
      if (cycle === 1 && line.stand === 'open') line.stand = 'queued';
      if (cycle === 2 && line.stand === 'second') {
        line.stand = 'secondQueued';
        line.disputed = line.second;
      }
    }
  }

  /** The issuer took the second presentment, and the time to answer it is over. */
  #isFinal({ stand, secondFile }: Line, nowS: number): boolean {
    const file = secondFile === undefined ? undefined : this.files[secondFile];
    if (stand !== 'second' || !file) return false;
    const isTaken = file.stand === 'accepted' || file.stand === 'partly';
    return isTaken && nowS - file.writtenS > ARBITRATION_WINDOW_S;
  }

  /** 691. */
  rejectOne(at: number, entry: FileLine, nowS: number): boolean {
    const file = this.files[at]!;
    if (file.stand === 'rejected' || file.stand === 'resubmitted') return false;
    const { line, cycle } = entry;
    if (!this.#isCurrent(entry, at)) return false;
    const isKnown = cycle === 1 && (line.stand === 'parked' || line.stand === 'released');
    if (cycle === 2 && this.#isFinal(line, nowS)) return false;
    if (!isKnown && line.stand !== (cycle === 1 ? 'open' : 'second')) return false;
    const isOpen = file.stand === 'written' || file.stand === 'partlyRefused';
    file.stand = isOpen ? 'partlyRefused' : 'partly';
    if (isKnown) return false;
    const sums = this.merchant(line.account);
    const isGiven = this.#given.has(`${at} ${line.arn}`);
    if (cycle === 1) {
      line.stand = 'parked';
      if (isGiven) sums.acknowledged += line.account.sign === 'credit' ? line.micro : -line.micro;
    } else {
      line.stand = 'disputed';
      line.disputed = line.second;
      if (isGiven) sums.chargedBack += line.second;
    }
    return true;
  }

  /** @param declines its reason stops the account, and is answered by nobody but a person */
  chargeback(line: Line, minor: bigint, nowS: number, declines: boolean): boolean {
    const isTimely = nowS - line.presentedS <= DISPUTE_WINDOW_S;
    if (line.account.sign === 'credit' || line.stand !== 'open' || minor > line.minor) return false;
    if (!isTimely) return false;
    line.stand = 'disputed';
    line.disputed = minor * line.unit;
    line.answerByS = nowS + ANSWER_WINDOW_S;
    this.merchant(line.account).chargedBack += line.disputed;
    // Given back by refunds, all of it: it is presented again without anybody's word.
    const { out } = this.#payments.refundsOf(line);
    const isCovered = (out / line.unit) * line.unit >= line.micro;
    if (isCovered && !declines) this.#queueSecond(line, line.disputed);
    return true;
  }

  #queueSecond(line: Line, sum: bigint): void {
    line.chargedBack += line.disputed - sum;
    line.disputed = sum;
    line.second = sum;
    line.secondFile = undefined;
    line.stand = 'secondQueued';
  }

  /** Refunds that are out are not charged back too; of those that wait, all or none. */
  #isTooMuch(line: Line, chargedBack: bigint): boolean {
    const { micro, unit } = line;
    if (chargedBack === 0n) return false;
    const { out, waiting } = this.#payments.refundsOf(line);
    const left = micro - chargedBack - out;
    return left <= -unit || (left > 0n && waiting - left >= unit);
  }

  arbitrate(line: Line, minor: bigint, nowS: number): boolean {
    const micro = minor * line.unit;
    if (line.stand !== 'second' || micro > line.second || this.#isFinal(line, nowS)) return false;
    if (nowS - line.presentedS > EVIDENCE_S) return false;
    line.stand = 'over';
    line.isArbitrated = true;
    line.chargedBack += micro;
    this.merchant(line.account).chargedBack += micro;
    this.#payments.returned(line);
    return true;
  }

  /** @param minor absent: all that is disputed */
  represent(line: Line, minor: bigint | undefined, nowS: number): void {
    if (line.stand !== 'disputed' || nowS > line.answerByS) return;
    if (nowS - line.presentedS > EVIDENCE_S) return;
    const sum = minor === undefined ? line.disputed : minor * line.unit;
    if (sum <= 0n || sum > line.disputed) return;
    const more = line.disputed - sum;
    if (more > 0n && this.#isTooMuch(line, line.chargedBack + more)) return;
    this.#queueSecond(line, sum);
    if (more > 0n) this.#payments.returned(line);
  }

  decide(line: Line, decision: 'accept' | 'requeue' | 'park' | 'release', nowS: number): void {
    if (decision === 'accept' && (line.stand === 'disputed' || line.stand === 'secondQueued')) {
      const isAnswerable = line.stand === 'secondQueued' || nowS <= line.answerByS;
      if (isAnswerable && this.#isTooMuch(line, line.chargedBack + line.disputed)) return;
      line.isAcceptedLate = !isAnswerable;
      line.stand = 'over';
      line.chargedBack += line.disputed;
      line.disputed = 0n;
      this.#payments.returned(line);
    } else if (decision === 'requeue' && line.stand === 'parked') line.stand = 'queued';
    else if (decision === 'park' && line.stand === 'queued') line.stand = 'parked';
    else if (decision === 'release' && line.stand === 'parked') {
      if (this.#payments.refundsOf(line).out > 0n) return;
      line.stand = 'released';
      this.#payments.returned(line);
    }
  }

  /** ARNs of lines that went back to the payer more than once, but for what the issuer or the calendar decided. */
  paidBackTwice(): string[] {
    const found = this.lines.filter((line) => {
      if (line.isPiece || line.isArbitrated || line.isAcceptedLate) return false;
      const { out } = this.#payments.refundsOf(line);
      return line.chargedBack > 0n && line.chargedBack + out >= line.micro + line.unit;
    });
    return found.map(({ arn }) => arn);
  }

  /** Where the money of one line stands. */
  standingOf({ stand, micro, disputed, chargedBack }: Line): [string, bigint][] {
    if (stand === 'queued' || stand === 'parked') return [[stand, micro]];
    if (stand === 'released') return [['reversed', micro]];
    return [
      ['presentedOpen', micro - disputed - chargedBack],
      ['presentedDisputed', disputed],
      ['presentedChargedBack', chargedBack],
    ];
  }
}
