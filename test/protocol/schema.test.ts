import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import type { CborValue } from '../../protocol/cbor/value.ts';
import {
  AMOUNT,
  BOOL,
  bytesBetween,
  listOf,
  message,
  text,
  U16,
  U53,
  type Codec,
  type Field,
  type Shape,
} from '../../protocol/schema.ts';

interface Everything {
  readonly small: number;
  readonly large: number;
  readonly amount: AmountMicro;
  readonly id: Uint8Array;
  readonly words?: string;
  readonly flag: boolean;
  readonly list?: readonly Uint8Array[];
}

const SHAPE: Shape<Everything> = {
  small: [1, U16],
  large: [2, U53],
  amount: [5, AMOUNT],
  id: [24, bytesBetween(2, 4)],
  words: [-1, text(3), 'optional'],
  flag: [-2, BOOL],
  list: [-30, listOf(bytesBetween(0, 2), 3), 'optional'],
};

function byMap<T>(field: Field<T>): Field<T> {
  const { name } = field;
  return { name, write: (value) => field.write(value), read: (value) => field.read(value) };
}

const FAST: Codec<Everything> = message(7, SHAPE);
/** The same fields without their straight way: this one decodes by cbor-x and a Map. */
const SLOW: Codec<Everything> = message(7, { ...SHAPE, flag: [-2, byMap(BOOL)] });

const amounts = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map(amountMicro);
const everything: fc.Arbitrary<Everything> = fc
  .record(
    {
      small: fc.integer({ min: 0, max: 0xffff }),
      large: fc.maxSafeNat(),
      amount: amounts,
      id: fc.uint8Array({ minLength: 2, maxLength: 4 }),
      words: fc.string({ unit: 'binary', maxLength: 2 }).filter((s) => s.length <= 3),
      flag: fc.boolean(),
      list: fc.array(fc.uint8Array({ maxLength: 2 }), { maxLength: 3 }),
    },
    { requiredKeys: ['small', 'large', 'amount', 'id', 'flag'], noNullPrototype: true },
  )
  .filter(({ words }) => !words?.includes('\uFEFF'));

t.test('a message comes back as it was, its integers at every length', async (t) => {
  fc.assert(
    fc.property(everything, (value) => {
      const bytes = FAST.encode(value);
      const expected = { ok: true, value };
      return (
        isDeepStrictEqual(SLOW.encode(value), bytes) &&
        [FAST, SLOW].every((codec) => isDeepStrictEqual({ ...codec.decode(bytes) }, expected))
      );
    }),
  );
  t.pass('came back');
});

t.test('the straight way refuses what the Map way refuses, in the same words', async (t) => {
  const mutation = fc.record({ at: fc.nat(200), to: fc.nat(255) });
  fc.assert(
    fc.property(everything, mutation, (value, { at, to }) => {
      const bytes = FAST.encode(value);
      bytes[at % bytes.length] = to;
      return isDeepStrictEqual(FAST.decode(bytes), SLOW.decode(bytes));
    }),
    { numRuns: 2_000 },
  );
  t.pass('agreed');
});

t.test('each field out of its range, missing or unknown is named by both ways', async (t) => {
  const good = new Map<number, CborValue>([
    [0, 7],
    [1, 1],
    [2, 2],
    [5, 3],
    [24, new Uint8Array(2)],
    [-1, 'abc'],
    [-2, true],
  ]);
  t.ok(FAST.decode(encodeCanonical(good)).ok);
  const bent: [number, CborValue | undefined, string, RegExp][] = [
    [0, 8, 'UNKNOWN_MESSAGE', /type is not 7/],
    [0, 300, 'UNKNOWN_MESSAGE', /type is not 7/],
    [1, 0x1_0000, 'MALFORMED', /field 1 \(small\)/],
    [1, undefined, 'MALFORMED', /field 1 \(small\) is missing/],
    [2, 1n << 53n, 'MALFORMED', /field 2 \(large\)/],
    [5, -1, 'MALFORMED', /field 5 \(amount\)/],
    [24, new Uint8Array(5), 'MALFORMED', /field 24 \(id\)/],
    [24, new Uint8Array(1), 'MALFORMED', /field 24 \(id\)/],
    [-1, 'abcd', 'MALFORMED', /field -1 \(words\)/],
    [-2, null, 'MALFORMED', /field -2 \(flag\)/],
    [-30, [0, 1, 2, 3].map(() => new Uint8Array(1)), 'MALFORMED', /field -30 \(list\)/],
    [-31, 1, 'MALFORMED', /unknown key/],
  ];
  for (const [key, value, code, reason] of bent) {
    const map = new Map(good);
    if (value === undefined) map.delete(key);
    else map.set(key, value);
    const bytes = encodeCanonical(map);
    for (const codec of [FAST, SLOW]) t.match(codec.decode(bytes), { ok: false, code, reason });
  }
});

t.test('decoded bytes are copies that outlive their packet', async (t) => {
  const value = {
    small: 1,
    large: 2,
    amount: amountMicro(3n),
    id: Uint8Array.of(7, 8),
    flag: true,
  };
  const packet = Buffer.from(FAST.encode(value));
  const decoded = FAST.decode(packet);
  packet.fill(0);
  t.same(decoded, { ok: true, value });
  t.not(decoded.ok && decoded.value.id.buffer, packet.buffer);
  t.equal(decoded.ok && decoded.value.id.constructor, Uint8Array, 'plain, whatever came in');
});

t.test('a value out of range is a bug of the caller', async (t) => {
  const value = {
    small: 1,
    large: 2,
    amount: amountMicro(3n),
    id: Uint8Array.of(7, 8),
    flag: true,
  };
  for (const wrong of [{ small: -1 }, { small: 0x1_0000 }, { small: 1.5 }, { large: 2 ** 53 }]) {
    t.throws(() => FAST.encode({ ...value, ...wrong }), { code: 'FIELD_OUT_OF_RANGE' });
  }
  const { id: _, ...missing } = value;
  t.throws(() => FAST.encode(missing as Everything), { code: 'FIELD_MISSING' });
});
