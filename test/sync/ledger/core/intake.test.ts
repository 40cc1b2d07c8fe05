import fc from 'fast-check';
import t from 'tap';
import { HAND_IN } from '../../../../protocol/messages/envelopes.ts';
import type { HandIn } from '../../../../protocol/messages/envelopes.ts';
import { accepted, refused } from '../../../../protocol/refusal.ts';
import { INTAKE_RECORD } from '../../../../sync/ledger/core/intake-record.ts';
import {
  countsOf,
  initialIntake,
  recoverIntake,
  stepIntake,
} from '../../../../sync/ledger/core/intake.ts';
import type {
  IntakeAnswer,
  IntakeInput,
  IntakePorts,
  IntakeState,
} from '../../../../sync/ledger/core/intake.ts';

const now = (monotonicMs = 0): { unixMs: number; monotonicMs: number; timeQuality: 2 } => ({
  unixMs: 1_790_000_000_000 + monotonicMs,
  monotonicMs,
  timeQuality: 2,
});

/** The stand-in judges by the first bytes: payment number, kind, line; 255 is refused. */
const handInOf = (payment: number, kind = 1, line = 1): Uint8Array =>
  HAND_IN.encode({
    payment: new Uint8Array(70).fill(payment),
    offer: new Uint8Array(70).fill(line),
    outcome: new Uint8Array(70).fill(kind),
  });
const partsOf = ({ payment, outcome }: HandIn): Uint8Array[] => [
  Uint8Array.of(...payment.subarray(0, 32), outcome[0] ?? 0),
];
let judged = 0;
const ports: IntakePorts = {
  judge: (handIn) => {
    judged += 1;
    if (handIn.payment[0] === 255) return refused('BAD_SIGNATURE', 'forged');
    return accepted({
      parts: partsOf(handIn),
      line: handIn.offer.subarray(0, 16),
      party: new Uint8Array(16).fill(4),
      answeredAtMs: 1_789_999_999_000,
    });
  },
};

/** A state with its journal: what was appended, and what of it a sync has reached. */
class Door {
  state: IntakeState = initialIntake();
  readonly appended: Uint8Array[] = [];
  readonly answers = new Map<number, IntakeAnswer>();
  #requests = 0;

  step(input: IntakeInput, at = 0): void {
    for (const effect of stepIntake(this.state, input, now(at), ports)) {
      if (effect.kind === 'append') this.appended.push(effect.record);
      else this.answers.set(effect.requestId, effect.answer);
    }
  }

  give(bytes: Uint8Array, at = 0, deliverer = 'somebody'): number {
    this.#requests += 1;
    this.step({ kind: 'handIn', requestId: this.#requests, deliverer, bytes }, at);
    return this.#requests;
  }

  sync(through: number = this.appended.length - 1): void {
    this.step({ kind: 'persisted', through });
  }

  answer(request: number): string {
    const answer = this.answers.get(request);
    if (!answer) return 'waits';
    return answer.ok ? (answer.known ? 'known' : 'taken') : answer.code;
  }
}

t.test('taken is said after the sync, once per Payment and kind of answer', async (t) => {
  const door = new Door();
  const first = door.give(handInOf(1));
  const again = door.give(handInOf(1));
  t.same([door.answer(first), door.answer(again)], ['waits', 'waits']);
  t.equal(door.appended.length, 1);
  door.sync();
  t.same([door.answer(first), door.answer(again)], ['taken', 'known']);
  const aVoid = door.give(handInOf(1, 2));
  const other = door.give(handInOf(2));
  door.sync(1);
  t.same([door.answer(aVoid), door.answer(other)], ['taken', 'waits'], 'the sync reached one');
  door.sync();
  t.equal(door.answer(door.give(handInOf(2))), 'known');
  t.same(countsOf(door.state), { records: 3, waiting: 0 });
  t.match(INTAKE_RECORD.decode(door.appended[0] ?? new Uint8Array(0)), {
    ok: true,
    value: { answeredAtMs: 1_789_999_999_000, takenAtMs: 1_790_000_000_000 },
  });
});

t.test('after a start what was durable is known', async (t) => {
  const door = new Door();
  const handIn = HAND_IN.decode(handInOf(1));
  if (!handIn.ok) throw new Error(handIn.reason);
  recoverIntake(door.state, partsOf(handIn.value));
  t.equal(door.answer(door.give(handInOf(1))), 'known');
  const next = door.give(handInOf(2));
  door.sync(1);
  t.equal(door.answer(next), 'taken');
});

t.test(
  'garbage is refused with its code, before the disk, and its deliverer is slowed',
  async (t) => {
    const door = new Door();
    const cases: [Uint8Array, string][] = [
      [new Uint8Array(0), 'NON_CANONICAL'],
      [new Uint8Array(6_000), 'TOO_LARGE'],
      [handInOf(1).subarray(0, -1), 'NON_CANONICAL'],
      [Uint8Array.of(...handInOf(1), 0), 'NON_CANONICAL'],
      [handInOf(255), 'BAD_SIGNATURE'],
    ];
    for (const [bytes, code] of cases) t.equal(door.answer(door.give(bytes)), code, code);
    for (let i = cases.length; i < 64; i += 1) door.give(handInOf(255));
    const before = judged;
    t.equal(door.answer(door.give(handInOf(255))), 'RATE_LIMITED');
    t.equal(door.answer(door.give(handInOf(7))), 'RATE_LIMITED', 'whatever comes that way');
    t.equal(judged, before, 'nothing more of it is verified');
    t.equal(door.answer(door.give(handInOf(7), 0, 'another')), 'waits');
    t.equal(door.answer(door.give(handInOf(8), 60)), 'waits', 'a token has come back');
    t.equal(door.appended.length, 2);
  },
);

t.test('one line cannot fill the disk, and the queue has an end', async (t) => {
  const door = new Door();
  const bytes = (number: number, line: number): Uint8Array =>
    HAND_IN.encode({
      payment: Uint8Array.of(number & 0xff, number >> 8, ...new Uint8Array(68)),
      offer: new Uint8Array(70).fill(line),
      outcome: new Uint8Array(70),
    });
  // 255 in the first byte is the stand-in's forgery.
  const numbers = Array.from({ length: 11_000 }, (_, i) => i).filter((i) => (i & 0xff) !== 255);
  const answers = numbers.map((number) => {
    const request = door.give(bytes(number, 1));
    if (door.state.waiting.length === 1_000) door.sync();
    return request;
  });
  door.sync();
  const taken = answers.filter((request) => door.answer(request) === 'taken').length;
  t.equal(taken, 10_000);
  t.equal(door.answer(answers.at(-1) ?? 0), 'RATE_LIMITED');
  t.equal(door.answer(door.give(bytes(1, 2))), 'known', 'what is there stays known');
  const fresh = new Door();
  const requests = numbers.slice(0, 1_025).map((number) => fresh.give(bytes(number, number % 250)));
  t.equal(fresh.answer(requests[1_023] ?? 0), 'waits');
  t.equal(fresh.answer(requests[1_024] ?? 0), 'BUSY');
});

t.test('a broken disk: nobody who waited hears "taken", nobody new is let in', async (t) => {
  const door = new Door();
  const waiting = door.give(handInOf(1));
  door.step({ kind: 'storageFailed', code: 'DISK_FULL', reason: 'come again' });
  t.equal(door.answer(waiting), 'DISK_FULL');
  t.equal(door.answer(door.give(handInOf(2))), 'DISK_FULL');
});

t.test(
  'any order of gifts and syncs: taken means durable, and nothing is there twice',
  async () => {
    const act = fc.oneof(
      fc.record({ give: fc.integer({ min: 0, max: 12 }), kind: fc.integer({ min: 1, max: 2 }) }),
      fc.record({ sync: fc.nat(20) }),
      fc.constant({ crash: true }),
    );
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        let door = new Door();
        let durable: Uint8Array[] = [];
        const promised = new Set<string>();
        const given = new Map<number, string>();
        for (const one of acts) {
          if ('give' in one) {
            given.set(door.give(handInOf(one.give, one.kind)), `${one.give} ${one.kind}`);
          } else if ('sync' in one) {
            const through = Math.min(one.sync, durable.length + door.appended.length - 1);
            if (through < durable.length) continue;
            door.step({ kind: 'persisted', through });
            durable = [...durable, ...door.appended.splice(0, through + 1 - durable.length)];
          } else {
            door = new Door();
            given.clear();
            for (const record of durable) {
              const kept = INTAKE_RECORD.decode(record);
              const handIn = kept.ok ? HAND_IN.decode(kept.value.handIn) : kept;
              if (!handIn.ok) throw new Error(handIn.reason);
              recoverIntake(door.state, partsOf(handIn.value));
            }
          }
          for (const [request, name] of given) {
            if (door.answers.get(request)?.ok) promised.add(name);
          }
        }
        const names = durable.map((record) => {
          const kept = INTAKE_RECORD.decode(record);
          const handIn = kept.ok ? HAND_IN.decode(kept.value.handIn) : kept;
          if (!handIn.ok) throw new Error(handIn.reason);
          return `${handIn.value.payment[0]} ${handIn.value.outcome[0]}`;
        });
        if (new Set(names).size !== names.length) throw new Error('a part is there twice');
        for (const name of promised) if (!names.includes(name)) throw new Error(`lost ${name}`);
      }),
      { numRuns: 300 },
    );
  },
);
