import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { configFromArgs } from '../../../cli/programs/config.ts';
import { payoutsOf } from '../../../cli/programs/payout-config.ts';
import { configuredProgrammes } from '../../../cli/programs/programme-config.ts';
import type { Programme } from '../../../sync/clearing/core/aggregate.ts';
import { JST } from '../../../sync/clearing/core/civil-time.ts';
import type { SettlementDirectory } from '../../../sync/clearing/core/directory.ts';
import {
  PROGRAMMES,
  programmeFault,
  programmesWith,
} from '../../../sync/clearing/core/programmes.ts';
import { programmeFor } from '../../../sync/clearing/core/programmes.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  TOKYO_MIDNIGHT_S,
  anchors,
  directoryOf,
  inMemory,
  keyWith,
} from './sample.ts';

const YEN = 1_000_000n;
const utc = (...at: [number, number, number, number, number]): number => Date.UTC(...at) / 1000;

/** The sample's merchants under the programmes that every clearing knows. */
const directory = (endsS?: number): SettlementDirectory => ({
  ...directoryOf(),
  programme: (name, mcc) => programmeFor(programmesWith([]), name, mcc ?? '4784'),
  ...(endsS === undefined ? {} : { accountEndsS: () => endsS }),
});

const presented = (database: SqlDatabase) =>
  database.transaction((session) =>
    session.all(
      `SELECT k.programme, k.merchant, a.lane, a.reason, p.amount_micro, p.arn, p.arn_date, l.record
       FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
       JOIN keys k ON k.key_id = a.key_id JOIN file_lines l ON l.aggregate_id = a.aggregate_id
       ORDER BY p.arn`,
    ),
  );

t.test(
  'transit rules are for transit: another category is paid under the bilateral ones',
  async (t) => {
    const { service, database } = await inMemory({ directory: directory() });
    const line = new LineOfReceipts('car');
    const transit = { programme: 'TRANSIT-AGGREGATED' };
    const toll = keyWith({ ...transit, merchant: 'toll', mcc: '4784' });
    const vending = keyWith({ ...transit, merchant: 'vending', mcc: '5814' });
    await service.ingestBatch(
      [line.next(6_000n * YEN, { key: toll }), line.next(6_000n * YEN, { key: vending })],
      NOON_S,
    );
    await service.cut(NOON_S, anchors);
    t.match(
      await presented(database),
      [{ merchant: 'toll', reason: 'threshold' }],
      '5,000 yen for transit, 10,000 for the others',
    );
    await service.cut(TOKYO_MIDNIGHT_S + DAY_S, anchors);
    t.match(await presented(database), [{}, { merchant: 'vending', reason: 'window' }]);
    t.match((await service.reconcile()).findings, [
      { kind: 'PROGRAMME_MCC', reference: 'TRANSIT-AGGREGATED vending 5814' },
    ]);
    const unknown = keyWith({ programme: 'NOBODY-KNOWS', merchant: 'x' });
    await service.ingestBatch([line.next(YEN, { key: unknown })], NOON_S);
    t.equal((await service.cut(NOON_S + DAY_S, anchors, true)).blocked.length, 1, 'it waits');
    await service.close();
  },
);

t.test(
  'windows end at midnight in Tokyo, not in Greenwich; a day that is over stays over',
  async (t) => {
    const { service, database } = await inMemory({ directory: directory() });
    const line = new LineOfReceipts('car');
    const key = keyWith({ programme: 'BILATERAL' });
    // 14:59:59 UTC is one second before midnight in Japan; 15:00 UTC begins the 22nd.
    const beforeS = TOKYO_MIDNIGHT_S + DAY_S - 1;
    await service.ingestBatch([line.next(50n * YEN, { key, businessTimeS: beforeS })], beforeS);
    t.match(await service.cut(beforeS, anchors), { files: [] });
    t.match(await service.cut(beforeS + 1, anchors), { files: [{ sumMinor: 50n }] });
    t.match(await presented(database), [
      { reason: 'window', record: /"firstPaidAt":"261121235959"/ },
    ]);
    // A receipt of the day that is closed, and one whose clock was four years behind: both late, neither in a new window.
    const late = line.next(7n * YEN, { key, businessTimeS: beforeS });
    const skewed = line.next(2n * YEN, { key, businessTimeS: beforeS - 4 * 365 * DAY_S });
    t.match(await service.ingestBatch([late, skewed], beforeS + 2), { late: 2 });
    await service.cut(beforeS + 2, anchors);
    t.match(await presented(database), [
      {},
      { lane: 'late', reason: 'age', amount_micro: '9000000' },
    ]);
    t.ok((await service.reconcile()).reconciles);
    await service.close();
  },
);

t.test(
  'dates of files and ARNs: year end, leap day, and the same four digits ten years on',
  async (t) => {
    const { service, database } = await inMemory({ directory: directory() });
    const line = new LineOfReceipts('car');
    const key = keyWith({ programme: 'BILATERAL' });
    // By hand: 2026 has 365 days, 2028 is a leap year (29 February = day 60), 2036 has YDDD 6365 again.
    const cuts: readonly (readonly [number, string, string, string])[] = [
      [utc(2026, 11, 31, 14, 59), '6365', '2026-12-31', 'D261231'],
      [utc(2026, 11, 31, 15, 0), '7001', '2027-01-01', 'D270101'],
      [utc(2028, 1, 28, 15, 0), '8060', '2028-02-29', 'D280229'],
      [utc(2028, 11, 30, 15, 0), '8366', '2028-12-31', 'D281231'],
      [utc(2036, 11, 29, 15, 0), '6365', '2036-12-30', 'D361230'],
    ];
    for (const [atS, yddd, date, inName] of cuts) {
      await service.ingestBatch([line.next(10n * YEN, { key, businessTimeS: atS - 60 })], atS);
      const { files } = await service.cut(atS, anchors, true);
      t.match(files, [{ fileName: new RegExp(`\\.${inName}\\.`) }], inName);
      const row = (await presented(database)).find((one) => one['arn_date'] === date);
      t.equal(String(row?.['arn']).slice(7, 11), yddd, date);
    }
    const rows = await presented(database);
    t.equal(new Set(rows.map((row) => row['arn'])).size, cuts.length);
    // The same ARN may come back after ten years; on one full date it never does.
    await database
      .transaction(async (session) => {
        const [first] = rows;
        const again = 'UPDATE presentments SET arn = ? WHERE arn_date = ?';
        await session.run(again, String(first?.['arn']), '2036-12-30');
        await t.rejects(
          session.run(
            'UPDATE presentments SET arn_date = ? WHERE arn_date = ?',
            '2026-12-31',
            '2036-12-30',
          ),
        );
        throw new Error('undone');
      })
      .catch((error: unknown) => t.match(error, /undone|aborted/));
    await service.close();
  },
);

t.test('a funding account that ends closes its lanes early; an age limit closes any', async (t) => {
  const endsS = NOON_S + 600;
  const { service, database } = await inMemory({ directory: directory(endsS) });
  const line = new LineOfReceipts('car');
  const key = keyWith({ programme: 'BILATERAL' });
  const paid = line.next(3n * YEN + 1n, { key, businessTimeS: NOON_S });
  await service.ingestBatch([paid], NOON_S);
  t.match(await service.cut(endsS - 1, anchors), { files: [] });
  await service.cut(endsS, anchors);
  t.match(await presented(database), [{ reason: 'account-end', amount_micro: '3000000' }]);
  await service.close();
  const other = await inMemory({ directory: directory() });
  const small = line.next(900_000n, { key, businessTimeS: NOON_S });
  const later = line.next(100_000n, { key, businessTimeS: NOON_S + DAY_S });
  await other.service.ingestBatch([small, later], NOON_S + DAY_S);
  t.match(await other.service.cut(NOON_S + 5 * DAY_S - 1, anchors), { files: [{ sumMinor: 1n }] });
  await other.service.close();
});

t.test('programmes are data: what is wrong with them is said', (t) => {
  for (const known of PROGRAMMES) t.equal(programmeFault(known), undefined, known.name);
  const good: Programme = {
    name: 'CAR-PARKS',
    zone: JST,
    thresholdMicro: 100n * YEN,
    windowMinimumMicro: YEN,
    maxAgeS: DAY_S,
    mccs: ['7523'],
    fee: { basisPoints: 320, fixedMicro: 0n },
  };
  t.equal(programmeFault(good), undefined);
  const wrong: readonly (readonly [Partial<Programme>, RegExp])[] = [
    [{ name: 'car parks' }, /name/],
    [{ thresholdMicro: 0n }, /threshold/],
    [{ windowMinimumMicro: 101n * YEN }, /windowMinimum/],
    [{ maxAgeS: 31 * DAY_S }, /thirty days/],
    [{ maxAgeS: 60 }, /one hour/],
    [{ mccs: ['523'] }, /mccs/],
    [{ mccs: [] }, /mccs/],
    [{ fee: { basisPoints: 10_001, fixedMicro: 0n } }, /fee/],
    [{ fee: { basisPoints: 0.5, fixedMicro: 0n } }, /fee/],
    [{ fee: { basisPoints: 0, fixedMicro: -1n } }, /fee/],
  ];
  for (const [part, message] of wrong) t.match(programmeFault({ ...good, ...part }), message);
  t.end();
});

t.test('programmes and payouts of a configuration', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-config-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const read = (values: unknown) => {
    writeFileSync(join(folder, 'c.json'), JSON.stringify(values));
    return configFromArgs(['--config', join(folder, 'c.json')]);
  };
  const parks = { name: 'CAR-PARKS', threshold: '250.5', maxAgeHours: 48, mccs: ['7523'] };
  const fee = { basisPoints: '320', fixed: '0.25' };
  const programmes = configuredProgrammes(read({ programmes: [{ ...parks, fee }] }));
  t.match(programmes.get('CAR-PARKS'), {
    thresholdMicro: 250_500_000n,
    maxAgeS: 2 * DAY_S,
    fee: { basisPoints: 320, fixedMicro: 250_000n },
  });
  t.equal(programmes.size, PROGRAMMES.length + 1);
  t.equal(configuredProgrammes(read({})).size, PROGRAMMES.length);
  const faults: readonly unknown[] = [
    [parks, parks],
    [{ ...parks, threshold: 'much' }],
    [{ ...parks, profile: 'kiri-ipm-none' }],
    [{ ...parks, zone: { name: 'Mars', utcOffsetMinutes: '9999' } }],
    [{ ...parks, fee: { basisPoints: 'x' } }],
  ];
  for (const given of faults) {
    t.throws(() => configuredProgrammes(read({ programmes: given })), { code: 'CONFIG_INVALID' });
  }
  const account = { bank: '0005', branch: '007', number: '1234567' };
  const payee = { merchant: 'M-1', ...account, name: 'ニュー タワーパーク' };
  const payout = { acquirer: 'ab', clientCode: '0000012345', clientName: 'キリ' };
  const withPayees = (payees: unknown, more: object = {}) => {
    writeFileSync(join(folder, 'payees.json'), JSON.stringify(payees));
    const one = { ...payout, account, payees: 'payees.json', ...more };
    return payoutsOf(read({ payouts: [one] }));
  };
  t.match(withPayees([payee]).get('ab')?.payees.get('M-1'), { name: 'ﾆﾕ- ﾀﾜ-ﾊﾟ-ｸ' });
  t.equal(payoutsOf(read({})).size, 0);
  for (const payees of [
    [payee, payee],
    [{ ...payee, name: '霧駐車場' }],
    {},
    [{ ...payee, bank: '1' }],
  ]) {
    t.throws(() => withPayees(payees), { code: 'CONFIG_INVALID' });
  }
  t.throws(() => withPayees([payee], { clientCode: '1' }), { code: 'CONFIG_INVALID' });
  t.throws(() => withPayees([payee], { account: { ...account, kind: '3' } }), {
    code: 'CONFIG_INVALID',
  });
  t.end();
});
