import t from 'tap';
import fc from 'fast-check';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import { arnFault, buildArn, isLuhnValid, luhnDigit } from '../../../../sync/clearing/core/arn.ts';
import { charsetOf, isSafeText, toSafeText } from '../../../../sync/clearing/core/charset.ts';
import {
  readIpmMessages,
  readSettlementFile,
  writeIpmFile,
} from '../../../../sync/clearing/core/ipm-file.ts';
import type { SettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { readHeader } from '../../../../sync/clearing/core/ipm-record.ts';
import { decodeMessage, encodeMessage } from '../../../../sync/clearing/core/iso8583.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { packPds, parsePds } from '../../../../sync/clearing/core/pds.ts';
import { blocked, decodeVbs, frameRecord } from '../../../../sync/clearing/core/vbs.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';

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

const write = (file: SettlementFile, profile: IpmProfile): Coded<Uint8Array> => {
  const writer = writeIpmFile(file.header, file.presentments, profile);
  const chunks: Uint8Array[] = [];
  let step = writer.next();
  for (; !step.done; step = writer.next()) chunks.push(step.value);
  return step.value.ok ? { ok: true, value: new Uint8Array(Buffer.concat(chunks)) } : step.value;
};
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

t.test('what lenient writers cut short or let through is refused with its field', async (t) => {
  const base = new Map<number, FieldValue>([
    [24, '200'],
    [71, '00000002'],
  ]);
  const encode = (de: number, value: FieldValue): string =>
    faultOf(
      encodeMessage(
        { mti: '1240', fields: new Map([...base, [de, value]]), pds: new Map() },
        LATIN1,
      ),
    );
  // MTI and bitmap are 20 bytes; an element before DE24 begins there.
  t.equal(encode(4, 10n ** 12n), 'OVERFLOW DE4 @20');
  t.equal(encode(4, -5n), 'NEGATIVE DE4 @20');
  t.equal(encode(4, '000000000001'), 'WRONG_VALUE DE4 @20');
  t.equal(encode(3, 5n), 'WRONG_VALUE DE3 @20');
  t.equal(encode(42, 'M'.repeat(20)), 'TOO_LONG DE42 @23');
  t.equal(encode(43, 'A'.repeat(100)), 'TOO_LONG DE43 @23');
  t.equal(encode(128, 'X'), 'UNKNOWN_FIELD DE128 @0');
  t.equal(encode(39, '00'), 'UNKNOWN_FIELD DE39 @0');
  t.equal(encode(48, '0105003ABC'), 'UNEXPECTED_FIELD DE48 @0');
  t.equal(encode(12, '2611'), 'WRONG_LENGTH DE12 @20');
  t.equal(encode(41, 'GATE '), 'WRONG_CHARACTER DE41 @27');
  t.equal(encode(41, ''), 'WRONG_LENGTH DE41 @23');
  t.equal(encode(42, '霧'), 'WRONG_CHARACTER DE42 @23', 'kanji never');
  t.equal(encode(42, 'Merchant'), 'WRONG_CHARACTER DE42 @24', 'lower case differs in IBM290');
  t.equal(encode(42, 'A\\B'), 'WRONG_CHARACTER DE42 @24', 'the delimiter only in DE43');
  t.equal(encode(26, '47A4'), 'WRONG_CHARACTER DE26 @25');
  t.equal(codeOf(encodeMessage({ mti: '0200', fields: base, pds: new Map() }, LATIN1)), 'BAD_MTI');
  const printable = { ...LATIN1, text: 'printable' } as const;
  const lower: IsoMessage = {
    mti: '1240',
    fields: new Map([...base, [42, 'a$b']]),
    pds: new Map(),
  };
  t.equal(codeOf(encodeMessage(lower, printable)), 'accepted', 'a latin1 profile may allow it');
});

t.test('a line that cannot be written stops the file and names record and part', async (t) => {
  const withLine = (part: Partial<typeof LINE>): string =>
    faultOf(write({ ...FILE, presentments: [{ ...LINE, ...part }] }, LATIN1));
  t.equal(withLine({ amountMinor: 0n }), 'WRONG_VALUE DE4 @0', 'a zero line is no line');
  t.equal(withLine({ amountMinor: 10n ** 12n }), 'OVERFLOW DE4 @0');
  const place = LINE.acceptor;
  t.equal(withLine({ acceptor: { ...place, name: 'A\\B' } }), 'WRONG_CHARACTER DE43 @0');
  t.equal(withLine({ acceptor: { ...place, city: 'C'.repeat(14) } }), 'TOO_LONG DE43 @0');
  t.equal(withLine({ acceptor: { ...place, street: ' X' } }), 'WRONG_CHARACTER DE43 @0');
  t.equal(withLine({ acceptor: { ...place, country: 'JP' } }), 'WRONG_LENGTH DE43 @0');
  t.equal(withLine({ fundingReference: '' }), 'WRONG_LENGTH PDS9501 @0');
  t.equal(withLine({ fundingReference: 'F'.repeat(993) }), 'TOO_LONG PDS9501 @0');
  const badHeader = { ...FILE, header: { ...FILE.header, sequence: 100_000 } };
  t.equal(faultOf(write(badHeader, LATIN1)), 'WRONG_VALUE PDS0105 @0');
  const badMode = { ...FILE, header: { ...FILE.header, mode: 'x' as 'P' } };
  t.equal(codeOf(write(badMode, LATIN1)), 'WRONG_CHARACTER');
});

t.test('PDS fill their carriers to 999 characters and spill in order', async (t) => {
  const full = 'A'.repeat(992);
  const two = packPds(
    new Map([
      ['0002', 'B'],
      ['0001', full],
    ]),
  );
  t.same(two.ok && [...two.value.keys()], [48, 62]);
  t.equal(two.ok && two.value.get(48)?.length, 999);
  t.same(two.ok && two.value.get(62), '0002001B');
  t.equal(codeOf(packPds(new Map([['0001', 'A'.repeat(993)]]))), 'TOO_LONG');
  const exact = packPds(
    new Map([
      ['0001', 'A'.repeat(984)],
      ['0002', 'B'],
    ]),
  );
  t.equal(exact.ok && exact.value.get(48)?.length, 999, 'two that fit exactly share a carrier');
  const six = new Map(['1', '2', '3', '4', '5', '6'].map((tag) => [`000${tag}`, full]));
  t.equal(faultOf(packPds(six)), 'TOO_LONG PDS0006 @0', 'a sixth carrier does not exist');
  t.equal(codeOf(packPds(new Map([['12', 'A']]))), 'UNKNOWN_FIELD');
  const message: IsoMessage = {
    mti: '1240',
    fields: new Map([[24, '200']]),
    pds: new Map([...six].slice(0, 5)),
  };
  const bytes = encodeMessage(message, CP500);
  t.ok(bytes.ok);
  t.same(bytes.ok && decodeMessage(bytes.value, CP500, 0), { ok: true, value: message });
  const parse = (text: string): string => faultOf(parsePds(text, 'DE48', 7, new Map()));
  t.equal(
    parse('0105003AB'),
    'TRUNCATED PDS0105 @7',
    'a wrong length must not swallow the next field',
  );
  t.equal(parse('0105001A0105001B'), 'DUPLICATE_FIELD PDS0105 @15');
  t.equal(parse('01X5001A'), 'BAD_FRAMING DE48 @7');
  t.equal(parse('0105000'), 'WRONG_LENGTH PDS0105 @7');
  t.equal(parse('0105'), 'BAD_FRAMING DE48 @7');
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

t.test('blocks: boundary, padding and tail', async (t) => {
  for (const length of [1003, 1004, 1005, 2016, 6000]) {
    const record = frameRecord(new Uint8Array(length).fill(0x31));
    t.ok(record.ok);
    const chunks = record.ok ? [record.value, new Uint8Array(4)] : [];
    const file = new Uint8Array(Buffer.concat([...blocked(chunks, '1014')]));
    t.equal(file.length, Math.ceil((length + 8) / 1012) * 1014, `${length} bytes in whole blocks`);
    const read = decodeVbs(file, '1014');
    t.same(read.ok && read.value.map((one) => one.bytes.length), [length]);
    const extra = new Uint8Array(1014).fill(0x40);
    const withExtra = decodeVbs(new Uint8Array(Buffer.concat([file, extra])), '1014');
    const isExact = (length + 8) % 1012 === 0;
    t.equal(
      codeOf(withExtra),
      isExact ? 'accepted' : 'TRAILING_DATA',
      'one pad block on the boundary',
    );
    const padded = file.slice();
    padded[1013] = 0x20;
    t.equal(faultOf(decodeVbs(padded, '1014')), 'BAD_PADDING blocking @1013');
  }
  t.equal(codeOf(frameRecord(new Uint8Array(6001))), 'TOO_LONG');
  t.equal(codeOf(frameRecord(new Uint8Array(0))), 'WRONG_LENGTH');
  const block = inOneBlock(HAND_MADE);
  const tail = block.slice();
  tail[1000] = 0;
  t.equal(faultOf(decodeVbs(tail, '1014')), 'BAD_PADDING stream @1000');
  t.equal(codeOf(decodeVbs(block.subarray(0, 1000), '1014')), 'BAD_FRAMING');
  t.equal(codeOf(decodeVbs(new Uint8Array(1014).fill(0x40), '1014')), 'BAD_FRAMING');
  t.equal(codeOf(decodeVbs(new Uint8Array(0), '1014')), 'BAD_FRAMING');
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
    const chunks: Uint8Array[] = [];
    for (const [index, { message }] of messages.value.entries()) {
      const encoded = encodeMessage(index === 1 ? change(message) : message, LATIN1);
      const framed = encoded.ok ? frameRecord(encoded.value) : encoded;
      if (!framed.ok) return 'unwritable';
      chunks.push(framed.value);
    }
    const file = Buffer.concat([...blocked([...chunks, new Uint8Array(4)], '1014')]);
    const read = readSettlementFile(new Uint8Array(file), LATIN1);
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
    unit: fc.constantFrom(...'ABCXYZ0189-./ '),
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

t.test('cp500 agrees with the published page where it matters and is a bijection', async (t) => {
  const cp500 = charsetOf('cp500');
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  t.equal(new Set(cp500.toText(every, 0, 256)).size, 256);
  const known = {
    A: 0xc1,
    I: 0xc9,
    J: 0xd1,
    S: 0xe2,
    Z: 0xe9,
    '0': 0xf0,
    '9': 0xf9,
    ' ': 0x40,
    '/': 0x61,
  };
  for (const [text, byte] of Object.entries(known)) t.equal(cp500.toByte(text.charCodeAt(0)), byte);
  // The seven characters in which cp500 and cp037 differ, as cp500 has them.
  const differing = { '[': 0x4a, ']': 0x5a, '!': 0x4f, '^': 0x5f, '|': 0xbb };
  for (const [text, byte] of Object.entries(differing))
    t.equal(cp500.toByte(text.charCodeAt(0)), byte);
  t.equal(cp500.toByte('霧'.charCodeAt(0)), -1);
  for (const character of '![]^|\\~${}az霧') t.notOk(isSafeText(character), character);
  t.equal(toSafeText('Toll Gate 霧 [1]', 22), 'TOLL GATE ? ?1?');
  t.equal(toSafeText('straße', 4), 'STRA');
});

t.test('ARN: Luhn as published, constant zero, and every part checked', async (t) => {
  t.equal(luhnDigit('7992739871'), '3', 'the digit of the published example');
  t.ok(isLuhnValid('4111111111111111'));
  t.notOk(isLuhnValid('4111111111111112'));
  const rule = LATIN1.arn;
  const parts = { bin: '123456', yddd: '6325', sequence: 1 };
  t.same(buildArn(rule, parts), { ok: true, value: '01234566325000000000012' });
  const zero = { firstDigit: '9', check: 'zero' } as const;
  t.same(buildArn(zero, parts), { ok: true, value: '91234566325000000000010' });
  t.equal(codeOf(buildArn(rule, { ...parts, bin: '12345' })), 'WRONG_LENGTH');
  t.equal(codeOf(buildArn(rule, { ...parts, yddd: '325' })), 'WRONG_LENGTH');
  t.equal(codeOf(buildArn(rule, { ...parts, sequence: 0 })), 'OVERFLOW');
  t.equal(codeOf(buildArn(rule, { ...parts, sequence: 1e11 })), 'OVERFLOW');
  t.equal(arnFault('01234566325000000000012', rule), undefined);
  t.match(arnFault('01234566325000000000013', rule), 'check digit is not 2');
  t.match(arnFault('0123456632500000000001', rule), 'not 23 digits');
  t.match(arnFault('91234566325000000000010', rule), 'first digit is not 0');
  t.match(arnFault('01234566367000000000012', rule), 'day 367');
});
