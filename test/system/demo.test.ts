import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { assertRight } from '../c2sp/run.ts';
import { kiri, noonZone, type Ended } from './command.ts';
import '../plain-children.ts';

t.setTimeout(900_000);
const folder = mkdtempSync(join(tmpdir(), 'kiri-demo-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, lines: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

/** The parts of summary.json that are known beforehand. */
interface Known {
  readonly currency: string;
  readonly accepted: number;
  readonly total: string;
  readonly trace?: Readonly<Record<string, unknown>>;
}

/** How many of the stories below are run; `npm run soak` makes it all four. */
const STORIES = Number(process.env['KIRI_DEMO_STORIES'] ?? 2);
const ATTACKS = 10;
/** Payments that the attackers of the story make in order, each of one unit at noon's price. */
const HONEST_ATTACKERS_PAYMENTS = 5;

interface Summary {
  readonly currency: string;
  readonly payments: { readonly accepted: number; readonly unknown: number };
  readonly attacks: readonly { readonly held: boolean }[];
  readonly totals: Readonly<Record<string, string>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly files: readonly unknown[];
  readonly trace?: Readonly<Record<string, unknown>>;
  readonly findings: readonly string[];
  readonly gatewayDownMs: number;
  readonly reconciles: boolean;
}

/** Decimal text to millionths, by hand. */
function micro(text: string): bigint {
  const [major, minor = ''] = text.split('.');
  return BigInt(`${major}${minor.padEnd(6, '0')}`);
}

async function assertRun(t: Test, args: readonly string[], known: Known): Promise<void> {
  // Each story but the first takes the place of the one before.
  const out = join(folder, 'out');
  const ended = await kiri(['demo', '--out', out, '--json', ...args], { TZ: noonZone() });
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '', 'nothing on standard error');
  const summary = JSON.parse(ended.stdout) as Summary;
  t.same(summary, JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')), 'summary.json');
  t.equal(summary.reconciles, true);
  t.same(summary.findings, []);
  t.equal(summary.currency, known.currency);
  t.equal(summary.payments.accepted, known.accepted);
  t.equal(summary.payments.unknown, 0);
  const { deviceReceipts, gatewayAccepted, ledger } = summary.counts;
  t.same([deviceReceipts, gatewayAccepted, ledger], Array(3).fill(known.accepted), 'counts');
  const { totals } = summary;
  const same = [totals['deviceReceipts'], totals['gatewayAccepted'], totals['ledger']];
  t.same(same, Array(3).fill(known.total), 'sums are what was calculated by hand');
  t.equal(totals['otherStates'], '0');
  const settled = micro(totals['presented']!) + micro(totals['carried']!);
  t.equal(settled, micro(known.total), 'presented and carried are all of it');
  t.equal(summary.attacks.filter(({ held }) => held).length, ATTACKS, 'every attack failed');
  t.ok(summary.gatewayDownMs > 0, 'the gateway was killed');
  if (known.trace) t.match(summary.trace, known.trace);
  t.notOk(existsSync(`${out}.state`), 'the programs left nothing behind');
  t.equal(
    readdirSync(join(out, 'receipts')).length,
    known.accepted * 4,
    'three messages and a proof for each',
  );
  t.equal(assertRight(t, out), known.accepted, 'a proof for every receipt');
  const checked = await kiri(['verify', out]);
  t.equal(checked.code, 0, `kiri verify accepts it: ${checked.stdout}${checked.stderr}`);
}

// 40 passages before 07:00 at 36.6 and 200 at 52.35; 1,330 minutes at 3.85; attackers at noon: 36.6.
t.test('the built-in story comes to the yen that were calculated by hand', async (t) => {
  await assertRun(t, [], { currency: 'JPY', accepted: 300 + 5, total: '17237.5' });
});

t.test('vehicle passages pay the rate of their time of day, a bad row is left out', async (t) => {
  const at = (time: string): string => `Sun,2020-05-17T${time}Z,FALSE,Blue,Truck,Ford,F-150`;
  const rates = file('rates.csv', [
    'time,South,North',
    '5:00,9.9,0.3',
    '17:00,9.9,3.74',
    '17:30,9.9,4.65',
  ]);
  // Local time is five hours behind: 16:59:59 once, 17:00 … 17:29:59 six times, from 17:30 on six times.
  const early = [
    '21:59:59',
    '22:00:00',
    '22:27:02',
    '22:27:02',
    '22:27:02',
    '22:28:10',
    '22:29:59',
  ];
  const late = ['22:30:00', '22:30:00', '22:31:00', '22:40:00', '22:45:00', '22:59:59'];
  const trace = file('passages.csv', [
    'day,time,commercial,color,type,make,model',
    ...early.map(at),
    'Sun,half past ten,FALSE,Blue,Truck,Ford,F-150',
    ...late.map(at),
  ]);
  // 0.3 + 6 × 3.74 + 6 × 4.65 = 50.64; noon is before the first recorded step, so the evening's
  // 4.65 holds for the attackers: 5 × 4.65 = 23.25.
  await assertRun(t, ['--trace', trace, '--rates', rates], {
    currency: 'USD',
    accepted: 13 + HONEST_ATTACKERS_PAYMENTS,
    total: '73.89',
    trace: { kind: 'passages', rows: 14, payable: 13, badRows: 1, freeRows: 0 },
  });
});

const charging = (): Promise<unknown> =>
  t.test(
    'charging sessions: zero minutes, over a day, several chargers, a row twice',
    async (t) => {
      const trace = file('sessions.csv', [
        'charger_id,start_time,end_time,duration,location_id',
        '1,2020-02-08 09:00:00,2020-02-08 09:10:00,600.0,126',
        '1,2020-02-08 10:00:00,2020-02-08 10:00:00,0.0,126',
        '2,2020-02-08 09:00:00,2020-02-09 10:00:01,90001.0,126',
        '2,2020-02-08 09:00:00,2020-02-09 10:00:01,90001.0,126',
        '3,2020-02-08 12:00:00,2020-02-08 12:01:30,90.0,127',
        '3,2020-02-08 12:30:00,2020-02-08 13:00:00,1800.0,127',
      ]);
      // 10 + 1,501 + 2 + 30 started minutes and five of the attackers: 1,548 × 3.85 = 5,959.8.
      await assertRun(t, ['--trace', trace], {
        currency: 'JPY',
        accepted: 4 + HONEST_ATTACKERS_PAYMENTS,
        total: '5959.8',
        trace: { kind: 'sessions', rows: 6, payable: 4, badRows: 1, freeRows: 1, over24h: 1 },
      });
    },
  );

const oneRow = (): Promise<unknown> =>
  t.test('one row is a trace', async (t) => {
    const trace = file('one.csv', [
      'charger_id,start_time,end_time,duration,location_id',
      '1,2020-02-08 09:00:00,2020-02-08 09:10:00,600.0,126',
    ]);
    // 10 minutes and five of the attackers: 15 × 3.85.
    const known = { currency: 'JPY', accepted: 1 + HONEST_ATTACKERS_PAYMENTS, total: '57.75' };
    await assertRun(t, ['--trace', trace], known);
  });

for (const story of [charging, oneRow].slice(0, STORIES - 2)) void story();

async function assertRefused(
  t: Test,
  args: readonly string[],
  code: number,
  said: RegExp,
): Promise<Ended> {
  const ended = await kiri(['demo', ...args]);
  t.equal(ended.code, code, args.join(' '));
  t.match(ended.stderr, said);
  t.notMatch(ended.stderr, /\n\s+at /, 'words, not a stack');
  t.equal(ended.stdout, '', 'nothing was begun');
  return ended;
}

t.test('what cannot work is a clear error before anything starts', async (t) => {
  const out = join(folder, 'never');
  const good = file('good.csv', [
    'charger_id,start_time,end_time,duration,location_id',
    '1,2020-02-08 09:00:00,2020-02-08 09:10:00,600.0,126',
  ]);
  const rates = file('more-rates.csv', ['time,South,North', '5:00,0.3,0.3']);
  const strange = file('strange.csv', ['name,age', 'Kiri,1']);
  const binary = join(folder, 'binary.csv');
  writeFileSync(
    binary,
    new Uint8Array(4096).map((_, i) => i * 7),
  );
  const empty = file('empty.csv', []);
  const noGood = file('no-good.csv', ['charger_id,start_time,end_time,duration,location_id', 'x']);
  const missing = join(folder, 'missing.csv');
  for (const [trace, said] of [
    [missing, /TRACE_UNREADABLE: .*missing\.csv/],
    [folder, /TRACE_UNREADABLE: /],
    [strange, /TRACE_UNREADABLE: .*strange\.csv.*header/],
    [binary, /TRACE_UNREADABLE: .*binary\.csv/],
    [empty, /TRACE_UNREADABLE: .*empty\.csv/],
    [noGood, /TRACE_UNREADABLE: .*no-good\.csv.*line 2/],
  ] as const) {
    await assertRefused(t, ['--out', out, '--trace', trace], 1, said);
  }
  const both = ['--out', out, '--trace', good, '--rates'];
  await assertRefused(t, [...both, rates], 1, /TRACE_OPTIONS: .*leave the rates out/);
  await assertRefused(t, [...both, missing], 1, /TRACE_UNREADABLE: .*missing\.csv/);
  // 100 prices in 100 minutes from 17:00 on; local time is five hours behind.
  const clock = (hour: number, i: number): string =>
    `${hour + Math.floor(i / 60)}:${String(i % 60).padStart(2, '0')}`;
  const each = <T>(make: (i: number) => T): T[] => Array.from({ length: 100 }, (_, i) => make(i));
  const restless = [
    '--trace',
    file('restless.csv', [
      'day,time,commercial,color,type,make,model',
      ...each((i) => `Sun,2020-05-17T${clock(22, i)}:00Z,FALSE,Blue,Truck,Ford,F-150`).slice(0, 97),
    ]),
    '--rates',
    file('restless-rates.csv', [
      'time,South,North',
      ...each((i) => `${clock(17, i)},1,1.${i + 1}`),
    ]),
  ];
  await assertRefused(t, ['--out', out, ...restless], 1, /TRACE_OPTIONS: .*97 times.*96 steps/);
  t.notOk(existsSync(out), 'no folder was made');
  t.notOk(existsSync(`${out}.state`), 'nor one for the programs');
});

t.test('a folder that is not ours is left alone', async (t) => {
  const foreign = join(folder, 'foreign');
  mkdirSync(foreign);
  writeFileSync(join(foreign, 'thesis.txt'), 'years of work');
  await assertRefused(t, ['--out', foreign], 1, /OUT_NOT_OURS: .*foreign/);
  t.same(readdirSync(foreign), ['thesis.txt']);
  const blocked = join(file('a-file', ['x']), 'out');
  await assertRefused(t, ['--out', blocked], 1, /OUT_UNWRITABLE: .*a-file/);
  await assertRefused(t, ['--out', join(folder, 'a-file')], 1, /OUT_\w+: .*a-file/);
});

t.test('wrong words on the command line are a matter of usage', async (t) => {
  for (const args of [
    ['--spede', '4'],
    ['--speed', 'fast'],
    ['--speed', '-1'],
    ['--rates', 'rates.csv'],
    ['--out'],
    ['trace.csv'],
  ]) {
    await assertRefused(t, args, 2, /Usage: kiri demo/);
  }
  const unknown = await kiri(['nonsense']);
  t.equal(unknown.code, 2);
  t.match(unknown.stderr, /no command "nonsense"/);
  const help = await kiri(['demo', '--help']);
  t.equal(help.code, 0);
  t.match(help.stdout, /Usage: kiri demo .*--trace FILE/);
  t.equal((await kiri([])).code, 2, 'no command at all');
});
