import t from 'tap';
import { RunbookRig } from './runbook-rig.ts';

t.setTimeout(300_000);

t.test('a dead board is replaced', async (t) => {
  const rig = await RunbookRig.start(t, 40);
  const before = await rig.untilFinal();
  await rig.mirrorHasFinal(before);
  await rig.shell('crash ledger gateway; rm -r ledger gateway');
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
