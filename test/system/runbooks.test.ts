import t from 'tap';
import { RunbookRig } from './runbook-rig.ts';

t.setTimeout(300_000);

t.test('the gateway moves to another machine', async (t) => {
  const rig = await RunbookRig.start(t, 40);
  const before = await rig.untilFinal();
  await rig.follow(t, 'The gateway moves to another machine');
  await rig.startDevices();
  await rig.pay(20);
  t.ok((await rig.untilFinal()) >= before + 20, 'what is paid afterwards is final too');
  t.match(await rig.status('GATEWAY'), { voided: 0 });
  const { count, unknown, sumMicro } = await rig.held();
  t.same([count, unknown], [60, 0]);
  const pulled = await rig.clearing({ do: 'pull' });
  t.match(pulled, { faultCount: 0 });
  const [taken] = Object.values(pulled['taken'] as Record<string, { sumMicro: string }>);
  t.equal(taken?.sumMicro, sumMicro.toString(), 'the centre has every yen that devices hold');
});

t.test('a dead board is replaced', async (t) => {
  const rig = await RunbookRig.start(t, 40);
  const before = await rig.untilFinal();
  await rig.mirrorHasFinal(before);
  await rig.shell(
    'kill -9 $(cat ledger.pid) $(cat gateway.pid); rm -r ledger gateway ledger.pid gateway.pid',
  );
  await rig.follow(t, 'A dead board is replaced');
  await rig.startDevices();
  await rig.pay(20);
  t.equal(await rig.untilFinal(), 20, 'the new approver counts from one');
  const { count, unknown, sumMicro } = await rig.held();
  t.same([count, unknown], [60, 0]);
  t.match(await rig.clearing({ do: 'pull' }), { size: 20, faultCount: 0 });
  const { books, reconciles } = await rig.clearing({ do: 'reconcile' });
  t.equal(reconciles, true);
  const accepted = (books as readonly Record<string, string>[])[0]?.['acceptedMicro'];
  t.equal(accepted, sumMicro.toString(), 'both logs together hold what the devices hold');
});

t.test('witness key lost, witness added, mirror lost: versions of one policy', async (t) => {
  const rig = await RunbookRig.start(t, 20);
  await rig.untilFinal();
  await rig.shell('kill -9 $(cat witness-2.pid); rm -r witness-2 witness-2.pid');
  await rig.follow(t, 'A witness key is lost');
  await rig.shell('systemctl stop kiri-witness-1');
  await rig.pay(5);
  t.equal(await rig.untilFinal(), 25, 'three of four, the new key among them');
  await rig.shell('systemctl start kiri-witness-1');

  await rig.follow(t, 'A witness is added');
  await rig.shell('systemctl stop kiri-witness-1');
  await rig.pay(5);
  t.equal(await rig.untilFinal(), 30, 'four of five, the new one among them');

  await rig.shell('kill -9 $(cat mirror.pid); rm -r mirror mirror.pid');
  await rig.pay(5);
  await rig.follow(t, 'The mirror is lost');
  t.equal(await rig.untilFinal(), 35, 'what was paid without a mirror is final with the new one');
  t.match(await rig.clearing({ do: 'pull' }), { size: 35, faultCount: 0 });
  t.match(await rig.clearing({ do: 'reconcile' }), { reconciles: true });
});
