import { addToLane } from '../sync/clearing/lane-sum.ts';
import {
  dueReason,
  keyIdOf,
  planPieces,
  AGGREGATE_LEAVES_MAX,
} from '../sync/clearing/core/aggregate.ts';
import type { Programme } from '../sync/clearing/core/aggregate.ts';
import { JST } from '../sync/clearing/core/civil-time.ts';
import { applyMove, emptyBalance, totalsOf } from '../sync/clearing/core/ledger-states.ts';
import type { KeyBalance } from '../sync/clearing/core/ledger-states.ts';
import { answering } from './child.ts';
import { cpuMicros } from './measure.ts';

export interface NettingQuestion {
  readonly receipts: number;
  readonly keys: number;
  /** Of one key between two cuts. */
  readonly receiptsPerCut: number;
}

export interface NettingAnswer {
  readonly cpuMicros: number;
  readonly maxRssKiB: number;
  readonly presentments: number;
}

const DAY_S = 86_400;
const YEN_MICRO = 1_000_000n;
const RULE: Programme = {
  name: 'bench',
  zone: JST,
  thresholdMicro: 10_000n * YEN_MICRO,
  windowMinimumMicro: YEN_MICRO,
  maxAgeS: 5 * DAY_S,
};
const LIMITS = { amountMinorMax: 10n ** 12n - 1n, leavesMax: AGGREGATE_LEAVES_MAX };

interface Account {
  readonly keyId: string;
  readonly balance: KeyBalance;
  readonly lane: Parameters<typeof addToLane>[0];
  /** Of receipts in no aggregate yet. */
  amounts: bigint[];
}

const newAccount = (n: number): Account => ({
  keyId: keyIdOf({
    issuer: 'issuer-1',
    acquirer: 'acquirer-1',
    merchant: 'merchant-1',
    programme: RULE.name,
    account: `account-${n}`,
    party: `party-${n}`,
    mcc: '4784',
    currency: 392,
    sign: 'debit',
  }),
  balance: emptyBalance('debit'),
  lane: {
    residualMicro: 0n,
    pendingMicro: 0n,
    firstPaidS: 0,
    firstIngestS: 0,
    aggregates: 0,
    lastAggregate: undefined,
  },
  amounts: [],
});

/** Presents what is due of one account: whole yen, the rest is carried. Returns the number of presentments. */
const cut = ({ keyId, balance, lane, amounts }: Account, nowS: number): number => {
  if (dueReason(lane, RULE, nowS, false) === undefined) return 0;
  const pieces = planPieces(lane.residualMicro, amounts, YEN_MICRO, LIMITS);
  for (const { amountMinor, closingMicro } of pieces) {
    const amountMicro = amountMinor * YEN_MICRO;
    if (amountMicro > 0n) {
      applyMove(balance, { keyId, from: 'carried', to: 'queued', amountMicro, cause: 'cut' });
    }
    lane.residualMicro = closingMicro;
  }
  amounts.splice(0, pieces.at(-1)?.to ?? 0);
  lane.pendingMicro = amounts.reduce((sum, one) => sum + one, lane.residualMicro);
  return pieces.filter(({ amountMinor }) => amountMinor > 0n).length;
};

/** Receipts one after the other, none kept longer than until its cut; the books are held against each move. */
const net = ({ receipts, keys, receiptsPerCut }: NettingQuestion): NettingAnswer => {
  const before = cpuMicros();
  const accounts = Array.from({ length: keys }, (_, n) => newAccount(n));
  let [paidS, sumMicro, presentments] = [0, 0n, 0];
  // A linear congruential generator: the same receipts in every run.
  let random = 1;
  for (let n = 0; n < receipts; n += 1) {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    const account = accounts[(random >>> 8) % keys]!;
    const amountMicro = BigInt(1 + (random % 9_999_999));
    const { keyId, balance, lane } = account;
    applyMove(balance, { keyId, from: 'accepted', to: 'carried', amountMicro, cause: 'ingest' });
    addToLane(lane, amountMicro, paidS, paidS);
    account.amounts.push(amountMicro);
    sumMicro += amountMicro;
    if ((n + 1) % (keys * receiptsPerCut) > 0) continue;
    paidS += DAY_S;
    for (const one of accounts) presentments += cut(one, paidS);
  }
  const totals = totalsOf(accounts.map(({ balance }) => balance));
  if (!totals.reconciles || totals.acceptedMicro !== sumMicro) throw new Error('sums differ');
  const maxRssKiB = process.resourceUsage().maxRSS;
  return { cpuMicros: cpuMicros() - before, maxRssKiB, presentments };
};

answering(net);
