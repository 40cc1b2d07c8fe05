import t from 'tap';
import { decodeSign1 } from '../../../protocol/cose.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { PAYOUT_MANIFEST } from '../../../sync/clearing/core/payout-manifest.ts';
import { checkPayoutTerms, nextWeekday } from '../../../sync/clearing/core/payout-terms.ts';
import type { PayoutTerms } from '../../../sync/clearing/core/payout-terms.ts';
import { ZENGIN_PROFILE, readZenginFile } from '../../../sync/clearing/core/zengin-file.ts';
import type { ZenginAccount } from '../../../sync/clearing/core/zengin-file.ts';
import { enterMerchant } from '../../../sync/clearing/merchant-accounts.ts';
import type { MerchantEntry } from '../../../sync/clearing/merchant-accounts.ts';
import { reconciliationCsv } from '../../../sync/clearing/reconciliation-csv.ts';
import { bookReturn } from '../../../sync/clearing/returned-transfers.ts';
import type { ReturnOutcome, TransferReturn } from '../../../sync/clearing/returned-transfers.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { NOON_S, directoryOf, inMemory, policyHash, signer } from './sample.ts';
import { openTestStore } from './store.ts';

const YEN = 1_000_000n;

const account = (number: string): ZenginAccount => ({
  bank: '0005',
  bankName: '',
  branch: '007',
  branchName: '',
  kind: '1',
  number,
});

const terms: PayoutTerms = {
  acquirer: 'acquirer-1',
  profile: ZENGIN_PROFILE,
  clientCode: '0000012345',
  clientName: 'KIRI',
  account: account('1234567'),
  minimumYen: 10n,
  payees: new Map(
    ['A', 'B', 'C', 'D'].map((merchant, at) => [
      merchant,
      { account: account(`000000${at}`), name: `MISE ${merchant}`, reference: '' },
    ]),
  ),
};

const returnOf = (
  service: ClearingService,
  transfer: TransferReturn,
  nowS: number,
): Promise<ReturnOutcome> => service.within((session) => bookReturn(session, transfer, nowS));

let entered = 0;
const enter = async (database: SqlDatabase, entry: Partial<MerchantEntry>): Promise<void> => {
  entered += 1;
  await database.transaction((session) =>
    enterMerchant(session, {
      acquirer: 'acquirer-1',
      merchant: 'A',
      currency: 392,
      kind: 'acknowledged',
      amountMicro: YEN,
      reference: `entry ${entered}`,
      nowS: NOON_S,
      ...entry,
    }),
  );
};

t.test(
  'merchants are paid whole yen less fees; the rest stays and nobody is paid twice',
  async (t) => {
    const { service, database, files } = await inMemory();
    // 1,000.75 yen with 1.5 yen of fees due: 1 yen is taken, 999 paid, 0.75 carried, half a yen of fees stays due.
    await enter(database, { amountMicro: 1_000_750_000n, feeDueE4: 15_000_000_000n });
    await enter(database, { merchant: 'B', amountMicro: 5n * YEN });
    await enter(database, { merchant: 'B', amountMicro: 9n * YEN, kind: 'chargedBack' });
    await enter(database, { merchant: 'C', amountMicro: 9n * YEN, feeDueE4: 10n ** 10n });
    await enter(database, { merchant: 'UNKNOWN', amountMicro: 50n * YEN });
    await enter(database, { merchant: 'A', currency: 840, amountMicro: 50n * YEN });
    await enter(database, { acquirer: 'acquirer-2', amountMicro: 50n * YEN });
    const first = await service.payout(terms, '1124', NOON_S);
    t.match(first.files, [
      {
        fileName: 'KIRI.zengin-sougou.0000012345.D261121.S00001.T.txt',
        transfers: 1,
        totalYen: 999n,
      },
    ]);
    t.same(
      first.carried.map(({ merchant, reason }) => `${merchant} ${reason}`),
      ['A remainder', 'A notYen', 'B negative', 'C belowMinimum', 'UNKNOWN noAccount'],
    );
    const text = files.get('out/payouts/KIRI.zengin-sougou.0000012345.D261121.S00001.T.txt');
    const read = readZenginFile(Buffer.from(text ?? '', 'hex'), ZENGIN_PROFILE);
    t.match(read, {
      ok: true,
      value: {
        header: { clientCode: '0000012345', transferDay: '1124', account: { number: '1234567' } },
        transfers: [{ amountYen: 999n, payeeName: 'MISE A', account: { number: '0000000' } }],
      },
    });
    t.match(await service.payout(terms, '1125', NOON_S), { files: [] }, 'nothing more is due');
    const report = await service.reconcile();
    t.same(report.differences, []);
    t.match(
      report.merchants.find(({ merchant, currency }) => merchant === 'A' && currency === 392),
      { paidMicro: 999n * YEN, feesMicro: YEN, payableMicro: 750_000n, feeDueE4: 5_000_000_000n },
    );
    await database.transaction((session) =>
      session.run("UPDATE payout_lines SET paid_micro = '1' WHERE merchant = 'A'"),
    );
    t.match((await service.reconcile()).differences, [/files say 1/], 'a changed line is named');
    await service.close();
  },
);

t.test('after a crash at any step the same file comes out, once, under one number', async (t) => {
  for (const failAt of ['txt', 'lines', 'manifest', 'marked']) {
    const database = await openTestStore();
    const out = new Map<string, string>();
    let isFailing = true;
    const faulty: SqlDatabase = {
      transaction: async (work) =>
        database.transaction(async (session) => {
          const result = await work(session);
          const has = out.size >= 3 && isFailing && failAt === 'marked';
          if (has) throw new Error('crash');
          return result;
        }),
      close: () => database.close(),
    };
    const options = {
      database: faulty,
      signer,
      outFolder: 'out',
      directory: directoryOf(),
      policyHash,
      mode: 'T' as const,
      writeFile: async (path: string, bytes: Uint8Array | string): Promise<void> => {
        if (isFailing && path.includes(failAt)) throw new Error('crash');
        out.set(path, Buffer.from(bytes).toString('hex'));
      },
    };
    const service = await ClearingService.open(options, NOON_S);
    await enter(database, { amountMicro: 70n * YEN });
    await t.rejects(service.payout(terms, '1124', NOON_S), /crash/, failAt);
    isFailing = false;
    const again = await ClearingService.open(options, NOON_S + 60);
    const name = 'KIRI.zengin-sougou.0000012345.D261121.S00001.T';
    t.same([...out.keys()].toSorted(), [
      `out/payouts/${name}.lines.jsonl`,
      `out/payouts/${name}.manifest`,
      `out/payouts/${name}.txt`,
    ]);
    t.match(await again.payout(terms, '1130', NOON_S + 60), { files: [] }, 'paid once');
    for (const { path, bytes } of await again.rebuildPayout(name)) {
      t.equal(Buffer.from(bytes).toString('hex'), out.get(`out/${path}`), path);
    }
    const sign1 = decodeSign1(Buffer.from(out.get(`out/payouts/${name}.manifest`) ?? '', 'hex'));
    const manifest = sign1.ok ? PAYOUT_MANIFEST.decode(sign1.value.payload) : sign1;
    t.match(manifest, { ok: true, value: { fileName: `${name}.txt`, totalYen: '70' } });
    await enter(database, { amountMicro: 80n * YEN });
    t.match(await again.payout(terms, '1130', NOON_S + 90), { files: [{ fileName: /S00002/ }] });
    await t.rejects(again.rebuildPayout('KIRI.none'), { code: 'UNKNOWN_FILE' });
    await again.close();
  }
});

t.test('terms that no file could be written from are refused before anything is assigned', (t) => {
  checkPayoutTerms(terms);
  const wrong = (part: Partial<PayoutTerms>, message: RegExp): void =>
    void t.throws(() => checkPayoutTerms({ ...terms, ...part }), { message });
  wrong({ clientCode: '12345' }, /ten digits/);
  wrong({ clientName: '' }, /clientName/);
  const payee = (name: string, number: string): PayoutTerms['payees'] =>
    new Map([['E', { account: account(number), name, reference: '' }]]);
  wrong({ payees: payee('株式会社', '0000001') }, /payee E: data.payeeName/);
  wrong({ payees: payee('MISE', '123456789') }, /payee E: data.accountNumber/);
  // 2026-11-21 is a Saturday in Japan, 2026-12-31 a Thursday.
  t.equal(nextWeekday(NOON_S), '1123');
  t.equal(nextWeekday(Date.UTC(2026, 11, 31, 3) / 1000), '0101');
  t.equal(nextWeekday(Date.UTC(2028, 1, 28, 3) / 1000), '0229', 'Monday before a leap day');
  t.end();
});

t.test('a transfer that the bank returns is payable again, once, to another account', async (t) => {
  const { service, database, files } = await inMemory();
  await enter(database, { amountMicro: 1_000n * YEN });
  await enter(database, { merchant: 'B', amountMicro: 70n * YEN });
  const [paid] = (await service.payout(terms, '1124', NOON_S)).files;
  const file = paid?.fileName ?? '';
  const back: TransferReturn = {
    file,
    number: 1,
    amountYen: 1_000n,
    reason: 'account closed',
    mayRetry: false,
  };
  const balances = async () => {
    const { merchants, differences } = await service.reconcile();
    t.same(differences, []);
    return merchants.map((one) => [one.merchant, one.paidMicro / YEN, one.payableMicro / YEN]);
  };
  const before = await balances();
  for (const [part, code] of [
    [{ number: 3 }, 'UNKNOWN_TRANSFER'],
    [{ file: 'KIRI.none' }, 'UNKNOWN_TRANSFER'],
    [{ amountYen: 999n }, 'AMOUNT_MISMATCH'],
    [{ number: 2 }, 'AMOUNT_MISMATCH'],
  ] as const) {
    t.match(await returnOf(service, { ...back, ...part }, NOON_S), { kind: 'refused', code });
  }
  t.same(await balances(), before, 'what is refused moves nothing');
  t.same(await returnOf(service, back, NOON_S), {
    kind: 'booked',
    merchant: 'A',
    amountYen: 1_000n,
  });
  t.match(await returnOf(service, back, NOON_S), { kind: 'repeated' }, 'once');
  t.same(await balances(), [
    ['A', 0n, 1_000n],
    ['B', 70n, 0n],
  ]);
  t.match((await service.reconcile()).returnedTransfers, [
    { merchant: 'A', number: 1, amountMicro: 1_000n * YEN, reason: 'account closed' },
  ]);
  let csv = '';
  await service.within(async (session) => {
    for await (const row of reconciliationCsv(session)) csv += row;
  });
  t.match(csv, /^returned-transfer,KIRI\.zengin.*,A,.*,1000000000,,,account closed\r$/m);

  t.match(await service.payout(terms, '1125', NOON_S), {
    files: [],
    carried: [{ merchant: 'A', reason: 'accountReturned' }],
  });
  const corrected = { account: account('7654321'), name: 'MISE A', reference: '' };
  const payees = new Map([...terms.payees, ['A', corrected] as const]);
  const again = await service.payout({ ...terms, payees }, '1125', NOON_S);
  t.match(again.files, [{ transfers: 1, totalYen: 1_000n }]);
  const text = files.get(`out/payouts/${again.files[0]?.fileName}`);
  t.match(readZenginFile(Buffer.from(text ?? '', 'hex'), ZENGIN_PROFILE), {
    value: { transfers: [{ account: { number: '7654321' } }] },
  });
  t.match(await returnOf(service, back, NOON_S), { kind: 'repeated' }, 'the old one still is');
  t.same((await balances())[0], ['A', 1_000n, 0n]);

  // Returned for a passing reason: the same account may be tried again.
  const second = { ...back, file: again.files[0]?.fileName ?? '', mayRetry: true };
  t.match(await returnOf(service, second, NOON_S + 1), { kind: 'booked' });
  t.match(await service.payout({ ...terms, payees }, '1126', NOON_S + 2), {
    files: [{ totalYen: 1_000n }],
  });
  t.same((await balances())[0], ['A', 1_000n, 0n]);
  await service.close();
});

t.test('a return that crashes is booked whole or not at all', async (t) => {
  const { service, database } = await inMemory();
  await enter(database, { amountMicro: 70n * YEN });
  const [paid] = (await service.payout(terms, '1124', NOON_S)).files;
  const back: TransferReturn = {
    file: paid?.fileName ?? '',
    number: 1,
    amountYen: 70n,
    reason: 'unknown account',
    mayRetry: false,
  };
  for (let failAt = 1; ; failAt++) {
    let left = failAt;
    const failed = await database
      .transaction((session) =>
        bookReturn(
          {
            ...session,
            run: async (sql, ...values) => {
              const count = await session.run(sql, ...values);
              left -= 1;
              if (left === 0) throw new Error('crash');
              return count;
            },
          },
          back,
          NOON_S,
        ),
      )
      .then(
        () => false,
        () => true,
      );
    const { differences, returnedTransfers } = await service.reconcile();
    t.same(differences, [], `step ${failAt}`);
    t.equal(returnedTransfers.length, failed ? 0 : 1);
    if (!failed) break;
  }
  await service.close();
});
