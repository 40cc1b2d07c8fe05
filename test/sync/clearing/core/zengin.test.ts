import t from 'tap';
import fc from 'fast-check';
import { planPayout } from '../../../../sync/clearing/core/payout.ts';
import type { MerchantBalance } from '../../../../sync/clearing/core/payout.ts';
import {
  ZENGIN_PROFILE,
  readZenginFile,
  writeZenginFile,
} from '../../../../sync/clearing/core/zengin-file.ts';
import type {
  ZenginAccount,
  ZenginFile,
  ZenginTransfer,
} from '../../../../sync/clearing/core/zengin-file.ts';
import {
  zenginByte,
  zenginCharacter,
  zenginText,
} from '../../../../sync/clearing/core/zengin-text.ts';

const blanks = (count: number): string => ' '.repeat(count);

// By hand from the field table of 総合振込; kana as bytes of JIS X 0201. Widths stand behind each field.
const HEADER = [
  '1',
  '21',
  '0', // 1 2 1
  '0000012345', // client code 10
  '\xB7\xD8 \xBA\xB3\xC2\xB3(\xB6',
  blanks(31), // client name 40
  '1130', // day 4
  '0001',
  '\xD0\xC5\xC4',
  blanks(12), // bank 4, name 15
  '123',
  '\xCE\xDD\xC3\xDD',
  blanks(11), // branch 3, name 15
  '1',
  '0654321', // kind 1, number 7
  blanks(17),
].join('');
const FIRST = [
  '2',
  '0005',
  '\xBB\xB8\xD7',
  blanks(12), // bank 4, name 15
  '007',
  blanks(15), // branch 3, name 15
  '0000', // clearing house 4
  '2',
  '7654321', // kind 1, number 7
  '\xC1\xD4-\xBC\xDE \xBC\xD6\xC2\xCC\xDF',
  blanks(19), // payee 30
  '0000003850', // amount 10
  '0', // new code
  'D261130 M-1',
  blanks(9), // reference 20
  '7',
  'Y', // class 1, mark 1
  blanks(7),
].join('');
const SECOND = [
  '2',
  '9900',
  blanks(15),
  '018',
  blanks(15),
  '0000',
  '1',
  '0000001',
  'GATE 2',
  blanks(24),
  '9999999999',
  '0',
  blanks(20),
  '7',
  ' ',
  blanks(7),
].join('');
const TRAILER = ['8', '000002', '010000003849', blanks(101)].join('');
const END = ['9', blanks(119)].join('');
const FIXTURE = [HEADER, FIRST, SECOND, TRAILER, END];
const bytesOf = (records: readonly string[], lineEnd = ''): Uint8Array =>
  Buffer.from(records.map((record) => record + lineEnd).join(''), 'latin1');

const account = (bank: string, branch: string, kind: '1' | '2', number: string): ZenginAccount => ({
  bank,
  bankName: '',
  branch,
  branchName: '',
  kind,
  number,
});
const name = (text: string): string => zenginText(text) ?? '';
const file: ZenginFile = {
  header: {
    clientCode: '0000012345',
    clientName: name('キリ コウツウ(カ'),
    transferDay: '1130',
    account: {
      ...account('0001', '123', '1', '0654321'),
      bankName: name('ミナト'),
      branchName: name('ホンテン'),
    },
  },
  transfers: [
    {
      account: { ...account('0005', '007', '2', '7654321'), bankName: name('サクラ') },
      payeeName: name('チャージ ショップ'),
      amountYen: 3850n,
      reference: 'D261130 M-1',
    },
    {
      account: account('9900', '018', '1', '0000001'),
      payeeName: 'GATE 2',
      amountYen: 9_999_999_999n,
      reference: '',
    },
  ],
};
const crlf = { ...ZENGIN_PROFILE, lineEnd: 'crlf' } as const;

t.test('a file made by hand is read, and ours is equal to it byte for byte', async (t) => {
  for (const record of FIXTURE) t.equal(record.length, 120);
  const read = readZenginFile(bytesOf(FIXTURE), ZENGIN_PROFILE);
  t.same(read, { ok: true, value: file });
  const written = writeZenginFile(file, ZENGIN_PROFILE);
  t.ok(written.ok && Buffer.compare(written.value, bytesOf(FIXTURE)) === 0);
  const lines = writeZenginFile(file, crlf);
  t.ok(lines.ok && Buffer.compare(lines.value, bytesOf(FIXTURE, '\r\n')) === 0);
  t.same(readZenginFile(bytesOf(FIXTURE, '\r\n'), crlf), { ok: true, value: file });
});

t.test(
  'the character table is that of Shift JIS single bytes, small kana and ヲ left out',
  async (t) => {
    const decoder = new TextDecoder('shift_jis');
    for (let byte = 0; byte < 256; byte++) {
      const character = zenginCharacter(byte);
      if (character === undefined) continue;
      t.equal(character, decoder.decode(Uint8Array.of(byte)));
      t.equal(zenginByte(character), byte);
    }
    for (const byte of [0x00, 0x0a, 0x61, 0x5c, 0x80, 0xa1, 0xa6, 0xa7, 0xaf, 0xb0, 0xe0, 0xff]) {
      t.equal(zenginCharacter(byte), undefined);
    }
    t.equal(zenginText('キュウヨ ショッピング'), 'ｷﾕｳﾖ ｼﾖﾂﾋﾟﾝｸﾞ');
    t.equal(zenginText('ｷｭｳﾖ　ｶﾞ'), 'ｷﾕｳﾖ ｶﾞ', 'half width and the ideographic blank');
    t.equal(zenginText('きりゲート'), 'ｷﾘｹﾞ-ﾄ');
    t.equal(zenginText('ハ゛ス'), 'ﾊﾞｽ', 'a mark that stands alone');
    t.equal(zenginText('ヴァ(Ｇａｔｅ-1.)'), 'ｳﾞｱ(GATE-1.)');
    for (const text of ['霧', '㈱キリ', 'ヲ', 'a+b', 'é', '😀', 'a\nb']) {
      t.equal(zenginText(text), undefined, text);
    }
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const folded = zenginText(text);
        return folded === undefined || zenginText(folded) === folded;
      }),
    );
  },
);

t.test('whatever the writer takes, the reader gives back', async (t) => {
  const digits = (width: number) =>
    fc.stringMatching(new RegExp(`^[0-9]{${width - 1}}[1-9]$`, 'u'));
  const text = (width: number) =>
    fc
      .array(fc.constantFrom(...Array.from('ABZ09 ()-.ｱﾜﾝﾞﾟ')), { minLength: 1, maxLength: width })
      .map((characters) => characters.join('').trim() || 'A');
  const anyAccount = fc.record({
    bank: digits(4),
    bankName: text(15),
    branch: digits(3),
    branchName: text(15),
    kind: fc.constantFrom('1' as const, '2' as const, '4' as const, '9' as const),
    number: digits(7),
  });
  const transfer = fc.record({
    account: anyAccount,
    payeeName: text(30),
    amountYen: fc.bigInt(1n, 9_999_999_999n),
    reference: fc.oneof(fc.constant(''), text(20)),
  });
  const any = fc.record({
    header: fc.record({
      clientCode: digits(10),
      clientName: text(40),
      transferDay: fc.constantFrom('0101', '0229', '1231'),
      account: anyAccount,
    }),
    transfers: fc.array(transfer, { minLength: 1, maxLength: 20 }),
  });
  fc.assert(
    fc.property(any, fc.constantFrom(ZENGIN_PROFILE, crlf), (one, profile) => {
      const written = writeZenginFile(one, profile);
      if (!written.ok) return false;
      const read = readZenginFile(written.value, profile);
      t.same(read, { ok: true, value: one });
      return read.ok;
    }),
    { numRuns: 50 },
  );
});

t.test('every damage is refused with its offset and its field', async (t) => {
  const put = (record: number, at: number, text: string): string[] =>
    FIXTURE.map((line, index) =>
      index === record ? line.slice(0, at) + text + line.slice(at + text.length) : line,
    );
  const cases: readonly [readonly string[], string, number, string][] = [
    [put(0, 0, '2'), 'WRONG_VALUE', 0, 'header.recordKind'],
    [put(0, 1, '11'), 'WRONG_VALUE', 1, 'header.transferKind'],
    [put(0, 3, '1'), 'WRONG_VALUE', 3, 'header.codeKind'],
    [put(0, 6, 'A'), 'WRONG_CHARACTER', 6, 'header.clientCode'],
    [put(0, 14, ' '), 'BAD_PADDING', 14, 'header.clientName'],
    [put(0, 54, '0230'), 'WRONG_VALUE', 0, 'header.transferDay'],
    [put(0, 110, 'X'), 'WRONG_VALUE', 103, 'header.filler'],
    [put(1, 1, '0000'), 'WRONG_VALUE', 120, 'data.bank'],
    [put(1, 42, '3'), 'WRONG_VALUE', 120, 'data.accountKind'],
    [put(1, 50, '\xAC'), 'WRONG_CHARACTER', 170, 'data.payeeName'],
    [put(1, 50, 'a'), 'WRONG_CHARACTER', 170, 'data.payeeName'],
    [put(1, 80, '0000000000'), 'WRONG_VALUE', 120, 'data.amount'],
    [put(1, 80, '000000385 '), 'WRONG_CHARACTER', 209, 'data.amount'],
    [put(1, 112, ' '), 'WRONG_VALUE', 120, 'data.referenceMark'],
    [put(3, 1, '000003'), 'WRONG_VALUE', 361, 'trailer.count'],
    [put(3, 18, '8'), 'WRONG_VALUE', 367, 'trailer.total'],
    [put(4, 0, '8'), 'WRONG_VALUE', 480, 'end.recordKind'],
    [[HEADER, TRAILER, END], 'WRONG_VALUE', 121, 'trailer.count'],
    [[...FIXTURE, END], 'TRAILING_DATA', 600, 'file'],
    [[HEADER, FIRST], 'TRUNCATED', 240, 'trailer.recordKind'],
  ];
  for (const [records, code, offset, field] of cases) {
    const read = readZenginFile(bytesOf(records), ZENGIN_PROFILE);
    t.match(read, { ok: false, fault: { code, offset, field } });
  }
  const lf = readZenginFile(bytesOf(FIXTURE, '\n'), crlf);
  t.match(lf, { ok: false, fault: { code: 'MISSING_TERMINATOR', offset: 120 } });
  t.notOk(readZenginFile(bytesOf(FIXTURE), crlf).ok);
  t.notOk(readZenginFile(bytesOf(FIXTURE, '\r\n'), ZENGIN_PROFILE).ok);
  const whole = bytesOf(FIXTURE);
  for (let length = 0; length < whole.length; length++) {
    if (readZenginFile(whole.subarray(0, length), ZENGIN_PROFILE).ok) t.fail(`cut at ${length}`);
  }
});

t.test('the writer refuses what does not fit and never cuts it off', async (t) => {
  const one = file.transfers[0] as ZenginTransfer;
  const fault = (transfers: readonly ZenginTransfer[]): string => {
    const written = writeZenginFile({ ...file, transfers }, ZENGIN_PROFILE);
    return written.ok ? 'written' : `${written.fault.code} ${written.fault.field}`;
  };
  t.equal(fault([one]), 'written');
  t.equal(fault([]), 'WRONG_VALUE trailer.count');
  t.equal(fault([{ ...one, amountYen: 0n }]), 'WRONG_VALUE data.amount');
  t.equal(fault([{ ...one, amountYen: -1n }]), 'NEGATIVE data.amount');
  t.equal(fault([{ ...one, amountYen: 10_000_000_000n }]), 'OVERFLOW data.amount');
  t.equal(fault([{ ...one, payeeName: 'A'.repeat(31) }]), 'TOO_LONG data.payeeName');
  t.equal(fault([{ ...one, payeeName: 'ｶﾞｯ' }]), 'WRONG_CHARACTER data.payeeName');
  t.equal(fault([{ ...one, payeeName: ' A' }]), 'WRONG_CHARACTER data.payeeName');
  t.equal(fault([{ ...one, payeeName: '' }]), 'WRONG_VALUE data.payeeName');
  t.equal(
    fault([{ ...one, account: { ...one.account, number: '12345678' } }]),
    'OVERFLOW data.accountNumber',
  );
  t.equal(
    fault([{ ...one, account: { ...one.account, number: '' } }]),
    'WRONG_CHARACTER data.accountNumber',
  );
  const most = { ...one, amountYen: 9_999_999_999n };
  t.equal(fault(Array.from({ length: 101 }, () => most)), 'OVERFLOW trailer.total');
});

t.test('merchants are paid whole yen; remainders, debts and the unknown are carried', async (t) => {
  const payee = { account: account('0005', '007', '1', '0000001'), name: 'A', reference: '' };
  const of = (merchant: string) => (merchant === 'unknown' ? undefined : payee);
  const balance = (merchant: string, payableMicro: bigint, currency = 392): MerchantBalance => ({
    merchant,
    currency,
    payableMicro,
  });
  const plan = planPayout(
    [
      balance('A', 3_850_250_000n),
      balance('B', -5_000_000n),
      balance('C', 999_999n),
      balance('D', 0n),
      balance('unknown', 7_000_000n),
      balance('E', 100_000_000n, 840),
      balance('F', 10_000_000_000_000_000n),
      balance('G', 2_000_000n),
    ],
    of,
  );
  t.same(
    plan.lines.map(({ merchant, transfer }) => [merchant, transfer.amountYen]),
    [
      ['A', 3850n],
      ['F', 9_999_999_999n],
      ['G', 2n],
    ],
  );
  t.same(
    plan.carried.map(({ merchant, payableMicro, reason }) => [merchant, payableMicro, reason]),
    [
      ['A', 250_000n, 'remainder'],
      ['B', -5_000_000n, 'negative'],
      ['C', 999_999n, 'belowMinimum'],
      ['unknown', 7_000_000n, 'noAccount'],
      ['E', 100_000_000n, 'notYen'],
      ['F', 1_000_000n, 'remainder'],
    ],
  );
  t.throws(() => planPayout([balance('A', 1n), balance('A', 1n)], of), {
    code: 'INVARIANT_BROKEN',
  });
  fc.assert(
    fc.property(
      fc.array(fc.bigInt(-(10n ** 15n), 10n ** 17n)),
      fc.bigInt(0n, 5000n),
      (sums, least) => {
        const { lines, carried } = planPayout(
          sums.map((sum, at) => balance(at % 3 === 0 ? 'unknown' + at : `M${at}`, sum)),
          (merchant) => (merchant.startsWith('unknown') ? undefined : payee),
          least,
        );
        const paid = lines.reduce((sum, one) => sum + one.transfer.amountYen * 1_000_000n, 0n);
        const held = carried.reduce((sum, one) => sum + one.payableMicro, 0n);
        const isEnough = lines.every((one) => one.transfer.amountYen >= (least || 1n));
        return isEnough && paid + held === sums.reduce((sum, one) => sum + one, 0n);
      },
    ),
  );
});
