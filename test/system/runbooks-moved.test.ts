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
