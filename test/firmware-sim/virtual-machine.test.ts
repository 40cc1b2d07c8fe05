import fc from 'fast-check';
import t from 'tap';
import { Seed, seedOf } from '../../firmware-sim/core/seed.ts';
import { stubSigner, stubVerifier } from '../../firmware-sim/core/stub-signatures.ts';
import { VirtualClock } from '../../firmware-sim/core/virtual-clock.ts';
import {
  NO_DISK_FAULTS,
  VirtualDisk,
  type VirtualJournal,
} from '../../firmware-sim/core/virtual-disk.ts';
import { NO_NET_FAULTS, VirtualNet, type NetFaults } from '../../firmware-sim/core/virtual-net.ts';

t.test(
  'the generator is xoshiro128**: the outputs of its authors from state 1, 2, 3, 4',
  async (t) => {
    const seed = new Seed([1, 2, 3, 4]);
    const expected = [
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597,
      4258142804,
    ];
    for (const value of expected) t.equal(seed.u32(), value);
  },
);

t.test('draws stay in range, and neighbouring seeds share nothing', async (t) => {
  const seed = seedOf(7);
  const counts = Array.from({ length: 10 }, () => 0);
  for (let i = 0; i < 10_000; i += 1) {
    const x = seed.below(10);
    counts[x] = (counts[x] ?? 0) + 1;
    const y = seed.between(-2, 3);
    if (y < -2 || y >= 3) t.fail(`out of range: ${y}`);
  }
  t.ok(
    counts.every((count) => count > 850 && count < 1150),
    'even',
  );
  t.same(seedOf(7).bytes(32), seedOf(7).bytes(32));
  t.not(seedOf(7).u32(), seedOf(8).u32());
  const parent = seedOf(9);
  const child = parent.fork();
  t.not(parent.u32(), child.u32());
});

t.test('events run by time, and in the order of setting within one moment', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 200 }), (delays) => {
      const clock = new VirtualClock();
      const ran: (readonly [number, number])[] = [];
      delays.forEach((delay, i) => clock.after(delay, () => ran.push([delay, i])));
      while (clock.step(1000));
      const expected = delays
        .map((delay, i) => [delay, i] as const)
        .toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
      return JSON.stringify(ran) === JSON.stringify(expected) && clock.nowMs === 1000;
    }),
  );
  const clock = new VirtualClock();
  clock.after(10, () => clock.after(0, () => undefined));
  t.notOk(clock.step(5), 'nothing is due yet');
  t.equal(clock.nowMs, 5);
  t.ok(clock.step(10));
  t.equal(clock.waiting, 1);
  t.throws(() => clock.after(-1, () => undefined), { code: 'INVARIANT_BROKEN' });
});

function flood(faults: Partial<NetFaults>, messages = 4000) {
  const clock = new VirtualClock();
  const seen: number[] = [];
  const net = new VirtualNet<number>(
    clock,
    seedOf(1),
    { ...NO_NET_FAULTS, ...faults },
    (_f, _t, m) => seen.push(m),
  );
  for (let i = 0; i < messages; i += 1) net.send('a', 'b', i);
  while (clock.step(1e9));
  return { net, seen, unique: new Set(seen).size };
}

t.test('the network loses, copies and replays as often as it says, and reorders', async (t) => {
  const clean = flood({});
  t.equal(clean.seen.length, 4000);
  t.equal(clean.unique, 4000);
  t.ok(
    clean.seen.some((m, i) => m !== i),
    'delays are drawn apart, so messages overtake',
  );
  const lossy = flood({ loss: 0.3 });
  t.ok(Math.abs(lossy.unique - 2800) < 150, `0.3 of 4000 are lost: ${lossy.unique} came`);
  t.equal(lossy.net.counts.lost, 4000 - lossy.unique);
  const copied = flood({ duplication: 0.5 });
  t.ok(Math.abs(copied.seen.length - 6000) < 150);
  t.equal(copied.unique, 4000);
  const replayed = flood({ replay: 0.2 });
  t.ok(Math.abs(replayed.net.counts.replayed - 800) < 120);
  t.equal(replayed.seen.length, 4000 + replayed.net.counts.replayed);
});

t.test('a cut lane passes nothing, one way alone, until it is healed', async (t) => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  const net = new VirtualNet<string>(clock, seedOf(1), NO_NET_FAULTS, (from, to, m) =>
    seen.push(`${from}${to}${m}`),
  );
  net.send('a', 'b', 'under way');
  net.cut('a', 'b');
  net.send('a', 'b', 'lost');
  net.send('b', 'a', 'back');
  while (clock.step(100));
  net.heal('a', 'b');
  net.send('a', 'b', 'again');
  while (clock.step(200));
  t.same(seen, ['baback', 'abagain']);
  t.equal(net.counts.cut, 2);
});

function bytesOf(n: number): Uint8Array {
  return Uint8Array.of(n >> 8, n & 255, 1, 2, 3);
}

function acknowledge(journal: VirtualJournal, into: number[]): void {
  journal.commit({ durable: (through) => into.push(through), failed: () => into.push(-1) });
}

t.test('a crash never takes what was acknowledged, and often takes what was not', async (t) => {
  let lost = 0;
  let survived = 0;
  let torn = 0;
  for (let number = 0; number < 300; number += 1) {
    const seed = seedOf(number);
    const clock = new VirtualClock();
    const disk = new VirtualDisk(clock, seed.fork(), NO_DISK_FAULTS);
    const journal = disk.journal();
    const acks: number[] = [];
    let appended = 0;
    for (let life = 0; life < 4; life += 1) {
      const before = journal.recover().length;
      for (let i = before; i < before + 30; i += 1) {
        journal.append(bytesOf(i));
        appended = i + 1;
        acknowledge(journal, acks);
        const untilMs = clock.nowMs + seed.between(0, 1);
        while (clock.step(untilMs));
        if (seed.chance(0.05)) break;
      }
      journal.crash();
      const records = journal.recover();
      const acknowledged = Math.max(-1, ...acks) + 1;
      if (records.length < acknowledged) t.fail(`seed ${number}: acknowledged records are gone`);
      if (records.length > appended) t.fail(`seed ${number}: records out of nothing`);
      records.forEach((record, i) => {
        if (record[0]! * 256 + record[1]! !== i) t.fail(`seed ${number}: record ${i} is another`);
      });
      if (records.length < appended) lost += 1;
    }
    survived += disk.counts.survivedBlocks;
    torn += disk.counts.tornBlocks;
  }
  t.ok(lost > 100, `unsynced records were forgotten: ${lost}`);
  t.ok(survived > 50, `unacknowledged blocks were there all the same: ${survived}`);
  t.ok(torn > 100, `blocks were torn: ${torn}`);
});

t.test(
  'commits made during a sync share the next one, and nothing is acknowledged twice',
  async (t) => {
    const clock = new VirtualClock();
    const disk = new VirtualDisk(clock, seedOf(3), { ...NO_DISK_FAULTS, slow: 1, slowSyncMs: 50 });
    const journal = disk.journal();
    const acks: number[] = [];
    for (let i = 0; i < 10; i += 1) {
      t.equal(journal.append(bytesOf(i)), i);
      acknowledge(journal, acks);
    }
    t.equal(journal.durableRecords.length, 0);
    while (clock.step(1000));
    t.same(acks, [0, 9]);
    t.equal(disk.counts.syncs, 2);
    t.equal(disk.counts.slowSyncs, 2);
  },
);

t.test(
  'a full disk stops the journal until it is opened anew, and keeps what it had',
  async (t) => {
    const clock = new VirtualClock();
    const disk = new VirtualDisk(clock, seedOf(3), NO_DISK_FAULTS);
    const journal = disk.journal();
    const acks: number[] = [];
    journal.append(bytesOf(0));
    acknowledge(journal, acks);
    while (clock.step(100));
    disk.faults = { ...NO_DISK_FAULTS, failure: 1 };
    journal.append(bytesOf(1));
    acknowledge(journal, acks);
    while (clock.step(200));
    disk.faults = NO_DISK_FAULTS;
    journal.append(bytesOf(2));
    acknowledge(journal, acks);
    while (clock.step(300));
    t.same(acks, [0, -1, -1]);
    journal.crash();
    const kept = journal.recover().length;
    t.ok(kept === 1 || kept === 2, 'the failed block may be there after all, the later one never');
    journal.append(bytesOf(kept));
    acknowledge(journal, acks);
    while (clock.step(400));
    t.equal(acks.at(-1), kept, 'open again');
  },
);

t.test(
  'a stub signature is false for any changed byte, another key or another message',
  async (t) => {
    const signer = stubSigner(seedOf(1).bytes(32));
    const other = stubSigner(seedOf(2).bytes(32));
    const verifier = stubVerifier();
    const message = seedOf(3).bytes(180);
    const signature = signer.sign(message);
    t.ok(verifier.verify(signer.key, message, signature));
    t.notOk(verifier.verify(other.key, message, signature));
    t.notOk(verifier.verify(signer.key, message.subarray(1), signature));
    t.notOk(verifier.verify(signer.key, message, signature.subarray(1)));
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = message.slice();
        changed[at]! ^= change;
        const forged = signature.slice();
        forged[at % 64]! ^= change;
        return (
          !verifier.verify(signer.key, changed, signature) &&
          !verifier.verify(signer.key, message, forged)
        );
      }),
    );
  },
);
