import t from 'tap';
import fc from 'fast-check';
import {
  FEE_MOVES,
  applyFeeMove,
  emptyFeeAccount,
} from '../../../sync/clearing/core/fee-account.ts';
import type { FeeCollection } from '../../../sync/clearing/core/inbound-message.ts';
import { reconciliationCsv } from '../../../sync/clearing/reconciliation-csv.ts';
import { cutThree, lineOf, outcomes, someFee as fee, standing } from './issuer-side.ts';
import { NOON_S } from './sample.ts';

const YEN = 1_000_000n;

const back = (part: Partial<FeeCollection> = {}): FeeCollection =>
  fee({ use: 'return', direction: 'paid', ...part });

t.test('an issuer’s fees are booked once each, beside the books, and returned once', async (t) => {
  const { service, issuer, file } = await cutThree();
  const before = await standing(service);
  const at = NOON_S + 60;
  const { arn } = lineOf(file, 1_000n);
  const incentive = { direction: 'paid', reference: 'FEE2', reason: '7605' } as const;
  const first = [fee({ arn }), fee({ ...incentive, amountMinor: 50n })];
  t.same(outcomes(await issuer.send(first, at)), ['moved', 'moved']);
  const fees = async () => {
    const report = await service.reconcile();
    t.same(report.differences, []);
    const [own] = report.fees;
    return own && [own.chargedMicro, own.receivedMicro, own.owedMicro].map((sum) => sum / YEN);
  };
  t.same(await fees(), [120n, 50n, 70n]);

  // The reference of a fee is used up, in a later file too, whatever the fee.
  t.same(outcomes(await issuer.send([fee({ amountMinor: 1n })], at)), ['FEE_USED']);
  const strange = [
    fee({ reference: 'FEE9', arn: '01234566325000000099998' }),
    back({ reference: 'FEE9' }),
  ];
  t.same(outcomes(await issuer.send(strange, at)), ['UNKNOWN_ARN', 'UNKNOWN_FEE']);
  t.same(outcomes(await issuer.send([back({ amountMinor: 119n })], at)), ['ORIGINAL_MISMATCH']);
  t.same(outcomes(await issuer.send([back({ direction: 'charged' })], at)), ['ORIGINAL_MISMATCH']);
  t.same(outcomes(await issuer.send([back({ currency: '840' })], at)), ['CURRENCY_MISMATCH']);
  t.same(await fees(), [120n, 50n, 70n], 'what is refused moves nothing');

  t.same(outcomes(await issuer.send([back()], at)), ['moved']);
  t.same(outcomes(await issuer.send([back()], at)), ['repeated']);
  t.same(outcomes(await issuer.send([fee()], at)), ['FEE_USED'], 'returned is not free again');
  t.same(await fees(), [0n, 50n, -50n], 'now the issuer owes');
  // In one file: a fee, its return, and a fee in another currency in a file of its own.
  const dollars = { reference: 'FEE4', currency: '840', amountMinor: 199n } as const;
  t.same(outcomes(await issuer.send([fee(dollars)], at)), ['moved']);
  const both = [fee({ reference: 'FEE5' }), back({ reference: 'FEE5' })];
  t.same(outcomes(await issuer.send(both, at)), ['moved', 'moved']);
  const report = await service.reconcile();
  t.match(
    report.fees.find(({ currency }) => currency === 840),
    { owedMicro: 1_990_000n },
  );
  t.same(await standing(service), before, 'no payer and no merchant is touched');

  let csv = '';
  await service.within(async (session) => {
    for await (const row of reconciliationCsv(session)) csv += row;
  });
  const rows = csv.split('\r\n').filter((row) => /^(?:total-)?fee,/.test(row));
  t.equal(rows.length, 4 + 3, 'four fees, three sums');
  t.match(
    rows[0],
    new RegExp(`^fee,,${arn},,,[0-9a-f]{32},,,,,,,JPY,debit,,returned,120000000,,,FEE1$`),
  );

  for (const [sql, words] of [
    ["UPDATE fee_journal SET amount_micro = '1' WHERE reference = 'FEE2'", /journal/],
    ["UPDATE fees SET amount_micro = '1' WHERE reference = 'FEE4'", /one by one 1, owed 1990000/],
  ] as const) {
    await service.within((session) => session.run(sql));
    t.match((await service.reconcile()).differences.join(), words);
  }
  await service.close();
});

t.test('no sequence of fee moves leaves charged − received ≠ owed or a sum below zero', (t) => {
  const move = fc.tuple(fc.constantFrom(...FEE_MOVES), fc.bigInt(1n, 10n ** 12n));
  fc.assert(
    fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
      const account = emptyFeeAccount();
      let owed = 0n;
      for (const [kind, amount] of moves) {
        const room = kind === 'chargeReturned' ? account.chargedMicro : account.receivedMicro;
        if (kind.endsWith('Returned') && amount > room) continue;
        applyFeeMove(account, kind, amount, 'i');
        owed += kind === 'charged' || kind === 'receiptReturned' ? amount : -amount;
        if (account.owedMicro !== owed) throw new Error(kind);
      }
    }),
  );
  t.throws(() => applyFeeMove(emptyFeeAccount(), 'chargeReturned', 1n, 'i'), /above the fees/);
  t.throws(() => applyFeeMove(emptyFeeAccount(), 'charged', 0n, 'i'));
  t.end();
});
