import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Finality } from '../../fog-gateway/finality.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { FINAL_THROUGH } from '../../protocol/messages/final-through.ts';
import { testSigner } from '../protocol/helpers.ts';

interface Rig {
  readonly finality: Finality;
  readonly told: { device: string; sequence: number }[];
  readonly listening: Set<string>;
  last: number;
  ledger(recorded: number, final: number): Promise<void>;
  raw(text: string): Promise<void>;
}

const makeRig = (t: { teardown(end: () => unknown): void }): Rig => {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-finality-'));
  const path = join(folder, 'levels');
  const told: Rig['told'] = [];
  const listening = new Set<string>();
  let writes = 0;
  const finality = new Finality({
    path,
    signer: testSigner(3),
    clock: systemClock(),
    lastSequence: () => rig.last,
    isListening: (device) => listening.has(device),
    send: (device, cose) => {
      const sign1 = decodeSign1(cose);
      const final = sign1.ok ? FINAL_THROUGH.decode(sign1.value.payload) : sign1;
      told.push({ device, sequence: final.ok ? final.value.sequence : -1 });
    },
  });
  const rig: Rig = {
    finality,
    told,
    listening,
    last: 0,
    ledger: (recorded, final) =>
      rig.raw(
        JSON.stringify({
          origin: 'o',
          recorded: { size: recorded, throughSequence: recorded },
          final: { size: final, throughSequence: final },
          policyHash: '00'.repeat(32),
          backlog: 0,
          isBehindJournal: false,
          drainPerS: 0,
        }),
      ),
    raw: (text) => {
      writeFileSync(path, text);
      writes += 1;
      utimesSync(path, writes, writes);
      return finality.poll();
    },
  };
  t.teardown(async () => {
    await finality.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return rig;
};

t.test('a device hears what is new to it, until all it was sent is final', async (t) => {
  const rig = makeRig(t);
  await rig.finality.poll();
  rig.listening.add('car').add('gate');
  rig.last = 5;
  rig.finality.noteSent('car', 'receipt');
  rig.finality.noteSent('gate', 'paid');
  rig.finality.noteSent('gate', 'challenges');
  rig.finality.noteSent('away', 'receipt');
  await rig.ledger(5, 3);
  t.same(rig.told.splice(0), [
    { device: 'car', sequence: 3 },
    { device: 'gate', sequence: 3 },
  ]);
  await rig.finality.poll();
  t.same(rig.told, [], 'nothing new');
  await rig.ledger(5, 5);
  t.equal(rig.told.splice(0).length, 2);
  rig.last = 9;
  await rig.ledger(9, 9);
  t.same(rig.told, [], 'nobody has anything open');
  rig.listening.add('away');
  await rig.finality.poll();
  t.same(rig.told.splice(0), [{ device: 'away', sequence: 9 }], 'on its return');
  rig.finality.noteSent('car', 'presented');
  await rig.finality.poll();
  t.same(rig.told, [{ device: 'car', sequence: 9 }], 'after a connection, once');
});

t.test('what a ledger cannot know is not believed, and it never goes back', async (t) => {
  const rig = makeRig(t);
  rig.listening.add('car');
  rig.last = 4;
  rig.finality.noteSent('car', 'receipt');
  for (const text of ['', '{', '[]', 'x'.repeat(9_000)]) await rig.raw(text);
  await rig.ledger(5, 4);
  await rig.ledger(9, 9);
  t.equal(rig.finality.levels, undefined, 'more than this approver has given out');
  await rig.ledger(4, 3);
  await rig.ledger(4, 2);
  t.same(rig.told, [{ device: 'car', sequence: 3 }]);
});

t.test('the devices that wait are bounded', async (t) => {
  const rig = makeRig(t);
  rig.last = 1;
  for (let at = 0; at <= 65_536; at += 1) {
    rig.finality.noteSent(`d${at}`, 'receipt');
    rig.listening.add(`d${at}`);
  }
  await rig.ledger(1, 1);
  t.equal(rig.told.length, 65_536);
  t.equal(rig.told[0]?.device, 'd1');
});
