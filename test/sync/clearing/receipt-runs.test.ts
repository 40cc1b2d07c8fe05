/** Receipts that follow each other are asked for and written together; what becomes of each must not tell. */
import fc from 'fast-check';
import t from 'tap';
import type { VerifiedItem, VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { ItemPacker, ItemUnpacker } from '../../../sync/clearing/packed-items.ts';
import type { SqlDatabase, SqlRow } from '../../../sync/clearing/sql.ts';
import { LineOfReceipts, NOON_S, anchors, hashOf, inMemory, keyWith } from './sample.ts';
import { openTestStore } from './store.ts';

const TABLES: Readonly<Record<string, string>> = {
  receipts: `SELECT payment_hash, receipt_hash, lane, state, in_conflict, origin, leaf_index, charge_micro
     FROM all_receipts ORDER BY payment_hash`,
  conflicts: 'SELECT payment_hash, other_hash, rule FROM conflicts ORDER BY payment_hash',
  seconds:
    'SELECT payment_hash, receipt_hash FROM second_receipts ORDER BY payment_hash, receipt_hash',
  places: 'SELECT payment_hash, origin FROM other_places ORDER BY payment_hash, origin',
  credits: 'SELECT credit_hash, state, lane, amount_micro FROM credits ORDER BY credit_hash',
  findings: 'SELECT kind, reference, detail FROM findings ORDER BY kind, reference',
  balances: 'SELECT key_id, bucket, amount_micro FROM balances ORDER BY key_id, bucket',
  lanes:
    'SELECT key_id, lane, pending_micro, first_paid_s, first_ingest_s FROM lanes ORDER BY key_id, lane',
  taken: 'SELECT approver, through_sequence, count, sum_micro FROM taken ORDER BY approver',
  keys: 'SELECT key_id, source_micro FROM keys ORDER BY key_id',
};

/** Everything that booking leaves behind. */
const contentOf = async (database: SqlDatabase): Promise<Record<string, readonly SqlRow[]>> => {
  const content: Record<string, readonly SqlRow[]> = {};
  for (const [name, sql] of Object.entries(TABLES)) {
    content[name] = await database.transaction((session) => session.all(sql));
  }
  return content;
};

/** Small numbers, so that counters, totals, hashes and logs collide. */
const itemOf = (kind: number, line: number, counter: number, variant: number): VerifiedItem => {
  const name = `${line} ${counter} ${variant % 3}`;
  const amountMicro = BigInt(1 + (variant % 2)) * 1_000_000n;
  const receipt: VerifiedReceipt = {
    ...new LineOfReceipts(`run ${line}`).next(amountMicro),
    paymentHash: hashOf(`payment ${name}`),
    receiptHash: hashOf(`receipt ${name} ${variant % 4}`),
    level: kind === 1 ? 'L1' : 'L2',
    counter,
    totalMicro: BigInt(counter) * 2_000_000n - (variant === 5 ? 1_500_000n : 0n),
    sequence: counter * 8 + variant,
    row: { approver: hashOf('gateway').subarray(0, 16), sequence: counter, isOwnLog: line === 0 },
    key: keyWith({ account: `ACC-${line}`, merchant: `merchant-${variant % 2}` }),
    origin: kind === 2 ? 'intake.example' : 'gateway.example/2026q4',
    leafIndex: line * 100 + counter * 8 + variant,
    ...(variant === 4 ? { chargedMicro: 500_000n } : {}),
    ...(variant === 6 ? { isHandedInLate: true } : {}),
  };
  const { paymentHash, receiptHash, origin, leafIndex } = receipt;
  if (kind === 3) return { ...receipt, kind: 'void', receiptHash: hashOf(`void ${name}`) };
  if (kind !== 4) return receipt;
  const refundedMicro = BigInt(1 + variant) * 100_000n;
  return {
    kind: 'credit',
    creditHash: hashOf(
      `credit ${name} ${refundedMicro} ${Buffer.from(receiptHash).toString('hex')}`,
    ),
    paymentHash,
    refundedMicro,
    reason: 'gate stayed shut',
    businessTimeS: NOON_S - 60,
    isTimeFlagged: false,
    origin,
    leafIndex,
  };
};

/** Each of these happens in it whatever is drawn: a Payment in two logs, a second Receipt, a clone, a refund, a Void. */
const EXAMPLE: VerifiedItem[] = [
  itemOf(0, 1, 5, 0),
  itemOf(1, 0, 2, 0),
  itemOf(0, 0, 3, 1),
  itemOf(0, 0, 1, 0),
  itemOf(2, 0, 1, 0),
  itemOf(0, 0, 1, 3),
  itemOf(0, 0, 1, 1),
  itemOf(0, 0, 2, 0),
  itemOf(4, 0, 1, 0),
  itemOf(4, 0, 4, 0),
  itemOf(0, 0, 4, 0),
  itemOf(3, 1, 5, 0),
];

const anyItem = fc
  .tuple(
    fc.constantFrom(0, 0, 0, 0, 1, 2, 3, 4),
    fc.integer({ min: 0, max: 1 }),
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 0, max: 7 }),
  )
  .map((parts) => itemOf(...parts));

t.test('what follows a sealed month is booked as if nothing had been sealed', async (t) => {
  const sealS = Date.UTC(2026, 11, 31) / 1000;
  const some = fc.array(anyItem, { minLength: 1, maxLength: 24 });
  let sealed = 0;
  await fc.assert(
    fc.asyncProperty(some, some, async (before, after) => {
      const stores = [await inMemory(), await inMemory()] as const;
      for (const { service, database } of stores) {
        await service.ingestBatch(before, NOON_S);
        await service.cut(NOON_S, anchors, true);
        await database.transaction((session) => session.run("UPDATE files SET state = 'accepted'"));
        // The newest of all is never sealed.
        await service.ingestBatch([new LineOfReceipts('newest').next(1n)], sealS);
      }
      const [one, other] = stores;
      for (const { receipts } of await one.service.seal(30, sealS)) sealed += receipts;
      await one.service.ingestBatch(after, sealS);
      for (const each of after) await other.service.ingestBatch([each], sealS);
      t.same(await contentOf(one.database), await contentOf(other.database));
      for (const { service } of stores) {
        t.ok((await service.reconcile()).reconciles);
        await service.close();
      }
    }),
    { numRuns: 5, examples: [[EXAMPLE, EXAMPLE.toReversed()]] },
  );
  t.ok(sealed > 0, 'there was something to seal');
});

t.test('what is booked together is booked as one after the other', async (t) => {
  const seen = { conflicts: 0, seconds: 0, places: 0, credits: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(anyItem, { minLength: 2, maxLength: 40 }), async (items) => {
      const [one, other] = [await inMemory(), await inMemory()];
      await one.service.ingestBatch(items.slice(0, 3), NOON_S);
      const together = await one.service.ingestBatch(items.slice(3), NOON_S);
      for (const each of items) await other.service.ingestBatch([each], NOON_S);
      const [left, right] = [await contentOf(one.database), await contentOf(other.database)];
      t.same(left, right);
      t.ok((await one.service.reconcile()).reconciles);
      for (const name of Object.keys(seen) as (keyof typeof seen)[]) {
        seen[name] += left[name]?.length ?? 0;
      }
      await Promise.all([one.service.close(), other.service.close()]);
      return together.first >= 0;
    }),
    { numRuns: 10, examples: [[EXAMPLE]] },
  );
  for (const [name, count] of Object.entries(seen)) t.ok(count > 0, `${name} came up`);
});

t.test(
  'a line with more on it than is held together is asked for receipt by receipt',
  async (t) => {
    const { service, database } = await inMemory({ database: await openTestStore() });
    const line = new LineOfReceipts('long');
    const long = Array.from({ length: 2_100 }, () => line.next(1_000_000n));
    await service.ingestBatch(long, NOON_S);
    // Between the first and the last lies everything: both ends, a clone of the middle, and one that goes on.
    const clone = { ...long[1_000]!, paymentHash: hashOf('clone') };
    const broken = { ...line.next(1_000_000n), totalMicro: 2_000_000n };
    const items = [{ ...long[0]!, origin: 'intake.example' }, clone, broken, line.next(1_000_000n)];
    t.match(await service.ingestBatch(items, NOON_S), { duplicate: 1, first: 3, conflict: 2 });
    const rows = await database.transaction((session) =>
      session.all('SELECT payment_hash, other_hash, rule FROM conflicts ORDER BY rule'),
    );
    t.match(rows, [
      {
        payment_hash: broken.paymentHash,
        other_hash: long[2_099]!.paymentHash,
        rule: 'BROKEN_TOTAL',
      },
      {
        payment_hash: clone.paymentHash,
        other_hash: long[1_000]!.paymentHash,
        rule: 'SAME_COUNTER',
      },
    ]);
    t.ok((await service.reconcile()).reconciles);
    await service.close();
  },
);

t.test('the nearest Payment on either side of a run decides', async (t) => {
  const line = new LineOfReceipts('gap');
  const five = Array.from({ length: 5 }, () => line.next(1_000_000n));
  const third = five[2]!;
  // 3 yen before the fourth, 2 yen after the second: the third is a micro-unit too high, or too low.
  for (const [totalMicro, other] of [
    [3_000_001n, five[3]],
    [2_999_999n, five[1]],
  ] as const) {
    const { service, database } = await inMemory();
    const others = five.filter((one) => one !== third);
    await service.ingestBatch(others, NOON_S);
    await service.ingestBatch([{ ...third, totalMicro }], NOON_S);
    const rows = await database.transaction((session) =>
      session.all('SELECT other_hash, rule FROM conflicts'),
    );
    t.match(rows, [{ other_hash: other!.paymentHash, rule: 'BROKEN_TOTAL' }]);
    t.equal(rows.length, 1);
    await service.close();
  }
});

t.test('receipts come out of a thread as they went in, whatever they share', async (t) => {
  const packer = new ItemPacker();
  const unpacker = new ItemUnpacker();
  const origin = 'gateway.example/2026q4';
  const flags = fc.record(
    {
      isHandedInLate: fc.constant(true),
      isAfterClosing: fc.constant(true),
      isAfterRevocation: fc.constant(true),
      lossBearer: fc.constantFrom('party' as const, 'issuer' as const),
      operator: fc.constantFrom('Fog Works', 'Ring Road'),
      chargedMicro: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      isTimeFlagged: fc.boolean(),
      level: fc.constantFrom('L1' as const, 'L2' as const),
      totalMicro: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      leafIndex: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      counter: fc.integer({ min: 0, max: 0xffff_ffff }),
      isOther: fc.constantFrom('void', 'elsewhere', 'other row', 'no row'),
    },
    { requiredKeys: [] },
  );
  const receipt = new LineOfReceipts('packed').next(1n);
  const { approver } = receipt;
  await fc.assert(
    fc.asyncProperty(fc.array(flags, { maxLength: 20 }), async (drawn) => {
      const items = drawn.map(({ isOther, ...part }): VerifiedItem => {
        const row = { approver, sequence: receipt.sequence, isOwnLog: part.counter === 0 };
        const item = { ...receipt, origin, row, ...part } as VerifiedReceipt;
        if (isOther === 'void') return { ...item, kind: 'void' };
        if (isOther === 'elsewhere') return { ...item, origin: 'intake.example' };
        if (isOther === 'other row') return { ...item, row: { ...row, sequence: 99 } };
        if (isOther === undefined) return item;
        const { row: _row, ...rowless } = item;
        return rowless;
      });
      t.same(unpacker.unpack(structuredClone(packer.pack(origin, items))), items);
    }),
    { numRuns: 50 },
  );
  // Beyond what either side keeps, both begin anew.
  const many = Array.from({ length: 70_000 }, (_, at) => ({
    ...receipt,
    operator: `operator ${at}`,
  }));
  for (const part of [many, many.slice(0, 3)]) {
    const back = unpacker.unpack(structuredClone(packer.pack(origin, part)));
    t.equal(back.length, part.length);
    t.same(back.at(-1), part.at(-1));
  }
});
