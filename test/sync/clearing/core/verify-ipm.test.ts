import t from 'tap';
import { DEFAULT_IPM_PROFILE } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { verifyIpm } from '../../../../sync/clearing/core/verify-ipm.ts';
import { fileOfRecords } from './hand-made.ts';

const PROFILE = DEFAULT_IPM_PROFILE;
const FILE_ID = '0022611210000003281502201';

const administrative = (code: string, number: string, pds: [string, string][]): IsoMessage => ({
  mti: '1644',
  fields: new Map([
    [24, code],
    [71, number],
  ]),
  pds: new Map(pds),
});

const presentment = (number: string, arn: string, amount: bigint): IsoMessage => ({
  mti: '1240',
  fields: new Map<number, FieldValue>([
    [3, '000000'],
    [4, amount],
    [12, '261121083000'],
    [22, '000210W00110'],
    [24, '200'],
    [26, '4784'],
    [31, arn],
    [33, '00000032815'],
    [37, '0123456789AB'],
    [41, 'GATE0001'],
    [42, 'MERCHANT-01'],
    [43, 'TOLL GATE 1\\1-2 BAY ROAD\\TOKYO\\1350063   13 JPN'],
    [49, '392'],
    [71, number],
    [94, '00000032815'],
  ]),
  pds: new Map([
    ['0148', '3920'],
    ['0165', 'C'],
    ['9501', 'KIRI-ACC-001'],
  ]),
});

// Check digits 2 and 0 worked out by hand with the Luhn rule.
const ARN_1 = '01234566325000000000012';
const ARN_2 = '01234566325000000000020';

const good = (): IsoMessage[] => [
  administrative('697', '00000001', [
    ['0105', FILE_ID],
    ['0122', 'T'],
  ]),
  presentment('00000002', ARN_1, 3850n),
  presentment('00000003', ARN_2, 150n),
  administrative('695', '00000004', [
    ['0105', FILE_ID],
    ['0301', '0000000000004000'],
    ['0306', '00000004'],
  ]),
];

const pack = (messages: readonly IsoMessage[], profile: IpmProfile = PROFILE): Uint8Array => {
  const records = messages.map((message) => {
    const encoded = encodeMessage(message, profile);
    if (!encoded.ok) throw new Error(JSON.stringify(encoded.fault));
    return encoded.value;
  });
  return fileOfRecords(records, profile.blocking);
};

const findings = (messages: readonly IsoMessage[], profile: IpmProfile = PROFILE): string[] =>
  verifyIpm(pack(messages, profile), profile).findings.map((one) => `${one.code} ${one.record}`);

/** The good file with one record changed; record numbers from 1. */
const changed = (
  record: number,
  fields: Record<number, FieldValue | undefined>,
  pds: Record<string, string | undefined> = {},
): IsoMessage[] =>
  good().map((message, at) => {
    if (at !== record - 1) return message;
    const newFields = new Map(message.fields);
    for (const [de, value] of Object.entries(fields)) {
      if (value === undefined) newFields.delete(Number(de));
      else newFields.set(Number(de), value);
    }
    const newPds = new Map(message.pds);
    for (const [tag, value] of Object.entries(pds)) {
      if (value === undefined) newPds.delete(tag);
      else newPds.set(tag, value);
    }
    return { ...message, fields: newFields, pds: newPds };
  });

t.test('a right file has no findings and its totals are counted from it', async (t) => {
  const report = verifyIpm(pack(good()), PROFILE);
  t.same(report.findings, []);
  t.match(report, { records: 4, presentments: 2, sumMinor: 4000n, arns: [ARN_1, ARN_2] });
  t.match(report.header, { date: '261121', member: '00000032815', sequence: 2201 });
});

t.test('totals, counts and identity that lenient readers let pass are found', async (t) => {
  t.same(findings(changed(4, {}, { '0301': '0000000000004001' })), ['SUM 4']);
  t.same(findings(changed(4, {}, { '0301': undefined })), ['SUM 4']);
  t.same(findings(changed(4, {}, { '0306': '00000003' })), ['COUNT 4']);
  t.same(findings(changed(4, {}, { '0105': '0022611210000003281502202' })), ['FILE_ID 4']);
  t.same(findings(changed(3, { 4: 151n })), ['SUM 4'], 'one minor unit in one line');
  t.same(findings(changed(1, {}, { '0105': '0022611210000003281502202' })), ['FILE_ID 4']);
  t.same(findings(changed(1, {}, { '0122': 'X' })), ['FILE_ID 1']);
  t.same(findings(changed(1, {}, { '0105': 'ABC' })), ['FILE_ID 1', 'FILE_ID 4']);
  const member = '0012611210000003281502201';
  const asSystem = good().map((message) =>
    message.pds.has('0105')
      ? { ...message, pds: new Map([...message.pds, ['0105', member] as const]) }
      : message,
  );
  t.same(findings(asSystem), ['FILE_ID 1'], 'a member does not write type 001');
  const used = verifyIpm(pack(good()), PROFILE, new Set([FILE_ID]));
  t.match(used.findings, [{ code: 'FILE_ID_USED', record: 1 }]);
});

t.test('order, roles and duplicates', async (t) => {
  const [header, first, second, trailer] = good() as [
    IsoMessage,
    IsoMessage,
    IsoMessage,
    IsoMessage,
  ];
  t.same(findings([header, second, first, trailer]), ['SEQUENCE 2', 'SEQUENCE 3']);
  t.same(findings(changed(3, { 71: '00000009' })), ['SEQUENCE 3']);
  t.same(findings(changed(3, { 31: ARN_1 })), ['DUPLICATE_ARN 3']);
  t.ok(findings([first, second, trailer]).includes('NO_HEADER 1'));
  t.ok(findings([header, first, second]).includes('NO_TRAILER 3'));
  t.ok(findings([header, trailer]).includes('NO_PRESENTMENT 0'));
  t.ok(findings([header]).includes('NO_TRAILER 1'));
  t.same(
    findings([
      header,
      first,
      {
        ...trailer,
        fields: new Map([
          [24, '695'],
          [71, '00000003'],
        ]),
      },
      trailer,
    ]).slice(0, 1),
    ['WRONG_MESSAGE 3'],
  );
});

t.test('check digit, date, currency, empty amount and missing fields', async (t) => {
  t.same(findings(changed(2, { 31: '01234566325000000000013' })), ['BAD_ARN 2']);
  t.same(findings(changed(2, { 12: '260229000000' })), ['DATE 2'], '2026 has no leap day');
  t.same(findings(changed(2, { 12: '280229235959' })), [], '2028 has one');
  t.same(findings(changed(2, { 12: '261121240000' })), ['DATE 2']);
  t.same(findings(changed(2, { 4: 0n })), ['AMOUNT 2', 'SUM 4']);
  t.same(findings(changed(3, { 49: '840' }, { '0148': '8402' })), ['CURRENCY 3', 'CURRENCY 3']);
  t.same(findings(changed(3, {}, { '0148': '3922' })), ['CURRENCY 3'], 'yen have no decimals');
  t.same(findings(changed(2, { 26: undefined })), ['MISSING_FIELD 2']);
  t.same(findings(changed(2, {}, { '9501': undefined })), ['MISSING_FIELD 2']);
  t.same(findings(changed(2, {}, { '0023': 'CT6' })), ['UNEXPECTED_PDS 2']);
});

t.test('no card number passes, in DE2 or hidden in text', async (t) => {
  const pan = '4111111111111111'; // published test number
  t.same(findings(changed(2, { 2: pan })), ['CARD_NUMBER 2']);
  t.same(findings(changed(2, { 72: `NOTE ${pan} X` })), ['CARD_NUMBER 2']);
  t.same(findings(changed(2, {}, { '9501': `ACC-${pan}` })), ['CARD_NUMBER 2']);
  t.same(findings(changed(2, {}, { '9501': 'ACC-4111111111111112' })), [], 'not Luhn-valid');
  t.same(findings(changed(2, {}, { '9501': `9${pan}12345678` })), [], 'part of a longer number');
  const member: IpmProfile = { ...PROFILE, cardNumber: 'required' };
  t.same(findings(changed(2, { 2: pan }), member), ['CARD_NUMBER 3'], 'there, DE2 must stand');
  t.same(findings(changed(2, { 2: '4111111111111112' }), member), [
    'CARD_NUMBER 2',
    'CARD_NUMBER 3',
  ]);
});

t.test('an unreadable file is one finding with its offset, many findings are capped', async (t) => {
  const bytes = pack(good());
  t.match(verifyIpm(bytes.subarray(0, 1000), PROFILE).findings, [
    { code: 'UNREADABLE', offset: 1000 },
  ]);
  const [header, first, , trailer] = good() as [IsoMessage, IsoMessage, IsoMessage, IsoMessage];
  const many = Array.from({ length: 600 }, () => first);
  t.equal(findings([header, ...many, trailer]).length, 1000);
});
