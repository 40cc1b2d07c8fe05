/** Random histories as lists of steps, and how a failing one is made short. A seed gives the same history everywhere. */

const KINDS = [
  'pay',
  'batch',
  'again',
  'final',
  'clone',
  'backwards',
  'void',
  'fork',
  'lift',
  'cut',
  'close',
  'rebuild',
  'refund',
  'early',
  'accepted',
  'partly',
  'rejected',
  'fileReject',
  'messageReject',
  'chargeback',
  'arbitration',
  'represent',
  'accept',
  'requeue',
  'park',
  'release',
  'resubmit',
  'repeat',
  'position',
  'retrieval',
  'payout',
  'look',
  'forgive',
  'seal',
  'bounce',
] as const;

type Kind = (typeof KINDS)[number];

/** One step. What it is about is chosen by the numbers among what there is, so that any part of a history is one too. */
export type Step = {
  readonly kind: Kind;
  readonly waitS: number;
  readonly pick: number;
  readonly micro: bigint;
  /** Bits that bend the step: see history-world.ts. */
  readonly how: number;
  /** The process dies at this boundary of the step; 0 = it lives. */
  readonly crashAt: number;
};

/** How often each kind comes. */
const WEIGHTS: Readonly<Record<Kind, number>> = {
  pay: 10,
  batch: 8,
  again: 3,
  final: 3,
  clone: 2,
  backwards: 2,
  void: 3,
  fork: 1,
  lift: 1,
  cut: 5,
  close: 3,
  rebuild: 1,
  refund: 5,
  early: 1,
  accepted: 4,
  partly: 1,
  rejected: 1,
  fileReject: 2,
  messageReject: 4,
  chargeback: 6,
  arbitration: 3,
  represent: 5,
  accept: 2,
  requeue: 3,
  park: 1,
  release: 2,
  resubmit: 2,
  repeat: 2,
  position: 3,
  retrieval: 2,
  payout: 3,
  look: 3,
  forgive: 1,
  seal: 1,
  bounce: 2,
};
const deckOf = (kinds: readonly Kind[]): readonly Kind[] =>
  kinds.flatMap((kind) => Array<Kind>(WEIGHTS[kind]).fill(kind));
const DECK = deckOf(KINDS);
/** A history that begins with a cut and is mostly about what became of its lines. */
const ANSWERED: readonly Kind[] = ['batch', 'batch', 'close'];
const ANSWERS = deckOf([...KINDS.slice(KINDS.indexOf('refund')), 'pay', 'void', 'cut', 'close']);
/** A history of charges that are held, given back and let go. */
const HELD = deckOf([
  'batch',
  'again',
  'void',
  'fork',
  'fork',
  'lift',
  'lift',
  'cut',
  'refund',
  'early',
]);
/** A history of refunds and chargebacks of the same lines. */
const GIVEN_BACK = deckOf([
  'refund',
  'refund',
  'chargeback',
  'chargeback',
  'represent',
  'accept',
  'arbitration',
  'messageReject',
  'release',
  'void',
  'cut',
  'close',
  'look',
]);
/** A history of lines that the issuer took: paid out, put away, and disputed or said again after that. */
const SETTLED = deckOf([
  'pay',
  'accepted',
  'payout',
  'payout',
  'bounce',
  'seal',
  'seal',
  'seal',
  'seal',
  'again',
  'clone',
  'backwards',
  'void',
  'refund',
  'chargeback',
  'represent',
  'messageReject',
  'close',
]);
const STORIES: readonly { readonly start: readonly Kind[]; readonly deck: readonly Kind[] }[] = [
  { start: ANSWERED, deck: ANSWERS },
  { start: [], deck: DECK },
  { start: ANSWERED, deck: ANSWERS },
  { start: ['batch', 'refund'], deck: HELD },
  { start: ['pay', 'batch', 'close', 'refund'], deck: GIVEN_BACK },
  { start: ['batch', 'pay', 'close', 'accepted', 'accepted', 'payout'], deck: SETTLED },
];

const STEPS_MIN = 4;
const STEPS_MAX = 16;
/** Now and then the time to answer a chargeback passes. */
const WAITS_S = [0, 0, 1, 1, 3_600, 3_600, 21_600, 21_600, 86_400, 86_400, 6 * 86_400, 46 * 86_400];
/** Boundaries of a small step; a cut of several files has some more. */
const CRASH_WITHIN = 90;

/** 32 bits at a time, by the seed alone (mulberry32). */
const randomOf = (seed: number): ((below: number) => number) => {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

/** From one micro-unit to more than one line of a file can hold. */
const amountOf = (random: (below: number) => number): bigint => {
  const size = random(40);
  if (size === 0) return 500_000_000_000_000n + BigInt(random(1_000_000_000));
  if (size < 4) return BigInt(random(1_000_000_000)) * 20n + 1n;
  if (size < 12) return BigInt(random(999) + 1);
  return BigInt(random(9_999_999) + 1);
};

export const historyOf = (seed: number): Step[] => {
  const random = randomOf(seed);
  const length = STEPS_MIN + random(STEPS_MAX - STEPS_MIN + 1);
  const { start, deck } = STORIES[seed % STORIES.length]!;
  return Array.from({ length: start.length + length }, (_, at) => ({
    kind: start[at] ?? deck[random(deck.length)]!,
    waitS: WAITS_S[random(WAITS_S.length)]!,
    pick: random(1_000),
    micro: amountOf(random),
    how: random(1 << 16),
    crashAt: random(4) === 0 ? 1 + random(CRASH_WITHIN) : 0,
  }));
};

/** A short history that still fails: parts are left out, then crashes, then waits, as long as the failure stays. */
export const shrink = async (
  steps: readonly Step[],
  fails: (steps: readonly Step[]) => Promise<boolean>,
): Promise<readonly Step[]> => {
  let best = steps;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size > 1 ? size >> 1 : 0) {
    for (let at = 0; at < best.length;) {
      const fewer = best.toSpliced(at, size);
      if (fewer.length > 0 && (await fails(fewer))) best = fewer;
      else at += size;
    }
  }
  for (const [at, step] of best.entries()) {
    for (const simpler of [{ crashAt: 0 }, { waitS: 0 }, { micro: 1_000_000n }]) {
      const tried = best.with(at, { ...best[at]!, ...simpler });
      if (step !== undefined && (await fails(tried))) best = tried;
    }
  }
  return best;
};

export const printSteps = (steps: readonly Step[]): string =>
  steps
    .map(({ kind, waitS, pick, micro, how, crashAt }, at) =>
      [
        `${String(at + 1).padStart(2)}. ${kind} pick ${pick} micro ${micro} how ${how}`,
        ...(waitS > 0 ? [`after ${waitS} s`] : []),
        ...(crashAt > 0 ? [`crash at boundary ${crashAt}`] : []),
      ].join(', '),
    )
    .join('\n');
