import t from 'tap';
import { checkCanonical, type CborLimits } from '../../../protocol/cbor/check.ts';
import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { Tagged, type CborMap, type CborValue } from '../../../protocol/cbor/value.ts';

const LIMITS: CborLimits = { maxBytes: 16_384 };
const fromHex = (hex: string): Uint8Array =>
  new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const map = (...pairs: [number | string, CborValue][]): CborMap => new Map(pairs);

/** What both checker and decoder say: the code, or `ok`. */
function verdict(input: Uint8Array, limits: CborLimits = LIMITS): string {
  const checked = checkCanonical(input, limits);
  const decoded = decodeCanonical(input, limits);
  t.equal(decoded.ok, checked.ok, 'decoder and checker agree');
  return checked.ok ? 'ok' : checked.code;
}

const ONE_TO_25 = Array.from({ length: 25 }, (_, i) => BigInt(i + 1));

// RFC 8949 Appendix A, the items that are in the profile.
const KEPT: readonly [hex: string, value: CborValue][] = [
  ['00', 0n],
  ['01', 1n],
  ['0a', 10n],
  ['17', 23n],
  ['1818', 24n],
  ['1819', 25n],
  ['1864', 100n],
  ['1903e8', 1000n],
  ['1a000f4240', 1_000_000n],
  ['1b000000e8d4a51000', 1_000_000_000_000n],
  ['1bffffffffffffffff', 18_446_744_073_709_551_615n],
  ['3bffffffffffffffff', -18_446_744_073_709_551_616n],
  ['20', -1n],
  ['29', -10n],
  ['3863', -100n],
  ['3903e7', -1000n],
  ['f4', false],
  ['f5', true],
  ['f6', null],
  ['40', new Uint8Array(0)],
  ['4401020304', Uint8Array.of(1, 2, 3, 4)],
  ['60', ''],
  ['6161', 'a'],
  ['6449455446', 'IETF'],
  ['62225c', '"\\'],
  ['62c3bc', '\u00fc'],
  ['63e6b0b4', '\u6c34'],
  ['64f0908591', '\ud800\udd51'],
  ['80', []],
  ['83010203', [1n, 2n, 3n]],
  ['8301820203820405', [1n, [2n, 3n], [4n, 5n]]],
  ['98190102030405060708090a0b0c0d0e0f101112131415161718181819', ONE_TO_25],
  ['a0', map()],
  ['a201020304', map([1, 2n], [3, 4n])],
  ['a26161016162820203', map(['a', 1n], ['b', [2n, 3n]])],
  ['826161a161626163', ['a', map(['b', 'c'])]],
  [
    'a56161614161626142616361436164614461656145',
    map(['a', 'A'], ['b', 'B'], ['c', 'C'], ['d', 'D'], ['e', 'E']),
  ],
];

// RFC 8949 Appendix A, the rest: bignums, floats, simple values, tags, indefinite lengths.
const REFUSED = `
  c249010000000000000000 c349010000000000000000
  f90000 f98000 f93c00 fb3ff199999999999a f93e00 f97bff fa47c35000 fa7f7fffff fb7e37e43c8800759c
  f90001 f90400 f9c400 fbc010666666666666 f97c00 f97e00 f9fc00 fa7f800000 fa7fc00000 faff800000
  fb7ff0000000000000 fb7ff8000000000000 fbfff0000000000000 f7 f0 f8ff
  c074323031332d30332d32315432303a30343a30305a c11a514b67b0 c1fb41d452d9e8200000 d74401020304
  d818456449455446 d82076687474703a2f2f7777772e6578616d706c652e636f6d
  5f42010243030405ff 7f657374726561646d696e67ff 9fff 9f018202039f0405ffff 9f01820203820405ff
  83018202039f0405ff 83019f0203ff820405
  9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff
  bf61610161629f0203ffff 826161bf61626163ff bf6346756ef563416d7421ff`;

t.test('RFC 8949 Appendix A: items of the profile go both ways, all others are refused', (t) => {
  for (const [hex, value] of KEPT) {
    t.equal(toHex(encodeCanonical(value)), hex, `encodes to ${hex}`);
    t.strictSame(decodeCanonical(fromHex(hex), LIMITS), { ok: true, value }, `decodes ${hex}`);
  }
  for (const hex of REFUSED.trim().split(/\s+/)) {
    t.equal(verdict(fromHex(hex)), 'NON_CANONICAL', hex);
  }
  t.end();
});

// Measured on cbor-x 1.6.9: it accepts most of these, or fails on them by throwing.
const HOSTILE: readonly [what: string, hex: string, reason: RegExp][] = [
  ['a bignum', 'c2420100', /tag/],
  ['an array of 2^32 - 1', '9affffffff', /beyond/],
  ['a map of 2^32 - 1', 'baffffffff', /beyond/],
  ['bytes of 2^32 - 1', '5affffffff', /beyond/],
  ['text of 2^64 - 1', '7bffffffffffffffff', /beyond/],
  ['text of 2^63', '7b8000000000000000', /beyond/],
  ['nested arrays of ten million', '9a00989680'.repeat(1000), /beyond/],
  ['a duplicate integer key', 'a201010102', /duplicate/],
  ['a duplicate text key', 'a2616101616102', /duplicate/],
  ['an integer in 8 bytes', '1b0000000000000001', /shortest/],
  ['an integer in 2 bytes', '1801', /shortest/],
  ['255 in 3 bytes', '1900ff', /shortest/],
  ['65535 in 5 bytes', '1a0000ffff', /shortest/],
  ['2^32 - 1 in 9 bytes', '1b00000000ffffffff', /shortest/],
  ['a text length in 2 bytes', '780161', /shortest/],
  ['a bignum key', 'a20101c2410102', /key type/],
  ['an indefinite array', '9f0102ff', /indefinite/],
  ['an indefinite map', 'bf616101ff', /indefinite/],
  ['a lone break', 'ff', /indefinite/],
  ['a byte that starts no text', '61ff', /UTF-8/],
  ['overlong UTF-8', '62c080', /UTF-8/],
  ['overlong UTF-8 of 3 bytes', '63e08080', /UTF-8/],
  ['overlong UTF-8 of 4 bytes', '64f0808080', /UTF-8/],
  ['a surrogate', '63eda080', /UTF-8/],
  ['beyond U+10FFFF', '64f4908080', /UTF-8/],
  ['a UTF-8 lead beyond F4', '64f5808080', /UTF-8/],
  ['a cut UTF-8 sequence', '62e6b0', /UTF-8/],
  ['a UTF-8 tail that is none', '63e6b041', /UTF-8/],
  ['a byte order mark', '63efbbbf', /UTF-8/],
  ['a byte order mark that TextDecoder drops', `7846efbbbf${'61'.repeat(67)}`, /UTF-8/],
  ['1.0', 'f93c00', /float/],
  ['-0.0', 'f98000', /shortest|float/],
  ['NaN', 'f97e00', /float/],
  ['false as a 2-byte simple value', 'f814', /shortest/],
  ['undefined', 'f7', /simple/],
  ['tag 27: a RegExp', 'd81b 82 66526567457870 66 28612b292b24', /tag/],
  ['tags 28 and 29: a cycle', 'd81c81d81d00', /tag/],
  ['tag 105: a record', 'd869 83 00 81 6161 01', /tag/],
  ['tag 0xdfff: a record', 'd9dfff 84 19e000 82 6161 6162 01 02', /tag/],
  ['a COSE tag in 3 bytes', 'd9001280', /shortest/],
  ['two items', '0102', /after/],
  ['nothing', '', /truncated/],
  ['a map without its last value', 'a20102 03', /beyond|truncated/],
  ['a cut head', '19ff', /truncated/],
  ['a cut array', '820102'.slice(0, 4), /beyond|truncated/],
  ['a tag without an item', 'd2', /beyond/],
  ['a reserved head', '1c', /reserved/],
  ['unsorted keys', 'a203040102', /unsorted/],
  ['a negative key before a positive', 'a220010002', /unsorted/],
  ['a longer text key first', 'a262616101616201', /unsorted/],
  ['a byte-string key', 'a1410101', /key type/],
  ['an array key', 'a18001', /key type/],
  ['a boolean key', 'a1f501', /key type/],
  ['a key of 2^53', 'a11b002000000000000001', /key type/],
  ['a key of -2^53', 'a13b001fffffffffffff01', /key type/],
];

t.test('every hostile input is NON_CANONICAL for the stated reason', (t) => {
  for (const [what, hex, reason] of HOSTILE) {
    const result = checkCanonical(fromHex(hex), LIMITS);
    t.match(result, { ok: false, code: 'NON_CANONICAL', reason }, what);
    t.match(decodeCanonical(fromHex(hex), LIMITS), result, `${what}: decoder`);
  }
  t.end();
});

function offsetOf(hex: string): number {
  const result = checkCanonical(fromHex(hex), LIMITS);
  return result.ok ? -1 : result.offset;
}

t.test('the offset names the offending byte', (t) => {
  t.equal(offsetOf('a201010102'), 3);
  t.equal(offsetOf('8201f93c00'), 2);
  t.equal(offsetOf('6361ff61'), 2);
  t.equal(offsetOf('0102'), 1);
  t.end();
});

t.test('size, item count and depth are bounded, exactly at the limit', (t) => {
  const nested = (levels: number): Uint8Array => fromHex(`${'81'.repeat(levels)}01`);
  t.equal(verdict(nested(8)), 'ok');
  for (const levels of [9, 1000, 5000]) t.equal(verdict(nested(levels)), 'TOO_DEEP');
  t.equal(verdict(fromHex('a100'.repeat(1000) + '00')), 'TOO_DEEP');
  t.equal(verdict(fromHex('d2'.repeat(1000) + '00')), 'TOO_DEEP', 'tags are levels');
  t.equal(verdict(nested(3), { maxBytes: 9, maxDepth: 2 }), 'TOO_DEEP');
  t.equal(verdict(nested(9), { maxBytes: 99, maxDepth: 99 }), 'TOO_DEEP', 'MAX_DEPTH stands');

  const zeros = Uint8Array.of(0x88, 0, 0, 0, 0, 0, 0, 0, 0);
  t.equal(verdict(zeros, { maxBytes: 9, maxItems: 9 }), 'ok');
  t.equal(verdict(zeros, { maxBytes: 9, maxItems: 8 }), 'TOO_LARGE');
  t.equal(verdict(zeros, { maxBytes: 8 }), 'TOO_LARGE');
  const bignum = new Uint8Array(65_536 + 6).fill(0xff);
  bignum.set(fromHex('c25a00010000'));
  t.equal(verdict(bignum), 'TOO_LARGE');
  t.equal(verdict(bignum, { maxBytes: 1_000_000 }), 'NON_CANONICAL');
  t.end();
});

t.test('only listed tags pass, and they come back as Tagged', (t) => {
  for (const tag of [16, 18, 96, 98]) {
    const value = new Tagged(tag, [Uint8Array.of(1), map([1, -8n])]);
    t.strictSame(decodeCanonical(encodeCanonical(value), LIMITS), { ok: true, value });
  }
  t.equal(verdict(encodeCanonical(new Tagged(61, 0))), 'NON_CANONICAL');
  t.equal(verdict(encodeCanonical(new Tagged(61, 0)), { maxBytes: 9, tags: [61] }), 'ok');
  t.end();
});

/** The input, counting every access the checker makes to it. */
function counted(bytes: Uint8Array): { input: Uint8Array; accesses: () => number } {
  let accesses = 0;
  const get = (target: Uint8Array, property: string | symbol): unknown => {
    accesses += 1;
    return Reflect.get(target, property, target);
  };
  return { input: new Proxy(bytes, { get }), accesses: () => accesses };
}

function bignumOf(kib: number): Uint8Array {
  const bytes = new Uint8Array(kib * 1024).fill(0xff);
  bytes.set(fromHex(`c25a${(kib * 1024 - 6).toString(16).padStart(8, '0')}`));
  return bytes;
}

/** Text keys of 1,000 bytes that differ only at their end: the longest comparisons there are. */
function longKeys(kib: number): Uint8Array {
  const keys = Array.from({ length: kib }, (_, i) => 'k'.repeat(996) + (1000 + i));
  return encodeCanonical(new Map(keys.map((key) => [key, 0])));
}

t.test('work grows with the input at most linearly, and not at all above the size limit', (t) => {
  for (const kib of [16, 64, 256]) {
    const limits = { maxBytes: 65_536, maxItems: 1_000_000 };
    const bignum = counted(bignumOf(kib));
    checkCanonical(bignum.input, limits);
    t.ok(bignum.accesses() < 10, `bignum of ${kib} KiB: ${bignum.accesses()} accesses`);
    const zeros: CborValue[] = Array.from({ length: kib * 1024 }, () => 0);
    const inputs = [encodeCanonical(zeros), encodeCanonical('水'.repeat(kib * 340)), longKeys(kib)];
    for (const bytes of inputs) {
      const all = counted(bytes);
      t.strictSame(checkCanonical(all.input, { ...limits, maxBytes: 1_000_000 }), { ok: true });
      t.ok(all.accesses() <= 6 * bytes.length, `${all.accesses()} for ${bytes.length} bytes`);
      const limited = counted(bytes);
      checkCanonical(limited.input, { ...limits, maxBytes: 16_000 });
      t.equal(limited.accesses(), 1, 'only the length is read');
    }
  }
  t.end();
});

t.test('decoding leaves the input alone and keeps no hold on it', (t) => {
  const packet = Buffer.from('a2094201026161f5', 'hex');
  const result = decodeCanonical(packet, LIMITS);
  packet.fill(0);
  t.ok(result.ok);
  if (!result.ok) return t.end();
  const value = result.value as CborMap;
  t.strictSame(value.get(9), Uint8Array.of(1, 2), 'a copy, and no Buffer');
  t.equal((value.get(9) as Uint8Array).constructor, Uint8Array);
  t.notOk('dataView' in packet);
  t.end();
});

t.test('a key named __proto__ is an ordinary key', (t) => {
  const hostile = fromHex('a1 695f5f70726f746f5f5f a1 67697341646d696e f5');
  const result = decodeCanonical(hostile, LIMITS);
  t.strictSame(result, { ok: true, value: map(['__proto__', map(['isAdmin', true])]) });
  t.end();
});
