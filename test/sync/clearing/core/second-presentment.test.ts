import t from 'tap';
import { readSettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../../../../sync/clearing/core/ipm-profile.ts';
import { encodePresentment } from '../../../../sync/clearing/core/ipm-record.ts';
import type { FileHeader, PresentmentRecord } from '../../../../sync/clearing/core/ipm-record.ts';
import { verifyIpm } from '../../../../sync/clearing/core/verify-ipm.ts';
import { decodeRecord, encodeRecord } from '../../../../sync/clearing/file-document.ts';
import { readMessage } from '../../../issuer-side/ipm.ts';
import type { Message } from '../../../issuer-side/ipm.ts';
import { writtenFile } from './written-file.ts';

const profile = DEFAULT_IPM_PROFILE;
const header: FileHeader = {
  fileType: '002',
  date: '261121',
  member: '00000032815',
  sequence: 7,
  mode: 'T',
};
const line: PresentmentRecord = {
  arn: '01234566325000000000012',
  sign: 'debit',
  amountMinor: 3850n,
  currency: '392',
  exponent: 0,
  firstPaidAt: '261121083000',
  mcc: '4784',
  terminalId: 'GATE0001',
  merchantId: 'MERCHANT-1',
  acceptor: {
    name: 'TOLL GATE',
    street: '1-2 BAY ROAD',
    city: 'TOKYO',
    postcode: '1350063',
    region: '13',
    country: 'JPN',
  },
  aggregateShortId: '0123456789AB',
  forwardingMember: '00000032815',
  fundingReference: 'KIRI-ACC-001',
};
const part: PresentmentRecord = {
  ...line,
  amountMinor: 3846n,
  second: { originalMinor: 3850n, reason: '4853' },
};

const fileOf = (record: PresentmentRecord): Buffer => {
  const file = writtenFile(header, [record], profile);
  if (!file.ok) throw new Error(file.fault.detail);
  return Buffer.from(file.value);
};

/** The record by itself, read by the tests' own reader. */
const messageOf = (record: PresentmentRecord): Message => {
  const bytes = encodePresentment(record, 2, profile);
  if (!bytes.ok) throw new Error(bytes.fault.detail);
  return readMessage(Buffer.from(bytes.value));
};

t.test(
  'a partial second presentment carries 282, reason, original amount and PDS0262',
  async (t) => {
    const message = messageOf(part);
    t.match(Object.fromEntries(message.elements), {
      4: '000000003846',
      24: '282',
      25: '4853',
      30: '000000003850000000000000',
      31: line.arn,
    });
    t.equal(message.pds.get('0262'), '1');
    const file = fileOf(part);
    t.same(verifyIpm(file, profile).findings, []);
    const read = readSettlementFile(file, profile);
    t.same(read.ok && read.value.presentments, [part]);
    t.same(decodeRecord(encodeRecord(part)), part, 'and comes out of the store as it went in');
  },
);

t.test('a whole second presentment is 205, a first one has none of its elements', async (t) => {
  const whole = { ...part, amountMinor: 3850n };
  t.equal(messageOf(whole).elements.get(24), '205');
  const first = messageOf(line).elements;
  t.equal(first.get(24), '200');
  t.notOk(first.has(25) || first.has(30));
  t.same(decodeRecord(encodeRecord(line)), line);
});

t.test('more than the original, or a reason that is none, is not written', async (t) => {
  const second = { originalMinor: 3850n, reason: '4853' };
  const bad: readonly [Partial<PresentmentRecord>, string][] = [
    [{ amountMinor: 3851n, second }, 'DE30'],
    [{ amountMinor: 3850n, second: { ...second, reason: '485' } }, 'DE25'],
    [{ amountMinor: 1n, second: { ...second, originalMinor: 10n ** 12n } }, 'DE30'],
  ];
  for (const [change, field] of bad) {
    const record = encodePresentment({ ...line, ...change }, 2, profile);
    t.match(record, { ok: false, fault: { field } });
  }
});

t.test('206 is no presentment, and a 282 without its original amount is found', async (t) => {
  const bytes = fileOf(part).toString('latin1');
  const at = bytes.indexOf('2824853');
  t.ok(at > 0);
  const wrong = Buffer.from(bytes.replace('2824853', '2064853'), 'latin1');
  t.match(
    verifyIpm(wrong, profile).findings.map((one) => one.code),
    ['WRONG_MESSAGE', 'UNEXPECTED_PDS'],
  );
  t.match(readSettlementFile(wrong, profile), { ok: false, fault: { field: 'DE24' } });
  // The amount above its original: the strict reader refuses what the writer would not write.
  const above = Buffer.from(bytes.replace('000000003846', '000000003851'), 'latin1');
  t.match(readSettlementFile(above, profile), { ok: false, fault: { field: 'DE30' } });
});
