import fc from 'fast-check';
import t from 'tap';
import type { Now } from '../../../../platform/ports.ts';
import {
  type AnchorEffect,
  type AnchorInput,
  type AnchorKeeperState,
  type AnchorRecord,
  emptyAnchorRecord,
  startAnchorKeeper,
  stepAnchorKeeper,
} from '../../../../sync/ledger/core/anchor-keeper.ts';

const PERIOD_MS = 3_600_000;
const TIMES = { periodMs: PERIOD_MS, pollMs: 10_000 };
const START: Now = { unixMs: 1_800_000_000_000, monotonicMs: 5_000, timeQuality: 0 };
const at = (afterMs: number): Now => ({
  ...START,
  unixMs: START.unixMs + afterMs,
  monotonicMs: START.monotonicMs + afterMs,
});
const NOTE = { size: 7, note: 'note of 7' };
const EVIDENCE = Uint8Array.of(1, 2, 3);

/** One input at a time, with the time since the start. */
const keeper = (record: AnchorRecord = emptyAnchorRecord) => {
  const state = startAnchorKeeper(record);
  const step = (input: AnchorInput, afterMs = 0): AnchorEffect | undefined => {
    const effects = stepAnchorKeeper(state, input, TIMES, at(afterMs));
    t.ok(effects.length <= 1);
    return effects[0];
  };
  return { state, step };
};

t.test('a submission is stored, sent, asked after, filed and stored, in this order', (t) => {
  const { state, step } = keeper();
  t.equal(step({ kind: 'tick' }), undefined, 'nothing to anchor yet');
  const begun = step({ kind: 'tick', newest: NOTE });
  t.match(begun, { kind: 'store', record: { anchoredSize: 0, current: NOTE } });
  t.equal(step({ kind: 'tick', newest: NOTE }), undefined, 'one thing at a time');
  t.match(step({ kind: 'stored' }), { kind: 'submit', note: NOTE.note });
  t.match(step({ kind: 'kept', ref: 'r' }), { kind: 'store', record: { current: { ref: 'r' } } });
  t.equal(step({ kind: 'refStored' }), undefined);
  t.match(step({ kind: 'submitted' }), { kind: 'ask', ref: 'r', note: NOTE.note });
  const pending: AnchorInput = { kind: 'answered', status: { kind: 'pending', detail: 'blocks' } };
  t.equal(step(pending), undefined);
  t.equal(state.detail, 'blocks');
  t.equal(step({ kind: 'tick' }, 9_999), undefined, 'not before the pause is over');
  t.match(step({ kind: 'tick' }, 10_000), { kind: 'ask', ref: 'r' });
  const final: AnchorInput = { kind: 'answered', status: { kind: 'final', evidence: EVIDENCE } };
  t.match(step(final), { kind: 'file', size: 7, note: NOTE.note, evidence: EVIDENCE });
  const filed = step({ kind: 'filed' }, 11_000);
  t.same(filed, {
    kind: 'store',
    record: {
      anchoredSize: 7,
      anchoredAtMs: START.unixMs + 11_000,
      lastStartMs: START.unixMs,
    },
  });
  t.equal(step({ kind: 'stored' }, 11_000), undefined);
  t.same([state.busy, state.detail], ['idle', '']);
  const grown = { size: 9, note: 'note of 9' };
  t.equal(step({ kind: 'tick', newest: grown }, 12_000), undefined, 'this period has its anchor');
  t.match(step({ kind: 'tick', newest: NOTE }, PERIOD_MS), undefined, 'nothing new to anchor');
  t.match(step({ kind: 'tick', newest: grown }, PERIOD_MS), { kind: 'store' });
  t.end();
});

t.test('a failed submission makes room for another one in its period, after a pause', (t) => {
  const { step } = keeper({
    ...emptyAnchorRecord,
    lastStartMs: START.unixMs,
    current: { ...NOTE, startedAtMs: START.unixMs, ref: 'r' },
  });
  t.match(step({ kind: 'tick' }), { kind: 'ask', ref: 'r' });
  const failed: AnchorInput = { kind: 'answered', status: { kind: 'failed', reason: 'displaced' } };
  t.same(step(failed), { kind: 'store', record: { ...emptyAnchorRecord, lastStartMs: 0 } });
  t.equal(step({ kind: 'stored' }), undefined);
  const newest = { size: 9, note: 'note of 9' };
  t.equal(step({ kind: 'tick', newest }, 4_999), undefined);
  t.match(step({ kind: 'tick', newest }, 5_000), { kind: 'store', record: { current: newest } });
  t.end();
});

t.test('pauses double up to a quarter of an hour, and a success ends them', (t) => {
  const { state, step } = keeper({
    ...emptyAnchorRecord,
    current: { ...NOTE, startedAtMs: 0, ref: 'r' },
  });
  let now = 0;
  const pauses: number[] = [];
  for (let n = 0; n < 11; n += 1) {
    t.match(step({ kind: 'tick' }, now), { kind: 'ask' });
    t.equal(step({ kind: 'trouble', reason: `no ${'x'.repeat(400)}` }, now), undefined);
    const pause = state.nextAtMs - START.monotonicMs - now;
    t.equal(step({ kind: 'tick' }, now + pause - 1), undefined);
    pauses.push(pause / 1_000);
    now += pause;
  }
  t.same(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
  t.equal(state.detail.length, 300);
  step({ kind: 'tick' }, now);
  step({ kind: 'answered', status: { kind: 'pending', detail: '' } }, now);
  step({ kind: 'tick' }, now + 10_000);
  step({ kind: 'trouble', reason: '' }, now + 10_000);
  t.equal(state.nextAtMs - START.monotonicMs - now, 15_000, 'from the shortest again');
  t.end();
});

t.test('what could not be stored is stored before anything else goes on', (t) => {
  const { step } = keeper();
  const begun = step({ kind: 'tick', newest: NOTE });
  t.equal(step({ kind: 'trouble', reason: 'disk full' }), undefined);
  t.same(step({ kind: 'tick', newest: NOTE }, 5_000), begun);
  t.match(step({ kind: 'stored' }, 5_000), { kind: 'submit' });
  t.match(step({ kind: 'kept', ref: 'r' }, 5_000), { kind: 'store' });
  t.equal(step({ kind: 'trouble', reason: 'disk full' }, 5_000), undefined);
  const again = step({ kind: 'tick' }, 60_000);
  t.match(again, { kind: 'store', record: { current: { ref: 'r' } } });
  t.match(step({ kind: 'stored' }, 60_000), { kind: 'ask', ref: 'r' });
  t.end();
});

t.test('a clock that went back does not stop the anchors', (t) => {
  const { step } = keeper({ anchoredSize: 3, anchoredAtMs: 0, lastStartMs: START.unixMs + 1e10 });
  t.match(step({ kind: 'tick', newest: NOTE }), { kind: 'store' });
  t.end();
});

/**
 * A place as the adapters make one: keeping a reference costs nothing, sending it does, and the same reference is sent
 * once however often it is asked for. Submissions are final after some questions, may fail, and may fall back.
 */
class Place {
  readonly sent = new Map<string, { note: string; state: 'pending' | 'final' | 'failed' }>();
  made = 0;

  status(ref: string, note: string, luck: number): AnchorInput {
    const known = this.sent.get(ref);
    if (known === undefined) this.sent.set(ref, { note, state: 'pending' });
    else if (known.state === 'pending' && luck < 3) known.state = luck === 0 ? 'failed' : 'final';
    // A reorganisation, before the keeper has heard of it.
    else if (known.state === 'final' && luck === 9) known.state = 'pending';
    const { state } = this.sent.get(ref) ?? { state: 'pending' };
    if (state === 'final') {
      const evidence = Buffer.from(note);
      return { kind: 'answered', status: { kind: 'final', evidence } };
    }
    const status =
      state === 'failed' ? { kind: state, reason: 'luck' } : { kind: state, detail: 'waits' };
    return { kind: 'answered', status };
  }
}

/** Everything that survives a crash. */
interface Disk {
  record: AnchorRecord;
  readonly filed: Map<number, string>;
}

const live = (disk: Disk, place: Place) => (n: { luck: number; crashAfter: number }[]) => {
  let state: AnchorKeeperState = startAnchorKeeper(disk.record);
  let clock = START;
  const startsByPeriod = new Map<number, number>();
  for (const { luck, crashAfter } of n) {
    clock = {
      ...clock,
      unixMs: clock.unixMs + 1_200_000,
      monotonicMs: clock.monotonicMs + 1_200_000,
    };
    const size = 1 + Math.floor((clock.unixMs - START.unixMs) / 1_200_000);
    const queue: AnchorInput[] = [{ kind: 'tick', newest: { size, note: `note of ${size}` } }];
    let left = crashAfter;
    // A crash before or after each effect, or none at all in this tick.
    const crash = (): boolean => {
      left -= 1;
      if (left !== 0) return false;
      state = startAnchorKeeper(disk.record);
      queue.length = 0;
      return true;
    };
    for (let input = queue.shift(); input !== undefined; input = queue.shift()) {
      const [effect] = stepAnchorKeeper(state, input, TIMES, clock);
      if (effect === undefined || crash()) continue;
      if (effect.kind === 'store') {
        const before = disk.record;
        if (luck === 4) queue.push({ kind: 'trouble', reason: 'disk' });
        else {
          disk.record = effect.record;
          if (!crash()) queue.push({ kind: 'stored' });
        }
        const { current } = disk.record;
        if (current !== undefined && before.current === undefined) {
          const period = Math.floor(current.startedAtMs / PERIOD_MS);
          startsByPeriod.set(period, (startsByPeriod.get(period) ?? 0) + 1);
        }
        const lost = before.current !== undefined && current === undefined;
        const end =
          before.current?.ref === undefined ? undefined : place.sent.get(before.current.ref);
        if (lost && end?.state !== 'failed') {
          t.equal(disk.filed.get(before.current.size), before.current.note, 'none is lost');
        }
      } else if (effect.kind === 'submit') {
        if (luck === 5) queue.push({ kind: 'trouble', reason: 'unreachable' });
        else {
          place.made += 1;
          const ref = `ref ${place.made}`;
          const [kept] = stepAnchorKeeper(state, { kind: 'kept', ref }, TIMES, clock);
          if (kept?.kind !== 'store') throw new Error('a reference is stored');
          if (crash()) continue;
          disk.record = kept.record;
          if (crash()) continue;
          stepAnchorKeeper(state, { kind: 'refStored' }, TIMES, clock);
          place.sent.set(ref, { note: effect.note, state: 'pending' });
          if (!crash()) queue.push({ kind: 'submitted' });
        }
      } else if (effect.kind === 'ask') {
        t.equal(disk.record.current?.ref, effect.ref, 'only what is durable is asked for');
        if (luck === 6) queue.push({ kind: 'trouble', reason: 'unreachable' });
        else queue.push(place.status(effect.ref, effect.note, luck));
      } else {
        t.equal(Buffer.from(effect.evidence).toString(), effect.note, 'evidence of its own note');
        disk.filed.set(effect.size, effect.note);
        if (!crash()) queue.push({ kind: 'filed' });
      }
    }
  }
  return startsByPeriod;
};

t.test('a crash at any step loses no submission and makes none too many', (t) => {
  const turn = fc.record({ luck: fc.nat(9), crashAfter: fc.nat(9) });
  let submissions = 0;
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 60 }), (turns) => {
      const disk: Disk = { record: emptyAnchorRecord, filed: new Map() };
      const place = new Place();
      const starts = live(disk, place)(turns);
      const failed = [...place.sent.values()].filter(({ state }) => state === 'failed').length;
      const notes = [...place.sent.values()].map(({ note }) => note);
      submissions += place.sent.size;
      // Every note is sent once; a second one of a period only after a failed one.
      t.equal(new Set(notes).size, notes.length, 'no note is sent twice');
      const extra = [...starts.values()].reduce((sum, count) => sum + count - 1, 0);
      t.ok(extra <= failed, 'one a period, but for failed ones');
      const open = [...place.sent.values()].filter(({ state }) => state === 'pending').length;
      t.ok(open <= 1, 'one on its way at most');
      const sizes = [...disk.filed.keys()];
      t.same(
        sizes,
        sizes.toSorted((one, other) => one - other),
        'never back',
      );
      return disk.record.anchoredSize <= Math.max(0, ...sizes);
    }),
    { numRuns: 300 },
  );
  t.ok(submissions > 300, `${submissions} submissions`);
  t.end();
});
