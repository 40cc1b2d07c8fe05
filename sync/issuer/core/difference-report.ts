/**
 * Where local books and the centre differ, line by line, and which of them counts meanwhile. Gateways
 * sign what they saw of a line; a device only says it. Neither is evidence: receipts alone settle. Pure.
 */
import { RUN_UNKNOWN, type LineAccount } from '../../clearing/core/line-account.ts';

/** What somebody says of one line: its highest counter and the gross total there. */
export interface LocalWord {
  /** In hex. */
  readonly line: string;
  readonly source: 'gateway' | 'device';
  /** Approver id in hex, or the line of the device. */
  readonly by: string;
  readonly counter: number;
  readonly totalMicro: bigint;
}

/** Whose books count for the balance that is shown and for what is held meanwhile. */
export type TrustedBooks = 'local' | 'centre';

/** What the issuer's documents say of the line; sums in micro-units. */
interface LineTerms {
  readonly party: string;
  readonly ceilingMicro: bigint;
  /** Who bears what a misbehaving device costs, by the newest allowance. */
  readonly bearer: 'party' | 'issuer';
}

/**
 * - `MISSING_AT_CENTRE`: signed for up to there and not in the store.
 * - `MISSING_LOCALLY`: in the store; a gateway has not seen it, which is no fault.
 * - `SET_BACK`: a device shows less than it has signed: its balance was raised or its memory is an older copy.
 * - `TOTALS_CONTRADICT`: totals only grow with counters, and these do not.
 * - `PAYMENTS_CONTRADICT`: receipts in the store exclude each other: two histories of one line were signed.
 */
interface Difference {
  readonly kind:
    | 'MISSING_AT_CENTRE'
    | 'MISSING_LOCALLY'
    | 'SET_BACK'
    | 'TOTALS_CONTRADICT'
    | 'PAYMENTS_CONTRADICT';
  /** Who says otherwise: as {@link LocalWord}, or `centre` where the store itself shows it. */
  readonly source: LocalWord['source'] | 'centre';
  readonly by: string;
  /** Counters it is about, both with. */
  readonly from: number;
  readonly to: number;
  /** What is missing, or by how much totals contradict. */
  readonly sumMicro: bigint;
  /** Where it is misbehaviour of the device: who bears what it costs. */
  readonly bearer?: 'party' | 'issuer';
}

export interface LineDifferences {
  readonly line: string;
  readonly party: string;
  readonly currency: number;
  readonly differences: readonly Difference[];
  /** The rule that counted: `local` falls back to `centre` where something contradicts. */
  readonly trusted: TrustedBooks;
  /** Ceiling less the net total of the trusted books; below zero: overspent. */
  readonly balanceMicro: bigint;
  /** Charged by receipts: final whatever the rule says. */
  readonly chargedMicro: bigint;
  /** Held against the account meanwhile beyond that: signed for by a gateway's word, and never presented without a receipt. */
  readonly heldMicro: bigint;
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** Counters and total of the centre, with those that totals say exist and no log brought. */
const atCentre = (
  line: string,
  account: LineAccount,
  bearer: LineTerms['bearer'],
): Difference[] => {
  const centre = { source: 'centre', by: line } as const;
  const found: Difference[] = [];
  if (account.missingMicro > 0n) {
    const gaps = account.runs.filter((run) => run.kind === RUN_UNKNOWN);
    const [from, to] = [gaps[0]?.from ?? 1, gaps.at(-1)?.to ?? account.highestCounter];
    const sumMicro = account.missingMicro;
    found.push({ ...centre, kind: 'MISSING_AT_CENTRE', from, to, sumMicro });
  }
  if (account.conflicts > 0) {
    const to = account.highestCounter;
    found.push({ ...centre, kind: 'PAYMENTS_CONTRADICT', from: 1, to, sumMicro: 0n, bearer });
  }
  return found;
};

/** One word against the highest counter and total that the store has. */
const compare = (
  word: LocalWord,
  account: LineAccount,
  bearer: LineTerms['bearer'],
): Difference | undefined => {
  const { source, by, counter, totalMicro } = word;
  const { highestCounter, totalMicro: centreMicro } = account;
  const more = totalMicro - centreMicro;
  const size = more < 0n ? -more : more;
  const [from, to] = [Math.min(counter, highestCounter) + 1, Math.max(counter, highestCounter)];
  const about = { source, by, from, to, sumMicro: size };
  const isDevice = source === 'device';
  if (counter === highestCounter) {
    if (more === 0n) return undefined;
    const at = { ...about, from: counter, to: counter };
    // A device is the one who writes totals: less than it signed is a raised balance.
    const kind = isDevice && more < 0n ? 'SET_BACK' : 'TOTALS_CONTRADICT';
    return { ...at, kind, bearer };
  }
  if (counter > highestCounter) {
    if (more >= 0n) return { ...about, kind: 'MISSING_AT_CENTRE' };
    return { ...about, kind: isDevice ? 'SET_BACK' : 'TOTALS_CONTRADICT', bearer };
  }
  if (more > 0n) return { ...about, kind: 'TOTALS_CONTRADICT', bearer };
  return isDevice ? { ...about, kind: 'SET_BACK', bearer } : { ...about, kind: 'MISSING_LOCALLY' };
};

const releasedOf = (account: LineAccount): bigint =>
  account.runs.reduce<bigint>((sum, run) => sum + run.releasedMicro, account.releasedBeforeMicro);

/**
 * One line's differences and what the rule makes of them.
 * @param words what gateways and the device say of this line; none is no difference
 */
export const differencesOf = (
  line: string,
  account: LineAccount,
  words: readonly LocalWord[],
  terms: LineTerms,
  rule: TrustedBooks,
): LineDifferences => {
  const { party, bearer, ceilingMicro } = terms;
  const differences = [
    ...atCentre(line, account, bearer),
    ...words.flatMap((word) => compare(word, account, bearer) ?? []),
  ];
  const isContradicted = differences.some((one) => one.bearer !== undefined);
  const trusted = rule === 'local' && words.length > 0 && !isContradicted ? 'local' : 'centre';
  // Without a contradiction the highest counter has the highest total; a gateway that is behind changes nothing.
  const told = (of: readonly LocalWord[]): bigint =>
    of.reduce<bigint>((most, one) => larger(most, one.totalMicro), account.totalMicro);
  const totalMicro = trusted === 'local' ? told(words) : account.totalMicro;
  const signed = words.filter(({ source }) => source === 'gateway');
  return {
    line,
    party,
    currency: account.currency,
    differences,
    trusted,
    balanceMicro: ceilingMicro - (totalMicro - releasedOf(account)),
    chargedMicro: account.chargedMicro,
    heldMicro: trusted === 'local' ? told(signed) - account.totalMicro : 0n,
  };
};
