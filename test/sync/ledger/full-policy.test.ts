import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import { realVerify } from './keys.ts';
import { makeFullRig } from './full-rig.ts';
import { until } from './rig.ts';

t.test('three of four witnesses and the mirror make a receipt final, nothing less', async (t) => {
  const rig = await makeFullRig(t);
  const ledger = await rig.ledger();
  const isFinal = (size: number) => (): boolean => ledger.status().finalSize === size;
  const cosigners = async (): Promise<string[]> => {
    const note = new Uint8Array(await readFile(join(rig.root, 'tlog/checkpoint')));
    const head = verifyFinalCheckpoint(note, rig.policy, realVerify);
    if (!head.ok) throw new Error(head.reason);
    return [...head.value.cosignedAtS.keys()].toSorted();
  };
  await rig.pay(20);
  await until('20 final', isFinal(20));
  t.ok((await cosigners()).includes('m1'));
  t.ok((await cosigners()).length >= 4);

  await rig.witnesses.get('w2')?.close();
  await rig.pay(10);
  await until('30 final with one witness dead', isFinal(30));
  t.same(await cosigners(), ['m1', 'w1', 'w3', 'w4']);

  await rig.mirror.close();
  await rig.pay(10);
  await until('40 recorded', () => ledger.status().recordedSize === 40);
  const cosignedBy = (name: string): number =>
    ledger.status().witnesses.find((one) => one.name === name)?.cosignedSize ?? 0;
  await until('the three witnesses cosigned 40', () =>
    ['w1', 'w3', 'w4'].every((name) => cosignedBy(name) === 40),
  );
  t.match(ledger.status(), { finalSize: 30, recordedSize: 40, phase: { kind: 'running' } });

  await rig.startMirror();
  await until('40 final with the mirror back', isFinal(40));
  t.same(await cosigners(), ['m1', 'w1', 'w3', 'w4']);

  // A second witness dead: two of four and the mirror are not enough.
  await rig.witnesses.get('w1')?.close();
  await rig.pay(5);
  await until('the mirror cosigned 45', () => cosignedBy('m1') === 45);
  await until('both living witnesses cosigned 45', () =>
    ['w3', 'w4'].every((name) => cosignedBy(name) === 45),
  );
  t.match(ledger.status(), { finalSize: 40, recordedSize: 45 });
  await ledger.close();
});
