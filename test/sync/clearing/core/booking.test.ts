import assert from 'node:assert/strict';
import t from 'tap';
import fc from 'fast-check';
import { currencyOf, microPerMinor } from '../../../../protocol/currency.ts';
import {
  dueReason,
  keyIdOf,
  planPieces,
  shortIdOf,
  windowOf,
} from '../../../../sync/clearing/core/aggregate.ts';
import type { AggregateKey } from '../../../../sync/clearing/core/aggregate.ts';
import {
  JST,
  civilTime,
  dayStartS,
  isoDate,
  yddd,
  yymmdd,
  yymmddhhmmss,
} from '../../../../sync/clearing/core/civil-time.ts';
import type { BusinessZone } from '../../../../sync/clearing/core/civil-time.ts';
import {
  BUCKETS,
  applyMove,
  assertBalanced,
  emptyBalance,
  totalsOf,
} from '../../../../sync/clearing/core/ledger-states.ts';
import type { Bucket, Move } from '../../../../sync/clearing/core/ledger-states.ts';
import { conflictBetween, decideReceipt } from '../../../../sync/clearing/core/ingest.ts';
import type { ReceiptFacts } from '../../../../sync/clearing/core/ingest.ts';
import { decideVoid } from '../../../../sync/clearing/core/void.ts';
import { DAY_S, LineOfReceipts, TOKYO_MIDNIGHT_S, hashOf, keyWith, programme } from '../sample.ts';

const key: AggregateKey = { ...keyWith({}), sign: 'debit' };
const LIMITS = { amountMinorMax: 999_999_999_999n, leavesMax: 10_000 };

t.test('1,000 × 3.85 yen are 3,850 yen, and nothing is carried', async (t) => {
  const amounts = Array.from({ length: 1000 }, () => 3_850_000n);
  t.same(planPieces(0n, amounts, 1_000_000n, LIMITS), [
    { from: 0, to: 1000, openingMicro: 0n, amountMinor: 3850n, closingMicro: 0n },
  ]);
});

t.test('carry-forward equals an exact rational oracle in every exponent', async (t) => {
  const minor = (code: string): bigint => microPerMinor(currencyOf(code)!);
  t.same(['JPY', 'USD', 'KWD', 'CLF'].map(minor), [1_000_000n, 10_000n, 1000n, 100n]);
  fc.assert(
    fc.property(
      fc.constantFrom('JPY', 'USD', 'KWD', 'CLF'),
      fc.array(fc.array(fc.bigInt(1n, 5_000_000n), { maxLength: 30 }), { maxLength: 12 }),
      fc.integer({ min: 1, max: 7 }),
      fc.bigInt(500_000n, 5_000_000n),
      (code, windows, leavesMax, amountMinorMax) => {
        const unit = minor(code);
        let residual = 0n;
        let pending: bigint[] = [];
        let presented = 0n;
        let accepted = 0n;
        for (const window of windows) {
          pending = [...pending, ...window];
          accepted += window.reduce((sum, amount) => sum + amount, 0n);
          const pieces = planPieces(residual, pending, unit, { amountMinorMax, leavesMax });
          let opening = residual;
          let at = 0;
          for (const piece of pieces) {
            const sum = pending.slice(piece.from, piece.to).reduce((total, one) => total + one, 0n);
            assert.equal(piece.from, at, 'every receipt in exactly one piece, in order');
            assert.equal(piece.openingMicro, opening, 'residuals are chained');
            assert.equal(opening + sum, piece.amountMinor * unit + piece.closingMicro);
            assert.ok(piece.amountMinor <= amountMinorMax && piece.to - piece.from <= leavesMax);
            presented += piece.amountMinor * unit;
            opening = piece.closingMicro;
            at = piece.to;
          }
          residual = opening;
          pending = pending.slice(at);
          // The oracle: everything that is whole has been presented, rounded down once.
          assert.equal(presented, (accepted / unit) * unit);
        }
      },
    ),
    { numRuns: 150 },
  );
});

t.test('a total above twelve digits is split, never cut', async (t) => {
  const u64 = (1n << 64n) - 1n;
  const amounts = [u64, u64, 7n];
  const pieces = planPieces(3n, amounts, 1_000_000n, LIMITS);
  const total = pieces.reduce((sum, piece) => sum + piece.amountMinor, 0n);
  t.equal(total, (3n + 2n * u64 + 7n) / 1_000_000n);
  t.equal(pieces.at(-1)?.closingMicro, (3n + 2n * u64 + 7n) % 1_000_000n);
  t.ok(pieces.every((piece) => piece.amountMinor <= 999_999_999_999n));
  const limited = planPieces(0n, [u64], 100n, { ...LIMITS, amountMinorMax: 1n });
  t.equal(limited.length, 1000, 'a lane’s share of one cut is limited');
  t.equal(limited.at(-1)?.closingMicro, u64 - 100_000n, 'and the rest carried');
});

t.test('below one minor unit nothing is presented, however many receipts', async (t) => {
  t.same(planPieces(0n, [], 1_000_000n, LIMITS), []);
  t.same(planPieces(999_999n, [], 1_000_000n, LIMITS), []);
  t.same(
    planPieces(
      0n,
      Array.from({ length: 30 }, () => 1n),
      1_000_000n,
      { ...LIMITS, leavesMax: 10 },
    ),
    [],
  );
  const full = planPieces(
    999_970n,
    Array.from({ length: 30 }, () => 1n),
    1_000_000n,
    {
      ...LIMITS,
      leavesMax: 10,
    },
  );
  t.same(
    full.map((piece) => piece.amountMinor),
    [0n, 0n, 1n],
    'full aggregates may present nothing as long as a later one does',
  );
});

t.test(
  'a lane is due at its threshold, at the end of its window, by age, or at close-out',
  async (t) => {
    const rule = {
      ...programme,
      thresholdMicro: 100n,
      windowMinimumMicro: 50n,
      maxAgeS: 3 * DAY_S,
    };
    const lane = {
      pendingMicro: 60n,
      firstPaidS: TOKYO_MIDNIGHT_S,
      firstIngestS: TOKYO_MIDNIGHT_S,
    };
    const due = (pendingMicro: bigint, afterS: number, closeOut = false): string | undefined =>
      dueReason({ ...lane, pendingMicro }, rule, TOKYO_MIDNIGHT_S + afterS, closeOut);
    t.equal(due(100n, 0), 'threshold');
    t.equal(due(99n, 0), undefined);
    t.equal(due(50n, DAY_S - 1), undefined);
    t.equal(due(50n, DAY_S), 'window');
    t.equal(due(49n, DAY_S), undefined);
    t.equal(due(49n, 3 * DAY_S - 1), undefined);
    t.equal(due(49n, 3 * DAY_S), 'age');
    t.equal(due(1n, 0, true), 'close-out');
  },
);

t.test(
  'windows are days of the zone: midnight in Tokyo, year end, leap day, summer time',
  async (t) => {
    const at = (text: string): number => Date.parse(text) / 1000;
    const day = (text: string): string => isoDate(civilTime(at(text), JST));
    t.equal(day('2026-12-31T14:59:59Z'), '2026-12-31');
    t.equal(day('2026-12-31T15:00:00Z'), '2027-01-01');
    t.equal(yddd(civilTime(at('2026-12-31T14:59:59Z'), JST)), '6365');
    t.equal(yddd(civilTime(at('2026-12-31T15:00:00Z'), JST)), '7001');
    t.equal(yddd(civilTime(at('2028-12-31T00:00:00Z'), JST)), '8366');
    t.equal(day('2028-02-28T15:00:00Z'), '2028-02-29');
    t.equal(day('2027-02-28T15:00:00Z'), '2027-03-01');
    t.equal(day('2100-02-28T15:00:00Z'), '2100-03-01', '2100 is no leap year');
    t.equal(yymmddhhmmss(civilTime(at('2026-11-20T23:30:05Z'), JST)), '261121083005');
    t.equal(yymmdd(civilTime(0, JST)), '700101');
    t.same(windowOf(at('2026-11-21T03:00:00Z'), JST), {
      fromS: at('2026-11-20T15:00:00Z'),
      toS: at('2026-11-21T15:00:00Z'),
    });
    // Austin: summer time ends on 2026-11-01 at 02:00 CDT, a day of 25 hours.
    const austin: BusinessZone = {
      name: 'America/Chicago',
      offsets: [
        { fromS: at('2026-03-08T08:00:00Z'), minutes: -300 },
        { fromS: at('2026-11-01T07:00:00Z'), minutes: -360 },
      ],
    };
    const long = windowOf(at('2026-11-01T12:00:00Z'), austin);
    t.equal(long.fromS, at('2026-11-01T05:00:00Z'));
    t.equal(long.toS - long.fromS, 25 * 3600);
    t.same(windowOf(long.toS, austin).fromS, long.toS, 'windows meet without a gap');
  },
);

t.test('the calendar equals the runtime’s over four centuries', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 12_600_000_000 }), (timeS) => {
      const date = new Date((timeS + 9 * 3600) * 1000);
      const civil = civilTime(timeS, JST);
      assert.equal(isoDate(civil), date.toISOString().slice(0, 10));
      assert.equal(
        civil.secondOfDay,
        date.getUTCHours() * 3600 + date.getUTCMinutes() * 60 + date.getUTCSeconds(),
      );
      const newYear = Date.UTC(date.getUTCFullYear(), 0, 1);
      assert.equal(civil.dayOfYear, Math.floor((date.getTime() - newYear) / 86_400_000) + 1);
      assert.equal(dayStartS(civil.dayNumber, JST), timeS - civil.secondOfDay);
    }),
    { numRuns: 300 },
  );
});

t.test('the key separates everything that must not share a line', async (t) => {
  const others: Partial<AggregateKey>[] = [
    { issuer: 'x' },
    { acquirer: 'x' },
    { merchant: 'x' },
    { programme: 'x' },
    { account: 'x' },
    { party: 'x' },
    { mcc: '4111' },
    { currency: 840 },
    { sign: 'credit' },
  ];
  const ids = new Set([keyIdOf(key), ...others.map((part) => keyIdOf({ ...key, ...part }))]);
  t.equal(ids.size, others.length + 1);
  t.not(
    keyIdOf({ ...key, issuer: 'ab', acquirer: 'c' }),
    keyIdOf({ ...key, issuer: 'a', acquirer: 'bc' }),
  );
  t.equal(shortIdOf('0'.repeat(64)), '0'.repeat(12));
  t.equal(shortIdOf('f'.repeat(64)), 'Z'.repeat(12));
  t.equal(shortIdOf(`00000000000000${'1'.repeat(50)}`), '000000000001', 'bits 56 to 59 are 0001');
});

const random = fc.record({
  sign: fc.constantFrom('debit' as const, 'credit' as const),
  steps: fc.array(
    fc.record({
      from: fc.constantFrom('accepted', 'credits', ...BUCKETS),
      to: fc.constantFrom(...BUCKETS),
      amountMicro: fc.bigInt(-2n, 40n),
    }),
    { maxLength: 120 },
  ),
});

t.test(
  'over random histories the books hold after every step, or the step is refused',
  async () => {
    fc.assert(
      fc.property(fc.array(random, { minLength: 1, maxLength: 4 }), (keys) => {
        const balances = keys.map(({ sign, steps }, at) => {
          let balance = emptyBalance(sign);
          // Model of one key: what came in, and what stands where, kept by plain addition.
          for (const step of steps) {
            const before = structuredClone(balance);
            try {
              applyMove(balance, { ...(step as Move), keyId: `key ${at}`, cause: 'test' });
            } catch {
              return before;
            }
            const sum = BUCKETS.reduce((total, bucket) => total + balance.buckets[bucket], 0n);
            assert.equal(sum, balance.sourceMicro);
            const isEntry = step.from === 'accepted' || step.from === 'credits';
            const entered = isEntry ? step.amountMicro : 0n;
            assert.equal(balance.sourceMicro, before.sourceMicro + entered);
            assert.equal(balance.buckets[step.to], before.buckets[step.to] + step.amountMicro);
          }
          return balance;
        });
        const totals = totalsOf(balances);
        assert.ok(totals.reconciles);
        const accepted = balances.filter((one) => one.sign === 'debit');
        assert.equal(
          totals.acceptedMicro,
          accepted.reduce((sum, one) => sum + one.sourceMicro, 0n),
        );
      }),
      { numRuns: 300 },
    );
  },
);

t.test('moves that are not in the table, of nothing, or below zero stop the work', async (t) => {
  const move = (from: Move['from'], to: Bucket, amountMicro: bigint): (() => void) => {
    const balance = emptyBalance('debit');
    applyMove(balance, {
      keyId: 'k',
      from: 'accepted',
      to: 'carried',
      amountMicro: 10n,
      cause: 'x',
    });
    return () => applyMove(balance, { keyId: 'k', from, to, amountMicro, cause: 'x' });
  };
  t.doesNotThrow(move('carried', 'queued', 10n));
  t.throws(move('carried', 'queued', 11n), { code: 'INVARIANT_BROKEN' });
  t.throws(move('carried', 'queued', 0n), { code: 'INVARIANT_BROKEN' });
  t.throws(move('carried', 'presentedOpen', 1n), { code: 'INVARIANT_BROKEN' });
  t.throws(move('credits', 'carried', 1n), { code: 'INVARIANT_BROKEN' }, 'a refund is another key');
  const broken = emptyBalance('debit');
  broken.sourceMicro = 1n;
  t.throws(() => assertBalanced(broken, 'k'), { code: 'INVARIANT_BROKEN' });
});

const NONE: ReceiptFacts = { isVoided: false, closedThroughS: 0 };

t.test(
  'two signed payments contradict each other by counter or by total, never by a gap',
  async (t) => {
    const payment = (counter: number, amountMicro: bigint, totalMicro: bigint) => ({
      paymentHash: hashOf(`${counter} ${totalMicro}`),
      counter,
      amountMicro,
      totalMicro,
    });
    t.equal(conflictBetween(payment(5, 10n, 100n), payment(5, 20n, 110n)), 'SAME_COUNTER');
    t.equal(
      conflictBetween(payment(5, 10n, 100n), payment(6, 20n, 120n)),
      undefined,
      'exactly in order',
    );
    t.equal(conflictBetween(payment(5, 10n, 100n), payment(6, 20n, 119n)), 'BROKEN_TOTAL');
    t.equal(
      conflictBetween(payment(6, 20n, 119n), payment(5, 10n, 100n)),
      'BROKEN_TOTAL',
      'either order',
    );
    t.equal(
      conflictBetween(payment(5, 10n, 100n), payment(900, 20n, 5000n)),
      undefined,
      'a gap proves nothing',
    );
  },
);

t.test('a receipt counts once, in the right place', async (t) => {
  const line = new LineOfReceipts('decide');
  const first = line.next(100n);
  const second = line.next(50n);
  t.match(decideReceipt(first, NONE), {
    kind: 'first',
    placement: { bucket: 'carried', lane: 'normal' },
  });
  t.match(decideReceipt({ ...first, level: 'L1' }, NONE), { placement: { bucket: 'awaitingL2' } });
  const stored = { ...first, chargeMicro: first.amountMicro, isAwaitingL2: false };
  t.same(decideReceipt(first, { ...NONE, stored }), { kind: 'duplicate', isSecondReceipt: false });
  const viaOther = { ...first, receiptHash: hashOf('another gateway'), origin: 'other' };
  t.same(decideReceipt(viaOther, { ...NONE, stored }), {
    kind: 'duplicate',
    isSecondReceipt: true,
  });
  const waiting = { ...stored, isAwaitingL2: true };
  t.match(decideReceipt(first, { ...NONE, stored: waiting }), { kind: 'final' });
  t.match(decideReceipt({ ...first, level: 'L1' }, { ...NONE, stored: waiting }), {
    kind: 'duplicate',
  });
  t.match(decideReceipt(first, { ...NONE, closedThroughS: first.businessTimeS + 1 }), {
    placement: { bucket: 'late', lane: 'late' },
  });
  t.match(decideReceipt(first, { ...NONE, closedThroughS: first.businessTimeS }), {
    placement: { bucket: 'carried' },
  });
  t.match(decideReceipt(first, { ...NONE, isVoided: true }), {
    placement: { bucket: 'withheld', reason: 'RECEIPT_AND_VOID' },
  });
  const twin = { ...second, paymentHash: hashOf('twin') };
  t.match(decideReceipt(twin, { ...NONE, sameCounter: second }), {
    placement: {
      bucket: 'conflict',
      lane: 'conflict',
      proof: { rule: 'SAME_COUNTER', other: second },
    },
  });
  const clone = { ...second, totalMicro: 149n };
  t.match(decideReceipt(clone, { ...NONE, below: first }), {
    placement: { bucket: 'conflict', proof: { rule: 'BROKEN_TOTAL' } },
  });
  t.match(decideReceipt({ ...first, totalMicro: 101n }, { ...NONE, above: second }), {
    placement: { bucket: 'conflict', proof: { rule: 'BROKEN_TOTAL' } },
  });
  t.same(decideReceipt({ ...first, chargedMicro: 101n }, NONE), {
    kind: 'refused',
    code: 'CHARGED_ABOVE_AMOUNT',
  });
  t.same(decideReceipt({ ...first, totalMicro: 99n }, NONE), {
    kind: 'refused',
    code: 'TOTAL_BELOW_AMOUNT',
  });
});

t.test(
  'a Void holds a receipt back before it is in an aggregate, and corrects it afterwards',
  async (t) => {
    t.equal(decideVoid({ isKnown: true }), 'duplicate');
    t.equal(decideVoid({ isKnown: false }), 'record');
    t.equal(decideVoid({ isKnown: false, receipt: 'withheld' }), 'record');
    t.equal(decideVoid({ isKnown: false, receipt: 'pending' }), 'withdraw');
    t.equal(decideVoid({ isKnown: false, receipt: 'aggregated' }), 'correct');
    const refunded = { isKnown: false, isRefundAggregated: true } as const;
    t.equal(decideVoid({ ...refunded, receipt: 'pending' }), 'correct');
    t.equal(decideVoid({ ...refunded, receipt: 'withheld' }), 'record');
  },
);
