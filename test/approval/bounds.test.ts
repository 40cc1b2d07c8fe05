import t from 'tap';
import { Buckets } from '../../approval/bucket.ts';
import * as limits from '../../approval/limits.ts';
import { findSeen, joinParty, makeRoom, openLine, remember } from '../../approval/lines.ts';
import type { LineState, SeenPayment } from '../../approval/state.ts';
import { initialState } from '../../approval/state.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { newWorld } from '../identity/fixture.ts';
import { Bench, newPayer, pay, readOutcome, signOffer } from './kit.ts';

const world = newWorld();

function seenOn(
  line: LineState,
  key: string,
  counter: number,
  more: Partial<SeenPayment> = {},
): SeenPayment {
  return {
    key,
    hash: new Uint8Array(32),
    line,
    counter,
    amountMicro: amountMicro(1n),
    totalMicro: amountMicro(BigInt(counter)),
    payee: new Uint8Array(16),
    payment: new Uint8Array(),
    answer: {
      kind: 'accepted',
      sequence: counter,
      payload: new Uint8Array(),
      signed: undefined,
      durable: true,
    },
    keepUntilMs: -1,
    ...more,
  };
}

t.test('lines: an idle one gives way, one that owes or is blocked never does', async (t) => {
  const state = initialState();
  state.phase = 'open';
  for (let i = 0; i < limits.MAX_LINES; i += 1) {
    const line = openLine(state, `line ${i}`)!;
    line.party = joinParty(state, `party ${i % 7}`);
    line.documentsKey = `papers ${i}`;
    state.documents.set(line.documentsKey, line.key);
    line.blocked = i < 3;
  }
  t.ok(openLine(state, 'new'));
  t.equal(state.lines.size, limits.MAX_LINES);
  t.ok(state.lines.has('line 0') && !state.lines.has('line 3'), 'the oldest idle one went');
  t.notOk(state.documents.has('papers 3'));
  for (const line of state.lines.values()) line.unacknowledged.micro = 1n;
  t.equal(openLine(state, 'newer'), undefined, 'all in use');
  state.phase = 'recovering';
  [...state.lines.values()].at(-1)!.unacknowledged.micro = 0n;
  t.ok(openLine(state, 'newer'), 'recovery looks at all of them');
  for (const line of state.lines.values()) {
    line.blocked = false;
    line.unacknowledged.micro = 0n;
  }
  for (let i = 0; i < limits.MAX_LINES; i += 1) openLine(state, `other ${i}`);
  t.equal(state.parties.size, 0, 'a party goes with its last line');
});

t.test('seen Payments: bounded in all, the oldest durable one is forgotten first', async (t) => {
  const state = initialState();
  for (let i = 0; i < limits.MAX_SEEN; i += 1) {
    const line = openLine(state, `line ${i % 1_000}`)!;
    remember(state, seenOn(line, `key ${i}`, 1 + Math.floor(i / 1_000)), true);
  }
  const first = state.seen.get('key 0')!;
  first.answer.durable = false;
  const line = openLine(state, 'line 5')!;
  t.ok(makeRoom(state, line, 0));
  t.equal(state.seen.size, limits.MAX_SEEN - 1);
  t.ok(findSeen(state, 'key 0', new Uint8Array(32)), 'what waits for its sync stays');
  t.notOk(findSeen(state, 'key 1', new Uint8Array(32)));
  t.equal(state.lines.get('line 1')!.forgottenThrough, 1);
  t.ok(state.forgot);
  t.equal(findSeen(state, 'key 2', new Uint8Array(32).fill(1)), undefined, 'a key is not a hash');
  remember(state, seenOn(line, 'one more', 900), true);
  for (const seen of state.seen.values()) seen.answer.durable = false;
  t.equal(makeRoom(state, line, 0), false);
});

t.test('Offers: a used or dead one gives way, else BUSY', async (t) => {
  const bench = new Bench(world);
  bench.presentPayee();
  const payer = newPayer(world);
  bench.presentPayer(payer);
  const template = { ...[...fill(bench)][0]!, acceptByMs: 500 };
  for (let i = bench.state.offers.size; i < limits.MAX_LIVE_OFFERS; i += 1) {
    bench.state.offers.set(`fake ${i}`, { ...template, key: `fake ${i}` });
  }
  const [first, second] = bench.challenges(2);
  bench.replies = [];
  bench.offers([signOffer(world, first!)]);
  t.match(readOutcome(bench.take('refusal')[0]!.bytes), { code: 'BUSY', final: false });
  bench.wait(501);
  const offer = signOffer(world, second!);
  bench.offers([offer]);
  t.equal(bench.state.offers.size, limits.MAX_LIVE_OFFERS);
  t.match(bench.answer(pay(payer, offer)), { code: 'ACCEPTED' });
  bench.feed({ kind: 'tick' });
  t.ok(bench.state.offers.size < 3, 'a tick forgets the dead');
});

function fill(bench: Bench): IterableIterator<Parameters<typeof bench.state.offers.set>[1]> {
  bench.offer();
  return bench.state.offers.values();
}

t.test('challenges and unacknowledged Payments: bounded, BUSY above', async (t) => {
  const bench = new Bench(world);
  bench.presentPayee();
  const payer = newPayer(world);
  bench.presentPayer(payer);
  const offer = bench.offer();
  const payee = bench.state.payees.get(world.signers.payee.key.hex)!;
  payee.granted = limits.MAX_PAYEE_CHALLENGES;
  t.throws(() => bench.challenges(1), 'no grant');
  bench.wait(limits.CHALLENGE_LIFETIME_MS);
  t.equal(bench.challenges(1).length, 1, 'a new window');
  const sequence = bench.state.nextSequence;
  for (let i = 0; i < limits.MAX_UNACKNOWLEDGED; i += 1) {
    bench.state.exposure.push(sequence + i, undefined, 0n);
  }
  t.match(bench.answer(pay(payer, offer)), { code: 'BUSY', final: false });
  bench.state.exposure.acknowledge(sequence + limits.MAX_UNACKNOWLEDGED);
  t.equal(bench.state.exposure.unacknowledgedCount, 0);
});

t.test('a revoked or expired payee gets no challenges and sells nothing more', async (t) => {
  const bench = new Bench(world);
  bench.presentPayee();
  bench.wait(86_400_000);
  bench.replies = [];
  t.throws(() => bench.challenges(1));
  const other = new Bench(world);
  other.presentPayee();
  const [challenge] = other.challenges(1);
  const facts = other.state.payees.get(world.signers.payee.key.hex)!.facts;
  const list = other.state.status.get(facts.status[0]!.uri)!;
  other.state.status.set(facts.status[0]!.uri, {
    ...list,
    facts: { ...list.facts, isRevoked: () => true },
  });
  t.throws(() => other.challenges(1));
  other.offers([signOffer(world, challenge!)]);
  t.match(readOutcome(other.take('refusal').at(-1)!.bytes), { code: 'CREDENTIAL_INVALID' });
  t.equal(other.state.offers.size, 0);
});

t.test('buckets: a burst, then one per interval, for a bounded number of senders', async (t) => {
  const buckets = new Buckets(2, 100, 3);
  t.same(
    [1, 2, 3].map(() => buckets.take('a', 0)),
    [true, true, false],
  );
  t.equal(buckets.has('a', 99), false);
  t.equal(buckets.has('a', 100), true);
  t.same(
    [buckets.take('a', 250), buckets.take('a', 250), buckets.take('a', 250)],
    [true, true, false],
  );
  for (const who of ['b', 'c', 'd']) buckets.take(who, 250);
  t.equal(buckets.take('a', 250), true, 'the oldest sender was forgotten');
});
