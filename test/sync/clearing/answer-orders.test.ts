/** Answers of an issuer, refunds and Voids in unlucky orders: nobody is paid, charged or given back to twice. */
import t from 'tap';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import {
  chargeback,
  cutThree,
  lineOf,
  messageReject,
  outcomes,
  recordOf,
  standing,
} from './issuer-side.ts';
import { NOON_S, anchors, directoryOf, programme } from './sample.ts';

const YEN = 1_000_000n;

const payable = async (service: ClearingService): Promise<bigint | undefined> =>
  (await service.reconcile()).merchants[0]?.payableMicro;

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
    t.same(outcomes(await issuer.acknowledge(second, 'partly', NOON_S + 60)), ['repeated']);
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
