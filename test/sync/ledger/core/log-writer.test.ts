import fc from 'fast-check';
import t from 'tap';
import { toHex } from '../../../../protocol/bytes.ts';
import { startLogWriter, wantsEntries } from '../../../../sync/ledger/core/log-writer.ts';
import type { FoundLog } from '../../../../sync/ledger/core/log-writer-types.ts';
import { EMPTY_ROOT } from '../../../../sync/ledger/core/merkle.ts';
import { ORIGIN } from '../keys.ts';
import { Disk, World, position } from '../log-world.ts';
import { mth } from '../rfc6962.ts';

t.test(
  'leaves become recorded, then final, in the order files, head, signature, publication',
  async (t) => {
    const world = new World(1, 'quorum w1');
    world.tick();
    world.settle();
    t.equal(world.publishedSize(), 0, 'the empty log is confirmed and published first');
    t.equal(world.state.phase.kind, 'running');
    world.entries(3);
    world.tick();
    world.settle();
    t.equal(world.publishedSize(), 3);
    const kinds = world.done.map((effect) => effect.kind).slice(-6);
    t.same(kinds, [
      'writeBatch',
      'persistHead',
      'recorded',
      'requestCosignature',
      'publish',
      'final',
    ]);
    t.match(world.done.at(-4), { kind: 'recorded', size: 3, acceptedAtMs: [0, 1, 2] });
    t.equal(toHex(world.disk.head.root), toHex(mth(world.disk.leavesUpTo(3))));
    t.same(world.disk.head.cursor, position(3));
    const before = world.done.length;
    world.tick();
    world.settle();
    t.equal(world.done.length, before, 'without work nothing is written');
  },
);

t.test('a batch waits for its interval, and the queue is bounded', async (t) => {
  const world = new World(0, 'quorum none');
  world.tick();
  world.settle();
  world.entries(1);
  world.settle();
  world.entries(2);
  world.tick(100);
  world.settle();
  t.equal(world.disk.head.size, 1, 'the second batch is not due after 100 ms');
  world.tick(150);
  world.settle();
  t.equal(world.publishedSize(), 3);
  world.feed({ kind: 'entries', entries: [], cursor: position(9) });
  for (let slice = 0; slice < 5; slice += 1) world.entries(4_096);
  t.notOk(wantsEntries(world.state));
  world.feed({ kind: 'entries', entries: [], cursor: position(99_999) });
  while (world.state.queuedLeaves > 0) {
    world.tick();
    world.settle();
  }
  t.equal(world.publishedSize(), 3 + 5 * 4_096);
  t.equal(world.disk.head.cursor?.nextIndex, 99_999, 'records without a leaf move the cursor');
});

t.test(
  'no leaf becomes final while the witness is away; all do when the link is back',
  async (t) => {
    const world = new World(1, 'quorum w1');
    world.tick();
    world.settle();
    const failed = { kind: 'witnessFailed', witness: 'w1', trouble: 'the uplink is down' } as const;
    for (let round = 0; round < 20; round += 1) {
      world.entries(10);
      world.tick();
      while (world.pending.length > 0) {
        if (world.pending[0]?.kind === 'requestCosignature') {
          world.pending.shift();
          world.feed(failed);
        } else world.runOne();
      }
    }
    t.same([world.disk.head.size, world.publishedSize()], [200, 0], 'recorded, not final');
    t.equal(world.state.witnesses[0]?.trouble, 'the uplink is down');
    world.feed({ kind: 'linkUp' });
    world.settle();
    t.equal(world.publishedSize(), 200);
  },
);

t.test('3 of 4 witnesses: one may be dead, two may not', async (t) => {
  const rule = 'group q 3 w1 w2 w3 w4\nquorum q';
  for (const [dead, final] of [
    [['w4'], 5],
    [['w3', 'w4'], 0],
  ] as const) {
    const world = new World(4, rule);
    world.tick();
    world.settle();
    world.entries(5);
    world.tick();
    while (world.pending.length > 0) {
      const [effect] = world.pending;
      if (effect?.kind === 'requestCosignature' && dead.some((name) => name === effect.witness)) {
        world.pending.shift();
        world.feed({ kind: 'witnessFailed', witness: effect.witness, trouble: 'dead' });
      } else world.runOne();
    }
    t.equal(world.publishedSize(), final, `dead: ${dead.join(' ')}`);
  }
});

t.test('a restored older copy is told by the witness and signs nothing more', async (t) => {
  const world = new World(1, 'quorum w1');
  world.tick();
  world.entries(5);
  world.settle();
  const old = world.disk.copy();
  world.tick();
  world.entries(7);
  world.tick();
  world.settle();
  const witnessed = world.witnesses.get('w1')?.state.heads.get(ORIGIN)?.size;
  t.equal(witnessed, 12);
  world.disk = old;
  world.crash();
  const signed = world.signedHeads.size;
  world.entries(9);
  world.tick();
  t.same(
    world.pending.map((effect) => effect.kind),
    ['requestCosignature'],
    'no batch before the quorum confirmed',
  );
  world.settle();
  t.match(world.state.phase, { kind: 'stopped', reason: 'ROLLED_BACK' });
  world.tick();
  world.entries(1);
  world.tick();
  t.same(world.pending, []);
  t.equal(world.signedHeads.size, signed, 'no head that was not signed before');
  t.notOk(wantsEntries(world.state));
});

t.test('a wiped folder under the same key stops as well', async (t) => {
  const world = new World(1, 'quorum w1');
  world.entries(5);
  world.tick();
  world.settle();
  world.tick();
  world.settle();
  world.disk = new Disk();
  world.crash();
  world.entries(5);
  world.tick();
  world.settle();
  t.match(world.state.phase, { kind: 'stopped', reason: 'ROLLED_BACK' });
});

t.test('another history at a witness is a fork: same size, or below', async (t) => {
  for (const extra of [0, 3]) {
    const world = new World(1, 'quorum w1');
    world.tick();
    world.settle();
    const empty = world.disk.copy();
    world.entries(5);
    world.tick();
    world.settle();
    const w1 = world.witnesses.get('w1');
    const stateBefore = new Map(w1?.state.heads);
    // The same journal sealed again from the empty copy: other ciphertexts, other leaves, same sizes.
    world.disk = empty;
    w1?.state.heads.clear();
    world.crash();
    world.entries(5 + extra);
    world.tick();
    while (
      world.pending.some((effect) => effect.kind !== 'requestCosignature') ||
      world.disk.head.size === 0
    ) {
      if (world.pending[0]?.kind === 'requestCosignature' && world.disk.head.size === 5 + extra)
        break;
      world.runOne();
      world.tick();
    }
    for (const [origin, head] of stateBefore) w1?.state.heads.set(origin, head);
    world.settle();
    t.match(world.state.phase, { kind: 'stopped', reason: 'FORKED' }, `larger by ${extra}`);
  }
});

t.test('a witness that forgot what it cosigned is not asked again', async (t) => {
  const world = new World(2, 'group q any w1 w2\nquorum q');
  world.entries(5);
  world.tick();
  world.settle();
  world.tick();
  world.settle();
  world.witnesses.get('w2')?.state.heads.clear();
  world.entries(1);
  world.tick();
  world.settle();
  const w2 = world.state.witnesses.find((link) => link.name === 'w2');
  t.ok(w2?.lost);
  t.match(w2?.trouble, 'its state is lost');
  const asked = world.done.length;
  world.entries(1);
  world.tick();
  world.settle();
  t.notOk(
    world.done
      .slice(asked)
      .some((effect) => effect.kind === 'requestCosignature' && effect.witness === 'w2'),
  );
  t.equal(world.publishedSize(), 7, 'the other witness carries the policy');
});

t.test('junk from a witness is a failed request, retried after a growing pause', async (t) => {
  const world = new World(1, 'quorum w1');
  world.tick();
  for (const lines of ['', 'junk\n', '\u2014 w.example/1 AAAAAAAA\n']) {
    const [effect] = world.pending.splice(0, 1);
    t.equal(effect?.kind, 'requestCosignature');
    world.feed({ kind: 'cosigned', witness: 'w1', lines });
    t.match(world.state.witnesses[0]?.trouble, 'no valid cosignature');
    world.tick(1);
    t.same(world.pending, [], 'not at once');
    world.tick(5_000);
  }
  world.pending.splice(0, 1);
  world.feed({ kind: 'witnessConflict', witness: 'w1', theirSize: 0 });
  t.match(
    world.state.phase,
    { kind: 'stopped', reason: 'FORKED' },
    'it names our own size and refuses it',
  );
  t.throws(() => {
    const other = new World(1, 'quorum w1');
    other.feed({ kind: 'witnessFailed', witness: 'nobody', trouble: '' });
  });
});

t.test('a folder that contradicts itself stops the start', async (t) => {
  const world = new World(1, 'quorum w1');
  world.entries(5);
  world.tick();
  world.settle();
  world.tick();
  world.settle();
  const reasonWith = (change: (found: FoundLog) => FoundLog): string => {
    const state = startLogWriter(change(world.disk.find()), world.ports);
    return state.phase.kind === 'stopped' ? state.phase.reason : state.phase.kind;
  };
  const head = world.disk.find().head;
  t.equal(
    reasonWith((found) => found),
    'confirming',
  );
  t.equal(
    reasonWith((found) => ({ ...found, head: { ...head, root: EMPTY_ROOT } })),
    'FOLDER_INCONSISTENT',
  );
  t.equal(
    reasonWith((found) => ({ ...found, bundle: { leaves: [], payloads: [] } })),
    'FOLDER_INCONSISTENT',
  );
  const published = { origin: ORIGIN, size: 6, root: EMPTY_ROOT };
  t.equal(
    reasonWith((found) => ({ ...found, published })),
    'ROLLED_BACK',
  );
  t.equal(
    reasonWith((found) => ({ ...found, published: { ...published, size: 5 } })),
    'FOLDER_INCONSISTENT',
  );
  world.feed({ kind: 'storageFailed', detail: 'disk full' });
  t.match(world.pending, [{ kind: 'stopped', reason: 'STORAGE_FAILED', detail: 'disk full' }]);
});

/** Cheap enough for every step: no signature on what is not stored, nothing published is lost. */
const checkStep = (world: World, publishedBefore: number): void => {
  const sizes = Array.from(world.signedHeads, (head) => Number(head.split(' ')[0]));
  const largest = Math.max(0, ...sizes);
  const stored = world.disk.head.size;
  if (stored < largest) throw new Error(`signed ${largest}, stored ${stored}`);
  if (world.publishedSize() < publishedBefore) throw new Error('a published checkpoint was lost');
  if (world.publishedSize() > stored) throw new Error('published more than is stored');
  if (world.state.phase.kind === 'stopped') throw new Error(world.state.phase.detail);
};

/** Every head ever signed is a prefix of the log, and the log is the journal without gap or double. */
const checkLog = (world: World): void => {
  const leaves = world.disk.leavesUpTo(world.disk.head.size);
  for (const head of world.signedHeads) {
    const [size, root] = head.split(' ');
    const prefix = leaves.slice(0, Number(size));
    if (toHex(mth(prefix)) !== root) throw new Error(`signed head ${size} is no prefix`);
  }
  const numbers = leaves.map((leaf) => Number(Buffer.from(leaf).toString('utf8').split(' ')[1]));
  if (numbers.some((number, at) => number !== at))
    throw new Error('an entry is missing or doubled');
};

t.test(
  'crashes between any two effects: signed heads stay prefixes, nothing published is lost',
  async () => {
    const action = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant('entries' as const),
          count: fc.integer({ min: 0, max: 90 }),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('tick' as const),
          count: fc.constantFrom(50, 250, 6_000),
        }),
      },
      {
        weight: 9,
        arbitrary: fc.record({ kind: fc.constant('run' as const), count: fc.nat({ max: 9 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('lose' as const), count: fc.nat({ max: 9 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('crash' as const), count: fc.constantFrom(0, 1) }),
      },
    );
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 160 }), (actions) => {
        const world = new World(3, 'group q 2 w1 w2 w3\nquorum q');
        let published = -1;
        for (const { kind, count } of actions) {
          if (kind === 'entries') world.entries(count);
          else if (kind === 'tick') world.tick(count);
          else if (kind === 'run') world.runOne(count);
          else if (kind === 'crash') {
            // Before the crash the effect at hand may be done without its report coming back.
            const [effect] = count === 1 ? world.pending : [];
            if (effect !== undefined) world.apply(effect);
            world.crash();
            checkLog(world);
          } else {
            const at = world.pending.findIndex((effect) => effect.kind === 'requestCosignature');
            const [effect] = at < 0 ? [] : world.pending.splice(at, 1);
            if (effect?.kind === 'requestCosignature') {
              // The witness did cosign, the answer is lost on the way.
              if (count % 2 === 0) world.witnessAnswer(effect);
              world.feed({ kind: 'witnessFailed', witness: effect.witness, trouble: 'lost' });
            }
          }
          checkStep(world, published);
          published = world.publishedSize();
        }
        for (let round = 0; round < 6; round += 1) {
          world.tick(6_000);
          world.settle();
        }
        checkStep(world, published);
        checkLog(world);
        return world.publishedSize() === world.disk.head.size;
      }),
      { numRuns: 100 },
    );
  },
);
