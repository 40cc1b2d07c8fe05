/** The writer against the tests' own writer of docs/clearing.md, and what it refuses, element by element. */
import fc from 'fast-check';
import t from 'tap';
import { toHex } from '../../../../protocol/bytes.ts';
import { DE_TABLE } from '../../../../sync/clearing/core/de-table.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import { IpmFileWriter, readSettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { encodePresentment } from '../../../../sync/clearing/core/ipm-record.ts';
import type { FileHeader, PresentmentRecord } from '../../../../sync/clearing/core/ipm-record.ts';
import { decodeMessage } from '../../../../sync/clearing/core/iso8583.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { MessageWriter, encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { writeFile, writeMessage } from '../../../issuer-side/ipm.ts';
import type { Message } from '../../../issuer-side/ipm.ts';
import { fileOfRecords } from './hand-made.ts';
import { writtenFile } from './written-file.ts';

const LATIN1 = DEFAULT_IPM_PROFILE;
const CP500 = ipmProfile('kiri-ipm-onus-cp500') as IpmProfile;
const HEADER: FileHeader = {
  fileType: '002',
  date: '261121',
  member: '00000032815',
  sequence: 2201,
  mode: 'T',
};
const FILE_ID = '0022611210000003281502201';

const DIGITS = '0123456789';
const UPPER = `${DIGITS}ABCDEFGHIJKLMNOPQRSTUVWXYZ`;
/** The characters of docs/clearing.md without the delimiter of cp500. */
const SAFE = `${UPPER} "#%&'()*+,-.:;<=>?@_\``;

const text = (characters: string, most: number, least = 1): fc.Arbitrary<string> =>
  fc
    .string({ unit: fc.constantFrom(...characters.split('')), minLength: least, maxLength: most })
    .map((one) => one.trim())
    .filter((one) => one.length >= least);
const digits = (length: number): fc.Arbitrary<string> => text(DIGITS, length, length);

const anyLine: fc.Arbitrary<PresentmentRecord> = fc
  .record({
    arn: text(DIGITS, 23),
    sign: fc.constantFrom('debit' as const, 'credit' as const),
    amountMinor: fc.bigInt(1n, 999_999_999_999n),
    currency: digits(3),
    exponent: fc.nat(9),
    firstPaidAt: digits(12),
    mcc: digits(4),
    terminalId: text(SAFE, 8),
    merchantId: text(SAFE, 15),
    acceptor: fc.record({
      name: text(SAFE, 22),
      street: text(SAFE, 45),
      city: text(SAFE, 13),
      postcode: text(SAFE, 10, 0),
      region: text(SAFE, 3, 0),
      country: text(UPPER, 3, 3),
    }),
    aggregateShortId: text(UPPER, 12),
    forwardingMember: text(DIGITS, 11),
    fundingReference: text(SAFE, 40),
    more: fc.option(fc.bigInt(0n, 999_999_999_999n), { nil: undefined }),
    reason: digits(4),
  })
  .map(({ more, reason, ...line }) => {
    if (more === undefined) return line;
    const originalMinor = line.amountMinor > more ? line.amountMinor : more;
    return { ...line, second: { originalMinor, reason } };
  });

/** What docs/clearing.md says of a line, for the tests' own writer. */
const messageOf = (line: PresentmentRecord, number: number): Message => {
  const { second, acceptor: place } = line;
  const code = line.amountMinor === second?.originalMinor ? '205' : '282';
  const tail = place.postcode.padEnd(10) + place.region.padEnd(3) + place.country;
  return {
    mti: '1240',
    elements: new Map([
      [3, line.sign === 'debit' ? '000000' : '200000'],
      [4, String(line.amountMinor).padStart(12, '0')],
      [12, line.firstPaidAt],
      [22, '000210W00110'],
      [24, second ? code : '200'],
      ...(second
        ? ([
            [25, second.reason],
            [30, String(second.originalMinor).padStart(12, '0') + '000000000000'],
          ] as const)
        : []),
      [26, line.mcc],
      [31, line.arn],
      [33, line.forwardingMember],
      [37, line.aggregateShortId.padEnd(12)],
      [41, line.terminalId.padEnd(8)],
      [42, line.merchantId.padEnd(15)],
      [43, `${place.name}\\${place.street}\\${place.city}\\${tail}`],
      [49, line.currency],
      [71, String(number).padStart(8, '0')],
      [94, line.forwardingMember],
    ]),
    pds: new Map([
      ['0148', `${line.currency}${line.exponent}`],
      ['0165', 'C'],
      ...(second ? ([['0262', '1']] as const) : []),
      ['9501', line.fundingReference],
    ]),
  };
};

const ends = (records: number, sumMinor: bigint): readonly [Message, Message] => [
  {
    mti: '1644',
    elements: new Map([
      [24, '697'],
      [71, '00000001'],
    ]),
    pds: new Map([
      ['0105', FILE_ID],
      ['0122', 'T'],
    ]),
  },
  {
    mti: '1644',
    elements: new Map([
      [24, '695'],
      [71, String(records).padStart(8, '0')],
    ]),
    pds: new Map([
      ['0105', FILE_ID],
      ['0301', String(sumMinor).padStart(16, '0')],
      ['0306', String(records).padStart(8, '0')],
    ]),
  },
];

const byOwnWriter = (lines: readonly PresentmentRecord[]): Buffer => {
  const sum = lines.reduce((total, { amountMinor }) => total + amountMinor, 0n);
  const [header, trailer] = ends(lines.length + 2, sum);
  return writeFile([header, ...lines.map((line, at) => messageOf(line, at + 2)), trailer]);
};

const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field} @${result.fault.offset}`;

t.test('random lines: the bytes of the other writer, and they read back', async (t) => {
  fc.assert(
    fc.property(fc.array(anyLine, { minLength: 1, maxLength: 12 }), (lines) => {
      const file = writtenFile(HEADER, lines, LATIN1);
      t.equal(file.ok && toHex(file.value), byOwnWriter(lines).toString('hex'));
      const host = writtenFile(HEADER, lines, CP500);
      const read = host.ok ? readSettlementFile(host.value, CP500) : host;
      t.same(read, { ok: true, value: { header: HEADER, presentments: lines } });
    }),
    { numRuns: 25 },
  );
});

t.test('a file of many chunks is the file of the other writer', async (t) => {
  const [line] = fc.sample(anyLine, { numRuns: 1, seed: 4 }) as [PresentmentRecord];
  // Records of every length modulo the block, so that boundaries fall on every place in one.
  const lines = Array.from({ length: 1_500 }, (_, at) => ({
    ...line,
    amountMinor: BigInt(at + 1),
    fundingReference: 'X'.repeat(1 + (at % 300)),
  }));
  const file = writtenFile(HEADER, lines, LATIN1);
  t.ok(file.ok && byOwnWriter(lines).equals(Buffer.from(file.value)));
});

t.test('first and second presentments in turn, and refused lines between them', async (t) => {
  const [any] = fc.sample(anyLine, { numRuns: 1, seed: 4 }) as [PresentmentRecord];
  const { second: _, ...first } = any;
  const again = { ...first, second: { originalMinor: first.amountMinor, reason: '4853' } };
  const lines = [first, again, first, again, again, first];
  const chunks: Uint8Array[] = [];
  const opened = IpmFileWriter.open(HEADER, LATIN1, (chunk) => chunks.push(chunk));
  if (!opened.ok) throw new Error(opened.fault.detail);
  // What a refused line left of its text must not pass for the record before.
  const bad = { ...first, merchantId: 'MERCHANT~' };
  for (const line of lines) {
    t.match(opened.value.add(bad), { fault: { code: 'WRONG_CHARACTER', field: 'DE42' } });
    t.match(opened.value.add(bad), { fault: { code: 'WRONG_CHARACTER', field: 'DE42' } });
    t.ok(opened.value.add(line).ok);
  }
  t.match(opened.value.end(), { value: { records: 8, sumMinor: first.amountMinor * 6n } });
  t.equal(Buffer.concat(chunks).toString('hex'), byOwnWriter(lines).toString('hex'));
  const unbroken = writtenFile(HEADER, lines, LATIN1);
  t.equal(unbroken.ok && toHex(unbroken.value), byOwnWriter(lines).toString('hex'));
});

/** Where an element's characters begin in a record, behind the digits of its length. */
const placeOf = (line: PresentmentRecord, de: number): number => {
  const message = messageOf(line, 2);
  const before = [...message.elements].filter(([one]) => one < de);
  const own = writeMessage({ ...message, elements: new Map(before), pds: new Map() }).length;
  return own + ([31, 33, 43, 94].includes(de) ? 2 : 0);
};

t.test('a wrong character or one too many in any part of a line names its element', async (t) => {
  const texts: readonly (readonly [keyof PresentmentRecord, number, number])[] = [
    ['firstPaidAt', 12, 12],
    ['mcc', 26, 4],
    ['arn', 31, 23],
    ['forwardingMember', 33, 11],
    ['aggregateShortId', 37, 12],
    ['terminalId', 41, 8],
    ['merchantId', 42, 15],
    ['currency', 49, 3],
  ];
  const write = (line: PresentmentRecord): string => faultOf(encodePresentment(line, 2, LATIN1));
  fc.assert(
    fc.property(
      anyLine,
      fc.constantFrom(...texts),
      fc.nat(100),
      fc.constantFrom('~', 'a', '\u0000', '\u0131', '霧'),
      (line, [part, de, most], where, wrong) => {
        const good = line[part] as string;
        const at = where % good.length;
        const bad = good.slice(0, at) + wrong + good.slice(at + 1);
        // DE49 stands behind DE48, whose length the other writer's place leaves out; PDS 0148 holds the code too.
        if (de === 49) t.match(write({ ...line, [part]: bad }), /^WRONG_CHARACTER PDS0148/);
        else {
          const place = placeOf(line, de);
          t.equal(write({ ...line, [part]: bad }), `WRONG_CHARACTER DE${de} @${place + at}`);
          const long = write({ ...line, [part]: '7'.repeat(most + 1) });
          t.equal(long, `TOO_LONG DE${de} @${place - ([31, 33].includes(de) ? 2 : 0)}`);
        }
      },
    ),
    { numRuns: 120 },
  );
  const [line] = fc.sample(anyLine, { numRuns: 1, seed: 4 }) as [PresentmentRecord];
  const { acceptor } = line;
  const reference = (fundingReference: string): string => write({ ...line, fundingReference });
  t.match(reference('acct'), /^WRONG_CHARACTER PDS9501/);
  t.equal(reference('X'.repeat(993)), 'TOO_LONG PDS9501 @0');
  t.equal(reference('X'.repeat(992)), 'accepted', 'in a carrier of its own');
  for (const [part, most] of Object.entries({
    name: 22,
    street: 45,
    city: 13,
    postcode: 10,
    region: 3,
    country: 3,
  })) {
    const place = (own: string): string =>
      write({ ...line, acceptor: { ...acceptor, [part]: own } });
    t.match(place('X'.repeat(most + 1)), /^TOO_LONG DE43/, part);
    for (const bad of ['X\\Y', 'x', ' XY', 'XY '])
      t.match(place(bad), /^W\w+ DE43/, `${part} ${bad}`);
  }
  const amount = (amountMinor: bigint): string => write({ ...line, amountMinor });
  t.equal(amount(10n ** 12n), 'OVERFLOW DE4 @0');
  t.equal(amount(-1n), 'NEGATIVE DE4 @26');
  t.equal(faultOf(encodePresentment(line, 100_000_000, LATIN1)).split(' @')[0], 'OVERFLOW DE71');
});

/** A value that the element may hold, of a length. */
const valueOf = (content: string, length: number): FieldValue =>
  content === 'amount' ? 10n ** BigInt(length) - 1n : '7'.repeat(length);

t.test('every element of the table holds its longest value and not one more', async (t) => {
  for (const [de, spec] of DE_TABLE) {
    if (spec.content === 'pds') continue;
    const encode = (value: FieldValue): Coded<Uint8Array> => {
      const message = { mti: '1442', fields: new Map([[de, value]]), pds: new Map() };
      return encodeMessage(message, LATIN1);
    };
    const most = valueOf(spec.content, spec.length);
    const bytes = encode(most);
    const read = bytes.ok ? decodeMessage(bytes.value, LATIN1, 0) : bytes;
    t.same(read.ok && read.value.fields, new Map([[de, most]]), `DE${de}`);
    const over = spec.content === 'amount' ? 'OVERFLOW' : 'TOO_LONG';
    t.equal(faultOf(encode(valueOf(spec.content, spec.length + 1))), `${over} DE${de} @20`);
  }
});

t.test('a message that is refused leaves nothing behind in the stream', async (t) => {
  const chunks: Uint8Array[] = [];
  const writer = new MessageWriter(LATIN1, '1014', (chunk) => chunks.push(chunk));
  const all = new Map<number, FieldValue>();
  for (const [de, { content, length }] of DE_TABLE) {
    if (content !== 'pds') all.set(de, valueOf(content, length));
  }
  const carriers = ['1', '2', '3', '4', '5'].map((tag) => [`000${tag}`, '7'.repeat(992)] as const);
  const message = (fields: Map<number, FieldValue>): IsoMessage => ({
    mti: '1442',
    fields,
    pds: new Map(carriers),
  });
  const few = message(new Map([[24, '450']]));
  t.equal(writer.message(few), undefined);
  // The longest message that the table allows: 5 carriers, three texts of 999 and all the rest.
  t.match(writer.message(message(all)), { code: 'TOO_LONG', field: 'record' });
  t.match(writer.message(message(new Map([[24, '45X']]))), { code: 'WRONG_CHARACTER', offset: 22 });
  t.equal(writer.message(few), undefined);
  writer.close();
  const one = encodeMessage(few, LATIN1);
  const twice = new Uint8Array(Buffer.concat(chunks));
  // 5,033 bytes each, by hand: 20 + 3 + 5 × (3 + 999).
  t.equal(one.ok && one.value.length, 5_033);
  const records = one.ok ? [one.value, one.value] : [];
  t.equal(toHex(twice), toHex(fileOfRecords(records)));
});
