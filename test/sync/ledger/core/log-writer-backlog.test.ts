import t from 'tap';
import { startLogWriter } from '../../../../sync/ledger/core/log-writer.ts';
import { World, position } from '../log-world.ts';
import { mth } from '../rfc6962.ts';

/** Answers nothing for the witnesses while `count` batches are recorded. */
const recordOffline = (world: World, batches: number, each: number): void => {
  for (let batch = 0; batch < batches; batch += 1) {
    world.entries(each);
    world.tick();
    while (world.pending.length > 0) {
      const [effect] = world.pending;
      if (effect?.kind === 'requestCosignature') {
        world.pending.shift();
        world.feed({ kind: 'witnessFailed', witness: effect.witness, trouble: 'no uplink' });
      } else world.runOne();
    }
  }
};

const finalSizes = (world: World): number[] =>
  world.done.flatMap((effect) => (effect.kind === 'final' ? [effect.size] : []));

/** 20,480 leaves recorded in an outage: one step of 16,384 lies on the way. */
const afterOutage = (): World => {
  const world = new World(1, 'quorum w1');
  world.tick();
  world.settle();
  recordOffline(world, 5, 4_096);
  return world;
};

t.test('a backlog becomes final in steps, oldest first', async (t) => {
  const world = afterOutage();
  t.same([world.disk.head.size, world.publishedSize()], [20_480, 0]);
  world.feed({ kind: 'linkUp' });
  world.settle();
  t.same(
    finalSizes(world),
    [0, 4_096, 16_384, 20_480],
    'the round of the outage, a step, the rest',
  );
  t.same(world.state.steps, []);
  t.match(world.state.phase, { kind: 'running' });
});

t.test('steps after a start: the stored head comes last, or what a witness knows', async (t) => {
  const outage = afterOutage();
  const root = mth(outage.disk.leavesUpTo(20_480).slice(0, 16_384));
  const restart = (): World => {
    const world = new World(1, 'quorum w1');
    world.disk = outage.disk.copy();
    const steps = [{ size: 16_384, root }];
    world.state = startLogWriter({ ...world.disk.find(), steps }, world.ports);
    world.tick();
    t.match(world.pending[0], { kind: 'requestCosignature', size: 16_384 });
    return world;
  };
  const plain = restart();
  plain.nextEntry = 20_480;
  plain.entries(5);
  for (let tries = 0; plain.publishedSize() < 16_384 && tries < 99; tries += 1) plain.runOne();
  t.equal(plain.state.phase.kind, 'confirming', 'a step confirms nothing');
  plain.settle();
  plain.tick();
  plain.settle();
  t.same(finalSizes(plain), [16_384, 20_480, 20_485]);
  t.equal(plain.state.phase.kind, 'running');

  const ahead = restart();
  ahead.pending.shift();
  ahead.feed({ kind: 'witnessConflict', witness: 'w1', theirSize: 20_480 });
  t.match(ahead.pending[0], { kind: 'requestCosignature', oldSize: 20_480, size: 20_480 });
  t.equal(ahead.state.phase.kind, 'confirming');

  const older = restart();
  older.pending.shift();
  older.feed({ kind: 'witnessConflict', witness: 'w1', theirSize: 20_481 });
  t.match(older.state.phase, { kind: 'stopped', reason: 'ROLLED_BACK' });
});

t.test('a head says through which sequence it reaches, and a final one too', async (t) => {
  const world = new World(1, 'quorum w1');
  world.tick();
  world.settle();
  const leaf = { leaf: new Uint8Array(33), payload: new Uint8Array(40), acceptedAtMs: 1 };
  world.feed({
    kind: 'entries',
    entries: [
      { ...leaf, sequence: 7 },
      { ...leaf, sequence: 9 },
    ],
    cursor: position(2),
  });
  world.tick();
  world.settle();
  t.equal(world.disk.head.throughSequence, 9);
  t.equal(world.state.finalSequence, 9);
  t.match(world.done.at(-1), { kind: 'final', size: 2, throughSequence: 9 });
  world.crash();
  t.equal(world.state.finalSequence, 9, 'known again where the published head is the stored one');
});

t.test('whoever names another size every time is not asked in a circle', async (t) => {
  const world = new World(1, 'quorum w1');
  world.tick();
  world.settle();
  recordOffline(world, 1, 10);
  world.feed({ kind: 'linkUp' });
  let asked = 0;
  for (let round = 0; round < 20; round += 1) {
    const at = world.pending.findIndex(({ kind }) => kind === 'requestCosignature');
    if (at < 0) break;
    world.pending.splice(at, 1);
    asked += 1;
    world.feed({ kind: 'witnessConflict', witness: 'w1', theirSize: 6 + (round % 2) });
  }
  t.equal(
    asked,
    2,
    'one answer tells where it stands; after the second it is left alone for a while',
  );
});
