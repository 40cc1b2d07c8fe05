import { invariant } from '../../../protocol/kiri-error.ts';

/** Where accepted value can stand (DESIGN §6). Every micro-unit stands in exactly one of them. */
export const BUCKETS = [
  'awaitingL2',
  'carried',
  'late',
  'conflict',
  'withheld',
  'queued',
  'inFile',
  'parked',
  'presentedOpen',
  'presentedDisputed',
  'presentedChargedBack',
  'reversed',
  'writtenOff',
] as const;

export type Bucket = (typeof BUCKETS)[number];

/** Where value comes from: an accepted payment, or a refund (whose key has the sign `credit`). */
type Source = 'accepted' | 'credits';

/** Between two keys of one liable party: out of the one and into the other in one transaction, both journalled. */
const TRANSFERRED = 'transferred';
type Transfer = typeof TRANSFERRED;

export type Sign = 'debit' | 'credit';

const PENDING: readonly Bucket[] = ['carried', 'late', 'conflict', 'withheld'];

/** Every move there is; anything else is a bug of ours and stops the work. */
const MOVES: Readonly<Record<Source | Transfer | Bucket, readonly (Bucket | Transfer)[]>> = {
  accepted: ['awaitingL2', ...PENDING],
  credits: ['awaitingL2', ...PENDING],
  [TRANSFERRED]: ['carried', 'late', 'conflict'],
  awaitingL2: PENDING,
  carried: ['queued', 'withheld', 'reversed', 'writtenOff', TRANSFERRED],
  late: ['queued', 'withheld', 'reversed', 'writtenOff', TRANSFERRED],
  conflict: ['queued', 'withheld', 'reversed', 'writtenOff', TRANSFERRED],
  withheld: ['carried', 'late', 'conflict', 'reversed', 'writtenOff'],
  queued: ['inFile', 'carried', 'late', 'conflict', 'parked'],
  inFile: ['presentedOpen', 'queued', 'parked'],
  parked: ['queued', 'reversed', 'writtenOff'],
  // Back out of presented: the issuer refused the file (699) or the line (691).
  presentedOpen: ['presentedDisputed', 'queued', 'parked', 'reversed'],
  presentedDisputed: ['presentedOpen', 'presentedChargedBack'],
  presentedChargedBack: ['presentedOpen', 'writtenOff'],
  reversed: [],
  writtenOff: [],
};

/** One journal entry of the books: so much of one key went from here to there, because of `cause`. */
export type Move = {
  readonly keyId: string;
  readonly from: Source | Transfer | Bucket;
  readonly to: Bucket | Transfer;
  readonly amountMicro: bigint;
  readonly cause: string;
};

/** The books of one aggregation key: what came in, and where it stands now, in micro-units. */
export type KeyBalance = {
  readonly sign: Sign;
  sourceMicro: bigint;
  readonly buckets: Record<Bucket, bigint>;
};

const emptyBuckets = (): Record<Bucket, bigint> =>
  Object.fromEntries(BUCKETS.map((bucket) => [bucket, 0n])) as Record<Bucket, bigint>;

export const emptyBalance = (sign: Sign): KeyBalance => ({
  sign,
  sourceMicro: 0n,
  buckets: emptyBuckets(),
});

/** Σ source = Σ buckets of one key, no bucket below zero. Asserted after every move, in production too. */
export const assertBalanced = (balance: KeyBalance, keyId: string): void => {
  let sum = 0n;
  for (const bucket of BUCKETS) {
    const amount = balance.buckets[bucket];
    // The words only where they are needed: this runs for every receipt.
    if (amount < 0n) invariant(false, `clearing: ${bucket} of ${keyId} is ${amount}`);
    sum += amount;
  }
  if (sum === balance.sourceMicro) return;
  invariant(false, `clearing: key ${keyId} holds ${sum} of ${balance.sourceMicro} micro-units`);
};

/** Applies one move to the balance of its key (which it changes) and asserts the invariant. */
export const applyMove = (balance: KeyBalance, move: Move): void => {
  const { from, to, amountMicro, keyId } = move;
  if (amountMicro <= 0n) invariant(false, `clearing: move of ${amountMicro} on ${keyId}`);
  if (!MOVES[from].includes(to)) invariant(false, `clearing: no move from ${from} to ${to}`);
  if (from === 'accepted' || from === 'credits') {
    const source: Source = balance.sign === 'debit' ? 'accepted' : 'credits';
    invariant(from === source, `clearing: ${from} into a ${balance.sign} key`);
    balance.sourceMicro += amountMicro;
  } else if (from === TRANSFERRED) {
    balance.sourceMicro += amountMicro;
  } else {
    balance.buckets[from] -= amountMicro;
  }
  if (to === TRANSFERRED) balance.sourceMicro -= amountMicro;
  else balance.buckets[to] += amountMicro;
  assertBalanced(balance, keyId);
};

/** The books over many keys: Σ accepted − Σ credits on one side, the signed buckets on the other. */
export type BookTotals = {
  readonly acceptedMicro: bigint;
  readonly creditsMicro: bigint;
  /** Debit keys minus credit keys, per bucket. */
  readonly buckets: Readonly<Record<Bucket, bigint>>;
  /** True if both sides are equal. */
  readonly reconciles: boolean;
};

/** Adds books up and compares both sides (DESIGN §6, "in total"). */
export const totalsOf = (balances: Iterable<KeyBalance>): BookTotals => {
  const buckets = emptyBuckets();
  let acceptedMicro = 0n;
  let creditsMicro = 0n;
  for (const balance of balances) {
    const factor = balance.sign === 'debit' ? 1n : -1n;
    if (balance.sign === 'debit') acceptedMicro += balance.sourceMicro;
    else creditsMicro += balance.sourceMicro;
    for (const bucket of BUCKETS) buckets[bucket] += factor * balance.buckets[bucket];
  }
  const standing = BUCKETS.reduce((sum, bucket) => sum + buckets[bucket], 0n);
  const reconciles = standing === acceptedMicro - creditsMicro;
  return { acceptedMicro, creditsMicro, buckets, reconciles };
};
