import t from 'tap';
import { LevelMeter } from '../../../../sync/ledger/core/level-meter.ts';

t.test('the oldest unfinal payment is the one that is shown', async (t) => {
  const meter = new LevelMeter();
  t.equal(meter.oldestUnfinalMs, undefined);
  meter.recorded(3, [50, 40, 60]);
  meter.recorded(5, [70, 80]);
  t.equal(meter.oldestUnfinalMs, 40);
  meter.final({ size: 3 }, 0, 1_000);
  t.equal(meter.oldestUnfinalMs, 70);
  meter.final({ size: 5 }, 3, 1_100);
  t.equal(meter.oldestUnfinalMs, undefined);
});

t.test('a long outage is bounded and never makes a payment younger', async (t) => {
  const meter = new LevelMeter({ size: 10, oldestMs: 5 });
  for (let batch = 1; batch <= 20_000; batch += 1) meter.recorded(10 + batch, [1_000 + batch]);
  t.equal(meter.oldestUnfinalMs, 5);
  meter.final({ size: 10 }, 0, 1);
  const oldest = meter.oldestUnfinalMs ?? 0;
  t.ok(oldest === 5 || oldest === 1_001, 'as old as it is, or older');
  meter.final({ size: 20_010 }, 10, 2);
  t.equal(meter.oldestUnfinalMs, undefined);
});

t.test('the rate is what became final in the last minute', async (t) => {
  const meter = new LevelMeter();
  t.equal(meter.drainPerS(0), 0);
  meter.final({ size: 1_000 }, 1_000, 0);
  meter.final({ size: 3_000 }, 1_000, 10_000);
  t.equal(meter.drainPerS(10_000), 200);
  t.equal(meter.drainPerS(20_000), 100);
  // 600 more at 65 s: the window 10 s … 70 s holds only those.
  meter.final({ size: 3_600 }, 3_000, 65_000);
  t.equal(meter.drainPerS(70_000), 10);
  for (let at = 0; at < 5_000; at += 1) meter.final({ size: 3_600 + at }, 3_600, 70_000 + at);
  t.ok(Math.abs(meter.drainPerS(75_000) - (4_999 + 600) / 60) < 1, 'merged samples keep the rate');
});

t.test('the mark below an anchor is one that was final', async (t) => {
  const meter = new LevelMeter();
  for (let size = 10; size <= 50_000; size += 10) {
    meter.final({ size, throughSequence: size + 100 }, 0, size);
  }
  const mark = meter.markBelow(49_995);
  t.equal(mark?.throughSequence, (mark?.size ?? 0) + 100);
  t.ok((mark?.size ?? 0) <= 49_995 && (mark?.size ?? 0) > 49_900);
  t.equal(meter.markBelow(9), undefined);
});
