import t from 'tap';
import { addMicro, amountMicro } from '../../protocol/amount.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { QUERY } from '../../protocol/messages/envelopes.ts';
import * as issue from '../../identity/core/issue.ts';
import { newSigner, NOW_S, yen } from '../identity/fixture.ts';
import {
  allowanceOf,
  newKit,
  offerOf,
  paymentOf,
  PayerRig,
  receiptOf,
  refusalOf,
  wantOf,
} from './harness.ts';

const kit = newKit();
const TEN_MINUTES = amountMicro(38_500_000n);

t.test('unknown ends by signed answers only; the way out is the same bytes again', (t) => {
  const rig = new PayerRig(kit).connect();
  const pay = rig.spend();
  rig.pass(5_000);
  t.match(rig.outcome, { kind: 'unknown', ref: 'ref-1' });
  for (let i = 0; i < 40; i += 1) rig.pass(60_000);
  const queries = rig.published.filter(({ verb }) => verb === 'query');
  t.ok(queries.length > 10, 'it asks again and again');
  for (const { payload } of queries) {
    const query = QUERY.decode(payload);
    t.ok(query.ok && bytesEqual(query.value.payment, pay), 'with the very same bytes');
  }
  const stranger = newSigner();
  rig.inbox('receipt', receiptOf(kit, pay, stranger));
  rig.inbox('refusal', refusalOf(kit, pay, 'UPPER_LIMIT', {}, stranger));
  rig.inbox('refusal', refusalOf(kit, pay, 'BAD_SIGNATURE'));
  rig.inbox('refusal', refusalOf(kit, pay, 'ASK_CENTRE'));
  rig.inbox('refusal', refusalOf(kit, pay, 'UPPER_LIMIT', { final: false }));
  t.equal(rig.state.open.size, 1, 'forged and open answers leave it unknown');
  t.equal(rig.state.releasedMicro, 0n);
  rig.inbox('receipt', receiptOf(kit, pay));
  t.match(rig.outcome, { kind: 'accepted' });
  t.equal(rig.outcomes.filter(({ kind }) => kind === 'unknown').length, 1, 'told unknown once');
  t.end();
});

t.test('a reconnection and a restart send the same bytes, to their own approver only', (t) => {
  const rig = new PayerRig(kit).connect();
  const pay = rig.spend();
  rig.give({ kind: 'linkDown' }).pass(3_000_000).connect();
  t.equal(rig.count('query'), 1, 'at once on the new link');
  rig.crash();
  const before = rig.count('query');
  const second = newSigner();
  rig.linkUp(second.key.id).pass(3_000);
  t.equal(rig.count('query'), before, 'another gateway is not asked');
  rig.linkUp().pass(3_000);
  t.equal(rig.count('query'), before + 1);
  const query = QUERY.decode(rig.last('query'));
  t.ok(query.ok && bytesEqual(query.value.payment, pay), 'after a restart too');
  t.end();
});

t.test('open refusals steer the resend', (t) => {
  const rig = new PayerRig(kit).connect();
  const pay = rig.spend();
  rig.inbox('refusal', refusalOf(kit, pay, 'UNKNOWN_LINE'));
  t.equal(rig.count('present'), 2, 'UNKNOWN_LINE: the documents once more');
  t.equal(rig.count('query'), 0);
  rig.inbox('presented', Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60));
  t.equal(rig.count('query'), 1, 'then the same bytes');
  rig.inbox('refusal', refusalOf(kit, pay, 'BUSY', { retryAfterMs: 30_000 }));
  rig.pass(29_000);
  t.equal(rig.count('query'), 1, 'retry-after is kept');
  rig.pass(1_500);
  t.equal(rig.count('query'), 2);
  rig.inbox('refusal', refusalOf(kit, pay, 'ASK_CENTRE'));
  t.match(rig.outcome, { kind: 'unknown' });
  t.end();
});

t.test('a Void gives its amount back, once', (t) => {
  const rig = new PayerRig(kit).connect();
  const first = rig.spend();
  const theVoid = refusalOf(kit, first, 'OFFER_EXPIRED');
  rig.inbox('refusal', theVoid).inbox('refusal', theVoid);
  t.match(rig.outcome, { kind: 'refused', code: 'OFFER_EXPIRED', ref: 'ref-1' });
  t.equal(rig.state.releasedMicro, TEN_MINUTES);
  const second = paymentOf(rig.spend({ ref: 'ref-2' }));
  t.equal(second.releasedMicro, TEN_MINUTES);
  t.equal(second.totalMicro, 2n * TEN_MINUTES, 'the total is gross and never falls');
  rig.sync().crash();
  t.equal(rig.state.releasedMicro, TEN_MINUTES, 'also after a crash');
  t.end();
});

t.test('Receipt and Void for one Payment: both kept, the payer not charged', (t) => {
  for (const order of ['receipt first', 'void first']) {
    const rig = new PayerRig(kit).connect();
    const pay = rig.spend();
    const receipt = receiptOf(kit, pay);
    const theVoid = refusalOf(kit, pay, 'OFFER_EXPIRED');
    if (order === 'receipt first') rig.inbox('receipt', receipt).inbox('refusal', theVoid);
    else rig.inbox('refusal', theVoid).inbox('receipt', receipt);
    t.equal(rig.state.releasedMicro, TEN_MINUTES, order);
    t.same(rig.notices, ['GATEWAY_EQUIVOCATION']);
    rig.sync();
    const held = rig.durable.map(toHex).join();
    t.ok(held.includes(toHex(receipt)) && held.includes(toHex(theVoid)), 'both are in the journal');
    const records = rig.durable.length;
    rig.inbox('receipt', receipt).inbox('refusal', theVoid).sync();
    t.equal(rig.durable.length, records, 'and a third time costs nothing');
    rig.crash();
    t.equal(rig.state.releasedMicro, TEN_MINUTES, 'the same after a restart');
    t.equal([...rig.state.kept.values()][0]?.state, 'both');
  }
  t.end();
});

t.test('an unclean start jumps to the reserved mark, a clean one does not', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.spend();
  const mark = { ...rig.state.mark };
  t.ok(mark.counter > 1 && mark.totalMicro > TEN_MINUTES, 'reserved ahead');
  rig.crash();
  t.equal(rig.state.counter, mark.counter);
  t.equal(rig.state.totalMicro, mark.totalMicro);
  t.equal(rig.state.skippedMicro, mark.totalMicro - TEN_MINUTES);
  const next = paymentOf(rig.connect().spend({ ref: 'ref-2' }));
  t.equal(next.counter, mark.counter + 1);
  t.equal(next.totalMicro, mark.totalMicro + TEN_MINUTES);

  const { counter, totalMicro } = rig.state;
  rig.restart();
  t.equal(rig.state.counter, counter, 'no jump after an orderly end');
  t.equal(rig.state.totalMicro, totalMicro);
  t.equal(rig.state.boot, 3);
  t.end();
});

t.test('a closing device signs nothing more and ends with the clean mark', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.give({ kind: 'want', want: wantOf(kit) }).inbox('offer', offerOf(kit));
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'ref-2' }) }).give({ kind: 'close' });
  t.match(rig.outcome, { kind: 'refused', code: 'BUSY', ref: 'ref-2' });
  t.equal(rig.state.disk, 'closing', 'it waits for what is being journalled');
  rig.sync();
  t.equal(rig.state.disk, 'closed');
  const appended = rig.unsynced.length;
  rig.inbox('receipt', receiptOf(kit, rig.last('pay')));
  t.equal(rig.unsynced.length, appended, 'nothing stands behind the mark');
  t.end();
});

t.test('each Payment leaves when its own record is durable, not with another’s', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.give({ kind: 'want', want: wantOf(kit) }).inbox('offer', offerOf(kit));
  const first = rig.unsynced.at(-1)?.number ?? 0;
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'ref-2' }) }).inbox('offer', offerOf(kit));
  rig.give({ kind: 'persisted', through: first - 1 });
  t.equal(rig.count('pay'), 0);
  rig.give({ kind: 'persisted', through: first });
  t.equal(rig.count('pay'), 1);
  t.equal(paymentOf(rig.last('pay')).counter, 1);
  rig.sync();
  t.equal(rig.count('pay'), 2);
  t.end();
});

t.test('a failed journal stops new spending and sends nothing that is not durable', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.give({ kind: 'want', want: wantOf(kit) }).inbox('offer', offerOf(kit));
  rig.give({ kind: 'diskFailed', reason: 'no space left' });
  t.match(rig.outcome, { kind: 'unknown', ref: 'ref-1' });
  t.equal(rig.count('pay'), 0);
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'ref-2' }) });
  t.match(rig.outcome, { kind: 'refused', code: 'DISK_FULL', ref: 'ref-2' });
  const appends = rig.unsynced.length;
  rig.crash(appends).connect();
  t.equal(rig.count('query'), 1, 'what was on the disk is sent after the next start');
  t.end();
});

t.test('a Statement ends what is unknown, gives back and lets receipts go', (t) => {
  const { issuer } = kit.world.signers;
  const rig = new PayerRig(kit).connect();
  const accepted = rig.spend();
  rig.inbox('receipt', receiptOf(kit, accepted)).sync();
  rig.spend({ ref: 'ref-2' });
  rig.spend({ ref: 'ref-3' });
  rig.spend({ ref: 'ref-4' });
  rig.crash().connect();
  const skipped = rig.state.skippedMicro;
  t.ok(skipped > 0n);
  const facts = {
    issuedS: NOW_S + 100,
    line: kit.world.line,
    number: 1,
    currency: 392,
    heads: [],
    recordedThrough: rig.state.counter,
    except: [4],
    settled: [{ from: 1, to: 2, sumMicro: addMicro(TEN_MINUTES, TEN_MINUTES) }],
    settledTotalMicro: addMicro(TEN_MINUTES, TEN_MINUTES),
    open: [],
    releasedMicro: addMicro(TEN_MINUTES, skipped),
    credits: [],
    disputes: [],
    allowance: allowanceOf(kit, { generation: 2, ceilingMicro: yen(30_000) }),
  };
  const forged = issue.issueStatement(newSigner(), facts);
  rig.give({ kind: 'statement', statement: forged });
  t.equal(rig.state.statementNumber, 0, 'a forged one is not believed');
  const statement = issue.issueStatement(issuer, facts);
  rig.give({ kind: 'statement', statement });
  const told = new Map(rig.outcomes.map((outcome) => [outcome.ref, outcome.kind]));
  t.equal(told.get('ref-2'), 'accepted', 'settled');
  t.equal(told.get('ref-3'), 'refused', 'recorded and neither settled nor open');
  t.equal(rig.state.open.size, 1, 'an exception stays unknown');
  t.equal(rig.state.kept.size, 0, 'recorded receipts may go');
  t.equal(rig.state.releasedMicro, TEN_MINUTES + skipped);
  t.equal(rig.state.skippedMicro, 0n, 'the jump was given back');
  t.equal(rig.state.trust.own?.allowance.generation, 2, 'the new allowance is in force');
  const lateVoid = refusalOf(
    kit,
    rig.published.filter(({ verb }) => verb === 'pay')[3]!.payload,
    'OFFER_EXPIRED',
  );
  rig.inbox('refusal', lateVoid);
  t.equal(rig.state.releasedMicro, 2n * TEN_MINUTES + skipped, 'an exception’s Void comes on top');
  const { releasedMicro } = rig.state;
  rig.sync().restart();
  t.equal(rig.state.releasedMicro, releasedMicro, 'the same after a restart');
  t.equal(rig.state.statementNumber, 1);
  rig.give({ kind: 'statement', statement });
  t.equal(rig.unsynced.length, 1, 'an old Statement changes nothing (only the start is new)');
  t.end();
});

t.test('bounds: outstanding Payments and wants', (t) => {
  const rig = new PayerRig(kit).connect();
  for (let i = 0; i < 64; i += 1) {
    rig.spend({ ref: `ref-${i}`, quantity: 1 }, { amountMicro: amountMicro(3_850_000n) });
  }
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'one more' }) });
  t.match(rig.outcome, { kind: 'refused', code: 'BUSY' }, '64 Payments without an answer');

  const idle = new PayerRig(kit).connect();
  for (let i = 0; i < 65; i += 1) {
    idle.give({ kind: 'want', want: wantOf(kit, { ref: `ref-${i}` }) });
  }
  t.match(idle.outcome, { kind: 'refused', code: 'BUSY', ref: 'ref-64' });
  t.end();
});

t.test('hostile bytes in the inbox change nothing and never throw', (t) => {
  const rig = new PayerRig(kit).connect();
  const pay = rig.spend();
  const samples = [offerOf(kit), receiptOf(kit, pay), refusalOf(kit, pay, 'UPPER_LIMIT')];
  const verbs = [
    'offer',
    'receipt',
    'refusal',
    'presented',
    'challenges',
    'paid',
    'ask',
    '',
    'pay',
  ];
  const before = rig.unsynced.length;
  for (const sample of samples) {
    for (let at = 0; at < sample.length; at += 3) {
      const bad = sample.slice();
      bad[at]! ^= 0x41;
      for (const verb of verbs) {
        rig.inbox(verb, bad);
        rig.inbox(verb, sample.subarray(0, at));
      }
    }
  }
  for (const junk of [new Uint8Array(0), new Uint8Array(20_000).fill(0x81), Uint8Array.of(0xff)]) {
    for (const verb of verbs) rig.inbox(verb, junk);
  }
  t.equal(rig.unsynced.length, before, 'nothing was believed');
  t.equal(rig.state.open.size, 1);
  t.end();
});
