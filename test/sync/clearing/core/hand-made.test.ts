import { readFileSync } from 'node:fs';
import t from 'tap';
import { toHex } from '../../../../protocol/bytes.ts';
import { readIpmMessages, readSettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import type { SettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { PresentmentRecord } from '../../../../sync/clearing/core/ipm-record.ts';
import { verifyIpm } from '../../../../sync/clearing/core/verify-ipm.ts';
import { handMadeFile } from './hand-made.ts';
import type { Script } from './hand-made.ts';
import { writtenFile } from './written-file.ts';

const DEBIT: PresentmentRecord = {
  arn: '01234566325000000000012',
  sign: 'debit',
  amountMinor: 3850n,
  currency: '392',
  exponent: 0,
  firstPaidAt: '261121083000',
  mcc: '4784',
  terminalId: 'GATE0001',
  merchantId: 'MERCHANT-01',
  acceptor: {
    name: 'TOLL GATE 1',
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
const FILE: SettlementFile = {
  header: { fileType: '002', date: '261121', member: '00000032815', sequence: 2201, mode: 'T' },
  presentments: [
    DEBIT,
    {
      ...DEBIT,
      arn: '01234566325000000000020',
      sign: 'credit',
      amountMinor: 150n,
      aggregateShortId: '0123456789AC',
    },
  ],
};
const CP500 = ipmProfile('kiri-ipm-onus-cp500') as IpmProfile;
const FIXTURES: readonly (readonly [string, Script, 'vbs' | '1014', IpmProfile])[] = [
  ['latin1 in 1014 blocks', 'latin1', '1014', DEFAULT_IPM_PROFILE],
  ['cp500 as plain VBS', 'cp500', 'vbs', { ...CP500, blocking: 'none' }],
];

const written = (profile: IpmProfile): string => {
  const bytes = writtenFile(FILE.header, FILE.presentments, profile);
  return bytes.ok ? toHex(bytes.value) : 'not written';
};

for (const [name, script, framing, profile] of FIXTURES) {
  const bytes = handMadeFile(script, framing);

  t.test(`a file made by hand in ${name} reads as what it says`, async (t) => {
    t.same(readSettlementFile(bytes, profile), { ok: true, value: FILE });
    const messages = readIpmMessages(bytes, profile);
    const [header, debit, credit, trailer] = messages.ok ? messages.value : [];
    t.same(header?.message.pds.get('0105'), '0022611210000003281502201');
    t.equal(debit?.message.fields.get(4), 3850n);
    t.equal(credit?.message.fields.get(3), '200000');
    t.same(trailer?.message.fields.get(71), '00000004');
    const report = verifyIpm(bytes, profile);
    t.same(report.findings, []);
    t.match(report, { records: 4, presentments: 2, sumMinor: 4000n });
  });

  t.test(`our file of the same data equals it byte for byte: ${name}`, async (t) => {
    t.equal(written(profile), Buffer.from(bytes).toString('hex'));
  });
}

t.test('the annotated file of docs/clearing.md is what the writer makes', async (t) => {
  const page = readFileSync('docs/clearing.md', 'utf8');
  const [, block = ''] = /```hex\n([\s\S]*?)```/.exec(page) ?? [];
  const rows = block.split('\n').filter((row) => row !== '');
  let hex = '';
  for (const row of rows) {
    const [, bytes = '', text] = /^([0-9a-f]+) {2,}(?:"([^"]*)"|-)(?: {2,}.+)?$/.exec(row) ?? [];
    t.ok(bytes.length > 0 && bytes.length % 2 === 0, `a row of the page reads: ${row}`);
    if (text !== undefined) t.equal(Buffer.from(bytes, 'hex').toString('latin1'), text);
    hex += bytes;
  }
  const plain = written({ ...DEFAULT_IPM_PROFILE, blocking: 'none' });
  t.equal(hex, plain, 'all rows together are the file without its blocks');
});
