import t from 'tap';
import { arnFault, buildArn, isLuhnValid, luhnDigit } from '../../../../sync/clearing/core/arn.ts';
import { charsetOf, isSafeText, toSafeText } from '../../../../sync/clearing/core/charset.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { decodeMessage } from '../../../../sync/clearing/core/iso8583.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { parsePds } from '../../../../sync/clearing/core/pds.ts';
import { decodeVbs, encodeVbs } from '../../../../sync/clearing/core/vbs.ts';

const LATIN1 = DEFAULT_IPM_PROFILE;
const CP500 = ipmProfile('kiri-ipm-onus-cp500') as IpmProfile;

const codeOf = (result: Coded<unknown>): string => (result.ok ? 'accepted' : result.fault.code);
const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field} @${result.fault.offset}`;

t.test('PDS fill their carriers to 999 characters and spill in order', async (t) => {
  const full = 'A'.repeat(992);
  const write = (pds: readonly (readonly [string, string])[]): Coded<Uint8Array> =>
    encodeMessage({ mti: '1240', fields: new Map([[24, '200']]), pds: new Map(pds) }, LATIN1);
  const bytesOf = (result: Coded<Uint8Array>): string =>
    result.ok ? Buffer.from(result.value).toString('latin1') : faultOf(result);
  const head = (bitmap: string): string =>
    `1240${Buffer.from(bitmap, 'hex').toString('latin1')}200`;
  const one = head('80000100000100000000000000000000');
  const two = head('80000100000100040000000000000000');
  const spilt = `${two}9990001992${full}0080002001B`;
  t.equal(
    bytesOf(
      write([
        ['0002', 'B'],
        ['0001', full],
      ]),
    ),
    spilt,
    'in ascending order',
  );
  t.equal(bytesOf(write([['0001', 'A'.repeat(993)]])), 'TOO_LONG PDS0001 @0');
  t.equal(
    bytesOf(
      write([
        ['0001', 'A'.repeat(984)],
        ['0002', 'B'],
      ]),
    ),
    `${one}9990001984${'A'.repeat(984)}0002001B`,
    'two that fit exactly share a carrier',
  );
  const six = new Map(['1', '2', '3', '4', '5', '6'].map((tag) => [`000${tag}`, full]));
  t.equal(bytesOf(write([...six])), 'TOO_LONG PDS0006 @0', 'a sixth carrier does not exist');
  t.equal(bytesOf(write([['12', 'A']])), 'UNKNOWN_FIELD PDS12 @0');
  t.equal(bytesOf(write([['0012', '']])), 'WRONG_LENGTH PDS0012 @0');
  // MTI and bitmap 20, DE24 3, length of DE48 3, tag and length 7: the second character of the text.
  t.equal(bytesOf(write([['0012', 'Aa']])), 'WRONG_CHARACTER PDS0012 @34');
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

t.test('blocks: boundary, padding and tail', async (t) => {
  for (const length of [1003, 1004, 1005, 2016, 6000]) {
    const written = encodeVbs([new Uint8Array(length).fill(0x31)], '1014');
    const file = written.ok ? written.value : new Uint8Array(0);
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
  const five = new Uint8Array(5).fill(0x31);
  const faulty = (length: number): string =>
    faultOf(encodeVbs([five, new Uint8Array(length)], 'none'));
  t.equal(faulty(6001), 'TOO_LONG record @0');
  t.equal(faulty(0), 'WRONG_LENGTH record @0');
  const block = new Uint8Array(1014).fill(0x40);
  block.set([0, 0, 0, 1, 0x31, 0, 0, 0, 0]);
  const tail = block.slice();
  tail[1000] = 0;
  t.equal(faultOf(decodeVbs(tail, '1014')), 'BAD_PADDING stream @1000');
  t.equal(codeOf(decodeVbs(block.subarray(0, 1000), '1014')), 'BAD_FRAMING');
  t.equal(codeOf(decodeVbs(new Uint8Array(1014).fill(0x40), '1014')), 'BAD_FRAMING');
  t.equal(codeOf(decodeVbs(new Uint8Array(0), '1014')), 'BAD_FRAMING');
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
