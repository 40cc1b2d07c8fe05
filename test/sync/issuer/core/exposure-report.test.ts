import * as fc from 'fast-check';
import t from 'tap';
import {
  exposureReport,
  groupsOf,
  type ExposureApprover,
  type ExposureLine,
} from '../../../../sync/issuer/core/exposure-report.ts';

const NOW_S = 1_790_000_000;
const DAY_S = 86_400;
const YEN = 1_000_000n;

const gate = (
  approver: string,
  cap: bigint,
  neighbours: readonly string[] = [],
): ExposureApprover => ({
  approver,
  currency: 392,
  deviceLimitMicro: cap,
  partyLimitMicro: 1_000_000n * YEN,
  maxUnacknowledgedMicro: 1_000_000n * YEN,
  neighbours,
});

const car = (line: string, top: bigint, more: Partial<ExposureLine> = {}): ExposureLine => ({
  line,
  party: 'p',
  currency: 392,
  bearer: 'party',
  allowances: [
    {
      ceilingMicro: top,
      baseMicro: 0n,
      upperMicro: top,
      releaseCapMicro: 0n,
      expiresS: NOW_S + DAY_S,
    },
  ],
  ...more,
});

const nothing = (): bigint => 0n;
const common = { acknowledged: nothing, neighboursShare: false, nowS: NOW_S };

t.test('each approver alone takes the smaller of its cap and what the allowance leaves', (t) => {
  const approvers = [gate('a', 50n * YEN), gate('b', 300n * YEN), gate('c', 80n * YEN)];
  const report = exposureReport({ ...common, approvers, lines: [car('1', 100n * YEN)] });
  // 50 + 100 + 80; one honest device has 100.
  t.match(report.totals, [
    {
      currency: 392,
      approvers: 3,
      worstMicro: 230n * YEN,
      leftMicro: 100n * YEN,
      byBearer: { party: 130n * YEN, issuer: 0n },
    },
  ]);
  t.match(report.parties, [{ party: 'p', lines: 1, worstMicro: 230n * YEN }]);

  // 70 are here from b: b can take 30 more; a device set back still shows a and c its old total.
  const acknowledged = (_line: string, approver: string): bigint =>
    approver === 'b' ? 70n * YEN : 0n;
  const later = exposureReport({
    ...common,
    approvers,
    acknowledged,
    lines: [car('1', 100n * YEN, { bearer: 'issuer' })],
  });
  t.match(later.totals, [
    {
      worstMicro: 160n * YEN,
      leftMicro: 30n * YEN,
      byBearer: { party: 0n, issuer: 130n * YEN },
    },
  ]);
  t.end();
});

t.test('limits of parties and of whole approvers, currencies and ends', (t) => {
  const approvers = [
    { ...gate('a', 50n * YEN), partyLimitMicro: 60n * YEN },
    { ...gate('b', 50n * YEN), maxUnacknowledgedMicro: 70n * YEN },
    { ...gate('dollar', 50n * YEN), currency: 840 },
  ];
  const lines = [car('1', 40n * YEN), car('2', 40n * YEN), car('3', 40n * YEN, { party: 'q' })];
  const { parties, totals } = exposureReport({ ...common, approvers, lines });
  // p: a takes min(60, 80), b 80; q: 40 + 40. All: a 60 + 40, b min(70, 120).
  t.same(
    parties.map(({ party, worstMicro }) => [party, worstMicro]),
    [
      ['p', 140n * YEN],
      ['q', 80n * YEN],
    ],
  );
  t.match(totals, [{ worstMicro: 170n * YEN, approvers: 2 }]);

  const [standing] = car('1', 40n * YEN).allowances;
  const ended = { ...standing!, expiresS: NOW_S - 30 * DAY_S };
  const one = (allowances: ExposureLine['allowances']): bigint | undefined =>
    exposureReport({ ...common, approvers, lines: [car('1', 0n, { allowances })] }).totals[0]
      ?.worstMicro;
  t.equal(one([ended]), 0n, 'thirty days after its end nothing comes any more');
  t.equal(one([{ ...ended, expiresS: ended.expiresS + 1 }]), 80n * YEN, 'until then it may');
  t.equal(one([{ ...standing!, baseMicro: 10n * YEN, upperMicro: 5n * YEN }]), 30n * YEN);
  t.equal(one([{ ...standing!, releaseCapMicro: 3n * YEN }]), 86n * YEN, 'released is believed');
  t.end();
});

t.test('only those who name each other are a group', (t) => {
  const names = (list: readonly ExposureApprover[]): string[][] =>
    groupsOf(list).map((group) => group.map(({ approver }) => approver));
  t.same(names([gate('a', 1n, ['b']), gate('b', 1n, ['a'])]), [['a', 'b']]);
  t.same(names([gate('a', 1n, ['b']), gate('b', 1n)]), [['a'], ['b']], 'one side is not enough');
  const chain = [gate('a', 1n, ['b']), gate('b', 3n, ['a', 'c']), gate('c', 2n, ['b'])];
  t.same(names(chain), [['b', 'c'], ['a']], 'a does not hear c');
  t.end();
});

/** The most that a device set back at will gets accepted, by trying every order of single units. */
const mostAccepted = (
  approvers: readonly ExposureApprover[],
  top: bigint,
  known: readonly bigint[],
  neighboursShare: boolean,
): bigint => {
  const seen = new Set<string>();
  let best = 0n;
  const hears = (a: number, b: number): boolean =>
    neighboursShare &&
    approvers[a]!.neighbours.includes(approvers[b]!.approver) &&
    approvers[b]!.neighbours.includes(approvers[a]!.approver);
  const tryFrom = (taken: readonly bigint[]): void => {
    const name = taken.join();
    if (seen.has(name)) return;
    seen.add(name);
    const sum = taken.reduce((all, one) => all + one, 0n);
    if (sum > best) best = sum;
    for (const [at, one] of approvers.entries()) {
      const heard = taken.filter((_, other) => other === at || hears(at, other));
      const counted = heard.reduce((all, each) => all + each, 0n);
      if (counted + 1n > one.deviceLimitMicro || known[at]! + taken[at]! + 1n > top) continue;
      tryFrom(taken.map((each, other) => (other === at ? each + 1n : each)));
    }
  };
  tryFrom(approvers.map(() => 0n));
  return best;
};

t.test('never below the truth, never above the sum of the caps', (t) => {
  const ids = ['a', 'b', 'c', 'd'];
  const approvers = fc
    .array(
      fc.record({ cap: fc.bigInt(0n, 4n), neighbours: fc.subarray(ids), known: fc.bigInt(0n, 3n) }),
      { maxLength: 4 },
    )
    .map((rows) => rows.map((row, at) => ({ ...row, id: ids[at]! })));
  let tight = 0;
  fc.assert(
    fc.property(approvers, fc.bigInt(0n, 6n), fc.boolean(), (rows, top, neighboursShare) => {
      const gates = rows.map(({ id, cap, neighbours }) => gate(id, cap, neighbours));
      const known = rows.map((row) => (row.known < top ? row.known : top));
      const truth = mostAccepted(gates, top, known, neighboursShare);
      const { totals } = exposureReport({
        ...common,
        neighboursShare,
        approvers: gates,
        acknowledged: (_line, approver) => known[ids.indexOf(approver)] ?? 0n,
        lines: [car('1', top)],
      });
      const worst = totals[0]!.worstMicro;
      const caps = rows.reduce((sum, { cap }) => sum + cap, 0n);
      if (worst === truth) tight += 1;
      const exact = neighboursShare || worst === truth;
      return worst >= truth && worst <= caps && exact;
    }),
    { numRuns: 600 },
  );
  t.ok(tight > 400, `exact where approvers stand alone, and mostly so in groups: ${tight} of 600`);
  t.end();
});
