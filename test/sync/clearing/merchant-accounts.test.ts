import fc from 'fast-check';
import t from 'tap';
import {
  applyMerchantEntry,
  emptyMerchantAccount,
  feeDueE4,
  feeToTake,
} from '../../../sync/clearing/core/merchant-account.ts';
import type { MerchantEntryKind } from '../../../sync/clearing/core/merchant-account.ts';
import {
  creditMerchant,
  debitMerchant,
  enterMerchant,
} from '../../../sync/clearing/merchant-accounts.ts';
import {
  LineOfReceipts,
  NOON_S,
  anchors,
  directoryOf,
  inMemory,
  keyWith,
  programme,
} from './sample.ts';

const YEN = 1_000_000n;

t.test('fees are exact below the micro-unit and rounded once, what is left stays due', (t) => {
  const account = emptyMerchantAccount();
  applyMerchantEntry(account, 'acknowledged', 1_000n * YEN, 'm');
  // 0.25 % of 333.333333 yen is 0.8333333325 yen; with 0.5 yen a line, three lines make 3.9999999975.
  const rule = { basisPoints: 25, fixedMicro: 500_000n };
  for (let line = 0; line < 3; line++) account.feeDueE4 += feeDueE4(rule, 333_333_333n);
  t.equal(account.feeDueE4, 39_999_999_975n);
  t.equal(feeToTake(account, YEN), 3n * YEN, 'rounded down to whole yen');
  applyMerchantEntry(account, 'fee', 3n * YEN, 'm');
  t.equal(account.feeDueE4, 9_999_999_975n, '0.9999999975 yen stay due');
  account.feeDueE4 += feeDueE4({ basisPoints: 0, fixedMicro: 1n }, 5n);
  t.equal(feeToTake(account, YEN), YEN, 'and are taken with the next');
  t.match(account, { feesMicro: 3n * YEN, payableMicro: 997n * YEN });
  t.end();
});

t.test('an account is earned less charged back less fees, in any order, below zero too', (t) => {
  // A second count of the same entries: each kind moves two sums, written down by hand.
  const EFFECT: Record<MerchantEntryKind, readonly [earned: bigint, paid: bigint]> = {
    acknowledged: [1n, 0n],
    refunded: [-1n, 0n],
    refundReturned: [1n, 0n],
    reversed: [-1n, 0n],
    borne: [1n, 0n],
    chargedBack: [-1n, 0n],
    chargeBackReversed: [1n, 0n],
    fee: [-1n, 0n],
    paid: [0n, 1n],
    payoutReturned: [0n, -1n],
  };
  const kinds = Object.keys(EFFECT) as MerchantEntryKind[];
  const entry = fc.tuple(fc.constantFrom(...kinds), fc.bigInt(1n, 10n ** 18n));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 60 }), (entries) => {
      const account = emptyMerchantAccount();
      let earned = 0n;
      let paid = 0n;
      for (const [kind, amount] of entries) {
        const isBelow = kind === 'chargeBackReversed' && amount > account.chargedBackMicro;
        const isFree = kind === 'fee' && amount * 10_000n > account.feeDueE4;
        const isUnpaid = kind === 'payoutReturned' && amount > account.paidMicro;
        if (isBelow || isFree || isUnpaid) continue;
        applyMerchantEntry(account, kind, amount, 'm');
        earned += EFFECT[kind][0] * amount;
        paid += EFFECT[kind][1] * amount;
        account.feeDueE4 += amount;
        if (account.payableMicro !== earned - paid) throw new Error(`payable after ${kind}`);
      }
    }),
  );
  const account = emptyMerchantAccount();
  t.throws(() => applyMerchantEntry(account, 'fee', 1n, 'm'), 'a fee that is not due');
  t.throws(() => applyMerchantEntry(account, 'chargeBackReversed', 1n, 'm'));
  t.throws(() => applyMerchantEntry(emptyMerchantAccount(), 'payoutReturned', 1n, 'm'));
  t.throws(() => applyMerchantEntry(emptyMerchantAccount(), 'paid', 0n, 'm'), 'of nothing');
  t.end();
});

t.test('an issuer’s answers move the account of the line’s merchant, each once', async (t) => {
  const fee = { basisPoints: 100, fixedMicro: 0n };
  const { service, database } = await inMemory({ directory: directoryOf({ ...programme, fee }) });
  const line = new LineOfReceipts('car');
  const key = keyWith({ merchant: 'merchant-7' });
  await service.ingestBatch([line.next(500n * YEN, { key })], NOON_S);
  await service.cut(NOON_S, anchors, true);
  await database.transaction(async (session) => {
    const [row] = await session.all('SELECT aggregate_id FROM aggregates');
    const aggregateId = String(row?.['aggregate_id']);
    const answer = (amountMicro: bigint, reference: string) => ({
      aggregateId,
      amountMicro,
      reference,
      nowS: NOON_S,
    });
    const acknowledged = { ...answer(500n * YEN, 'ack 1'), cause: 'acknowledged' } as const;
    t.equal(await creditMerchant(session, acknowledged), true);
    t.equal(await creditMerchant(session, acknowledged), false, 'read twice');
    const paid = { acquirer: 'acquirer-1', merchant: 'merchant-7', currency: 392 };
    await enterMerchant(session, {
      ...paid,
      kind: 'paid',
      amountMicro: 500n * YEN,
      reference: 'payout 1',
      nowS: NOON_S,
    });
    await debitMerchant(session, { ...answer(500n * YEN, 'cb 1'), cause: 'chargedBack' });
    await creditMerchant(session, { ...answer(200n * YEN, '282 1'), cause: 'chargeBackReversed' });
    const rows = await session.all('SELECT * FROM merchant_accounts');
    t.match(rows, [
      {
        ...paid,
        currency: 392n,
        acknowledged_micro: '500000000',
        charged_back_micro: '300000000',
        paid_micro: '500000000',
        payable_micro: '-300000000',
        fee_due_e4: '50000000000',
      },
    ]);
    t.equal((await session.all('SELECT * FROM merchant_entries')).length, 4);
    await t.rejects(
      creditMerchant(session, { ...acknowledged, aggregateId: 'none', reference: 'x' }),
      /no line/,
    );
  });
  await service.close();
});
