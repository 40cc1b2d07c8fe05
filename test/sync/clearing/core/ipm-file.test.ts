import t from 'tap';
import fc from 'fast-check';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import { readIpmMessages, readSettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import type { SettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { readHeader } from '../../../../sync/clearing/core/ipm-record.ts';
import { decodeMessage } from '../../../../sync/clearing/core/iso8583.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { decodeVbs } from '../../../../sync/clearing/core/vbs.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import { fileOfRecords } from './hand-made.ts';
import { writtenFile } from './written-file.ts';

const LATIN1 = DEFAULT_IPM_PROFILE;
const CP500 = ipmProfile('kiri-ipm-onus-cp500') as IpmProfile;

// The file below was laid out by hand: bitmaps from the element numbers, lengths counted, text looked up in ASCII.
const HAND_MADE: readonly string[] = [
  '0000004a', // 74 bytes follow
  '31363434', // 1644
  '80000100000100000200000000000000', // 1, 24, 48, 71
  '363937', // DE24 697
  '303430', // DE48: 40 characters
  '30313035303235', // PDS 0105, 25 characters
  '30303232363131323130303030303033323831353032323031', // 002 261121 00000032815 02201
  '3031323230303154', // PDS 0122, 1 character: T
  '3030303030303031', // DE71
  '00000100', // 256 bytes follow
  '31323430', // 1240
  'b010054288e180000200000400000000', // 1 3 4 12 22 24 26 31 33 37 41 42 43 48 49 71 94
  '303030303030', // DE3
  '303030303030303033383530', // DE4: 3850
  '323631313231303833303030', // DE12: 26-11-21 08:30:00
  '303030323130573030313130', // DE22
  '323030', // DE24 200
  '34373834', // DE26
  '3233', // DE31: 23 characters
  '30313233343536363332353030303030303030303031', // 0 123456 6325 00000000001
  '32', // and the Luhn digit that completes it
  '31313030303030303332383135', // DE33
  '303132333435363738394142', // DE37
  '4741544530303031', // DE41 GATE0001
  '4d45524348414e542d303120202020', // DE42 MERCHANT-01 and four blanks
  '3437', // DE43: 47 characters
  '544f4c4c204741544520315c', // TOLL GATE 1\
  '312d322042415920524f41445c', // 1-2 BAY ROAD\
  '544f4b594f5c', // TOKYO\
  '313335303036332020203133204a504e', // 1350063, 13, JPN
  '303338', // DE48: 38 characters
  '3031343830303433393230', // PDS 0148: 3920
  '3031363530303143', // PDS 0165: C
  '393530313031324b4952492d4143432d303031', // PDS 9501: KIRI-ACC-001
  '333932', // DE49
  '3030303030303032', // DE71
  '31313030303030303332383135', // DE94
  '00000068', // 104 bytes follow
  '31363434', // 1644
  '80000100000100000200000000000000',
  '363935', // DE24 695
  '303730', // DE48: 70 characters
  '3031303530323530303232363131323130303030303033323831353032323031', // PDS 0105 again
  '3033303130313630303030303030303030303033383530', // PDS 0301: 3850
  '303330363030383030303030303033', // PDS 0306: 3
  '3030303030303033', // DE71
  '00000000', // end
];
// The same records in cp500 with `/` in DE43, from a table of IBM code page 500.
const HAND_MADE_CP500: readonly string[] = [
  '0000004af1f6f4f480000100000100000200000000000000f6f9f7f0f4f0f0f1f0f5f0f2f5f0f0f2f2f6f1f1f2f1f0f0f0f0f0f0f3f2f8',
  'f1f5f0f2f2f0f1f0f1f2f2f0f0f1e3f0f0f0f0f0f0f0f1',
  '00000100f1f2f4f0b010054288e180000200000400000000f0f0f0f0f0f0f0f0f0f0f0f0f0f0f3f8f5f0f2f6f1f1f2f1f0f8f3f0f0f0f0',
  'f0f0f2f1f0e6f0f0f1f1f0f2f0f0f4f7f8f4f2f3f0f1f2f3f4f5f6f6f3f2f5f0f0f0f0f0f0f0f0f0f0f1f2f1f1f0f0f0f0f0f0f3f2f8f1',
  'f5f0f1f2f3f4f5f6f7f8f9c1c2c7c1e3c5f0f0f0f1d4c5d9c3c8c1d5e360f0f140404040f4f7e3d6d3d340c7c1e3c540f161f160f240c2',
  'c1e840d9d6c1c461e3d6d2e8d661f1f3f5f0f0f6f3404040f1f340d1d7d5f0f3f8f0f1f4f8f0f0f4f3f9f2f0f0f1f6f5f0f0f1c3f9f5f0',
  'f1f0f1f2d2c9d9c960c1c3c360f0f0f1f3f9f2f0f0f0f0f0f0f0f2f1f1f0f0f0f0f0f0f3f2f8f1f5',
  '00000068f1f6f4f480000100000100000200000000000000f6f9f5f0f7f0f0f1f0f5f0f2f5f0f0f2f2f6f1f1f2f1f0f0f0f0f0f0f3f2f8',
  'f1f5f0f2f2f0f1f0f3f0f1f0f1f6f0f0f0f0f0f0f0f0f0f0f0f0f3f8f5f0f0f3f0f6f0f0f8f0f0f0f0f0f0f0f3f0f0f0f0f0f0f0f3',
  '00000000',
];

/** One block of 1012 bytes filled with 0x40, and two more. */
const inOneBlock = (parts: readonly string[]): Uint8Array => {
  const data = fromHex(parts.join(''));
  const block = new Uint8Array(1014).fill(0x40);
  block.set(data);
  return block;
};

const FILE: SettlementFile = {
  header: {
    fileType: '002',
    date: '261121',
    member: '00000032815',
    sequence: 2201,
    mode: 'T',
  },
  presentments: [
    {
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
    },
  ],
};
const LINE = FILE.presentments[0]!;

const write = (file: SettlementFile, profile: IpmProfile): Coded<Uint8Array> =>
  writtenFile(file.header, file.presentments, profile);
const codeOf = (result: Coded<unknown>): string => (result.ok ? 'accepted' : result.fault.code);
const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field} @${result.fault.offset}`;

t.test(
  'a file laid out by hand reads as its value, and the value writes exactly those bytes',
  async (t) => {
    for (const [profile, parts] of [
      [LATIN1, HAND_MADE],
      [CP500, HAND_MADE_CP500],
    ] as const) {
      const bytes = inOneBlock(parts);
      t.same(readSettlementFile(bytes, profile), { ok: true, value: FILE });
      const written = write(FILE, profile);
      t.equal(written.ok && toHex(written.value), toHex(bytes));
      const plain: IpmProfile = { ...profile, blocking: 'none' };
      const unblocked = write(FILE, plain);
      t.equal(unblocked.ok && toHex(unblocked.value), parts.join(''));
      t.same(readSettlementFile(fromHex(parts.join('')), plain), { ok: true, value: FILE });
    }
  },
);

t.test('the file id of a real header is taken apart as the field does', async (t) => {
  const message: IsoMessage = {
    mti: '1644',
    fields: new Map([[24, '697']]),
    pds: new Map([
      ['0105', '0012307120000003281502201'],
      ['0122', 'P'],
    ]),
  };
  t.same(readHeader(message), {
    ok: true,
    value: { fileType: '001', date: '230712', member: '00000032815', sequence: 2201, mode: 'P' },
  });
});

t.test('a line that cannot be written stops the file and names record and part', async (t) => {
  const withLine = (part: Partial<typeof LINE>): string =>
    faultOf(write({ ...FILE, presentments: [{ ...LINE, ...part }] }, LATIN1));
  t.equal(withLine({ amountMinor: 0n }), 'WRONG_VALUE DE4 @0', 'a zero line is no line');
  t.equal(withLine({ amountMinor: 10n ** 12n }), 'OVERFLOW DE4 @0');
  const place = LINE.acceptor;
  // DE43 begins at 142, its name at 144, street at 156, city at 169, country at 188.
  t.equal(withLine({ acceptor: { ...place, name: 'A\\B' } }), 'WRONG_CHARACTER DE43 @145');
  t.equal(withLine({ acceptor: { ...place, city: 'C'.repeat(14) } }), 'TOO_LONG DE43 @169');
  t.equal(withLine({ acceptor: { ...place, street: ' X' } }), 'WRONG_CHARACTER DE43 @156');
  t.equal(withLine({ acceptor: { ...place, country: 'JP' } }), 'WRONG_LENGTH DE43 @188');
  t.equal(withLine({ fundingReference: '' }), 'WRONG_LENGTH PDS9501 @0');
  t.equal(withLine({ fundingReference: 'F'.repeat(993) }), 'TOO_LONG PDS9501 @0');
  const badHeader = { ...FILE, header: { ...FILE.header, sequence: 100_000 } };
  t.equal(faultOf(write(badHeader, LATIN1)), 'WRONG_VALUE PDS0105 @0');
  const badMode = { ...FILE, header: { ...FILE.header, mode: 'x' as 'P' } };
  t.equal(codeOf(write(badMode, LATIN1)), 'WRONG_CHARACTER');
});

t.test('the reader refuses every damage of the hand-made file at its offset', async (t) => {
  const plain: IpmProfile = { ...LATIN1, blocking: 'none' };
  const whole = HAND_MADE.join('');
  const read = (hex: string): string => faultOf(readIpmMessages(fromHex(hex), plain));
  t.equal(read(whole), 'accepted');
  t.equal(read(whole.slice(0, -8)), `MISSING_TERMINATOR stream @${whole.length / 2 - 4}`);
  t.equal(read(`${whole}40`), `TRAILING_DATA stream @${whole.length / 2}`);
  t.equal(read(''), 'MISSING_TERMINATOR stream @0');
  t.equal(read(whole.slice(0, 60)), 'TRUNCATED record @0');
  t.equal(read(`000017710${whole.slice(9)}`), 'BAD_FRAMING record @0', '6,001 bytes');
  const change = (at: number, hex: string): string =>
    read(whole.slice(0, at * 2) + hex + whole.slice(at * 2 + hex.length));
  t.equal(change(4, '30323030'), 'BAD_MTI MTI @4');
  t.equal(change(8, '00'), 'BAD_BITMAP bitmap @8');
  t.equal(change(8, 'c0'), 'TOO_LONG DE2 @24', 'a bit too many shifts all that follows');
  t.equal(change(12, '82'), 'UNKNOWN_FIELD DE39 @12');
  t.equal(change(27, '303339'), 'TRUNCATED PDS0122 @62', 'DE48 one short');
  t.equal(change(27, '393939'), 'TRUNCATED DE48 @30');
  t.equal(change(27, '30304b'), 'BAD_FRAMING DE48 @27');
  t.equal(change(27, '303030'), 'WRONG_LENGTH DE48 @27');
  for (let cut = 4; cut < 78; cut++) {
    const part = `${(cut - 4).toString(16).padStart(8, '0')}${whole.slice(8, cut * 2)}00000000`;
    if (cut > 4) t.not(read(part), 'accepted', `header record cut to ${cut - 4} bytes`);
  }
  t.equal(
    codeOf(readIpmMessages(fromHex(whole), LATIN1)),
    'BAD_FRAMING',
    'unblocked read as blocked',
  );
  const block = inOneBlock(HAND_MADE);
  t.equal(codeOf(readIpmMessages(block, plain)), 'TRAILING_DATA', 'blocked read as unblocked');
  t.equal(codeOf(readIpmMessages(block, CP500)), 'BAD_MTI', 'latin1 read as cp500');
  t.equal(codeOf(readIpmMessages(inOneBlock(HAND_MADE_CP500), LATIN1)), 'BAD_MTI');
});

t.test('offsets in a blocked file count the block pads', async (t) => {
  const many = Array.from({ length: 12 }, () => LINE);
  const bytes = write({ ...FILE, presentments: many }, LATIN1);
  t.ok(bytes.ok);
  if (!bytes.ok) return;
  const at = Buffer.from(bytes.value).lastIndexOf('GATE0001');
  t.ok(at > 2028, 'in the third block');
  bytes.value[at] = 0x7f;
  t.equal(faultOf(readIpmMessages(bytes.value, LATIN1)), `WRONG_CHARACTER DE41 @${at}`);
});

t.test('a record that is not exactly of the profile is not read as a line', async (t) => {
  const readBack = (change: (message: IsoMessage) => IsoMessage): string => {
    const messages = readIpmMessages(inOneBlock(HAND_MADE), LATIN1);
    if (!messages.ok) return 'unreadable';
    const records: Uint8Array[] = [];
    for (const [index, { message }] of messages.value.entries()) {
      const encoded = encodeMessage(index === 1 ? change(message) : message, LATIN1);
      if (!encoded.ok) return 'unwritable';
      records.push(encoded.value);
    }
    const read = readSettlementFile(fileOfRecords(records), LATIN1);
    return read.ok ? 'accepted' : `${read.fault.code} ${read.fault.field}`;
  };
  const withField = (de: number, value: FieldValue | undefined) => (message: IsoMessage) => {
    const fields = new Map(message.fields);
    if (value === undefined) fields.delete(de);
    else fields.set(de, value);
    return { ...message, fields };
  };
  const withPds = (tag: string, value: string | undefined) => (message: IsoMessage) => {
    const pds = new Map(message.pds);
    if (value === undefined) pds.delete(tag);
    else pds.set(tag, value);
    return { ...message, pds };
  };
  t.equal(
    readBack((message) => message),
    'accepted',
  );
  t.equal(readBack(withField(26, undefined)), 'MISSING_FIELD DE26');
  t.equal(readBack(withField(2, '4111111111111111')), 'UNEXPECTED_FIELD DE2');
  t.equal(readBack(withField(22, '000000000000')), 'WRONG_VALUE record');
  t.equal(readBack(withField(43, 'NO PARTS')), 'WRONG_VALUE DE43');
  t.equal(readBack(withField(43, 'A\\B\\C\\ 135006   13 JPN')), 'WRONG_CHARACTER DE43');
  t.equal(readBack(withPds('0148', undefined)), 'WRONG_VALUE PDS0148');
  t.equal(readBack(withPds('0165', 'M')), 'WRONG_VALUE record');
  t.equal(readBack(withPds('0999', 'X')), 'WRONG_VALUE record');
});

t.test('random files read back as they were written, in every profile and framing', async (t) => {
  const safe = fc.string({
    unit: fc.constantFrom(...'ABCXYZ0189-./ '.split('')),
    minLength: 1,
    maxLength: 10,
  });
  const word = safe.map((text) => text.trim()).filter((text) => text !== '');
  const line = fc.record({
    amountMinor: fc.bigInt(1n, 999_999_999_999n),
    sign: fc.constantFrom('debit' as const, 'credit' as const),
    merchantId: word,
    name: word,
  });
  fc.assert(
    fc.property(
      fc.array(line, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(LATIN1, CP500),
      fc.constantFrom('none' as const, '1014' as const),
      (lines, base, blocking) => {
        const profile: IpmProfile = { ...base, blocking };
        const clean = (text: string): string => text.replaceAll('/', '-');
        const presentments = lines.map(({ name, ...part }) => ({
          ...LINE,
          ...part,
          acceptor: { ...LINE.acceptor, name: clean(name) },
        }));
        const file = { ...FILE, presentments };
        const bytes = write(file, profile);
        t.ok(bytes.ok);
        if (bytes.ok) t.same(readSettlementFile(bytes.value, profile), { ok: true, value: file });
      },
    ),
    { numRuns: 60 },
  );
});

t.test('hostile bytes are refused in bounded work and never throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(255), (noise, at, value) => {
      decodeVbs(noise, 'none');
      decodeMessage(noise, LATIN1, 0);
      const damaged = fromHex(HAND_MADE.join(''));
      damaged[at] = value;
      readSettlementFile(damaged, { ...LATIN1, blocking: 'none' });
    }),
    { numRuns: 400 },
  );
});
