/**
 * A Statement out of a line's account (DESIGN section 2). Its lists take 128 entries each, so it may have to end early: it
 * never calls a counter recorded of which it does not say what became of it, since the device drops its receipt then.
 */
import { amountMicro, type AmountMicro } from '../../../protocol/amount.ts';
import type { Statement } from '../../../identity/core/documents/statement.ts';
import {
  RUN_NOT_CHARGED,
  RUN_OPEN,
  RUN_SETTLED,
  type LineAccount,
  type LineRun,
} from '../../clearing/core/line-account.ts';

const MAX_ENTRIES = 128;

/** What the account lets a Statement say. */
export type StatementBody = Pick<
  Statement,
  | 'currency'
  | 'heads'
  | 'recordedThrough'
  | 'except'
  | 'settled'
  | 'settledTotalMicro'
  | 'open'
  | 'releasedMicro'
  | 'credits'
  | 'disputes'
>;

interface Lists {
  recordedThrough: number;
  readonly except: number[];
  readonly settled: { from: number; to: number; sumMicro: AmountMicro }[];
  readonly open: number[];
  releasedMicro: bigint;
}

/** Adds the run's counters one by one while there is room; false where some are left. */
const addCounters = (list: number[], { from, to }: LineRun, above: number): boolean => {
  for (let counter = Math.max(from, above + 1); counter <= to; counter++) {
    if (list.length >= MAX_ENTRIES) return false;
    list.push(counter);
  }
  return true;
};

/** False where the Statement has to end within or before this run. */
const addRun = (lists: Lists, run: LineRun, above: number): boolean => {
  switch (run.kind) {
    case RUN_SETTLED: {
      if (lists.settled.length >= MAX_ENTRIES) return false;
      const { from, to, sumMicro } = run;
      lists.settled.push({ from, to, sumMicro });
      lists.recordedThrough = run.to;
      break;
    }
    case RUN_OPEN: {
      const isWhole = addCounters(lists.open, run, above);
      lists.recordedThrough = Math.max(lists.recordedThrough, lists.open.at(-1) ?? 0);
      if (!isWhole) return false;
      break;
    }
    case RUN_NOT_CHARGED:
      lists.recordedThrough = run.to;
      break;
    default:
      return addCounters(lists.except, run, above);
  }
  lists.releasedMicro += run.releasedMicro;
  return true;
};

/**
 * @param clearThrough a counter up to which the device has applied a Statement that left nothing open: what lies before is
 *   in the sums alone
 */
export const statementFromAccount = (account: LineAccount, clearThrough: number): StatementBody => {
  const lists: Lists = {
    recordedThrough: Math.min(clearThrough, account.throughCounter),
    except: [],
    settled: [],
    open: [],
    releasedMicro: account.releasedBeforeMicro,
  };
  for (const run of account.runs) {
    if (run.to <= clearThrough) lists.releasedMicro += releasedOf(run);
    else if (!addRun(lists, run, clearThrough)) break;
  }
  const { recordedThrough, settled, open } = lists;
  return {
    currency: account.currency,
    heads: account.heads,
    recordedThrough,
    // Behind the last recorded counter nothing has to be excepted.
    except: lists.except.filter((counter) => counter < recordedThrough),
    settled,
    settledTotalMicro: account.settledMicro,
    open,
    releasedMicro: amountMicro(lists.releasedMicro),
    credits: account.credits,
    disputes: account.disputes,
  };
};

const releasedOf = (run: LineRun): bigint =>
  run.kind === RUN_SETTLED || run.kind === RUN_OPEN || run.kind === RUN_NOT_CHARGED
    ? run.releasedMicro
    : 0n;

/** Through which counter a device that has applied this Statement holds nothing unsettled any more. */
export const clearThroughOf = ({
  recordedThrough,
  except,
}: Pick<Statement, 'recordedThrough' | 'except'>): number => {
  const [first] = except;
  return first === undefined ? recordedThrough : Math.min(first - 1, recordedThrough);
};

/** What a Statement carried beside an allowance, for {@link appliedThrough}. */
export interface CarriedAllowance {
  readonly generation: number;
  readonly ceilingMicro: bigint;
  readonly expiresS: number;
  readonly clearThrough: number;
}

/**
 * The farthest Statement that the device has shown to have applied: approvers accepted more of it than the allowance before
 * it allowed, or later than that one held.
 * @param carried by generation, each with the Statement that brought it; the one of enrolment came with none and clears 0
 */
export const appliedThrough = (
  carried: readonly CarriedAllowance[],
  { highestNetMicro, lastPaidS }: { readonly highestNetMicro: bigint; readonly lastPaidS: number },
): number => {
  let applied = 0;
  for (const [at, { clearThrough }] of carried.entries()) {
    const earlier = carried.slice(0, at);
    const ceiling = earlier.reduce(
      (most, one) => (one.ceilingMicro > most ? one.ceilingMicro : most),
      0n,
    );
    const endS = Math.max(0, ...earlier.map(({ expiresS }) => expiresS));
    if (at > 0 && (highestNetMicro > ceiling || lastPaidS >= endS)) {
      applied = Math.max(applied, clearThrough);
    }
  }
  return applied;
};
