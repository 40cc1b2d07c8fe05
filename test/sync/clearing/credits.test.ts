import fc from 'fast-check';
import t from 'tap';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { verifyEvidence } from '../../../sync/clearing/core/evidence.ts';
import { WAITING_PER_PAYMENT_MAX } from '../../../sync/clearing/core/credit.ts';
import type { VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { creditMerchant } from '../../../sync/clearing/merchant-accounts.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { creditFor, voidFor } from './charged-line.ts';
import { DAY_S, LineOfReceipts, NOON_S, anchors, hashOf, inMemory, keyWith } from './sample.ts';

const YEN = 1_000_000n;

/** Net of what the payer is asked for and given back, over everything that may still reach it. */
const netOf = async (service: ClearingService): Promise<bigint> => {
  const { books, reconciles, differences } = await service.reconcile();
  if (!reconciles) throw new Error(differences.join('; '));
  const [yen] = books;
  return yen ? yen.acceptedMicro - yen.creditsMicro - yen.buckets.withheld : 0n;
};

const rowsOf = async (database: SqlDatabase, sql: string) =>
  database.transaction((session) => session.all(sql));

t.test(
  'a refund is a line of its own: DE3 200000, its amount positive, never netted',
  async (t) => {
    const { service, files } = await inMemory();
    const line = new LineOfReceipts('car');
    const paid = line.next(500n * YEN);
    await service.ingestBatch([paid], NOON_S);
    const steps = [creditFor(paid, 120n * YEN), creditFor(paid, 200n * YEN)];
    t.match(await service.ingestBatch(steps, NOON_S), { credit: 2, refused: 0 });
    const { files: written } = await service.cut(NOON_S, anchors, true);
    t.match(written, [{ presentments: 2, sumMinor: 700n }]);
    const ipm = [...files].find(([path]) => path.endsWith('.ipm'))?.[1] ?? '';
    const bytes = Buffer.from(ipm, 'hex');
    const read = readSettlementFile(bytes, DEFAULT_IPM_PROFILE);
    const lines = read.ok ? read.value.presentments : [];
    t.same(lines.map(({ sign, amountMinor }) => `${sign} ${amountMinor}`).toSorted(), [
      'credit 200',
      'debit 500',
    ]);
    t.ok(bytes.includes('200000000000000200'), 'DE3 and DE4 of the refund stand side by side');
    const evidence = [...files]
      .filter(([path]) => path.endsWith('.cbor'))
      .map(([, hex]) => verifyEvidence(Buffer.from(hex, 'hex')));
    t.equal(evidence.length, 2);
    t.ok(
      evidence.every(({ ok }) => ok),
      'two refunds of one Payment prove one line',
    );
    t.match(await service.reconcile(), { receipts: 1, credits: 2, reconciles: true });
    await service.close();
  },
);

t.test('in any order and any repetition, the highest valid refund counts once', async () => {
  const step = fc.record({
    of: fc.nat(2),
    // Up to half above the charge: those must change nothing.
    refunded: fc.bigInt(1n, 1500n),
    act: fc.constantFrom('credit', 'credit', 'credit', 'pay', 'cut', 'again'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { service, database } = await inMemory();
      const line = new LineOfReceipts('car');
      const receipts = [0, 1, 2].map(() => line.next(1000n));
      const here = new Set<number>();
      const claimed = new Map<number, bigint[]>();
      let nowS = NOON_S;
      for (const { of, refunded, act } of steps) {
        nowS += 3600;
        const receipt = receipts[of] as VerifiedReceipt;
        if (act === 'cut') await service.cut(nowS, anchors, true);
        else if (act === 'credit') {
          claimed.set(of, [...(claimed.get(of) ?? []), refunded]);
          await service.ingestBatch([creditFor(receipt, refunded)], nowS);
        } else {
          here.add(of);
          await service.ingestBatch([receipt], nowS);
        }
        const rows = await rowsOf(database, 'SELECT payment_hash, amount_micro FROM credits');
        for (const [at, one] of receipts.entries()) {
          const mine = rows.filter((row) => isHash(row['payment_hash'], one.paymentHash));
          const booked = mine.reduce((sum, row) => sum + BigInt(String(row['amount_micro'])), 0n);
          const valid = (claimed.get(at) ?? []).filter((claim) => claim <= 1000n);
          const highest = valid.reduce((max, claim) => (claim > max ? claim : max), 0n);
          const expected = here.has(at) ? highest : 0n;
          if (booked !== expected) throw new Error(`${booked} booked of ${expected}`);
        }
        await netOf(service);
      }
      await service.close();
    }),
    { numRuns: 30 },
  );
});

const isHash = (a: unknown, b: Uint8Array): boolean =>
  a instanceof Uint8Array && Buffer.from(a).equals(b);

t.test('a refund before its Payment waits, is listed, and is booked when it comes', async (t) => {
  const { service } = await inMemory();
  const line = new LineOfReceipts('car');
  const paid = line.next(100n * YEN);
  const over = creditFor(paid, 101n * YEN);
  t.match(await service.ingestBatch([over, creditFor(paid, 30n * YEN)], NOON_S), { waiting: 2 });
  t.match(await service.ingestBatch([over], NOON_S), { duplicate: 1 }, 'it waits once');
  t.match((await service.reconcile()).waitingCredits, {
    count: 2,
    listed: [{ paymentHash: Buffer.from(paid.paymentHash).toString('hex'), sinceS: NOON_S }, {}],
  });
  const l1 = { ...paid, level: 'L1' as const };
  t.match(await service.ingestBatch([l1], NOON_S), { first: 1, credit: 0 }, 'only L2 settles');
  t.match(await service.ingestBatch([paid], NOON_S), { final: 1, credit: 1, refused: 1 });
  t.match(await service.reconcile(), {
    waitingCredits: { count: 0 },
    credits: 1,
    findings: [{ kind: 'CREDIT_ABOVE_CHARGE' }],
    reconciles: true,
  });
  const never = line.next(YEN);
  const many = Array.from({ length: WAITING_PER_PAYMENT_MAX + 1 }, (_, at) =>
    creditFor(never, BigInt(at + 1)),
  );
  t.match(await service.ingestBatch(many, NOON_S), {
    waiting: WAITING_PER_PAYMENT_MAX,
    refused: 1,
  });
  await service.close();
});

t.test(
  'a refund after presentment, resale or the end of an account follows the charge',
  async (t) => {
    const { service, database } = await inMemory();
    const line = new LineOfReceipts('car');
    const key = keyWith({ merchant: 'merchant-old', account: 'ACC-CLOSED' });
    const paid = line.next(100n * YEN, { key });
    await service.ingestBatch([paid], NOON_S);
    await service.cut(NOON_S, anchors, true);
    // The same gate sells for another merchant now; the charge still names the one that was paid.
    const resold = line.next(50n * YEN, { key: keyWith({ merchant: 'merchant-new' }) });
    const refund = creditFor(paid, 100n * YEN, { businessTimeS: NOON_S + DAY_S });
    await service.ingestBatch([resold, refund], NOON_S + DAY_S);
    await service.cut(NOON_S + DAY_S, anchors, true);
    const rows = await rowsOf(
      database,
      "SELECT k.merchant, k.account, p.amount_micro FROM keys k JOIN aggregates a ON a.key_id = k.key_id JOIN presentments p ON p.aggregate_id = a.aggregate_id WHERE k.sign = 'credit'",
    );
    t.match(rows, [{ merchant: 'merchant-old', account: 'ACC-CLOSED', amount_micro: '100000000' }]);
    t.match(
      await service.ingestBatch([refund, creditFor(paid, 99n * YEN)], NOON_S + DAY_S),
      { duplicate: 2, credit: 0 },
      'a replay and a lower one change nothing',
    );
    t.equal(await netOf(service), 50n * YEN);
    const oneMore = creditFor(paid, 100n * YEN + 1n);
    t.match(
      await service.ingestBatch([oneMore], NOON_S + DAY_S),
      { refused: 1 },
      'not a millionth more',
    );
    await service.close();
  },
);

t.test('a refund of a voided Payment is refused, of a contradicting one booked', async (t) => {
  const { service } = await inMemory();
  const line = new LineOfReceipts('car');
  const [voided, waiting, honest] = [line.next(YEN), line.next(YEN), line.next(YEN)];
  const clone = { ...honest, paymentHash: hashOf('clone'), lossBearer: 'issuer' as const };
  await service.ingestBatch([voided, creditFor(waiting, 1n), honest, clone], NOON_S);
  await service.ingestBatch([voidFor(voided), voidFor(waiting)], NOON_S);
  const counts = await service.ingestBatch(
    [creditFor(voided, 1n), creditFor(clone, YEN)],
    NOON_S + 1,
  );
  t.match(counts, { refused: 1, credit: 1 });
  const { findings, waitingCredits, bearers } = await service.reconcile();
  t.equal(findings.filter(({ kind }) => kind === 'CREDIT_FOR_VOID').length, 2);
  t.equal(waitingCredits.count, 0, 'one that waited is refused when the Void comes');
  t.match(bearers, [
    { bearer: 'issuer', reference: 'issuer-1', rule: 'SAME_COUNTER', sumMicro: YEN },
    { bearer: 'operator', reference: 'Fog Works', rule: 'RECEIPT_AND_VOID', sumMicro: YEN },
  ]);
  await service.close();
});

t.test('after an aggregate, a Void gives the charge back and names who bears it', async (t) => {
  const { service, database, files } = await inMemory();
  const line = new LineOfReceipts('car');
  const paid = line.next(100n * YEN);
  await service.ingestBatch([paid], NOON_S);
  await service.ingestBatch([creditFor(paid, 30n * YEN)], NOON_S);
  await service.cut(NOON_S, anchors, true);
  t.match(await service.ingestBatch([voidFor(paid)], NOON_S + 60), { void: 1, credit: 1 });
  t.match(await service.ingestBatch([voidFor(paid)], NOON_S + 61), { duplicate: 1 });
  t.equal(await netOf(service), 0n, 'the payer is not charged');
  files.clear();
  t.match(await service.cut(NOON_S + 120, anchors, true), { files: [{ sumMinor: 70n }] });
  const cbor = [...files].find(([path]) => path.endsWith('.cbor'))?.[1] ?? '';
  t.match(verifyEvidence(Buffer.from(cbor, 'hex')), {
    ok: true,
    value: {
      lane: 'conflict',
      key: { sign: 'credit' },
      conflicts: [{ paymentHash: paid.paymentHash, rule: 'RECEIPT_AND_VOID' }],
    },
  });
  t.match((await service.reconcile()).bearers, [
    { bearer: 'operator', reference: 'Fog Works', payments: 1, sumMicro: 70n * YEN },
  ]);
  const lines = await rowsOf(
    database,
    'SELECT p.aggregate_id, p.amount_micro FROM presentments p ORDER BY p.aggregate_id',
  );
  await database.transaction(async (session) => {
    for (const row of lines) {
      await creditMerchant(session, {
        aggregateId: String(row['aggregate_id']),
        amountMicro: BigInt(String(row['amount_micro'])),
        cause: 'acknowledged',
        reference: `ack ${String(row['aggregate_id'])}`,
        nowS: NOON_S,
      });
    }
  });
  const accounts = await rowsOf(database, 'SELECT payable_micro FROM merchant_accounts');
  t.same(accounts, [{ payable_micro: '70000000' }], 'charge less its own refund; it is paid');
  await service.close();
});

t.test(
  'before an aggregate, a Void holds charge and refund back and pays the merchant',
  async (t) => {
    const { service, database } = await inMemory();
    const line = new LineOfReceipts('car');
    const [paid, direct] = [line.next(100n * YEN), line.next(9n * YEN, { payee: gateway })];
    await service.ingestBatch([paid, creditFor(paid, 30n * YEN), direct], NOON_S);
    await service.ingestBatch([voidFor(paid), { ...voidFor(direct), operator: '' }], NOON_S);
    t.equal(await netOf(service), 0n);
    t.match(await service.cut(NOON_S, anchors, true), { files: [] });
    const accounts = await rowsOf(
      database,
      'SELECT borne_micro, payable_micro FROM merchant_accounts',
    );
    t.same(accounts, [{ borne_micro: '70000000', payable_micro: '70000000' }]);
    t.match((await service.reconcile()).bearers, [
      { bearer: 'merchant', reference: 'merchant-1', sumMicro: 9n * YEN },
      { bearer: 'operator', reference: 'Fog Works', sumMicro: 70n * YEN },
    ]);
    await service.close();
  },
);

t.test(
  'a refund is held while its charge or its own log is, and comes back with either',
  async (t) => {
    const { service } = await inMemory();
    const line = new LineOfReceipts('car');
    const [paid, other] = [line.next(100n * YEN), line.next(50n * YEN, { origin: 'second.log' })];
    const ofPaid = creditFor(paid, 30n * YEN);
    const ofOther = creditFor(other, 20n * YEN, { leafIndex: 5 });
    await service.ingestBatch([paid, other, ofPaid, ofOther], NOON_S);
    const carried = async (): Promise<bigint | undefined> => {
      const { books, reconciles, differences } = await service.reconcile();
      if (!reconciles) throw new Error(differences.join('; '));
      return books[0]?.buckets.carried;
    };
    t.equal(await carried(), 100n * YEN);
    // The log of the first charge forked at its beginning: charge and refund are held.
    await service.stopLog(
      { origin: paid.origin, common: undefined } as never,
      'evidence 1',
      NOON_S,
    );
    t.equal(await carried(), 30n * YEN);
    await service.liftStop(paid.origin, NOON_S);
    t.equal(await carried(), 100n * YEN);
    // The log that brought the refunds forked: charges stay, refunds are held, until another log brings one.
    await service.stopLog(
      { origin: 'intake.example', common: undefined } as never,
      'evidence 2',
      NOON_S,
    );
    t.equal(await carried(), 150n * YEN);
    const again = { ...ofPaid, origin: 'intake-2.example' };
    t.match(await service.ingestBatch([again, ofOther], NOON_S), { credit: 1, duplicate: 1 });
    t.equal(await carried(), 120n * YEN);
    await service.liftStop('intake.example', NOON_S);
    t.equal(await carried(), 100n * YEN);
    await service.close();
  },
);

/** The approver of the sample's receipts: where it is the payee too, the payment was direct. */
const gateway = hashOf('gateway').subarray(0, 16);
