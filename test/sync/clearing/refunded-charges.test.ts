/** Refunds beside chargebacks, forks and Voids: the payer gets back what was charged, once. */
import t from 'tap';
import { WAITING_PER_PAYMENT_MAX } from '../../../sync/clearing/core/credit.ts';
import type { VerifiedCredit } from '../../../sync/clearing/core/credit.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { chargedLine, creditFor, payable, voidFor } from './charged-line.ts';
import type { Charged } from './charged-line.ts';
import { chargeback, kinds, messageReject, outcomes, standing } from './issuer-side.ts';
import type { GotFile } from './issuer-side.ts';
import { DAY_S, LineOfReceipts, NOON_S, anchors, inMemory } from './sample.ts';

const YEN = 1_000_000n;

type Settled = Omit<Charged, 'file' | 'arn'> & { readonly line: GotFile['lines'][number] };

/** The issuer has taken the file. */
const settledLine = async (): Promise<Settled> => {
  const { file, ...charged } = await chargedLine();
  await charged.issuer.acknowledge(file, 'accepted', NOON_S);
  const [line] = file.lines;
  if (!line) throw new Error('no line');
  return { ...charged, line };
};

/** Refunds of it in a file that the issuer has taken. */
const refund = async (
  { service, issuer }: Settled,
  credits: readonly VerifiedCredit[],
  atS: number,
): Promise<GotFile> => {
  await service.ingestBatch(credits, atS);
  const cut = await service.cut(atS, anchors, true);
  const file = issuer.got(cut.files[0]?.fileName ?? '');
  await issuer.acknowledge(file, 'accepted', atS);
  return file;
};

t.test('a chargeback of what was refunded altogether is answered by itself', async (t) => {
  const charged = await settledLine();
  const { service, issuer, line, paid } = charged;
  await refund(
    charged,
    [creditFor(paid[0], 500n * YEN), creditFor(paid[1], 100n * YEN)],
    NOON_S + 5,
  );
  t.equal(await payable(service), 0n);
  const at = NOON_S + DAY_S;
  t.match(await issuer.send([chargeback(line, 600n)], at), {
    messages: [{ kind: 'moved', detail: /refunds cover 600, presented again by itself/ }],
  });
  t.match(await service.decideLine(line.arn, 'accept', at), { kind: 'refused', code: 'REFUNDED' });
  const cut = await service.cut(at, anchors, true);
  const second = issuer.got(cut.files[0]?.fileName ?? '');
  t.match(second.lines, [
    { arn: line.arn, amountMinor: 600n, second: { originalMinor: 600n, reason: '2701' } },
  ]);
  await issuer.acknowledge(second, 'accepted', at);
  t.equal(await payable(service), 0n, 'the merchant gave it back once');
  t.same(await standing(service), {}, 'charge and refund cancel out');
  await service.close();
});

t.test(
  'of a line that is refunded in part, the rest can be charged back and no more',
  async (t) => {
    const charged = await settledLine();
    const { service, issuer, line, paid } = charged;
    const out = await refund(charged, [creditFor(paid[0], 200n * YEN)], NOON_S + 5);
    const at = NOON_S + DAY_S;
    t.match(await issuer.send([chargeback(line, 500n)], at), {
      messages: [{ kind: 'moved', detail: /refunds cover 100$/ }],
    });
    const [alert] = (await service.alerts(at)).listed;
    t.match(alert, { kind: 'DISPUTE_OPEN', reference: line.arn });
    t.match(
      alert?.detail,
      /200000000 micro-units of the line are refunded .* at least 100 minor units/,
    );
    t.match(
      alert?.detail,
      new RegExp(out.lines[0]?.arn ?? 'none'),
      'the line of the refund is named',
    );
    t.match(await service.decideLine(line.arn, 'accept', at), { code: 'REFUNDED' });
    const answer = { arn: line.arn, reason: '4853' };
    t.match(await service.represent({ ...answer, amountMinor: 99n }, at), { code: 'REFUNDED' });
    t.match(await service.represent({ ...answer, amountMinor: 100n }, at), { kind: 'moved' });
    t.same(await standing(service), {
      presentedOpen: -100n,
      presentedDisputed: 100n,
      presentedChargedBack: 400n,
    });
    // All 600 went back: neither another refund nor a Void gives anything more.
    t.match(await service.ingestBatch([creditFor(paid[1], YEN)], at), { credit: 0, refused: 1 });
    t.match(await service.ingestBatch([voidFor(paid[1])], at), { void: 1, credit: 0 });
    t.match((await service.reconcile()).bearers, [{ bearer: 'operator', sumMicro: 100n * YEN }]);
    const second = issuer.got((await service.cut(at, anchors, true)).files[0]?.fileName ?? '');
    await issuer.acknowledge(second, 'accepted', at);
    t.equal(await payable(service), 100n * YEN, 'what the operator bears');
    t.same(await standing(service), { presentedChargedBack: 400n });
    await service.close();
  },
);

t.test(
  'a refund that waits is dropped, kept or counted, as the line has room for it',
  async (t) => {
    const whole = await settledLine();
    await whole.service.ingestBatch([creditFor(whole.paid[0], 200n * YEN)], NOON_S + 5);
    await whole.issuer.send([chargeback(whole.line, 600n)], NOON_S + 10);
    t.match(await whole.service.decideLine(whole.line.arn, 'accept', NOON_S + 20), {
      kind: 'moved',
    });
    t.same((await whole.service.cut(NOON_S + 30, anchors, true)).files, [], 'reversed');
    await whole.service.close();

    const part = await settledLine();
    await part.service.ingestBatch([creditFor(part.paid[0], 200n * YEN)], NOON_S + 5);
    await part.issuer.send([chargeback(part.line, 500n)], NOON_S + 10);
    t.match(
      await part.service.decideLine(part.line.arn, 'accept', NOON_S + 20),
      { code: 'REFUNDED' },
      '500 and 200 are more than the line, and nobody can say which 100 not',
    );
    const answer = { arn: part.line.arn, reason: '4853', amountMinor: 100n };
    t.match(await part.service.represent(answer, NOON_S + 20), { kind: 'moved' });
    const cut = await part.service.cut(NOON_S + 30, anchors, true);
    t.match(cut.files, [{ presentments: 2, sumMinor: 300n }], 'refund and second presentment');
    await part.service.close();

    const small = await settledLine();
    await small.issuer.send([chargeback(small.line, 100n)], NOON_S + 10);
    await small.service.decideLine(small.line.arn, 'accept', NOON_S + 20);
    t.match(
      await small.service.ingestBatch([creditFor(small.paid[0], 500n * YEN)], NOON_S + 30),
      { credit: 1 },
      'a chargeback of the other Payment leaves room',
    );
    t.match(await small.service.ingestBatch([creditFor(small.paid[1], YEN)], NOON_S + 30), {
      refused: 1,
    });
    await small.service.close();
  },
);

t.test(
  'where nothing can be answered any more, both are paid, and a finding says so',
  async (t) => {
    const late = await settledLine();
    await refund(late, [creditFor(late.paid[0], 500n * YEN)], NOON_S + 5);
    await late.issuer.send([chargeback(late.line, 600n, { reason: '4837' })], NOON_S + 10);
    t.same(
      await kinds(late.service, NOON_S + 11),
      ['DISPUTE_OPEN'],
      'a reason that declines is not answered by itself',
    );
    const over = NOON_S + 10 + 45 * DAY_S + 1;
    t.match(await late.service.represent({ arn: late.line.arn, reason: '4853' }, over), {
      code: 'ANSWER_WINDOW_CLOSED',
    });
    t.match(await late.service.decideLine(late.line.arn, 'accept', over), { kind: 'moved' });
    t.match((await late.service.reconcile()).findings, [{ kind: 'REFUNDED_AND_CHARGED_BACK' }]);
    await late.service.close();

    const last = await settledLine();
    await last.issuer.send([chargeback(last.line, 600n)], NOON_S + 10);
    await last.service.represent({ arn: last.line.arn, reason: '4853' }, NOON_S + 20);
    await refund(last, [creditFor(last.paid[0], 500n * YEN)], NOON_S + 30);
    await last.service.ingestBatch([creditFor(last.paid[1], 100n * YEN)], NOON_S + 40);
    const word = chargeback(last.line, 600n, { cycle: 'arbitration' });
    t.same(
      outcomes(await last.issuer.send([word], NOON_S + 50)),
      ['moved'],
      'the last word counts',
    );
    t.match((await last.service.reconcile()).findings, [{ kind: 'REFUNDED_AND_CHARGED_BACK' }]);
    t.same(
      (await last.service.cut(NOON_S + 60, anchors, true)).files,
      [],
      'what waited is reversed',
    );
    await last.service.close();
  },
);

t.test(
  'the debit of a chargeback counts again when its ARN comes back after ten years',
  async (t) => {
    const { service, issuer, line, database } = await settledLine();
    await issuer.send([chargeback(line, 600n)], NOON_S + 10);
    await service.decideLine(line.arn, 'accept', NOON_S + 20);
    t.equal(await payable(service), 0n);
    // Day 325 of 2036, and the running number begins anew.
    const laterS = Date.UTC(2036, 10, 20, 3) / 1000;
    await database.transaction((session) =>
      session.run("UPDATE counters SET value = 0 WHERE name = 'arn 123456'"),
    );
    const paid = new LineOfReceipts('van').next(600n * YEN, { businessTimeS: laterS });
    await service.ingestBatch([paid], laterS);
    const cut = await service.cut(laterS, anchors, true);
    const file = issuer.got(cut.files[0]?.fileName ?? '');
    const [again] = file.lines;
    t.equal(again?.arn, line.arn);
    await issuer.acknowledge(file, 'accepted', laterS);
    t.equal(await payable(service), 600n * YEN);
    if (again) await issuer.send([chargeback(again, 600n)], laterS);
    t.equal(await payable(service), 0n);
    t.ok((await service.reconcile()).reconciles);
    await service.close();
  },
);

const LATER_S = NOON_S + 5 * DAY_S;

/** A charge of 500 yen that is not due yet, while its refund of 200 went out with an older one of 50. */
const heldBesideRefund = async () => {
  const { service } = await inMemory();
  const device = new LineOfReceipts('car');
  const old = device.next(100n * YEN);
  await service.ingestBatch([old], NOON_S);
  await service.cut(NOON_S, anchors, true);
  await service.ingestBatch([creditFor(old, 50n * YEN)], NOON_S + 1);
  const paid = device.next(500n * YEN, { businessTimeS: LATER_S - 60 });
  await service.ingestBatch([paid, creditFor(paid, 200n * YEN)], LATER_S);
  const cut = await service.cut(LATER_S, anchors);
  return { service, paid, cut };
};

for (const isElsewhere of [false, true]) {
  const how = isElsewhere ? 'another log brings it' : 'the stop is lifted';
  t.test(
    `fork, Void, then ${how}: a charge whose refund is out is presented, and corrected`,
    async (t) => {
      const { service, paid, cut } = await heldBesideRefund();
      t.match(cut.files, [{ presentments: 1, sumMinor: 250n }], 'the refunds alone');
      const fork = { origin: paid.origin, common: undefined } as never;
      await service.stopLog(fork, 'fork', LATER_S + 1);
      await service.ingestBatch([voidFor(paid)], LATER_S + 1);
      const again = { ...paid, origin: 'other.example', operator: 'Fog Works' };
      if (isElsewhere) await service.ingestBatch([again], LATER_S + 2);
      else await service.liftStop(paid.origin, LATER_S + 2);
      const { files } = await service.cut(LATER_S + 3, anchors, true);
      t.match(files, [{ presentments: 2, sumMinor: 800n }], '500 charged, 300 given back');
      t.same(await standing(service), { presentedOpen: 50n }, 'the payer is not charged for it');
      t.match((await service.reconcile()).bearers, [
        { bearer: 'operator', reference: 'Fog Works', sumMicro: 300n * YEN },
      ]);
      await service.close();
    },
  );
}

t.test(
  'a refund that came while its charge was held is booked when the stop is lifted',
  async (t) => {
    const { service } = await inMemory();
    const paid = new LineOfReceipts('car').next(500n * YEN);
    await service.ingestBatch([paid, creditFor(paid, 50n * YEN)], NOON_S);
    await service.stopLog({ origin: paid.origin, common: undefined } as never, 'fork', NOON_S);
    t.match(await service.ingestBatch([creditFor(paid, 200n * YEN)], NOON_S + 1), { waiting: 1 });
    await service.liftStop(paid.origin, NOON_S + 2);
    t.match(await service.reconcile(), {
      credits: 2,
      waitingCredits: { count: 0 },
      reconciles: true,
    });
    const { files } = await service.cut(NOON_S + 3, anchors, true);
    t.match(files, [{ presentments: 2, sumMinor: 700n }]);
    t.same(await standing(service), { presentedOpen: 300n });
    await service.close();
  },
);

t.test(
  'while a charge is held its highest refund alone waits; nothing is ever full for it',
  async (t) => {
    const { service } = await inMemory();
    const paid = new LineOfReceipts('car').next(500n * YEN, { level: 'L1' });
    await service.ingestBatch([paid], NOON_S);
    const many = Array.from({ length: 3 * WAITING_PER_PAYMENT_MAX }, (_, at) =>
      creditFor(paid, BigInt(at + 1)),
    );
    t.match(await service.ingestBatch(many.toReversed(), NOON_S), {
      waiting: 1,
      duplicate: many.length - 1,
    });
    t.match(await service.ingestBatch([creditFor(paid, 400n * YEN)], NOON_S), { waiting: 1 });
    t.equal((await service.reconcile()).waitingCredits.count, 1);
    t.match(await service.ingestBatch([{ ...paid, level: 'L2' }], NOON_S), { final: 1, credit: 1 });
    t.match((await service.reconcile()).books, [{ creditsMicro: 400n * YEN }]);
    await service.close();
  },
);

t.test(
  'a refund that found no room is taken when it is handed in again, and no finding stays',
  async (t) => {
    let isFull = true;
    const { database: real } = await inMemory();
    const database: SqlDatabase = {
      transaction: (work) =>
        real.transaction((session) =>
          work({
            run: (sql, ...values) => session.run(sql, ...values),
            all: async (sql, ...values) => {
              const rows = await session.all(sql, ...values);
              const isCount = sql.startsWith('SELECT count(*) AS waiting FROM waiting_credits');
              return isFull && isCount ? [{ waiting: 100_000n }] : rows;
            },
          }),
        ),
      close: () => real.close(),
    };
    const { service } = await inMemory({ database });
    const device = new LineOfReceipts('car');
    const [held, unknown] = [device.next(500n * YEN, { level: 'L1' }), device.next(9n * YEN)];
    const ofHeld = creditFor(held, 200n * YEN);
    t.match(await service.ingestBatch([held, ofHeld], NOON_S), { refused: 1, waiting: 0 });
    const findings = async (): Promise<string[]> =>
      (await service.reconcile()).findings.map(({ kind }) => kind);
    t.same(await findings(), ['CREDIT_WAITING_FULL']);
    isFull = false;
    const again = { ...ofHeld, origin: 'intake-2.example', leafIndex: 1 };
    t.match(await service.ingestBatch([again], NOON_S + 1), { waiting: 1, refused: 0 });
    t.same(await findings(), []);
    // Of a Payment that never came nobody knows what it charged: sixteen wait, the next one not.
    const many = Array.from({ length: WAITING_PER_PAYMENT_MAX + 1 }, (_, at) => ({
      ...creditFor(unknown, BigInt(at + 1) * 500_000n),
      leafIndex: at,
    }));
    t.match(await service.ingestBatch(many, NOON_S + 2), {
      waiting: WAITING_PER_PAYMENT_MAX,
      refused: 1,
    });
    t.same(await findings(), ['CREDIT_WAITING_FULL']);
    t.match(await service.ingestBatch([unknown], NOON_S + 3), { first: 1, credit: 16 });
    t.match(await service.ingestBatch(many, NOON_S + 4), { credit: 1, duplicate: 16 });
    t.same(await findings(), []);
    t.match((await service.reconcile()).books, [{ creditsMicro: 8_500_000n }]);
    await service.close();
  },
);

t.test('a refund whose own line was given up leaves the charge to the chargeback', async (t) => {
  const charged = await settledLine();
  const { service, issuer, line, paid } = charged;
  await service.ingestBatch([creditFor(paid[0], 500n * YEN)], NOON_S + 5);
  const cut = await service.cut(NOON_S + 5, anchors, true);
  const file = issuer.got(cut.files[0]?.fileName ?? '');
  await issuer.send([messageReject(file, 2)], NOON_S + 6);
  await service.decideLine(file.lines[0]?.arn ?? '', 'release', NOON_S + 7);
  await issuer.send([chargeback(line, 600n)], NOON_S + 10);
  t.match(await service.decideLine(line.arn, 'accept', NOON_S + 20), { kind: 'moved' });
  t.match((await service.reconcile()).findings, []);
  await service.close();
});
