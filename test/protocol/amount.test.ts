import fc from 'fast-check';
import t from 'tap';
import {
  addMicro,
  amountMicro,
  formatMajor,
  MAX_AMOUNT_MICRO,
  parseMajor,
  subMicro,
} from '../../protocol/amount.ts';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';

const amounts = fc.bigInt({ min: 0n, max: MAX_AMOUNT_MICRO });

t.test('1,000 minutes at 3.85 JPY are 3,850 JPY exactly', async (t) => {
  const price = parseMajor('3.85')!;
  let total = amountMicro(0n);
  for (let i = 0; i < 1000; i += 1) total = addMicro(total, price);
  t.equal(total, 3_850_000_000n);
  t.equal(formatMajor(total), '3850');
});

t.test('an amount outside u64 cannot exist', async (t) => {
  t.throws(() => amountMicro(-1n), { code: 'AMOUNT_OUT_OF_RANGE' });
  t.throws(() => amountMicro(1n << 64n), { code: 'AMOUNT_OUT_OF_RANGE' });
  t.throws(() => addMicro(amountMicro(MAX_AMOUNT_MICRO), amountMicro(1n)), {
    code: 'AMOUNT_OUT_OF_RANGE',
  });
  t.throws(() => subMicro(amountMicro(1n), amountMicro(2n)), { code: 'AMOUNT_OUT_OF_RANGE' });
});

t.test('decimal text and micro-units are one number in two forms', async (t) => {
  fc.assert(
    fc.property(amounts, (value) => parseMajor(formatMajor(value)) === value),
    { numRuns: 2000 },
  );
  t.equal(formatMajor(-1_500_000n), '-1.5');
  t.equal(formatMajor(300_000n, 2), '0.30');
  t.equal(formatMajor(1n), '0.000001');
});

t.test('text that is no plain decimal of at most six places is no amount', async (t) => {
  for (const text of [
    '',
    '.5',
    '1.',
    '1,5',
    '-1',
    '+1',
    '1e3',
    '0x10',
    ' 1',
    '1.0000001',
    '１',
    '18446744073709.551616',
  ]) {
    t.equal(parseMajor(text), undefined, JSON.stringify(text));
  }
  t.equal(parseMajor('18446744073709.551615'), MAX_AMOUNT_MICRO);
});

t.test('the exponent table is ISO 4217, not the runtime locale data', async (t) => {
  // Values from ISO 4217 list one; IQD, IDR, HUF and PKR are those that Intl gets differently.
  const expected = {
    JPY: [392, 0],
    USD: [840, 2],
    KWD: [414, 3],
    CLF: [990, 4],
    UYW: [927, 4],
    IQD: [368, 3],
    IDR: [360, 2],
    HUF: [348, 2],
    PKR: [586, 2],
  } as const;
  for (const [alpha, [numeric, exponent]] of Object.entries(expected)) {
    t.same(currencyOf(alpha), { alpha, numeric, exponent });
    t.equal(currencyOf(numeric), currencyOf(alpha));
  }
  t.equal(currencyOf('ANG'), undefined, 'withdrawn in 2025');
  t.equal(currencyOf(999), undefined);
  t.equal(microPerMinor(currencyOf('JPY')!), 1_000_000n);
  t.equal(microPerMinor(currencyOf('USD')!), 10_000n);
  t.equal(microPerMinor(currencyOf('UYW')!), 100n);
});

t.test('a broken invariant stops the caller with a code', async (t) => {
  t.doesNotThrow(() => invariant(true, 'fine'));
  const error = t.throws(() => invariant(false, 'totals differ'), { code: 'INVARIANT_BROKEN' });
  t.ok(error instanceof KiriError);
});
