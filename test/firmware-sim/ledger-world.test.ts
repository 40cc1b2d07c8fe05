import t, { type Test } from 'tap';
import type { LedgerEvent } from '../../firmware-sim/core/ledger/ledger-scenario.ts';
import { LEDGER_EVENTS } from '../../firmware-sim/core/ledger/ledger-scenario.ts';
import type { LedgerHooks } from '../../firmware-sim/core/ledger/ledger-world.ts';
import { runLedger, type LedgerRun } from './ledger-rig.ts';

/** Seeds 1 … n of one event; none of them may break an invariant. */
function runs(t: Test, event: LedgerEvent, n: number): readonly LedgerRun[] {
  return Array.from({ length: n }, (_, i) => {
    const run = runLedger(i + 1, { event });
    t.equal(run.violation, undefined, `${event}, seed ${i + 1}`);
    return run;
  });
}

const sum = (all: readonly LedgerRun[], what: string): number =>
  all.reduce((total, run) => total + run.happened(what), 0);

t.test(
  'weather: crashes, cuts and lost writes leave every answer final, once, in order',
  async (t) => {
    const all = runs(t, 'weather', 8);
    for (const { world } of all) {
      const { writer, source, before } = world.logs[0]!;
      const answers = before.length + source.expected().length;
      t.equal(world.checker.finalSizeOf(writer.origin), answers, 'all of it is final');
    }
    for (const what of [
      'crash between two effects',
      'crash during a write',
      'uplink cut',
      'ledger answer 409',
      'ledger answer 503',
    ]) {
      t.ok(sum(all, what) > 0, `happened: ${what}`);
    }
  },
);

t.test(
  'fork: never two histories with a quorum, the log ends, the mirror shows both notes',
  async (t) => {
    const all = runs(t, 'fork', 10);
    const forged = all.filter((run) => run.happened('ledger history forged') > 0);
    t.ok(forged.length >= 8);
    for (const { world } of forged) {
      const { origin } = world.logs[0]!.writer;
      t.ok(world.checker.isStopped(origin) || world.checker.isAccused(origin));
      const { forger, mirror } = world;
      t.ok(
        mirror.copiedSize(origin) >= world.checker.finalSizeOf(origin),
        'what was final is kept',
      );
      t.ok(forger.isUp, 'the forger never gave up asking');
    }
    t.ok(forged.some(({ world }) => world.checker.isAccused(world.logs[0]!.writer.origin)));
  },
);

t.test(
  'an older copy put back refuses to sign; the log comes back from the mirror or is retired',
  async (t) => {
    const all = runs(t, 'older-copy', 10);
    t.ok(sum(all, 'ledger stopped ROLLED_BACK') >= 6);
    t.ok(sum(all, 'ledger restored from the mirror') >= 4);
  },
);

t.test('a lost disk is restored from the mirror, with its journals or without', async (t) => {
  for (const event of ['lost-disk', 'lost-disk-and-journals'] as const) {
    const all = runs(t, event, 8);
    t.ok(sum(all, 'ledger restored from the mirror') >= 6, event);
  }
});

t.test(
  'a witness that lost its state is retired; started anew it cannot make a second history final',
  async (t) => {
    const retired = runs(t, 'lost-witness', 6);
    t.equal(sum(retired, 'witness key retired'), 6, 'a damaged head stops its start');
    for (const { world } of retired) {
      t.ok(world.logs[0]!.writer.isQuiet, 'the log goes on with three of four');
    }
    const anew = runs(t, 'restarted-witness', 10);
    t.ok(sum(anew, 'ledger history forged') > 0);
  },
);

t.test('an erased payload cannot be opened by any holder, and the log goes on', async (t) => {
  const all = runs(t, 'erased-payload', 6);
  t.ok(sum(all, 'ledger content key erased') >= 5);
  for (const { world } of all) t.ok(world.logs[0]!.writer.isQuiet);
});

t.test(
  'without mirror or with two witnesses dead nothing becomes final; it does when they are back',
  async (t) => {
    for (const event of ['dead-mirror', 'two-dead-witnesses'] as const) {
      let waited = 0;
      for (let seed = 1; seed <= 6; seed += 1) {
        let recorded = 0;
        let final = 0;
        const run = runLedger(seed, {
          event,
          atCalm: ({ logs, checker }) => {
            const { writer } = logs[0]!;
            recorded = writer.recordedSize;
            final = checker.finalSizeOf(writer.origin);
          },
        });
        t.equal(run.violation, undefined, `${event}, seed ${seed}`);
        if (recorded > final) waited += 1;
        const { writer } = run.world.logs[0]!;
        t.ok(writer.isQuiet && writer.recordedSize >= recorded, 'L1 goes on, L2 follows');
      }
      t.ok(waited >= 4, `${event}: receipts stay L1 in the meantime`);
    }
  },
);

t.test('the writer may lose power before any of its effects', async (t) => {
  let crashes = 0;
  for (let at = 1; at <= 40; at += 1) {
    const hooks = { writer: { crashAtEffect: at } };
    const run = runLedger(10, { event: 'weather', hooks, safetyMs: 10_000 });
    t.equal(run.violation, undefined, `before effect ${at}`);
    crashes += run.happened('crash at its effect');
  }
  t.equal(crashes, 40);
});

t.test('a planted bug is caught', async (t) => {
  const plants: readonly (readonly [string, number, LedgerEvent, LedgerHooks, RegExp])[] = [
    [
      'a writer that signs before its head is durable',
      3,
      'weather',
      { writer: { headAckBeforeSync: true } },
      /a head is durable before its signature leaves/,
    ],
    [
      'a writer that signs on without asking whether it is an older copy',
      5,
      'older-copy',
      { writer: { skipsConfirming: true } },
      /nothing new is signed before the quorum confirms the start/,
    ],
    [
      'a writer that stores how far it has read before the leaves are in the log',
      10,
      'weather',
      { writer: { cursorAhead: true } },
      /every answer is in the log once, in order/,
    ],
    [
      'a witness that answers before its head is durable',
      3,
      'weather',
      { witness: { answersBeforePersist: true } },
      /a cosignature leaves when its head is durable/,
    ],
    [
      'a mirror that cosigns before it has the contents',
      3,
      'weather',
      { mirror: { skipsContent: true } },
      /a mirror cosigns only what it holds/,
    ],
  ];
  for (const [name, within, event, hooks, invariant] of plants) {
    let caught: string | undefined;
    for (let seed = 1; seed <= within && caught === undefined; seed += 1) {
      caught = runLedger(seed, { event, hooks }).violation;
    }
    t.match(caught, invariant, `${name}: within ${within} seeds`);
  }
});

t.test(
  'more liars than 3 of 4 allow for do make two histories final, and that is seen',
  async (t) => {
    let caught: string | undefined;
    for (let seed = 1; seed <= 6 && caught === undefined; seed += 1) {
      const atStart: Parameters<typeof runLedger>[1] = {
        event: 'fork',
        atStart: ({ witnesses, mirror }) => {
          for (const node of [...witnesses.slice(0, 3), mirror]) node.isLiar = true;
        },
      };
      caught = runLedger(seed, atStart).violation;
    }
    t.match(caught, /two histories never both have a quorum/);
  },
);

t.test('the same seed is the same story', async (t) => {
  for (const event of LEDGER_EVENTS) {
    const [one, two] = [runLedger(5, { event }), runLedger(5, { event })];
    t.equal(one.world.trace.digest(), two.world.trace.digest(), event);
  }
});
