import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import {
  checkRetention,
  checkRetired,
  encodeRetention,
  encodeRetired,
  parseRetention,
  parseRetired,
  retirementOf,
} from '../../../../sync/ledger/core/retention.ts';
import { quarterOf, quarterStartS } from '../../../../sync/ledger/core/shard.ts';

const ORIGIN = 'kiri.example/gw1/2027q4';
const TEXT = 'kiri-retention/1\npayload-days 60\ntree-years 10\n';
const DAY_S = 86_400;
const utcS = (...date: [number, number, number]): number => Date.UTC(...date) / 1_000;

t.test('a quarter begins where the calendar says, also around leap days', async (t) => {
  for (let year = 1970; year < 2401; year += 1) {
    for (let quarter = 0; quarter < 4; quarter += 1) {
      const startS = quarterStartS(4 * year + quarter);
      if (startS !== utcS(year, 3 * quarter, 1)) t.fail(`${year} quarter ${quarter + 1}`);
      if (quarterOf(startS * 1_000) !== 4 * year + quarter) t.fail(`${year}: not its inverse`);
      if (quarterOf(startS * 1_000 - 1) !== 4 * year + quarter - 1) t.fail(`${year}: begins late`);
    }
  }
  t.equal(quarterStartS(4 * 2028), 1_830_297_600, '2028-01-01, by hand');
});

t.test('days count from the end of the quarter or the last cosignature', async (t) => {
  const retention = { payloadDays: 60, treeYears: 10 };
  // 60 days from 2028-01-01: 31 of January, 29 of February (a leap year).
  const dueS = utcS(2028, 2, 1);
  t.same(retirementOf(ORIGIN, retention, 0, dueS), { ok: true, value: { dueS } });
  t.match(retirementOf(ORIGIN, retention, 0, dueS - 1), { ok: false, reason: `${dueS}` });
  // The same days in a common year end on 2 March.
  const common = utcS(2027, 2, 2);
  t.match(retirementOf('a/2026q4', retention, 0, common), { ok: true, value: { dueS: common } });
  t.notOk(retirementOf('a/2026q4', retention, 0, common - 1).ok);
  // 2028-06-30 is the last day of quarter 2.
  t.match(retirementOf('a/2028q2', retention, 0, utcS(2028, 7, 30)), { ok: true });
  t.notOk(retirementOf('a/2028q2', retention, 0, utcS(2028, 7, 30) - 1).ok);
  const late = utcS(2028, 0, 20);
  t.notOk(retirementOf(ORIGIN, retention, late, dueS).ok, 'an outage made the shard longer');
  t.ok(retirementOf(ORIGIN, retention, late, late + 60 * DAY_S).ok);
  t.match(retirementOf('kiri.example/gw1', retention, 0, 9e9), { ok: false, reason: 'no shard' });
});

t.test('a retention has one spelling, and bounds', async (t) => {
  t.same(parseRetention(utf8ToBytes(TEXT)), {
    ok: true,
    value: { payloadDays: 60, treeYears: 10 },
  });
  fc.assert(
    fc.property(fc.integer({ min: 31, max: 36_500 }), (payloadDays) => {
      const retention = { payloadDays, treeYears: 100 };
      const parsed = parseRetention(utf8ToBytes(encodeRetention(retention)));
      return parsed.ok && parsed.value.payloadDays === payloadDays;
    }),
  );
  for (const hostile of [
    '',
    TEXT.slice(0, -1),
    `${TEXT}\n`,
    ` ${TEXT}`,
    `\uFEFF${TEXT}`,
    TEXT.replace('60', '060'),
    TEXT.replace('60', '-60'),
    TEXT.replace('60', '6e1'),
    TEXT.replace('60', '30'),
    TEXT.replace('60', '99999'),
    TEXT.replace('60', '9'.repeat(400)),
    TEXT.replace('10', '0'),
    TEXT.replace('10', '101'),
    TEXT.replace('/1', '/2'),
    TEXT.replace('\n', '\r\n'),
    '{"payloadDays":60,"treeYears":10}',
    TEXT.repeat(1_000),
  ]) {
    t.notOk(parseRetention(utf8ToBytes(hostile)).ok, JSON.stringify(hostile.slice(0, 60)));
  }
  t.notOk(parseRetention(new Uint8Array([0xff, 0xfe])).ok);
  t.notOk(checkRetention({ payloadDays: 400, treeYears: 1 }).ok, 'the tree outlives its payloads');
  t.notOk(checkRetention({ payloadDays: 60.5, treeYears: 10 }).ok);
  t.notOk(checkRetention({ payloadDays: 60, treeYears: Number.NaN }).ok);
});

t.test(
  'a record of a retirement holds for one head, one retention, a time when it was due',
  async (t) => {
    const retention = utf8ToBytes(TEXT);
    const dueS = utcS(2028, 2, 1);
    const record = {
      origin: ORIGIN,
      size: 300,
      retentionHash: createHash('sha256').update(TEXT).digest('hex'),
      retiredS: dueS,
    };
    const head = {
      origin: ORIGIN,
      size: 300,
      root: new Uint8Array(32),
      note: { text: '', signatures: [] },
      cosignedAtS: new Map([['w', utcS(2027, 11, 31)]]),
    } as unknown as Parameters<typeof checkRetired>[2];
    const check = (
      change: object,
      at = dueS,
      beside: Uint8Array | undefined = retention,
    ): boolean =>
      checkRetired(utf8ToBytes(encodeRetired({ ...record, ...change })), beside, head, at).ok;
    t.same(parseRetired(utf8ToBytes(encodeRetired(record))), { ok: true, value: record });
    t.ok(check({}));
    t.notOk(check({}, dueS - 1), 'of a time to come');
    t.notOk(check({ retiredS: dueS - 1 }), 'too early');
    t.notOk(check({ origin: 'kiri.example/gw1/2026q1' }));
    t.notOk(check({ size: 299 }));
    t.notOk(check({ retentionHash: '0'.repeat(64) }));
    t.notOk(checkRetired(utf8ToBytes(encodeRetired(record)), undefined, head, dueS).ok);
    t.notOk(check({}, dueS, utf8ToBytes(TEXT.replace('60', '61'))), 'another retention beside it');
    const text = encodeRetired(record);
    for (const hostile of [
      '',
      text.slice(0, -1),
      `${text}x`,
      text.replace('size 300', 'size 0300'),
      text.replace('size 300', `size ${'9'.repeat(17)}`),
      text.replace(ORIGIN, 'a'.repeat(9_000)),
      text.replace('origin', 'Origin'),
    ]) {
      t.notOk(parseRetired(utf8ToBytes(hostile)).ok, JSON.stringify(hostile.slice(0, 60)));
    }
  },
);
