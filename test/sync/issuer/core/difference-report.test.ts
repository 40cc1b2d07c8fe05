import t from 'tap';
import {
  LineAccountBuilder,
  type LineAccount,
} from '../../../../sync/clearing/core/line-account.ts';
import { differencesOf, type LocalWord } from '../../../../sync/issuer/core/difference-report.ts';
import { readDeviceExport } from '../../../../sync/issuer/local-words.ts';

const HEX = '07'.repeat(16);
const GATE = '09'.repeat(16);
const YEN = 1_000_000n;

/** Payments of 10 yen; counters that are not named have no receipt. */
const account = (counters: readonly number[], inConflict = false): LineAccount => {
  const builder = new LineAccountBuilder(0, 0);
  for (const counter of counters) {
    builder.add({
      kind: 'receipt',
      counter,
      amountMicro: 10n * YEN,
      chargeMicro: 10n * YEN,
      totalMicro: BigInt(counter) * 10n * YEN,
      releasedMicro: 0n,
      paidS: 1,
      state: 'open',
      inConflict: inConflict && counter === counters.at(-1),
    });
  }
  const head = { party: 'p', currency: 392, credits: [], disputes: [], heads: [] };
  return builder.finish({ ...head, line: new Uint8Array(16).fill(7) });
};

const word = (source: LocalWord['source'], counter: number, total: number): LocalWord => ({
  line: HEX,
  source,
  by: source === 'gateway' ? GATE : HEX,
  counter,
  totalMicro: BigInt(total) * YEN,
});
const party = { party: 'p', ceilingMicro: 100n * YEN, bearer: 'party' } as const;
const five = account([1, 2, 3, 4, 5]);

t.test('R-056: a gateway is ahead of the centre, under both settings', (t) => {
  const words = [word('gateway', 7, 70), word('gateway', 3, 30)];
  const differences = [
    { kind: 'MISSING_AT_CENTRE', source: 'gateway', by: GATE, from: 6, to: 7, sumMicro: 20n * YEN },
    { kind: 'MISSING_LOCALLY', source: 'gateway', by: GATE, from: 4, to: 5, sumMicro: 20n * YEN },
  ];
  const common = { line: HEX, party: 'p', currency: 392, differences, chargedMicro: 50n * YEN };
  t.same(differencesOf(HEX, five, words, party, 'local'), {
    ...common,
    trusted: 'local',
    balanceMicro: 30n * YEN,
    heldMicro: 20n * YEN,
  });
  t.same(differencesOf(HEX, five, words, party, 'centre'), {
    ...common,
    trusted: 'centre',
    balanceMicro: 50n * YEN,
    heldMicro: 0n,
  });
  const bare = differencesOf(HEX, five, [word('device', 7, 70)], party, 'local');
  t.match(bare, { balanceMicro: 30n * YEN, heldMicro: 0n }, 'an unsigned word holds nothing');
  t.end();
});

t.test('R-065: a balance of 50 edited to 100 shows locally and fails at the centre', (t) => {
  // Five payments of 10 from a ceiling of 100 leave 50; the edited device says that it has spent nothing.
  const edited = [word('device', 5, 0)];
  for (const rule of ['local', 'centre'] as const) {
    for (const bearer of ['party', 'issuer'] as const) {
      const said = differencesOf(HEX, five, edited, { ...party, bearer }, rule);
      t.match(said, {
        trusted: 'centre',
        balanceMicro: 50n * YEN,
        heldMicro: 0n,
        differences: [
          { kind: 'SET_BACK', source: 'device', from: 5, to: 5, sumMicro: 50n * YEN, bearer },
        ],
      });
    }
  }
  const older = differencesOf(HEX, five, [word('device', 2, 20)], party, 'local');
  t.match(older.differences, [{ kind: 'SET_BACK', from: 3, to: 5, sumMicro: 30n * YEN }]);
  const paidOn = differencesOf(HEX, five, [word('gateway', 6, 10)], party, 'local');
  t.match(paidOn, {
    trusted: 'centre',
    differences: [{ kind: 'TOTALS_CONTRADICT', by: GATE, sumMicro: 40n * YEN, bearer: 'party' }],
  });
  t.end();
});

t.test('gaps and conflicts that the store shows by itself, and no difference', (t) => {
  t.same(differencesOf(HEX, five, [word('gateway', 5, 50)], party, 'local').differences, []);
  t.match(differencesOf(HEX, account([1, 4]), [], party, 'local'), {
    trusted: 'centre',
    differences: [
      { kind: 'MISSING_AT_CENTRE', source: 'centre', from: 2, to: 3, sumMicro: 20n * YEN },
    ],
  });
  t.match(differencesOf(HEX, account([1, 2], true), [word('gateway', 2, 20)], party, 'local'), {
    trusted: 'centre',
    differences: [{ kind: 'PAYMENTS_CONTRADICT', source: 'centre', bearer: 'party' }],
  });
  t.end();
});

t.test('what a device shows is read strictly', (t) => {
  const good = { line: HEX, counter: 5, totalMicro: '50000000' };
  t.match(readDeviceExport(JSON.stringify(good)), { source: 'device', totalMicro: 50n * YEN });
  const bad = [{ line: 'zz' }, { counter: -1 }, { counter: 1.5 }, { counter: 2 ** 32 }];
  for (const part of [
    ...bad,
    { totalMicro: 5 },
    { totalMicro: '-5' },
    { totalMicro: '1'.repeat(21) },
  ]) {
    t.equal(readDeviceExport(JSON.stringify({ ...good, ...part })), undefined);
  }
  for (const text of ['', 'null', '[]', '{', '7']) t.equal(readDeviceExport(text), undefined, text);
  t.end();
});
