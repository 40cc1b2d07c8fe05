import fc from 'fast-check';
import t from 'tap';
import {
  capOf,
  decideGrant,
  HOLD_AFTER_EXPIRY_S,
  holdOf,
  isReleased,
  type AllowanceTerms,
  type HeldAllowance,
} from '../../../../sync/issuer/core/holds.ts';

const DAY_S = 86_400;
const NOW_S = 1_790_000_000;

t.test('the highest ceiling that stands counts, less what is settled', (t) => {
  const old = { generation: 1, ceilingMicro: 100n, expiresS: NOW_S + DAY_S };
  const fresh = { generation: 2, ceilingMicro: 80n, expiresS: NOW_S + 4 * DAY_S };
  t.equal(
    holdOf([old, fresh], 0n, NOW_S),
    100n,
    'an unexpired superseded one counts at its ceiling',
  );
  t.equal(holdOf([old, fresh], 30n, NOW_S), 70n);
  t.equal(holdOf([old, fresh], 120n, NOW_S), 0n, 'never below nothing');
  const end = old.expiresS + HOLD_AFTER_EXPIRY_S;
  t.equal(holdOf([old], 0n, end - 1), 100n, 'its receipts may come for 30 days');
  t.equal(holdOf([old], 0n, end), 0n);
  t.equal(holdOf([{ ...old, closedAtMicro: 40n }, fresh], 10n, NOW_S), 70n, 'the other one stands');
  t.equal(
    holdOf([{ ...old, closedAtMicro: 40n }], 10n, NOW_S),
    30n,
    'a Close releases the rest at once',
  );
  t.ok(isReleased({ ...old, closedAtMicro: 40n }, 40n, NOW_S));
  t.equal(holdOf([{ ...old, closedAtMicro: 4_000n }], 10n, NOW_S), 90n, 'a Close raises nothing');
  t.end();
});

const TERMS: AllowanceTerms = {
  limitMicro: 1_000n,
  lowerMicro: 500n,
  upperMicro: 900n,
  releaseMicro: 200n,
  counters: 50,
  validityS: 4 * DAY_S,
};
const asked = (more: Partial<Parameters<typeof decideGrant>[0]>): ReturnType<typeof decideGrant> =>
  decideGrant({
    terms: TERMS,
    allowances: [{ generation: 3, ceilingMicro: 1_000n, expiresS: NOW_S + 4 * DAY_S }],
    settledMicro: 0n,
    releasedMicro: 0n,
    highestCounter: 7,
    capMicro: 10_000n,
    othersMicro: 0n,
    isBlocked: false,
    nowS: NOW_S,
    ...more,
  });

t.test(
  'a fresh allowance is the settled total and the limit, and no more than the cap leaves',
  (t) => {
    t.match(asked({}), { kind: 'none', why: 'NOT_DUE' });
    t.match(asked({ settledMicro: 249n }), { kind: 'none', why: 'NOT_DUE' }, 'below a quarter');
    t.match(asked({ settledMicro: 600n, releasedMicro: 40n }), {
      kind: 'grant',
      grant: {
        generation: 4,
        ceilingMicro: 1_600n,
        baseMicro: 600n,
        releaseCapMicro: 240n,
        counterCeiling: 57,
        notBeforeS: NOW_S - 300,
        expiresS: NOW_S - 300 + 4 * DAY_S,
      },
    });
    t.match(asked({ settledMicro: 600n, othersMicro: 9_100n }), {
      grant: { ceilingMicro: 1_500n },
    });
    t.match(asked({ settledMicro: 600n, othersMicro: 10_000n }), { kind: 'none', why: 'NO_ROOM' });
    t.match(asked({ settledMicro: 600n, isBlocked: true }), { kind: 'none', why: 'BLOCKED' });
    const ending = [{ generation: 3, ceilingMicro: 1_000n, expiresS: NOW_S + DAY_S }];
    t.match(
      asked({ allowances: ending }),
      { grant: { ceilingMicro: 1_000n, generation: 4 } },
      'past half of its life',
    );
    t.equal(capOf({ capMicro: 1_001n, overCommitPermille: 1_500 }), 1_501n, 'rounded down');
    t.end();
  },
);

t.test(
  'holds of a party and what is settled of them never pass cap × factor, whatever happens',
  (t) => {
    const event = fc.record({
      what: fc.constantFrom('settle', 'grant', 'close', 'wait'),
      line: fc.nat(3),
      micro: fc.bigInt(0n, 1_500n),
      hours: fc.nat(400),
    });
    fc.assert(
      fc.property(fc.bigInt(0n, 5_000n), fc.array(event, { maxLength: 60 }), (capMicro, events) => {
        let nowS = NOW_S;
        const lines = Array.from({ length: 4 }, () => ({
          held: [] as HeldAllowance[],
          settled: 0n,
          spent: 0n,
        }));
        const holds = (): bigint =>
          lines.reduce((sum, { held, settled }) => sum + holdOf(held, settled, nowS), 0n);
        for (const { what, line: at, micro, hours } of events) {
          const line = lines[at]!;
          const before = holds();
          if (what === 'wait') nowS += hours * 3_600;
          else if (what === 'close') {
            const last = line.held.at(-1);
            if (last) line.held[line.held.length - 1] = { ...last, closedAtMicro: line.spent };
          } else if (what === 'settle') {
            // An honest device spends below its ceilings; what it spent is settled later.
            const ceiling = line.held.reduce(
              (most, one) =>
                one.closedAtMicro === undefined && one.ceilingMicro > most
                  ? one.ceilingMicro
                  : most,
              line.spent,
            );
            line.spent = line.spent + micro < ceiling ? line.spent + micro : ceiling;
            const settling = line.settled + micro / 2n;
            line.settled = settling < line.spent ? settling : line.spent;
          } else {
            const others = before - holdOf(line.held, line.settled, nowS);
            const decision = decideGrant({
              terms: TERMS,
              allowances: line.held,
              settledMicro: line.settled,
              releasedMicro: 0n,
              highestCounter: 1,
              capMicro,
              othersMicro: others,
              isBlocked: false,
              nowS,
            });
            if (decision.kind === 'grant') line.held.push(decision.grant);
          }
          if (holds() > capMicro) return false;
          if (what === 'settle' && holds() > before) return false;
        }
        return true;
      }),
      { numRuns: 2_000 },
    );
    t.pass('2,000 histories');
    t.end();
  },
);
