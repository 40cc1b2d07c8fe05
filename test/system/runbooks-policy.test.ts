import t from 'tap';
import { RunbookRig } from './runbook-rig.ts';

t.setTimeout(300_000);

t.test('witness key lost, witness added, mirror lost: versions of one policy', async (t) => {
  const rig = await RunbookRig.start(t, 20);
  await rig.untilFinal();
  await rig.shell('crash witness-2; rm -r witness-2');
  await rig.follow(t, 'A witness key is lost');
  await rig.shell('systemctl stop kiri-witness-1');
  await rig.pay(5);
  t.equal(await rig.untilFinal(), 25, 'three of four, the new key among them');
  await rig.shell('systemctl start kiri-witness-1');

  await rig.follow(t, 'A witness is added');
  await rig.shell('systemctl stop kiri-witness-1');
  await rig.pay(5);
  t.equal(await rig.untilFinal(), 30, 'four of five, the new one among them');

  await rig.shell('crash mirror; rm -r mirror');
  await rig.pay(5);
  await rig.follow(t, 'The mirror is lost');
  t.equal(await rig.untilFinal(), 35, 'what was paid without a mirror is final with the new one');
  t.match(await rig.clearing({ do: 'pull' }), { size: 35, faultCount: 0 });
  t.match(await rig.clearing({ do: 'reconcile' }), { reconciles: true });
});
