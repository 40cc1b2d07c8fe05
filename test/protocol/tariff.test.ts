import fc from 'fast-check';
import t from 'tap';
import { parseMajor, type AmountMicro } from '../../protocol/amount.ts';
import { payloadHash } from '../../protocol/ids.ts';
import {
  priceOf,
  TARIFF,
  TARIFF_UNITS,
  type Tariff,
  type TariffComponent,
  type TariffUnit,
  type Usage,
} from '../../protocol/tariff.ts';

function money(major: string): AmountMicro {
  const value = parseMajor(major);
  if (value === undefined) throw new Error(major);
  return value;
}

const flat = (each: string): TariffComponent['steps'] => [
  { fromMinute: 0, priceMicro: money(each) },
];

function component(
  unit: TariffUnit,
  steps: TariffComponent['steps'],
  more: Partial<TariffComponent> = {},
): TariffComponent {
  return { unit: TARIFF_UNITS.indexOf(unit), steps, ...more };
}

function tariff(components: readonly TariffComponent[], more: Partial<Tariff> = {}): Tariff {
  return {
    issuer: new Uint8Array(16).fill(3),
    issuedS: 1_790_000_000,
    name: 'test',
    version: 1,
    effectiveFromS: 1_790_000_000,
    currency: 392,
    components,
    ...more,
  };
}

function price(of: Tariff, quantity: Usage['quantity'], localMinuteOfDay = 720): unknown {
  const result = priceOf(of, { quantity, localMinuteOfDay });
  return result.ok ? result.value : `${result.code}: ${result.reason}`;
}

const NORMAL_CHARGING = tariff([component('minute', flat('3.85'))]);

void t.test('1,000 minutes at 3.85 JPY are 3,850 JPY exactly (R-026)', async (t) => {
  t.equal(price(NORMAL_CHARGING, 1000n), 3_850_000_000n);
  let sum = 0n;
  for (let i = 0; i < 1000; i += 1) sum += price(NORMAL_CHARGING, 1n) as bigint;
  t.equal(sum, 3_850_000_000n, 'a thousand ticks are one bill');
  t.equal(price(NORMAL_CHARGING, 0n), 0n);
});

void t.test('published tariffs cost what they say', async (t) => {
  const fast = tariff([component('minute', flat('27.5'), { capMicro: money('825') })]);
  t.equal(price(fast, 29n), money('797.5'));
  t.equal(price(fast, 30n), money('825'));
  t.equal(price(fast, 2000n), money('825'), '30-minute cap');
  const visitor = tariff([
    component('minute', flat('77'), { firstQuantity: 5, firstPriceMicro: money('385') }),
  ]);
  for (const [minutes, yen] of [
    [0n, '0'],
    [1n, '385'],
    [5n, '385'],
    [6n, '462'],
    [65n, '5005'],
  ] as const) {
    t.equal(price(visitor, minutes), money(yen), `${minutes} minutes`);
  }
  const expressway = tariff([component('km', flat('36.6'))], { capMicro: money('1300') });
  t.equal(price(expressway, 12_345n), money('451.827'), '12.345 km, in metres');
  t.equal(price(expressway, 100_000n), money('1300'));
});

void t.test('the express-lane table: each passage at the rate of its time of day', async (t) => {
  const rows = [
    ['5:00', '0.3'],
    ['7:30', '0.65'],
    ['8:00', '2.48'],
    ['8:30', '3.95'],
    ['9:00', '3.48'],
    ['9:30', '0.89'],
    ['10:00', '0.3'],
    ['15:30', '1.82'],
    ['17:30', '6.2'],
    ['19:00', '0.3'],
  ] as const;
  const minuteOf = (time: string): number => {
    const [hours, minutes] = time.split(':').map(Number);
    return hours! * 60 + minutes!;
  };
  const steps = rows.map(([time, usd]) => ({
    fromMinute: minuteOf(time),
    priceMicro: money(usd),
  }));
  const lanes = tariff([component('pass', steps)], { currency: 840, zone: 'America/Chicago' });
  const read = TARIFF.decode(TARIFF.encode(lanes));
  t.match(read, { ok: true, value: lanes }, 'and it can be written');
  for (const [time, usd] of [
    ['5:00', '0.3'],
    ['7:29', '0.3'],
    ['7:30', '0.65'],
    ['8:59', '3.95'],
    ['17:45', '6.2'],
    ['23:59', '0.3'],
    ['0:00', '0.3'],
    ['4:59', '0.3'],
  ] as const) {
    t.equal(price(lanes, 1n, minuteOf(time)), money(usd), time);
  }
  const night = tariff([component('pass', steps.slice(0, -1))], { currency: 840 });
  t.equal(price(night, 1n, 0), money('6.2'), 'the last step holds over midnight');
});

void t.test('free part first, then the block, then the unit price, then the caps', async (t) => {
  const all = tariff([
    component('minute', flat('10'), {
      freeQuantity: 15,
      firstQuantity: 30,
      firstPriceMicro: money('200'),
      capMicro: money('500'),
    }),
  ]);
  for (const [minutes, yen] of [
    [15n, '0'],
    [16n, '200'],
    [45n, '200'],
    [46n, '210'],
    [75n, '500'],
    [76n, '500'],
  ] as const) {
    t.equal(price(all, minutes), money(yen), `${minutes} minutes`);
  }
});

void t.test(
  'several components add up; a lone number is refused where it is unclear',
  async (t) => {
    const mixed = tariff(
      [
        component('pass', flat('50')),
        component('kWh', flat('31.5')),
        component('minute', flat('1')),
      ],
      { capMicro: money('2000') },
    );
    t.equal(price(mixed, { pass: 1n, kWh: 12_300n, minute: 40n }), money('477.45'));
    t.equal(price(mixed, { pass: 1n }), money('50'));
    t.equal(price(mixed, { pass: 1n, kWh: 100_000n }), money('2000'));
    t.match(price(mixed, 5n), /MALFORMED.*pass and kWh and minute/);
    t.match(price(mixed, { km: 1n }), /OFFER_MISMATCH.*per km/);
    t.match(price(mixed, { minute: -1n }), /negative/);
    for (const minute of [-1, 1440, 0.5, Number.NaN])
      t.match(price(mixed, {}, minute), /minute of/);
    const dear = tariff([component('item', [{ fromMinute: 0, priceMicro: 2n as AmountMicro }])]);
    t.match(price(dear, 2n ** 63n), /beyond 2\^64/);
    t.equal(price(dear, 2n ** 63n - 1n), 2n ** 64n - 2n);
  },
);

void t.test('property: a price is exact, grows with use and never passes the cap', async () => {
  const micro = fc.bigInt({ min: 0n, max: 10n ** 12n });
  fc.assert(
    fc.property(micro, micro, fc.nat(1000), fc.nat(100_000), (unit, cap, free, used) => {
      const metres = component(
        'km',
        [{ fromMinute: 0, priceMicro: (unit * 1000n) as AmountMicro }],
        { freeQuantity: free, capMicro: cap as AmountMicro },
      );
      const at = (quantity: number): bigint => {
        const result = priceOf(tariff([metres]), {
          quantity: BigInt(quantity),
          localMinuteOfDay: 0,
        });
        return result.ok ? result.value : -1n;
      };
      const exact = BigInt(Math.max(0, used - free)) * unit;
      return at(used) === (exact < cap ? exact : cap) && at(used + 1) >= at(used);
    }),
  );
});

void t.test('a tariff that could not be priced exactly or at all is refused', async (t) => {
  for (const [bad, words] of [
    [tariff([]), /no component/],
    [tariff([component('minute', [])]), /without a price/],
    [tariff([component('kWh', [{ fromMinute: 0, priceMicro: 1n as AmountMicro }])]), /exact/],
    [tariff([component('pass', [...flat('1'), ...flat('2')])]), /do not ascend/],
    [tariff([component('minute', flat('1'), { firstQuantity: 5 })]), /both its quantity and/],
    [tariff([component('minute', flat('1'))], { currency: 1 }), /ISO 4217/],
    [tariff(Array.from({ length: 9 }, () => component('pass', flat('1')))), /components/],
  ] as const) {
    t.match(TARIFF.decode(TARIFF.encode(bad)), { ok: false, code: 'MALFORMED', reason: words });
  }
  for (const beyond of [
    tariff([component('minute', [{ fromMinute: 1440, priceMicro: money('1') }])]),
    tariff([{ unit: 5, steps: flat('1') }]),
  ]) {
    t.throws(() => TARIFF.encode(beyond), { code: 'FIELD_OUT_OF_RANGE' });
  }
});

void t.test('every change of a price changes the hash', async (t) => {
  const hash = (of: Tariff): string => Buffer.from(payloadHash(TARIFF.encode(of))).toString('hex');
  const variants = [
    NORMAL_CHARGING,
    tariff([component('minute', flat('3.86'))]),
    tariff([component('item', flat('3.85'))]),
    tariff([component('minute', flat('3.85'))], { version: 2 }),
    tariff([component('minute', flat('3.85'), { freeQuantity: 1 })]),
  ];
  t.equal(new Set(variants.map(hash)).size, variants.length);
});
