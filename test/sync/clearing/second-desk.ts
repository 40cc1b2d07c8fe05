/** What the second bookkeeper keeps of the matters between clearing, issuer and bank: positions, requests, payouts, alerts. */
import { EVIDENCE_S } from './second-lines.ts';
import type { Line, MerchantSums, SecondLines, Taken } from './second-lines.ts';

const payableOf = ({ acknowledged, borne, chargedBack, fees, paid }: MerchantSums): bigint =>
  acknowledged + borne - chargedBack - fees - paid;

/** What an issuer says it took of a file, in minor units. */
export type Position = Taken & { readonly at: number };

const YEN = 392;
const YEN_MICRO = 1_000_000n;

export type Transfer = { readonly merchant: string; readonly yen: bigint; isReturned: boolean };

export class SecondDesk {
  readonly #books: SecondLines;
  /** Transfers, file by file. */
  readonly payouts: Transfer[][] = [];
  readonly #returns: { merchant: string; nowS: number; file: number; mayRetry: boolean }[] = [];
  /** Accounts that pay nothing further. */
  readonly declined: Set<string> = new Set();
  readonly #positions: Position[] = [];
  #unanswered = 0;

  constructor(books: SecondLines) {
    this.#books = books;
  }

  /** 685, 688: kept as long as the file was not refused as a whole when it came. */
  position(position: Position): void {
    const { stand } = this.#books.files[position.at]!;
    if (stand !== 'rejected' && stand !== 'resubmitted') this.#positions.push(position);
  }

  #differs(position: Position): boolean {
    const ours = this.#books.taken(position.at);
    return (['debit', 'credit'] as const).some(
      (sign) =>
        ours[sign].count !== position[sign].count ||
        ours[sign].amountMinor !== position[sign].amountMinor,
    );
  }

  /** 603, as long as the evidence is kept; all that waits may be answered at once. */
  retrieve(line: Line, isAnswered: boolean, nowS: number): void {
    if (nowS - line.presentedS <= EVIDENCE_S) this.#unanswered += 1;
    if (isAnswered) this.#unanswered = 0;
  }

  /** How many matters are open between clearing and issuer, by their kind. */
  open(nowS: number, ackWithinS: number): Map<string, number> {
    const count = new Map<string, number>();
    const add = (kind: string, number: number): void => {
      if (number > 0) count.set(kind, number);
    };
    const stands = (list: readonly { stand: string }[], stand: string): number =>
      list.filter((one) => one.stand === stand).length;
    const silent = this.#books.files.filter(
      ({ stand, writtenS }) =>
        (stand === 'written' || stand === 'partlyRefused') && nowS - writtenS >= ackWithinS,
    );
    const late = this.#books.lines.filter(
      (line) => line.stand === 'disputed' && nowS > line.answerByS,
    );
    add('FILE_SILENT', silent.length);
    add('FILE_REJECTED', stands(this.#books.files, 'rejected'));
    add('LINE_PARKED', stands(this.#books.lines, 'parked'));
    add('DISPUTE_OPEN', stands(this.#books.lines, 'disputed') - late.length);
    add('DISPUTE_OVERDUE', late.length);
    add('POSITION_DIFFERS', this.#positions.filter((one) => this.#differs(one)).length);
    add('RETRIEVAL_UNANSWERED', this.#unanswered);
    return count;
  }

  /** Pays whole yen to the merchants that have an account, less whole yen of fees; a debt pays nobody. */
  payout(payees: ReadonlySet<string>, minimumYen: bigint): void {
    const transfers: Transfer[] = [];
    for (const name of [...this.#books.merchants.keys()].toSorted()) {
      const [merchant = '', currency] = name.split(' ');
      const sums = this.#books.merchants.get(name)!;
      if (Number(currency) !== YEN || payableOf(sums) === 0n) continue;
      const fee = (sums.due / (YEN_MICRO * 10_000n)) * YEN_MICRO;
      const left = payableOf(sums) - fee;
      const yen = left < 0n ? 0n : left / YEN_MICRO;
      if (yen === 0n || yen < minimumYen || !payees.has(merchant)) continue;
      if (this.#isStopped(merchant)) continue;
      sums.fees += fee;
      sums.due -= fee * 10_000n;
      sums.paid += yen * YEN_MICRO;
      transfers.push({ merchant, yen, isReturned: false });
    }
    if (transfers.length > 0) this.payouts.push(transfers);
  }

  /** The last word of the bank was that the account is wrong. */
  #isStopped(merchant: string): boolean {
    const last = this.#returns
      .filter((one) => one.merchant === merchant)
      .toSorted((a, b) => a.nowS - b.nowS || a.file - b.file)
      .at(-1);
    return last?.mayRetry === false;
  }

  /** The bank gave a transfer back: its sum is owed again, once. */
  bounce(file: number, transfer: Transfer, mayRetry: boolean, nowS: number): void {
    if (transfer.isReturned) return;
    transfer.isReturned = true;
    this.#returns.push({ merchant: transfer.merchant, nowS, file, mayRetry });
    this.#books.merchants.get(`${transfer.merchant} ${YEN}`)!.paid -= transfer.yen * YEN_MICRO;
  }
}
