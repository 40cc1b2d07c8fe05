import t from 'tap';
import { addMicro, amountMicro } from '../../protocol/amount.ts';
import type { Offer } from '../../protocol/messages/offer.ts';
import type { RefusalCode } from '../../protocol/refusal.ts';
import * as issue from '../../identity/core/issue.ts';
import type { Want } from '../../agent/core/payer.ts';
import {
  ALLOWANCE_FACTS,
  MANDATE_FACTS,
  MERCHANT_FACTS,
  newSigner,
  NOW_S,
  VALID,
  yen,
} from '../identity/fixture.ts';
import {
  allowanceOf,
  documentsOf,
  hashOf,
  newKit,
  offerOf,
  paymentOf,
  PayerRig,
  receiptOf,
  refusalOf,
  TARIFF_FACTS,
  wantOf,
} from './harness.ts';

const kit = newKit();
const TEN_MINUTES = amountMicro(38_500_000n);

/** The fixture's documents with `from` replaced by `to`, or left out. */
function documentsWith(from: Uint8Array, to?: Uint8Array): Uint8Array[] {
  return documentsOf(kit).flatMap((cose) => (cose === from ? (to ? [to] : []) : [cose]));
}

t.test('a purchase: ask, offer, journal, pay, receipt', (t) => {
  const rig = new PayerRig(kit).linkUp();
  t.equal(rig.count('present'), 1, 'it shows its documents first');
  rig.give({ kind: 'want', want: wantOf(kit) });
  t.equal(rig.count('ask'), 0, 'and asks nobody before the approver has looked at them');
  rig.connect();
  t.equal(rig.count('ask'), 1);
  rig.inbox('offer', offerOf(kit));
  t.equal(rig.count('pay'), 0, 'a Payment does not leave before it is durable');
  rig.sync();
  t.equal(rig.count('pay'), 1);
  const payment = paymentOf(rig.last('pay'));
  t.equal(payment.counter, 1);
  t.equal(payment.amountMicro, TEN_MINUTES);
  t.equal(payment.totalMicro, TEN_MINUTES);
  t.same(payment.line, kit.world.line);
  t.equal(payment.timeS, NOW_S);
  t.equal(payment.timeQuality, 1);
  t.ok(rig.last('pay').length <= 202, 'Payment COSE of at most 202 bytes');
  rig.inbox('receipt', receiptOf(kit, rig.last('pay')));
  t.match(rig.outcome, { kind: 'accepted', ref: 'ref-1', counter: 1, amountMicro: TEN_MINUTES });
  t.equal(rig.state.open.size, 0);
  t.end();
});

t.test(
  'what is checked before signing is refused with its own code, and nothing is signed',
  (t) => {
    const stranger = newSigner();
    const { signers, payee, mandate, policy } = kit.world;
    const cheap = amountMicro(3_850_000n);
    const late = { notBeforeS: NOW_S - 100, expiresS: NOW_S - 1 };
    const cases: readonly [string, RefusalCode, Partial<Want>, Partial<Offer>, Uint8Array[]?][] = [
      ['an approver without mandate', 'GATEWAY_UNTRUSTED', {}, { approver: stranger.key.id }],
      [
        'an expired mandate',
        'GATEWAY_UNTRUSTED',
        {},
        {},
        documentsWith(
          mandate,
          issue.issueMandate(signers.issuer, {
            ...MANDATE_FACTS,
            ...late,
            key: signers.gateway.key,
          }),
        ),
      ],
      ['a payee without credential', 'CREDENTIAL_INVALID', { payee: stranger.key.id }, {}],
      [
        'an expired merchant credential',
        'CREDENTIAL_EXPIRED',
        {},
        {},
        documentsWith(
          payee.merchant,
          issue.issueMerchant(signers.acquirer, {
            ...MERCHANT_FACTS,
            ...late,
            payeeKeys: [signers.payee.key],
          }),
        ),
      ],
      ['an unknown tariff', 'TARIFF_UNTRUSTED', {}, { tariffHash: new Uint8Array(32) }],
      ['another version of the tariff', 'TARIFF_UNTRUSTED', {}, { tariffVersion: 4 }],
      ['a price that the tariff cannot give', 'TARIFF_UNTRUSTED', {}, { amountMicro: yen(39) }],
      ['another quantity than wanted', 'TARIFF_UNTRUSTED', { quantity: 1 }, {}],
      ['dearer than allowed', 'POLICY_REFUSED', { maxAmountMicro: cheap }, {}],
      [
        'nothing at all',
        'POLICY_REFUSED',
        {},
        { amountMicro: amountMicro(0n), readingHash: new Uint8Array(32) },
      ],
      ["above the party's limit", 'POLICY_REFUSED', {}, {}, withPolicy({ maxAmountMicro: cheap })],
      ['another merchant', 'POLICY_REFUSED', {}, {}, withPolicy({ merchants: ['OTHER'] })],
      ['another category', 'POLICY_REFUSED', {}, {}, withPolicy({ mccs: [5812] })],
      ['no policy at hand', 'POLICY_REFUSED', {}, {}, documentsWith(policy)],
      ['no allowance', 'UNKNOWN_LINE', {}, {}, documentsWith(kit.world.payer.allowance)],
      [
        'above the payment limit',
        'PAYMENT_LIMIT',
        {},
        {},
        withAllowance({ paymentLimitMicro: cheap }),
      ],
      ['above the ceiling', 'CEILING_EXCEEDED', {}, {}, withAllowance({ ceilingMicro: cheap })],
      [
        'above the upper limit',
        'UPPER_LIMIT',
        {},
        {},
        withAllowance({ upperMicro: cheap, lowerMicro: cheap }),
      ],
      ['beyond the last counter', 'COUNTER_LIMIT', {}, {}, withAllowance({ counterCeiling: 0 })],
      ['an expired allowance', 'CREDENTIAL_EXPIRED', {}, {}, withAllowance(late)],
    ];
    for (const [what, code, want, offer, documents] of cases) {
      const rig = new PayerRig(kit, documents).connect();
      rig.give({ kind: 'want', want: wantOf(kit, want) });
      rig.inbox('offer', offerOf(kit, offer)).sync();
      t.match(rig.outcome, { kind: 'refused', code }, `${what}: ${code}`);
      t.equal(rig.count('pay'), 0, `${what}: nothing leaves`);
      t.equal(rig.state.counter, 0, `${what}: no counter is used`);
    }
    t.end();
  },
);

function withAllowance(changes: Partial<typeof ALLOWANCE_FACTS>): Uint8Array[] {
  return documentsWith(kit.world.payer.allowance, allowanceOf(kit, changes));
}

function withPolicy(changes: Partial<Parameters<typeof issue.issuePolicy>[1]>): Uint8Array[] {
  const { world } = kit;
  const policy = issue.issuePolicy(world.signers.party, { ...VALID, version: 2, ...changes });
  return documentsWith(world.policy, policy).map((cose) =>
    cose === world.payer.allowance ? allowanceOf(kit, {}, hashOf(policy)) : cose,
  );
}

t.test('the gateway at hand decides what is asked at all', (t) => {
  const other = new PayerRig(kit).linkUp(newSigner().key.id);
  other.give({ kind: 'want', want: wantOf(kit) });
  t.match(other.outcome, { kind: 'refused', code: 'GATEWAY_UNTRUSTED' }, 'a counterfeit gateway');
  t.equal(other.count('ask'), 0);

  const waiting = new PayerRig(kit).give({ kind: 'want', want: wantOf(kit) });
  t.equal(waiting.outcomes.length, 0, 'without a gateway a want waits');
  waiting.linkUp(newSigner().key.id);
  t.match(waiting.outcome, { kind: 'refused', code: 'GATEWAY_UNTRUSTED' });

  const closing = issue.issueApproverClosing(kit.world.signers.issuer, {
    approver: kit.world.signers.gateway.key.id,
    issuedS: NOW_S,
    throughSequence: 7,
    reason: 'board dead',
  });
  const closed = new PayerRig(kit, [...documentsOf(kit), closing]).linkUp();
  closed.give({ kind: 'want', want: wantOf(kit) });
  t.match(closed.outcome, {
    kind: 'refused',
    code: 'GATEWAY_UNTRUSTED',
    reason: /closed it at sequence 7: board dead/,
  });

  const late = new PayerRig(kit).give({ kind: 'want', want: wantOf(kit) }).pass(10_000);
  t.match(late.outcome, { kind: 'refused', code: 'OFFER_UNKNOWN' }, 'and ends after its time');
  t.match(late.outcome, { reason: /no connection/ });

  const second = newSigner();
  const mandate = issue.issueMandate(kit.world.signers.issuer, {
    ...MANDATE_FACTS,
    key: second.key,
  });
  const rig = new PayerRig(kit, [...documentsOf(kit), mandate]).connect();
  rig.give({ kind: 'want', want: wantOf(kit) });
  rig.inbox('offer', offerOf(kit, { approver: second.key.id }));
  t.match(rig.outcome, { kind: 'refused', code: 'WRONG_GATEWAY' }, 'an Offer for another gateway');

  // Presented {code 11 REVOKED, reason ""}
  const refused = new PayerRig(kit).linkUp();
  refused.give({ kind: 'want', want: wantOf(kit) });
  refused.inbox('presented', Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x0b, 0x02, 0x60));
  t.match(refused.outcome, { kind: 'refused', code: 'REVOKED' }, 'a gateway that says no');
  refused.pass(5_000);
  t.equal(refused.count('present'), 2, 'is shown the documents again later');
  t.end();
});

t.test('an Offer that its payee has not signed is ignored, not believed', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.give({ kind: 'want', want: wantOf(kit) });
  rig.inbox('offer', offerOf(kit, {}, newSigner()));
  t.equal(rig.outcomes.length, 0, 'the want goes on waiting');
  rig.inbox('offer', offerOf(kit)).sync();
  t.equal(rig.count('pay'), 1, 'and the real Offer is used');

  const denied = new PayerRig(kit).connect();
  denied.give({ kind: 'want', want: wantOf(kit) });
  denied.inbox('offer', offerOf(kit, {}, newSigner())).pass(10_000);
  t.match(
    denied.outcome,
    { kind: 'refused', code: 'BAD_SIGNATURE' },
    'said when nothing else came',
  );
  t.end();
});

t.test('an Offer that came early serves within its lifetime on the own clock, and once', (t) => {
  const fresh = new PayerRig(kit).connect().inbox('offer', offerOf(kit)).pass(4_999);
  fresh.give({ kind: 'want', want: wantOf(kit) }).sync();
  t.equal(fresh.count('ask'), 0, 'no ask is needed');
  t.equal(fresh.count('pay'), 1);

  const stale = new PayerRig(kit).connect().inbox('offer', offerOf(kit)).pass(5_001);
  stale.give({ kind: 'want', want: wantOf(kit) }).sync();
  t.equal(stale.count('pay'), 0);
  t.equal(stale.count('ask'), 1, 'a stale one is not used');

  const offer = offerOf(kit);
  const rig = new PayerRig(kit).connect();
  rig
    .give({ kind: 'want', want: wantOf(kit) })
    .inbox('offer', offer)
    .sync();
  rig
    .inbox('offer', offer)
    .give({ kind: 'want', want: wantOf(kit, { ref: 'ref-2' }) })
    .sync();
  rig.inbox('offer', offer).sync();
  t.equal(rig.count('pay'), 1, 'the same Offer is never signed for twice');
  rig.crash().connect();
  rig
    .give({ kind: 'want', want: wantOf(kit, { ref: 'ref-3' }) })
    .inbox('offer', offer)
    .sync();
  t.equal(rig.count('pay'), 1, 'nor after a restart');
  t.end();
});

t.test('one ref is paid once: asked again it answers', (t) => {
  const rig = new PayerRig(kit).connect();
  const pay = rig.spend();
  rig
    .give({ kind: 'want', want: wantOf(kit) })
    .inbox('offer', offerOf(kit))
    .sync();
  t.match(rig.outcome, { kind: 'unknown', ref: 'ref-1' });
  t.equal(rig.count('pay'), 1);
  rig.inbox('receipt', receiptOf(kit, pay)).sync().crash().connect();
  rig
    .give({ kind: 'want', want: wantOf(kit) })
    .inbox('offer', offerOf(kit))
    .sync();
  t.match(rig.outcome, { kind: 'accepted', ref: 'ref-1', counter: 1 }, 'also after a crash');
  t.equal(rig.count('pay'), 1);
  t.end();
});

t.test('limits are counted on total minus released', (t) => {
  const documents = withAllowance({ ceilingMicro: addMicro(TEN_MINUTES, yen(1)) });
  const rig = new PayerRig(kit, documents).connect();
  const first = rig.spend();
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'ref-2' }) }).inbox('offer', offerOf(kit));
  t.match(rig.outcome, { kind: 'refused', code: 'CEILING_EXCEEDED' });
  rig.inbox('refusal', refusalOf(kit, first, 'OFFER_EXPIRED'));
  rig.spend({ ref: 'ref-3' });
  t.equal(rig.count('pay'), 2, 'the Void made room');
  t.end();
});

t.test('an unknown or wrong clock is said, and the time floor is the issuer’s', (t) => {
  const rig = new PayerRig(kit).connect();
  rig.timeQuality = 0;
  t.equal(paymentOf(rig.spend()).timeQuality, 0);
  rig.timeQuality = 2;
  rig.unixMs = (NOW_S - 86_400) * 1_000;
  const behind = paymentOf(rig.spend({ ref: 'ref-2' }));
  t.equal(behind.timeQuality, 0, 'a clock behind signed time is unknown');
  t.equal(behind.timeS, VALID.issuedS, 'and the floor is stated');
  rig.unixMs = (VALID.expiresS + 10) * 1_000;
  rig.timeQuality = 0;
  rig.spend({ ref: 'ref-3' });
  t.equal(rig.count('pay'), 3, 'a clock that nobody vouches for expires nothing');
  rig.timeQuality = 1;
  rig.give({ kind: 'want', want: wantOf(kit, { ref: 'ref-4' }) });
  t.match(rig.outcome, { kind: 'refused', ref: 'ref-4' }, 'a known one does');
  t.end();
});

t.test('a P-256 device pays within the size limits too', (t) => {
  const p256 = newKit('p256');
  const rig = new PayerRig(p256).connect();
  const pay = rig.spend();
  t.ok(pay.length <= 202);
  rig.inbox('receipt', receiptOf(p256, pay));
  t.match(rig.outcome, { kind: 'accepted' });
  t.end();
});

t.test('documents learned later count; a worthless one is refused and said', (t) => {
  const rig = new PayerRig(kit, documentsWith(kit.tariff)).connect();
  rig.give({ kind: 'want', want: wantOf(kit) }).inbox('offer', offerOf(kit));
  t.match(rig.outcome, { kind: 'refused', code: 'TARIFF_UNTRUSTED' });
  const forged = issue.issueTariff(newSigner(), TARIFF_FACTS);
  const old = allowanceOf(kit, { generation: 0 });
  rig.give({ kind: 'documents', documents: [forged, old, Uint8Array.of(1, 2, 3), kit.tariff] });
  t.same(rig.notices.toSorted(), ['CREDENTIAL_INVALID', 'TARIFF_UNTRUSTED', 'UNKNOWN_MESSAGE']);
  t.equal(rig.state.trust.own?.allowance.generation, 1, 'an older allowance replaces nothing');
  rig.inbox('presented', Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60));
  rig.spend({ ref: 'ref-2' });
  t.equal(rig.count('pay'), 1);
  t.end();
});
