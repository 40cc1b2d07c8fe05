import fc from 'fast-check';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KiriError } from '../../protocol/kiri-error.ts';
import { minuteOfDay, parseCivilTime } from '../../firmware-sim/core/civil-time.ts';
import { MAX_ROW_CHARS } from '../../firmware-sim/core/csv.ts';
import { parseRates, rateAt } from '../../firmware-sim/core/rates.ts';
import { replaySchedule } from '../../firmware-sim/core/schedule.ts';
import { MAX_REPORTED_ROWS, parseTrace } from '../../firmware-sim/core/trace.ts';
import { readTraceFile } from '../../firmware-sim/trace-file.ts';

const PASSAGES = 'day,time,commercial,color,type,make,model';
const SESSIONS = 'charger_id,start_time,end_time,duration,location_id';
const RATES = 'time,South,North\n5:00,0.3,0.3\n17:00,4.86,3.74\n17:30,6.2,4.65\n19:00,0.3,0.3\n';

const passage = (time: string): string => `Sun,${time},FALSE,Blue,Truck,Ford,F-150`;
const passages = (...times: string[]): string => [PASSAGES, ...times.map(passage)].join('\n');
const sessions = (...rows: string[]): string => [SESSIONS, ...rows].join('\n');
const readSessions = (...rows: string[]) => parseTrace(sessions(...rows), { name: 's.csv' });
const failure = (run: () => unknown): { code: string; message: string } => {
  try {
    run();
  } catch (error) {
    if (error instanceof KiriError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

t.test('a stamp is read as the runtime reads it, over every day of four centuries', async (t) => {
  fc.assert(
    fc.property(
      fc.date({
        min: new Date('1970-01-01T00:00:00Z'),
        max: new Date('2399-12-31T23:59:59Z'),
        noInvalidDate: true,
      }),
      (date) => {
        const wallS = Math.floor(date.getTime() / 1000);
        const read = parseCivilTime(`${date.toISOString().slice(0, 19)}Z`);
        return (
          read?.wallS === wallS &&
          read.offsetMinutes === 0 &&
          minuteOfDay(wallS) === date.getUTCHours() * 60 + date.getUTCMinutes()
        );
      },
    ),
  );
  t.same(parseCivilTime('2020-05-17T22:27:00-05:00'), { wallS: 1589754420, offsetMinutes: -300 });
  for (const bad of [
    '2021-02-29 00:00:00',
    '2020-13-01 00:00:00',
    '2020-00-01 00:00:00',
    '2020-04-31 00:00:00',
    '2020-05-17 24:00:00',
    '2020-05-17 10:60:00',
    '2020-05-17 10:00:60',
    '2020-05-17',
    '1969-12-31T23:59:59Z',
    '2020-05-17T10:00:00+15:00',
    '2020-05-17T10:00:00+01:99',
    'NaN',
    '',
  ]) {
    t.equal(parseCivilTime(bad), undefined, `refused: ${bad}`);
  }
});

t.test('a rate holds until the next, and the last one runs over midnight', async (t) => {
  const north = parseRates(RATES, 'r.csv', 'north');
  t.equal(rateAt(north, 0), 300_000n, 'midnight');
  t.equal(rateAt(north, 5 * 60), 300_000n);
  t.equal(rateAt(north, 17 * 60 - 1), 300_000n, '16:59');
  t.equal(rateAt(north, 17 * 60), 3_740_000n, '17:00');
  t.equal(rateAt(north, 17 * 60 + 29), 3_740_000n);
  t.equal(rateAt(north, 17 * 60 + 30), 4_650_000n);
  t.equal(rateAt(parseRates(RATES, 'r.csv', 'south'), 17 * 60), 4_860_000n);
  const evening = parseRates('North,time\n2.5,20:00\n0.5,6:00\n', 'r.csv', 'north');
  t.equal(rateAt(evening, 60), 2_500_000n, 'unsorted rows and swapped columns are understood');
});

t.test(
  'a rate file with any row that cannot be read stops everything and names the line',
  async (t) => {
    for (const [rows, line] of [
      ['5:00,0.3,0.3\n25:00,1,1', 'line 3'],
      ['5:00,0.3,0.3\n7:61,1,1', 'line 3'],
      ['5:00,0.3', 'line 2'],
      ['5:00,0.3,-1', 'line 2'],
      ['5:00,0.3,0.1234567', 'line 2'],
      ['5:00,0.3,1\n5:00,0.3,2', 'line 3'],
    ] as const) {
      const error = failure(() => parseRates(`time,South,North\n${rows}`, 'r.csv', 'north'));
      t.equal(error.code, 'TRACE_UNREADABLE');
      t.match(error.message, line);
    }
    t.equal(
      failure(() => parseRates('time,South,North\n', 'r.csv', 'north')).code,
      'TRACE_UNREADABLE',
    );
    t.match(failure(() => parseRates('a,b\n1,2', 'r.csv', 'north')).message, 'no column');
  },
);

t.test('a passage pays the northbound rate of Austin local time', async (t) => {
  const rates = parseRates(RATES, 'r.csv', 'north');
  // 22:27 UTC is 17:27 in Austin in May, 22:30 is 17:30.
  const trace = parseTrace(passages('2020-05-17T22:27:00Z', '2020-05-17T22:30:00Z'), {
    name: 'm.csv',
    rates,
  });
  t.equal(trace.kind, 'passages');
  t.equal(trace.currency, 840);
  t.same(trace.events[0], {
    line: 2,
    atMs: 0,
    payerRef: 'payer-0',
    payeeRef: 'northbound',
    item: 'passage',
    quantity: 1,
    localMinuteOfDay: 17 * 60 + 27,
    unitPriceMicro: 3_740_000n,
    amountMicro: 3_740_000n,
  });
  t.equal(trace.events[1]?.amountMicro, 4_650_000n);
  t.equal(trace.events[1]?.atMs, 180_000);
  const utc = parseTrace(passages('2020-05-17T17:27:00Z'), {
    name: 'm',
    rates,
    utcOffsetMinutes: 0,
  });
  t.equal(utc.events[0]?.amountMicro, 3_740_000n, 'another zone can be named');
  t.equal(
    parseTrace(passages('2020-05-17T22:27:00Z'), { name: 'm' }).events[0]?.amountMicro,
    300_000n,
  );
});

t.test('unsorted rows come out in time order; equal passages are two vehicles', async (t) => {
  const text = passages('2020-05-17T22:27:02Z', '2020-05-17T22:27:00Z', '2020-05-17T22:27:02Z');
  const trace = parseTrace(text, { name: 'm', payers: 2 });
  t.same(
    trace.events.map((event) => [event.line, event.atMs, event.payerRef]),
    [
      [3, 0, 'payer-0'],
      [2, 2000, 'payer-1'],
      [4, 2000, 'payer-0'],
    ],
  );
});

t.test('a session is charged by started minutes at 3.85 JPY, exactly', async (t) => {
  const trace = readSessions(
    '8590,2020-02-08 09:34:25,2020-02-08 10:20:14,2749.0,126',
    '8590,2020-02-08 10:21:00,2020-02-08 10:22:00,60.0,126',
    '8821,2020-02-08 10:21:00,2020-02-08 10:22:01,61.0,126',
    '8821,2020-02-08 10:30:00,2020-02-08 10:30:01,0.5,126',
    '8821,2020-02-08 10:31:00,2020-02-10 10:31:00,172800.0,126',
  );
  t.equal(trace.currency, 392);
  t.same(
    trace.events.map((event) => [event.line, event.quantity, event.amountMicro, event.payeeRef]),
    [
      [2, 46, 177_100_000n, 'charger-8590'],
      [3, 1, 3_850_000n, 'charger-8590'],
      [4, 2, 7_700_000n, 'charger-8821'],
      [5, 1, 3_850_000n, 'charger-8821'],
      [6, 2880, 11_088_000_000n, 'charger-8821'],
    ],
  );
  t.equal(trace.longSessionCount, 1);
  t.same(trace.payeeRefs, ['charger-8590', 'charger-8821']);
});

t.test('a session of no time is free: counted, no payment, not a bad row', async (t) => {
  const trace = readSessions(
    '1,2020-02-08 09:00:00,2020-02-08 09:00:00,0.0,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1',
  );
  t.equal(trace.freeRowCount, 1);
  t.equal(trace.badRowCount, 0);
  t.equal(trace.events.length, 1);
});

t.test('the measured duration counts, also where the local clock was changed', async (t) => {
  const trace = readSessions(
    '1,2020-03-29 01:50:00,2020-03-29 03:10:00,1200.0,1', // put forward at 02:00
    '1,2020-10-25 02:50:00,2020-10-25 02:10:00,1200.0,1', // put back at 03:00
    '1,2020-02-08 09:00:00,2020-02-08 10:00:00,60.0,1',
  );
  t.equal(trace.badRowCount, 0);
  t.equal(trace.durationMismatchCount, 3);
  t.same(
    trace.events.map((event) => event.quantity),
    [1, 20, 20],
  );
});

t.test('bad rows are reported by line and reason, counted, and left out', async (t) => {
  const trace = readSessions(
    '1,2020-02-08 09:00:00,2020-02-08 08:00:00,60.0,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,-60,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,NaN,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,1e9,1',
    ',2020-02-08 09:00:00,2020-02-08 09:01:00,60,1',
    '1,yesterday,2020-02-08 09:01:00,60,1',
    '1,2020-02-08 09:00:00,2020-02-30 09:01:00,60,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1,2',
    '"1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1',
    '"1"x,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1',
    '1,2020-02-08 09:00:00,2024-02-08 09:01:00,126230460,1',
    `${'9'.repeat(MAX_ROW_CHARS)},2020-02-08 09:00:00,2020-02-08 09:01:00,60,1`,
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1',
    '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60.0,1',
  );
  t.same(
    trace.badRows.map((bad) => bad.line),
    [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16],
  );
  t.match(trace.badRows[0]?.reason, 'end_time is before start_time');
  t.match(trace.badRows.at(-1)?.reason, 'the same session');
  t.equal(trace.badRowCount, 14);
  t.equal(trace.events.length, 1);
  t.equal(trace.rows, 15);
  const mopac = parseTrace(
    passages('2020-05-17T22:27:00Z', '2020-05-17T22:27:00', 'noon') + '\nx',
    { name: 'm' },
  );
  t.same(
    mopac.badRows.map((bad) => [bad.line, bad.reason]),
    [
      [3, 'time does not name its zone'],
      [4, 'time is not like 2020-05-17T22:27:00Z'],
      [5, '1 fields where the header has 7'],
    ],
  );
});

t.test('only the first bad rows are kept, all are counted', async (t) => {
  const many = Array.from({ length: MAX_REPORTED_ROWS + 50 }, () => 'bad');
  const trace = readSessions(...many, '1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1');
  t.equal(trace.badRows.length, MAX_REPORTED_ROWS);
  t.equal(trace.badRowCount, MAX_REPORTED_ROWS + 50);
});

t.test(
  'BOM, CRLF, quotes, spaces, empty lines and another column order change nothing',
  async (t) => {
    const text =
      '\uFEFF"duration" , End_Time,start_time,CHARGER_ID,extra \r\n\r\n' +
      '"60" ,"2020-02-08 09:01:00", 2020-02-08 09:00:00 , 8590 ,"a ""b"", c"\r\n' +
      '61,2020-02-08 09:11:01,2020-02-08 09:10:00,8590,\r';
    const trace = parseTrace(text, { name: 's' });
    t.equal(trace.badRowCount, 0);
    t.same(
      trace.events.map((event) => [event.line, event.quantity]),
      [
        [3, 1],
        [4, 2],
      ],
    );
  },
);

t.test('a file that is no trace is a clear error that names it', async (t) => {
  for (const text of [
    '',
    '\n\n',
    '\uFEFF',
    'a,b,c\n1,2,3',
    PASSAGES,
    `${SESSIONS}\nbad`,
    '"unclosed',
    '\u0000\u0001\u0002',
    'x'.repeat(MAX_ROW_CHARS + 1),
    ',x'.repeat(100),
    RATES,
  ]) {
    const error = failure(() => parseTrace(text, { name: 'traffic.csv' }));
    t.equal(error.code, 'TRACE_UNREADABLE');
    t.match(error.message, 'traffic.csv');
  }
  for (const payers of [0, -1, 1.5, Number.NaN, 1e9]) {
    const error = failure(() =>
      parseTrace(passages('2020-05-17T22:27:00Z'), { name: 'm', payers }),
    );
    t.equal(error.code, 'TRACE_OPTIONS');
  }
});

t.test(
  'whatever the text, it is read or refused with the one code, and the counts add up',
  async () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        ',',
        '"',
        '\n',
        '\r\n',
        '60',
        '8590',
        '2020-02-08 09:00:00',
        '2020-02-08 09:01:00',
      ),
    );
    const row = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(
        fc.constantFrom(SESSIONS, PASSAGES, ''),
        fc.array(row, { maxLength: 8 }),
        (header, rows) => {
          try {
            const trace = parseTrace([header, ...rows].join('\n'), { name: 'f' });
            return trace.rows === trace.events.length + trace.badRowCount + trace.freeRowCount;
          } catch (error) {
            return error instanceof KiriError && error.code === 'TRACE_UNREADABLE';
          }
        },
      ),
      { numRuns: 500 },
    );
  },
);

t.test('the replay keeps bursts and order at every speed', async (t) => {
  const text = passages(
    '2020-05-17T22:27:00Z',
    '2020-05-17T22:27:02Z',
    '2020-05-17T22:27:02Z',
    '2020-05-17T22:28:00Z',
  );
  const { events } = parseTrace(text, { name: 'm' });
  const shape = (speed?: number): unknown =>
    replaySchedule(events, speed).map((burst) => [burst.dueMs, burst.events.length]);
  t.same(shape(), [
    [0, 1],
    [0, 2],
    [0, 1],
  ]);
  t.same(shape(60), [
    [0, 1],
    [33, 2],
    [1000, 1],
  ]);
  t.same(
    replaySchedule(events, 3).flatMap((burst) => burst.events),
    events,
  );
  for (const speed of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.equal(failure(() => replaySchedule(events, speed)).code, 'TRACE_OPTIONS');
  }
});

t.test('a file that cannot be read is a clear error before anything starts', async (t) => {
  const dir = t.testdir({ 'm.csv': passages('2020-05-17T22:27:00Z'), 'r.csv': RATES });
  const trace = readTraceFile({ tracePath: join(dir, 'm.csv'), ratesPath: join(dir, 'r.csv') });
  t.equal(trace.events[0]?.amountMicro, 3_740_000n);
  for (const tracePath of [join(dir, 'none.csv'), dir, join(dir, 'm.csv', 'x')]) {
    const error = failure(() => readTraceFile({ tracePath }));
    t.equal(error.code, 'TRACE_UNREADABLE');
    t.match(error.message, tracePath);
  }
  mkdirSync(join(dir, 'd'));
  writeFileSync(
    join(dir, 'd', 's.csv'),
    sessions('1,2020-02-08 09:00:00,2020-02-08 09:01:00,60,1'),
  );
  const wrong = failure(() =>
    readTraceFile({ tracePath: join(dir, 'd', 's.csv'), ratesPath: join(dir, 'r.csv') }),
  );
  t.equal(wrong.code, 'TRACE_OPTIONS', 'rates by time of day do not price charging sessions');
});
