import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import fc from 'fast-check';
import { Decoder, Encoder, Tag } from 'cbor-x';
import { checkCanonical, type CborLimits } from '../../../protocol/cbor/check.ts';
import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { CborReader } from '../../../protocol/cbor/reader.ts';
import { RawCbor, Tagged, type CborKey, type CborValue } from '../../../protocol/cbor/value.ts';
import { CborWriter } from '../../../protocol/cbor/writer.ts';

const LIMITS: CborLimits = { maxBytes: 1_048_576, maxItems: 1_000_000 };
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
const U64_MAX = 2n ** 64n - 1n;

const options = {
  mapsAsObjects: false,
  useRecords: false,
  useTag259ForMaps: false,
  tagUint8Array: false,
  variableMapSize: true,
};
const other = { encoder: new Encoder(options), decoder: new Decoder(options) };

const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((s) => !s.startsWith('\ufeff'));
const longText = fc.string({ unit: 'grapheme', maxLength: 300 });
const boundary = fc
  .tuple(
    fc.constantFrom(0n, 23n, 24n, 255n, 256n, 65_535n, 65_536n, 2n ** 32n, 2n ** 53n),
    fc.boolean(),
  )
  .chain(([n, negative]) =>
    fc.bigInt({ min: -2n, max: 2n }).map((d) => (negative ? -n - d : n + d)),
  );
const integer = fc.oneof(boundary, fc.bigInt({ min: -1n - U64_MAX, max: U64_MAX }));
const key: fc.Arbitrary<CborKey> = fc.oneof(
  fc.integer({ min: -30, max: 300 }),
  fc.maxSafeInteger(),
  text,
);
const scalar: fc.Arbitrary<CborValue> = fc.oneof(
  integer,
  fc.maxSafeInteger(),
  text,
  longText.filter((s) => !s.startsWith('\ufeff')),
  fc.uint8Array({ maxLength: 300 }),
  fc.boolean(),
  fc.constant(null),
);

/** Values of at most `levels` nested containers. */
function valueOf(levels: number): fc.Arbitrary<CborValue> {
  if (levels === 0) return scalar;
  const inner = valueOf(levels - 1);
  return fc.oneof(
    scalar,
    fc.array(inner, { maxLength: 5 }),
    fc.array(fc.tuple(key, inner), { maxLength: 6 }).map((pairs) => new Map(pairs)),
    fc.tuple(fc.constantFrom(16, 18, 96, 98), inner).map(([tag, item]) => new Tagged(tag, item)),
  );
}
const value = valueOf(4);

/** Integers of either JavaScript type in the stated normal form; also reads what cbor-x returns. */
function normal(item: unknown): unknown {
  if (typeof item === 'number') return BigInt(item);
  if (Array.isArray(item)) return item.map(normal);
  if (item instanceof Map) return new Map([...item].map(([k, v]) => [keyOf(k), normal(v)]));
  if (item instanceof Tagged || item instanceof Tag)
    return new Tagged(item.tag, normal(item.value) as CborValue);
  return item instanceof Uint8Array ? new Uint8Array(item) : item;
}
const keyOf = (k: unknown): unknown => (typeof k === 'bigint' ? Number(k) : k);

t.test('what is encoded is canonical, and decodes to the same value here and in cbor-x', (t) => {
  fc.assert(
    fc.property(value, (item) => {
      const bytes = encodeCanonical(item);
      const decoded = decodeCanonical(bytes, LIMITS);
      return (
        checkCanonical(bytes, LIMITS).ok &&
        decoded.ok &&
        isDeepStrictEqual(decoded.value, normal(item)) &&
        isDeepStrictEqual(normal(other.decoder.decode(new Uint8Array(bytes))), normal(item))
      );
    }),
    { numRuns: 1500 },
  );
  t.end();
});

/** cbor-x writes numbers below 2^32 and larger bigints in their shortest form. */
const wide = (k: CborKey): CborKey | bigint =>
  typeof k === 'number' && (k >= 2 ** 32 || k < -(2 ** 32)) ? BigInt(k) : k;

/** The value as cbor-x encodes canonically: small integers numbers, keys sorted by its own bytes. */
function forOther(item: CborValue): unknown {
  if (typeof item === 'bigint')
    return item >= -(2n ** 32n) && item < 2n ** 32n ? Number(item) : item;
  if (typeof item === 'number') return forOther(BigInt(item));
  if (Array.isArray(item)) return item.map(forOther);
  if (item instanceof Map) {
    return new Map(
      [...item]
        .map(([k, v]) => ({
          k: wide(k),
          v: forOther(v),
          order: Buffer.from(other.encoder.encode(wide(k))),
        }))
        .toSorted((a, b) => Buffer.compare(a.order, b.order))
        .map(({ k, v }) => [k, v]),
    );
  }
  return item instanceof Tagged ? new Tag(forOther(item.value), item.tag) : item;
}

t.test('bytes equal those of cbor-x, given its input in canonical order', (t) => {
  fc.assert(
    fc.property(value, (item) => {
      const theirs = other.encoder.encode(forOther(item));
      return toHex(encodeCanonical(item)) === toHex(theirs);
    }),
    { numRuns: 1500 },
  );
  t.end();
});

t.test(
  'canonical is a fixpoint: a changed byte is refused, or is the encoding of its value',
  (t) => {
    let passed = 0;
    fc.assert(
      fc.property(value, fc.nat(), fc.integer({ min: 1, max: 255 }), (item, position, change) => {
        const bytes = encodeCanonical(item);
        bytes[position % bytes.length]! ^= change;
        const decoded = decodeCanonical(bytes, LIMITS);
        if (!decoded.ok) return true;
        passed += 1;
        return toHex(encodeCanonical(decoded.value)) === toHex(bytes);
      }),
      { numRuns: 3000 },
    );
    t.ok(passed > 300, `${passed} mutations were canonical again`);
    t.end();
  },
);

/** Any bytes are good enough here, as long as they are the same in every run. */
function* noise(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state >>> 16;
  }
}

t.test('100,000 random inputs: no throw, and what passes is the encoding of its value', (t) => {
  const random = noise(20_250_101);
  const next = (below: number): number => random.next().value % below;
  // Heads that nest and short arguments, so that a fair part gets past the first byte.
  const likely = fromHex('0001171818203840414243606162628081828384a0a1a2a3d2d8f4f5f6c3bc');
  const reader = new CborReader();
  let passed = 0;
  for (let run = 0; run < 100_000; run += 1) {
    const input = new Uint8Array(1 + next(24));
    for (let i = 0; i < input.length; i += 1) {
      input[i] = next(4) === 0 ? next(256) : likely[next(likely.length)]!;
    }
    const decoded = decodeCanonical(input, LIMITS);
    reader.start(input);
    for (let i = 0; i < 6; i += 1) readAny(reader, next(9));
    if (!decoded.ok) continue;
    passed += 1;
    if (toHex(encodeCanonical(decoded.value)) !== toHex(input)) t.fail(toHex(input));
  }
  t.ok(passed > 2000, `${passed} were canonical`);
  t.end();
});

function readAny(reader: CborReader, kind: number): unknown {
  if (kind === 0) return reader.map();
  if (kind === 1) return reader.array();
  if (kind === 2) return reader.uint(255);
  if (kind === 3) return reader.u64();
  if (kind === 4) return reader.int();
  if (kind === 5) return reader.bytes(0, 99);
  if (kind === 6) return reader.text(99);
  return kind === 7 ? reader.bool() : reader.hasKey(-1);
}

t.test('values outside the profile are a caller bug', (t) => {
  const deep = Array.from({ length: 9 }).reduce<CborValue>((inner) => [inner], 0);
  const bad: [string, unknown][] = [
    ['a fraction', 1.5],
    ['NaN', Number.NaN],
    ['an unsafe number', 2 ** 53],
    ['2^64', U64_MAX + 1n],
    ['-2^64 - 1', -2n - U64_MAX],
    ['a lone high surrogate', '\ud800x'],
    ['a high surrogate at the end', 'x\ud800'],
    ['a lone low surrogate', '\udc00'],
    ['a byte order mark', '\ufeffx'],
    ['a lone surrogate as key', new Map([['\udc00', 1]])],
    ['a fraction as key', new Map([[0.5, 1]])],
    ['nine levels', deep],
    ['undefined', undefined],
    ['an object', {}],
    ['a function', () => 1],
    ['a negative tag', new Tagged(-1, 0)],
    ['more than a mebibyte', new Uint8Array(1_048_576)],
  ];
  for (const [what, item] of bad) {
    t.throws(() => encodeCanonical(item as CborValue), { code: 'CBOR_ENCODE' }, what);
  }
  t.equal(toHex(encodeCanonical([1])), '8101', 'an encoding that threw leaves nothing behind');
  t.equal(toHex(encodeCanonical(-0)), '00');
  t.equal(encodeCanonical(new Uint8Array(100_000)).length, 100_005);
  t.equal(toHex(encodeCanonical([new RawCbor(fromHex('a10102')), 3])), '82a1010203');
  t.end();
});

t.test('text keys sort by UTF-8 bytes where UTF-16 sorts otherwise', (t) => {
  // U+FF61 is ef bd a1, U+1F600 is f0 9f 98 80: same length only with a filler.
  const keys = new Map<CborKey, CborValue>([
    ['\u{1f600}', 1],
    ['\uff61a', 2],
    [-1, 3],
    ['z', 4],
    [10, 5],
    ['', 6],
    [-500, 7],
  ]);
  t.equal(toHex(encodeCanonical(keys)), 'a70a0520033901f3076006617a0464efbda1610264f09f988001');
  t.end();
});

/** The same value through the piecewise writer. */
function writeWith(writer: CborWriter, item: CborValue): void {
  if (typeof item === 'bigint' || typeof item === 'number') writer.int(item);
  else if (typeof item === 'string') writer.text(item);
  else if (typeof item === 'boolean') writer.bool(item);
  else if (item === null) writer.null();
  else if (item instanceof Uint8Array) writer.bytes(item);
  else if (item instanceof RawCbor) writer.raw(item.bytes);
  else if (item instanceof Tagged) writeWith(writer.tag(item.tag), item.value);
  else if (Array.isArray(item)) {
    writer.array(item.length);
    for (const entry of item) writeWith(writer, entry);
  } else {
    const keys = [...item.keys()].toSorted((a, b) =>
      Buffer.compare(encodeCanonical(a), encodeCanonical(b)),
    );
    writer.map(keys.length);
    for (const k of keys) writeWith(writer.key(k), item.get(k)!);
  }
}

t.test('the writer gives the bytes of encodeCanonical', (t) => {
  const writer = new CborWriter();
  fc.assert(
    fc.property(value, (item) => {
      writeWith(writer.start(), item);
      return toHex(writer.finish()) === toHex(encodeCanonical(item));
    }),
    { numRuns: 500 },
  );
  t.end();
});

const start = (): CborWriter => new CborWriter().start();

t.test('the writer refuses what would not be canonical', (t) => {
  const bad: [string, () => unknown][] = [
    ['keys that descend', () => start().map(2).key(2).int(0).key(1)],
    ['a key twice', () => start().map(2).key(1).int(0).key(1)],
    ['a text key twice', () => start().map(2).key('é').int(0).key('é')],
    ['a positive key behind a negative', () => start().map(2).key(-1).int(0).key(1)],
    ['a value without a key', () => start().map(1).int(0)],
    ['two keys', () => start().map(1).key(1).key(2)],
    ['a key in an array', () => start().array(1).key(1)],
    ['a key outside', () => start().key(1)],
    ['a third item of two', () => start().array(2).int(1).int(2).int(3)],
    ['a missing item', () => start().array(2).int(1).finish()],
    ['a map that ends behind a key', () => start().map(1).key(1).finish()],
    ['nothing', () => start().finish()],
    ['nine levels', () => Array.from({ length: 9 }).reduce<CborWriter>((w) => w.array(1), start())],
    ['a negative count', () => start().array(-1)],
    ['a fractional count', () => start().map(0.5)],
  ];
  for (const [what, act] of bad) t.throws(act, { code: 'CBOR_ENCODE' }, what);
  t.equal(toHex(start().array(2).raw(fromHex('a10102')).int(3).finish()), '82a1010203');
  const nested = start().map(2).key(1).map(0).key(2).array(1).array(0).finish();
  t.equal(toHex(nested), 'a201a0028180', 'empty containers end at once');
  t.end();
});

t.test('the reader reads in order what the decoder reads as a Map', (t) => {
  const line = new Uint8Array(16).fill(7);
  const bytes = encodeCanonical(
    new Tagged(18, [
      new Map<CborKey, CborValue>([
        [1, line],
        [2, U64_MAX],
        [3, 'JPY é水\u{1f600}'],
        [-1, -8],
        [-2, true],
      ]),
    ]),
  );
  const reader = new CborReader().start(bytes);
  reader.tag(18);
  t.equal(reader.array(), 1);
  t.equal(reader.map(), 5);
  reader.key(1);
  const view = reader.bytes(16);
  t.strictSame(new Uint8Array(view), line);
  t.equal(view.buffer, bytes.buffer, 'a view');
  t.notOk(reader.hasKey(7), 'an absent optional key is not stepped over');
  t.ok(reader.hasKey(2));
  t.equal(reader.u64(), U64_MAX);
  reader.key(3);
  t.equal(reader.text(20), 'JPY é水\u{1f600}');
  reader.key(-1);
  t.equal(reader.int(), -8);
  reader.key(-2);
  t.notOk(reader.complete, 'not yet at the end');
  t.ok(reader.bool());
  t.ok(reader.complete);

  fc.assert(
    fc.property(integer, (n) => {
      const one = new CborReader().start(encodeCanonical(n));
      const safe = n >= BigInt(Number.MIN_SAFE_INTEGER) && n <= BigInt(Number.MAX_SAFE_INTEGER);
      const fits = one.int() === (safe ? Number(n) : 0) && one.complete === safe;
      one.start(encodeCanonical(n));
      return fits && one.u64() === (n < 0n ? 0n : n) && one.complete === n >= 0n;
    }),
  );
  t.end();
});

t.test('the reader fails for good on what does not fit', (t) => {
  const cases: [
    what: string,
    hex: string,
    read: (reader: CborReader) => unknown,
    empty: unknown,
  ][] = [
    ['an integer over its bound', '190100', (r) => r.uint(255), 0],
    ['bytes that are too short', '4101', (r) => r.bytes(2).length, 0],
    ['bytes that are too long', '43010203', (r) => r.bytes(2).length, 0],
    ['text that is too long', '63616161', (r) => r.text(2), ''],
    ['text beyond the input', '6361', (r) => r.text(9), ''],
    ['text for bytes', '6161', (r) => r.bytes(1).length, 0],
    ['bytes for text', '4161', (r) => r.text(1), ''],
    ['an array for a map', '80', (r) => r.map(), 0],
    ['null for a boolean', 'f6', (r) => r.bool(), false],
    ['another tag', 'd200', (r) => r.tag(17), undefined],
    ['another key', '01', (r) => r.key(2), undefined],
    ['nothing', '', (r) => r.hasKey(0), false],
    ['an indefinite length', '9f', (r) => r.array(), 0],
    ['a cut integer', '1b00', (r) => r.u64(), 0n],
  ];
  for (const [what, hex, read, empty] of cases) {
    const reader = new CborReader().start(fromHex(hex));
    t.equal(read(reader), empty, what);
    if (what !== 'nothing') t.notOk(reader.complete, `${what}: incomplete`);
    reader.int();
    reader.bool();
    t.notOk(what !== 'nothing' && reader.complete, `${what}: for good`);
  }
  t.end();
});
