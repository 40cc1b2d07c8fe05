/**
 * The second bookkeeper's lines and files, and what an issuer's answers and a person's decisions do to them, by the rules of
 * docs/clearing.md. Merchants' accounts follow from the same. Whatever does not fit moves nothing.
 */
import type { AccountName } from './second-facts.ts';

const DAY_S = 86_400;
const DISPUTE_WINDOW_S = 120 * DAY_S;
const ANSWER_WINDOW_S = 45 * DAY_S;

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
  /** Ten-thousandths of a micro-unit. */
  feeDue: bigint;
};

export type FileLine = { readonly line: Line; readonly cycle: 1 | 2; readonly minor: bigint };

export type BookedFile = {
  readonly member: string;
  readonly currency: number;
  readonly sequence: number;
  readonly lines: readonly FileLine[];
  stand: 'written' | 'accepted' | 'partly' | 'rejected' | 'resubmitted';
};

type MerchantSums = { acknowledged: bigint; borne: bigint; chargedBack: bigint; due: bigint };

/** What the bookkeeper of payments says of a line, and is told of it. */
type Payments = {
  readonly hasRefundOut: (line: Line) => boolean;
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
    const fresh = { acknowledged: 0n, borne: 0n, chargedBack: 0n, due: 0n };
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
    const at = this.files.push({ member, currency, sequence, lines, stand: 'written' }) - 1;
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
    if (file.stand !== 'partly') file.stand = verdict === 'partly' ? verdict : 'accepted';
    for (const entry of file.lines) {
      const { line, cycle } = entry;
      const isRefused = ['queued', 'parked', 'released'].includes(line.stand);
      const isTaken =
        cycle === 1
          ? !isRefused
          : line.stand === 'second' || (line.stand === 'over' && line.isArbitrated);
      if (this.#isCurrent(entry, at) && isTaken) this.#give(entry, at);
    }
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

  /** 699, or an acknowledgement that rejects: all of the file or nothing. */
  reject(at: number): void {
    const file = this.files[at]!;
    if (file.stand !== 'written') return;
    const lines = file.lines.filter((entry) => this.#isCurrent(entry, at));
    const isPast = ({ line, cycle }: FileLine): boolean =>
      cycle === 1
        ? ['disputed', 'secondQueued', 'second', 'over'].includes(line.stand)
        : line.stand === 'disputed' || line.stand === 'over';
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

  /** 691. */
  rejectOne(at: number, entry: FileLine): void {
    const file = this.files[at]!;
    if (file.stand === 'rejected' || file.stand === 'resubmitted') return;
    const { line, cycle } = entry;
    if (!this.#isCurrent(entry, at)) return;
    const isKnown = cycle === 1 && (line.stand === 'parked' || line.stand === 'released');
    if (!isKnown && line.stand !== (cycle === 1 ? 'open' : 'second')) return;
    file.stand = 'partly';
    if (isKnown) return;
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
  }

  chargeback(line: Line, minor: bigint, nowS: number): void {
    const isTimely = nowS - line.presentedS <= DISPUTE_WINDOW_S;
    if (line.account.sign === 'credit' || line.stand !== 'open' || minor > line.minor) return;
    if (!isTimely) return;
    line.stand = 'disputed';
    line.disputed = minor * line.unit;
    line.answerByS = nowS + ANSWER_WINDOW_S;
    this.merchant(line.account).chargedBack += line.disputed;
  }

  arbitrate(line: Line, minor: bigint): void {
    const micro = minor * line.unit;
    if (line.stand !== 'second' || micro > line.second) return;
    line.stand = 'over';
    line.isArbitrated = true;
    line.chargedBack += micro;
    this.merchant(line.account).chargedBack += micro;
    if (line.chargedBack === line.micro) this.#payments.returned(line);
  }

  /** @param minor absent: all that is disputed */
  represent(line: Line, minor: bigint | undefined, nowS: number): void {
    if (line.stand !== 'disputed' || nowS > line.answerByS) return;
    const sum = minor === undefined ? line.disputed : minor * line.unit;
    if (sum <= 0n || sum > line.disputed) return;
    line.chargedBack += line.disputed - sum;
    line.disputed = sum;
    line.second = sum;
    line.secondFile = undefined;
    line.stand = 'secondQueued';
  }

  decide(line: Line, decision: 'accept' | 'requeue' | 'park' | 'release'): void {
    if (decision === 'accept' && (line.stand === 'disputed' || line.stand === 'secondQueued')) {
      line.stand = 'over';
      line.chargedBack += line.disputed;
      line.disputed = 0n;
      if (line.chargedBack === line.micro) this.#payments.returned(line);
    } else if (decision === 'requeue' && line.stand === 'parked') line.stand = 'queued';
    else if (decision === 'park' && line.stand === 'queued') line.stand = 'parked';
    else if (decision === 'release' && line.stand === 'parked') {
      if (this.#payments.hasRefundOut(line)) return;
      line.stand = 'released';
      this.#payments.returned(line);
    }
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
