import t from 'tap';
import { RunbookRig } from './runbook-rig.ts';

t.setTimeout(300_000);

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
