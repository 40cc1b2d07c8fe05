import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { toHex } from '../../../../protocol/bytes.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import { readIpmMessages, readSettlementFile } from '../../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { FieldValue } from '../../../../sync/clearing/core/iso8583.ts';
import { encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { decodeVbs, encodeVbs } from '../../../../sync/clearing/core/vbs.ts';
import { verifyIpm } from '../../../../sync/clearing/core/verify-ipm.ts';
import { LineOfReceipts, NOON_S, anchors, inMemory } from '../sample.ts';
import { handMadeFile, handMadeRecords, inBlocks, recordBytes, stream } from './hand-made.ts';
import type { Element, HandMadeRecord } from './hand-made.ts';
import { MUST_FAIL } from './must-fail-list.ts';

const LATIN1 = DEFAULT_IPM_PROFILE;
const PLAIN: IpmProfile = { ...LATIN1, blocking: 'none' };
const CP500 = { ...(ipmProfile('kiri-ipm-onus-cp500') as IpmProfile), blocking: 'none' as const };

const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field} @${result.fault.offset}`;
const codeOf = (result: Coded<unknown>): string => (result.ok ? 'accepted' : result.fault.code);

const RECORDS = handMadeRecords('\\');
const [HEADER, DEBIT, , TRAILER] = RECORDS as [
  HandMadeRecord,
  HandMadeRecord,
  HandMadeRecord,
  HandMadeRecord,
];
const asFile = (records: readonly HandMadeRecord[]): Uint8Array =>
  Uint8Array.from(stream(records.map((one) => recordBytes(one, 'latin1'))));
const withElement = (record: HandMadeRecord, element: Element): HandMadeRecord => ({
  ...record,
  elements: [...record.elements.filter(([de]) => de !== element[0]), element].toSorted(
    ([a], [b]) => a - b,
  ),
});
/** The hand-made file with its first 1240 changed, and the offset of that record. */
const withDebit = (debit: HandMadeRecord): Uint8Array => asFile([HEADER, debit, TRAILER]);
const DEBIT_AT = 4 + recordBytes(HEADER, 'latin1').length + 4;

t.test('every row of the list has its test', async (t) => {
  for (const { row, file, name } of MUST_FAIL) {
    const path = join('test', file);
    t.ok(existsSync(path), `${row}: there is ${path}`);
    // A name may be broken over two lines of a call, never inside.
    const source = existsSync(path) ? readFileSync(path, 'utf8') : '';
    t.ok(
      source.includes(`'${name}'`) || source.includes(`\`${name}\``),
      `${row}: ${path} has a test named "${name}"`,
    );
  }
  t.equal(new Set(MUST_FAIL.map(({ row }) => row)).size, MUST_FAIL.length, 'no row comes twice');
});

t.test('a file cut off at any byte of one record is refused', async (t) => {
  for (const framing of ['vbs', '1014'] as const) {
    const whole = handMadeFile('latin1', framing);
    const profile = framing === 'vbs' ? PLAIN : LATIN1;
    const length = recordBytes(DEBIT, 'latin1').length;
    t.equal(codeOf(readIpmMessages(whole, profile)), 'accepted');
    for (let cut = DEBIT_AT - 4; cut < DEBIT_AT + length; cut++) {
      const read = readIpmMessages(whole.subarray(0, cut), profile);
      // In blocks the length of the file gives it away; in a plain stream the record's own length, or its absence.
      const expected =
        framing === '1014' ? 'BAD_FRAMING' : cut < DEBIT_AT ? 'MISSING_TERMINATOR' : 'TRUNCATED';
      t.equal(codeOf(read), expected, `${framing}: cut at byte ${cut}`);
    }
  }
});

t.test('a record that lost its end at any byte is refused inside that record', async (t) => {
  const length = recordBytes(DEBIT, 'latin1').length;
  for (let kept = 0; kept < length; kept++) {
    const bytes = handMadeFile('latin1', '1014', (record, at) =>
      at === 1 ? record.slice(0, kept) : record,
    );
    const read = readIpmMessages(bytes, LATIN1);
    t.notOk(read.ok, `${kept} of ${length} bytes kept`);
    if (read.ok) continue;
    const { code, offset, field } = read.fault;
    // A record of length zero is the terminator, so the rest of the file stands behind it.
    if (kept === 0) t.equal(code, 'BAD_PADDING');
    else t.ok(offset >= DEBIT_AT && offset <= DEBIT_AT + kept, `${code} ${field} @${offset}`);
  }
});

t.test('a wrong character in any element is refused at its byte', async (t) => {
  let at = DEBIT_AT + 20;
  for (const [de, text] of DEBIT.elements) {
    const digits = [31, 33, 43, 94].includes(de) ? 2 : de === 48 ? 3 : 0;
    const bad = text.slice(0, digits) + '~' + text.slice(digits + 1);
    const fault = faultOf(readIpmMessages(withDebit(withElement(DEBIT, [de, bad])), PLAIN));
    t.equal(fault, `WRONG_CHARACTER DE${de} @${at + digits}`);
    if (digits > 0) {
      const notNumeric = `X${text.slice(1)}`;
      const framing = faultOf(
        readIpmMessages(withDebit(withElement(DEBIT, [de, notNumeric])), PLAIN),
      );
      t.equal(framing, `BAD_FRAMING DE${de} @${at}`);
      const most = '9'.repeat(digits) + text.slice(digits);
      const long = codeOf(readIpmMessages(withDebit(withElement(DEBIT, [de, most])), PLAIN));
      t.match(long, /TOO_LONG|TRUNCATED|WRONG_CHARACTER/, `DE${de} says it is longer than it is`);
    }
    at += text.length;
  }
});

t.test('a bit for an element that is not in the table is refused by number', async (t) => {
  const known = new Set(
    '2-6 9 10 12 14 22-26 30-33 37 38 40-43 48-51 54 62 63 71-73 93-95 100 105 111 123-125 127'
      .split(' ')
      .flatMap((part) => {
        const [from, to = from] = part.split('-').map(Number) as [number, number?];
        return Array.from({ length: to - from + 1 }, (_, at) => from + at);
      }),
  );
  for (let de = 2; de <= 128; de++) {
    if (known.has(de)) continue;
    const bytes = withDebit(withElement(DEBIT, [de, '']));
    const offset = DEBIT_AT + 4 + ((de - 1) >> 3);
    t.equal(faultOf(readIpmMessages(bytes, PLAIN)), `UNKNOWN_FIELD DE${de} @${offset}`);
  }
});

t.test('records that end just before, on and after a block boundary', async (t) => {
  // With its length a record of 1004 bytes ends 4 bytes before the boundary: only the terminator fits; and so on.
  for (const length of [1003, 1004, 1005, 1007, 1008, 1009, 1012, 2016, 6000]) {
    const record = Array.from({ length }, () => 0x31);
    const byHand = Uint8Array.from(inBlocks(stream([record])));
    const ours = encodeVbs([Uint8Array.from(record)], '1014');
    t.equal(ours.ok && toHex(ours.value), toHex(byHand), `${length} bytes`);
    const read = decodeVbs(byHand, '1014');
    t.equal(read.ok && read.value[0]?.bytes.length, length);
  }
  t.equal(faultOf(encodeVbs([new Uint8Array(6001)], '1014')), 'TOO_LONG record @0');
  const tooLong = Uint8Array.from(inBlocks(stream([Array.from({ length: 6001 }, () => 0x31)])));
  t.equal(faultOf(decodeVbs(tooLong, '1014')), 'BAD_FRAMING record @0');
});

t.test('cp500 and cp037: what we write reads alike, what differs is refused', async (t) => {
  // The bytes that the two pages read differently: cp500 has [ ! ] ^ | where cp037 has other signs.
  const differing = [0x4a, 0x4f, 0x5a, 0x5f, 0xb0, 0xba, 0xbb];
  const ours = handMadeFile('cp500', 'vbs', (bytes) => {
    const text = [...bytes.slice(0, 4), ...bytes.slice(20)];
    t.notOk(text.some((byte) => differing.includes(byte)));
    return bytes;
  });
  t.equal(codeOf(readSettlementFile(ours, CP500)), 'accepted');
  // Somebody else's file in cp037 with `!` (5A) in the merchant's name reads as `]` in cp500: refused at that byte.
  const nameAt = recordBytes(DEBIT, 'latin1').length - 8 - 3 - 13 - 41 - 47;
  let at = -1;
  const theirs = handMadeFile('cp500', 'vbs', (bytes, record) => {
    if (record !== 1) return bytes;
    at = DEBIT_AT + nameAt;
    return bytes.map((byte, place) => (place === nameAt ? 0x5a : byte));
  });
  t.equal(faultOf(readIpmMessages(theirs, CP500)), `WRONG_CHARACTER DE43 @${at}`);
});

t.test('lower case and backslash, which IBM290 has elsewhere, never leave in EBCDIC', async (t) => {
  const write = (de: number, value: FieldValue): string => {
    const fields = new Map<number, FieldValue>([
      [24, '200'],
      [de, value],
    ]);
    return faultOf(encodeMessage({ mti: '1240', fields, pds: new Map() }, CP500));
  };
  t.equal(write(42, 'Merchant'), 'WRONG_CHARACTER DE42 @24');
  t.equal(write(42, 'A\\B'), 'WRONG_CHARACTER DE42 @24');
  t.equal(write(43, 'A\\B\\C\\D'), 'WRONG_CHARACTER DE43 @26', 'DE43 has its own delimiter there');
  for (const sign of '$[]!^|{}~') t.match(write(42, `A${sign}`), 'WRONG_CHARACTER DE42', sign);
});

t.test('a currency with another number of decimals than ISO 4217 gives it', async (t) => {
  const codes = (numeric: string, exponent: string): string[] => {
    const pds = `0380148004${numeric}${exponent}0165001C9501012KIRI-ACC-001`;
    const line = withElement(withElement(DEBIT, [48, pds]), [49, numeric]);
    const last = withElement(TRAILER, [
      48,
      '0700105025002261121000000328150220103010160000000000003850030600800000003',
    ]);
    const bytes = asFile([HEADER, line, withElement(last, [71, '00000003'])]);
    return verifyIpm(bytes, PLAIN).findings.map(({ code, record }) => `${code} ${record}`);
  };
  t.same(codes('392', '0'), [], 'yen have none');
  t.same(codes('392', '2'), ['CURRENCY 2']);
  t.same(codes('414', '3'), [], 'the Kuwaiti dinar has three');
  t.same(codes('414', '2'), ['CURRENCY 2']);
  t.same(codes('990', '4'), [], 'unidad de fomento, four');
  t.same(codes('990', '2'), ['CURRENCY 2']);
  t.same(codes('999', '0'), ['CURRENCY 2'], 'no currency');
});

t.test('a file or a payment from the future is found', async (t) => {
  const bytes = handMadeFile('latin1', '1014');
  const found = (nowS: number): string[] =>
    verifyIpm(bytes, LATIN1, new Set(), nowS).findings.map(
      ({ code, record }) => `${code} ${record}`,
    );
  const begins = Date.UTC(2026, 10, 20, 10) / 1000;
  t.same(found(begins), [], '21 November has begun in the east');
  t.same(found(begins - 1), ['FUTURE 1', 'FUTURE 2', 'FUTURE 3'], 'and a second before nowhere');
  t.same(found(begins + 10 * 365 * 86_400), [], 'old files are no fault');
});

t.test('nothing to present gives no file, and a file of nothing is refused', async (t) => {
  const empty = asFile([HEADER, withElement(TRAILER, [71, '00000002'])]);
  t.ok(verifyIpm(empty, PLAIN).findings.some(({ code }) => code === 'NO_PRESENTMENT'));
  const { service, files } = await inMemory();
  t.match(await service.cut(NOON_S, anchors, true), { files: [], blocked: [] });
  await service.ingestBatch([new LineOfReceipts('small').next(999_999n)], NOON_S);
  t.match(await service.cut(NOON_S, anchors, true), { files: [] }, 'an aggregate of 0 yen');
  t.equal(files.size, 0);
  t.match(await service.reconcile(), {
    reconciles: true,
    books: [{ buckets: { carried: 999_999n } }],
  });
  await service.close();
});
