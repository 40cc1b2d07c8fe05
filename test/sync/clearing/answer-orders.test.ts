/** Answers of an issuer, refunds and Voids in unlucky orders: nobody is paid, charged or given back to twice. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Charged } from './charged-line.ts';
import { chargedLine, creditFor, payable, voidFor } from './charged-line.ts';
import {
  chargeback,
  cutThree,
  fileReject,
  lineOf,
  messageReject,
  outcomes,
  recordOf,
  standing,
} from './issuer-side.ts';
import {
  LineOfReceipts,
  NOON_S,
  anchors,
  directoryOf,
  hashOf,
  inMemory,
  programme,
  signer,
} from './sample.ts';
import { lineAccountsIn, writeLineAccounts } from '../../../sync/clearing/line-accounts-file.ts';

const YEN = 1_000_000n;

t.test(
  'a second presentment that was refused and given up pays nobody, late answer or not',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    await issuer.acknowledge(file, 'accepted', NOON_S);
    const line = lineOf(file, 1000n);
    await issuer.send([chargeback(line)], NOON_S + 10);
    t.equal(await payable(service), 230n * YEN);
    await service.represent({ arn: line.arn, reason: '4853' }, NOON_S + 20);
    const cut = await service.cut(NOON_S + 30, anchors, true);
    const second = issuer.got(cut.files[0]?.fileName ?? '');
    t.same(outcomes(await issuer.send([messageReject(second, 2)], NOON_S + 40)), ['moved']);
    t.match(await service.decideLine(line.arn, 'accept', NOON_S + 50), { kind: 'moved' });
    t.same(outcomes(await issuer.acknowledge(second, 'partly', NOON_S + 60)), ['moved']);
    t.same(await standing(service), { presentedOpen: 230n, presentedChargedBack: 1000n });
    t.equal(await payable(service), 230n * YEN, 'the merchant keeps what is presented, no more');
    await service.close();
  },
);

t.test('a second presentment that was taken counts, though arbitration came first', async (t) => {
  const { service, issuer, file } = await cutThree();
  await issuer.acknowledge(file, 'accepted', NOON_S);
  const line = lineOf(file, 1000n);
  await issuer.send([chargeback(line)], NOON_S + 10);
  await service.represent({ arn: line.arn, reason: '4853' }, NOON_S + 20);
  const cut = await service.cut(NOON_S + 30, anchors, true);
  const second = issuer.got(cut.files[0]?.fileName ?? '');
  const last = chargeback(line, 400n, { cycle: 'arbitration' });
  t.same(outcomes(await issuer.send([last], NOON_S + 40)), ['moved']);
  t.equal(await payable(service), -170n * YEN);
  await issuer.acknowledge(second, 'accepted', NOON_S + 50);
  t.equal(await payable(service), 830n * YEN, '1,230 less the 400 of the arbitration');
  await service.close();
});

t.test(
  'a line that is refused after its acknowledgement and presented again pays one fee',
  async (t) => {
    const fee = { basisPoints: 100, fixedMicro: 0n };
    const { service, issuer, file } = await cutThree({
      directory: directoryOf({ ...programme, fee }),
    });
    const due = async (): Promise<bigint | undefined> =>
      (await service.reconcile()).merchants[0]?.feeDueE4;
    await issuer.acknowledge(file, 'accepted', NOON_S);
    const onePercent = 12_300_000n * 10_000n;
    t.equal(await due(), onePercent, '12.3 yen of 1,230');
    await issuer.send([messageReject(file, recordOf(file, 1000n))], NOON_S + 10);
    t.equal(await payable(service), 230n * YEN);
    await service.decideLine(lineOf(file, 1000n).arn, 'requeue', NOON_S + 20);
    const cut = await service.cut(NOON_S + 30, anchors, true);
    await issuer.acknowledge(issuer.got(cut.files[0]?.fileName ?? ''), 'accepted', NOON_S + 40);
    t.equal(await payable(service), 1230n * YEN);
    t.equal(await due(), onePercent, 'still one');
    await service.close();
  },
);

const returned: readonly (readonly [string, (charged: Charged) => Promise<void>])[] = [
  [
    'given up',
    async ({ service, issuer, file, arn }) => {
      await issuer.send([messageReject(file, 2)], NOON_S + 10);
      await service.decideLine(arn, 'release', NOON_S + 20);
    },
  ],
  [
    'charged back in full',
    async ({ service, issuer, file, arn }) => {
      await issuer.acknowledge(file, 'accepted', NOON_S);
      await issuer.send([chargeback(lineOf(file, 600n))], NOON_S + 10);
      await service.decideLine(arn, 'accept', NOON_S + 20);
    },
  ],
];

for (const [how, giveBack] of returned) {
  t.test(`nothing is given back twice of a line that was ${how}`, async (t) => {
    const charged = await chargedLine();
    const { service, paid } = charged;
    await giveBack(charged);
    const later = [voidFor(paid[0]), creditFor(paid[1], 50n * YEN)];
    t.match(await service.ingestBatch(later, NOON_S + 30), { void: 1, credit: 0, refused: 1 });
    t.same((await service.cut(NOON_S + 40, anchors, true)).files, []);
    const { books, bearers, findings } = await service.reconcile();
    t.equal(books[0]?.creditsMicro, 0n);
    t.match(bearers, [{ bearer: 'operator', sumMicro: 500n * YEN }]);
    t.ok(findings.some(({ kind }) => kind === 'CREDIT_NOT_CHARGED'));
    t.equal(await payable(service), 500n * YEN, 'the operator pays the merchant, once');
    await service.close();
  });

  t.test(`what waits to be given back is reversed with a line that was ${how}`, async (t) => {
    const charged = await chargedLine();
    const { service, paid } = charged;
    const before = [voidFor(paid[0]), creditFor(paid[1], 50n * YEN)];
    t.match(await service.ingestBatch(before, NOON_S + 5), { void: 1, credit: 2 });
    await giveBack(charged);
    t.same((await service.cut(NOON_S + 40, anchors, true)).files, []);
    const { books, reconciles } = await service.reconcile();
    t.ok(reconciles);
    t.equal(books[0]?.buckets.late, 0n);
    t.equal(books[0]?.buckets.conflict, 0n);
    t.equal(await payable(service), 500n * YEN, 'the operator pays the merchant, once');
    await service.close();
  });
}

t.test('a line whose refund is presented is not given up before the refund is', async (t) => {
  const { service, issuer, file, arn, paid } = await chargedLine();
  await service.ingestBatch([creditFor(paid[1], 50n * YEN)], NOON_S + 5);
  const cut = await service.cut(NOON_S + 6, anchors, true);
  const refund = issuer.got(cut.files[0]?.fileName ?? '');
  await issuer.send([messageReject(file, 2)], NOON_S + 10);
  t.match(await service.decideLine(arn, 'release', NOON_S + 20), { code: 'REFUNDED' });
  t.same(await standing(service), { parked: 600n, presentedOpen: -50n });
  await issuer.send([messageReject(refund, 2)], NOON_S + 30);
  t.match(await service.decideLine(refund.lines[0]?.arn ?? '', 'release', NOON_S + 40), {
    kind: 'moved',
  });
  t.match(await service.decideLine(arn, 'release', NOON_S + 50), { kind: 'moved' });
  t.same(await standing(service), { reversed: 550n });
  await service.close();
});

const FORK = { origin: 'intake.example', common: undefined } as never;

t.test('a Void gives the whole charge back, whatever is held of its refunds', async (t) => {
  const { service, paid } = await chargedLine();
  await service.ingestBatch([creditFor(paid[0], 200n * YEN)], NOON_S + 5);
  await service.stopLog(FORK, 'evidence', NOON_S + 6);
  await service.ingestBatch([voidFor(paid[0])], NOON_S + 7);
  await service.liftStop('intake.example', NOON_S + 8);
  const cut = await service.cut(NOON_S + 9, anchors, true);
  t.match(cut.files, [{ presentments: 1, sumMinor: 500n }], 'all of it, once');
  t.ok((await service.reconcile()).reconciles);
  await service.close();
});

t.test(
  'a Void while the charge is held for a fork pays the merchant less its refund',
  async (t) => {
    for (const isElsewhere of [false, true]) {
      const { service } = await inMemory();
      const paid = new LineOfReceipts('car').next(500n * YEN);
      await service.ingestBatch([paid, creditFor(paid, 200n * YEN)], NOON_S);
      await service.stopLog({ origin: paid.origin, common: undefined } as never, 'fork', NOON_S);
      await service.ingestBatch([voidFor(paid)], NOON_S + 1);
      const again = { ...paid, origin: 'other.example', operator: 'Fog Works' };
      if (isElsewhere) await service.ingestBatch([again], NOON_S + 2);
      else await service.liftStop(paid.origin, NOON_S + 2);
      t.equal(await payable(service), 300n * YEN, 'as before an aggregate');
      t.same((await service.cut(NOON_S + 3, anchors, true)).files, []);
      await service.close();
    }
  },
);

t.test('what an issuer states in another currency matches nothing', async (t) => {
  const { service, issuer, file } = await cutThree();
  const position = {
    kind: 'reconciliation',
    position: 'financial',
    sourceFileId: file.fileId,
    currency: '840',
    debit: { count: 3, amountMinor: 1230n },
    credit: { count: 0, amountMinor: 0n },
  } as const;
  t.same(outcomes(await issuer.send([position], NOON_S)), ['CURRENCY_MISMATCH']);
  t.same(outcomes(await issuer.send([{ ...position, currency: '392' }], NOON_S)), ['moved']);
  const dollars = file.lines.map((line) => ({ ...line, currency: '840' }));
  t.same(outcomes(await issuer.acknowledge({ ...file, lines: dollars }, 'accepted', NOON_S)), [
    'TOTALS_MISMATCH',
  ]);
  t.equal(await payable(service), undefined);
  await service.close();
});

t.test('a second Receipt that charges otherwise never stands for the first', async (t) => {
  const { service, database } = await inMemory();
  const paid = new LineOfReceipts('car').next(500n * YEN, { chargedMicro: 100n * YEN });
  const other = {
    ...paid,
    origin: 'other.example',
    receiptHash: hashOf('another receipt'),
    chargedMicro: 500n * YEN,
  };
  const receipts = async () =>
    database.transaction((session) =>
      session.all('SELECT receipt_hash, charge_micro, state FROM receipts ORDER BY id'),
    );
  const fork = { origin: paid.origin, common: undefined } as never;
  await service.ingestBatch([paid, other], NOON_S);
  await service.stopLog(fork, 'fork', NOON_S);
  await service.ingestBatch([other], NOON_S + 1);
  t.match(await receipts(), [{ charge_micro: '100000000', state: 'forked' }]);
  const same = { ...paid, origin: 'third.example', receiptHash: hashOf('a third receipt') };
  t.match(await service.ingestBatch([same], NOON_S + 2), { final: 1 });
  t.match(await receipts(), [{ charge_micro: '100000000', state: 'pending' }]);
  t.equal(
    Buffer.from((await receipts())[0]?.['receipt_hash'] as Uint8Array).toString('hex'),
    Buffer.from(same.receiptHash).toString('hex'),
  );
  await service.close();
});

t.test('the account of a line lists its Payments that are in dispute', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-disputes-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { service, issuer, file, paid, database } = await chargedLine();
  const listed = async (): Promise<bigint[]> => {
    const path = join(folder, 'lines');
    await writeLineAccounts(database, signer, path, NOON_S + 60);
    const found: bigint[] = [];
    for await (const { disputes } of lineAccountsIn(path)) {
      found.push(...disputes.map((one) => one.amountMicro));
    }
    return found;
  };
  t.same(await listed(), []);
  await issuer.send([chargeback(lineOf(file, 600n))], NOON_S + 10);
  t.same(
    await listed(),
    paid.map((one) => one.amountMicro),
  );
  await service.close();
});

t.test('a reject of the first presentment does not reach the second one', async (t) => {
  const { service, issuer, file } = await cutThree();
  const line = lineOf(file, 1000n);
  await issuer.send([chargeback(line)], NOON_S + 10);
  await service.represent({ arn: line.arn, reason: '4853' }, NOON_S + 20);
  await service.cut(NOON_S + 30, anchors, true);
  const before = await standing(service);
  t.same(before, { presentedOpen: 1230n });
  t.same(outcomes(await issuer.send([fileReject(file)], NOON_S + 40)), ['LINES_MOVED_ON']);
  const one = messageReject(file, recordOf(file, 1000n));
  t.same(outcomes(await issuer.send([one], NOON_S + 50)), ['DISPUTED']);
  t.same(await standing(service), before);
  t.match(await service.cut(NOON_S + 60, anchors, true), { files: [] }, 'nothing leaves twice');
  await service.close();
});
