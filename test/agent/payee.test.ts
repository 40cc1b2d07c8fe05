import t from 'tap';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../protocol/cose.ts';
import { CHALLENGE_REQUEST, OFFER_STOCK } from '../../protocol/messages/envelopes.ts';
import { OFFER } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { issueApproverClosing, issueTariff } from '../../identity/core/issue.ts';
import { JPY, newSigner, NOW_S } from '../identity/fixture.ts';
import { payeeDocumentsOf, receiptOf, refusalOf, TARIFF_FACTS } from './harness.ts';
import { kit, paid, PAYER, PayeeRig, payFor, PRESENTED_OK } from './payee-rig.ts';

const { signers, trust } = kit.world;

t.test('it shows its credential, then asks for challenges, then answers asks', (t) => {
  const rig = new PayeeRig().give({ kind: 'linkUp', approver: signers.gateway.key.id });
  rig.ask();
  t.same(
    rig.published.map(({ verb }) => verb),
    ['present'],
    'nothing before the approver has looked',
  );
  rig.inbox('presented', PRESENTED_OK);
  const request = CHALLENGE_REQUEST.decode(rig.all('challenges')[0]?.payload ?? new Uint8Array(0));
  t.match(request, { ok: true, value: { count: 64 } });
  t.equal(rig.all('offer').length, 0);
  rig.grant();
  t.equal(rig.all('offer').length, 1, 'the ask that waited is answered');
  t.same(
    rig.published.slice(-2).map(({ verb }) => verb),
    ['offers', 'offer'],
    'the approver hears of the Offer before the payer does',
  );
  const { cose, offer } = rig.lastOffer;
  const stock = OFFER_STOCK.decode(rig.all('offers')[0]?.payload ?? new Uint8Array(0));
  t.ok(
    stock.ok && stock.value.offers.length === 1 && toHex(stock.value.offers[0]!) === toHex(cose),
  );
  t.same(rig.all('offer')[0]?.peer, PAYER);
  t.equal(offer.amountMicro, 38_500_000n, '10 minutes at 3.85 JPY, exactly');
  t.same(offer.tariffHash, kit.tariffHash);
  t.match(offer, { currency: JPY, tariffVersion: 3, lifetimeMs: 10_000, item: 'bay 4' });
  t.equal(offer.acceptByMs, 130_000, 'on the approver’s clock');
  const sign1 = decodeSign1(cose);
  t.ok(sign1.ok && verifySign1(trust.verifier, signers.payee.key, sign1.value));
  t.end();
});

t.test('challenges: each serves once, more are asked for in time, old ones are dropped', (t) => {
  const rig = new PayeeRig().connect();
  for (let i = 0; i < 33; i += 1) rig.ask('bay', 1, new Uint8Array(16).fill(i));
  const used = rig.all('offers').map(({ payload }) => {
    const stock = OFFER_STOCK.decode(payload);
    const sign1 = stock.ok ? decodeSign1(stock.value.offers[0]!) : stock;
    const offer = sign1.ok ? OFFER.decode(sign1.value.payload) : sign1;
    return offer.ok ? toHex(offer.value.challenge) : '';
  });
  t.equal(new Set(used).size, 33, 'never the same challenge twice');
  t.equal(rig.all('challenges').length, 2, 'asked for once more below the mark');
  rig.ask();
  t.equal(rig.all('challenges').length, 2, 'and not with every ask');
  rig.pass(1_000);
  t.equal(rig.all('challenges').length, 3, 'again after a while without an answer');

  rig.grant(64, { epoch: 2, nowMs: 500, expiresMs: 600_500 }).ask();
  t.equal(rig.lastOffer.offer.challenge[0], 2, 'a new epoch: the old stock is gone');
  t.equal(rig.lastOffer.offer.acceptByMs, 30_500);
  rig.pass(595_000);
  const offers = rig.all('offer').length;
  rig.ask();
  t.equal(rig.all('offer').length, offers, 'challenges about to expire are not used');
  rig.grant(64, { epoch: 2, nowMs: 595_600, expiresMs: 1_195_600 });
  t.equal(rig.all('offer').length, offers + 1);

  rig.give({ kind: 'linkDown' }).give({ kind: 'linkUp', approver: signers.gateway.key.id });
  rig.inbox('presented', PRESENTED_OK).ask();
  t.equal(rig.all('offer').length, offers + 1, 'after a reconnection the stock is asked for anew');
  t.end();
});

t.test('what the payee measured beats what the payer says', (t) => {
  const rig = new PayeeRig().connect();
  rig.give({ kind: 'usage', usage: { item: 'bay 4', localMinuteOfDay: 360 } }).ask();
  t.equal(rig.lastOffer.offer.amountMicro, 50_000_000n, 'the day price, 10 × 5 JPY');
  const readingHash = new Uint8Array(32).fill(8);
  const usage = { item: 'bay 4', metered: { quantity: 1_000, readingHash } };
  rig.give({ kind: 'usage', usage }).ask('bay 4', 1);
  t.equal(rig.lastOffer.offer.amountMicro, 3_850_000_000n, '1,000 minutes are 3,850 JPY exactly');
  t.same(rig.lastOffer.offer.readingHash, readingHash);
  const offers = rig.all('offer').length;
  rig.ask('bay 5', 0);
  t.equal(rig.all('offer').length, offers, 'nothing to pay, no Offer');

  const next = issueTariff(signers.payee, { ...TARIFF_FACTS, version: 4 });
  const future = issueTariff(signers.payee, {
    ...TARIFF_FACTS,
    version: 5,
    effectiveFromS: NOW_S + 3_600,
  });
  rig.give({ kind: 'documents', documents: [next, future] }).inbox('presented', PRESENTED_OK);
  rig.ask('bay 6');
  t.equal(rig.lastOffer.offer.tariffVersion, 4, 'the newest tariff in force');

  const bare = new PayeeRig(payeeDocumentsOf(kit).filter((cose) => cose !== kit.tariff))
    .connect()
    .ask();
  t.equal(bare.all('offer').length, 0);
  t.same(bare.notices, ['TARIFF_UNTRUSTED'], 'without a tariff there is no price');
  t.end();
});

t.test('a sale is released once, and only when it is durable', (t) => {
  const rig = new PayeeRig().connect().ask();
  const payment = payFor(rig.lastOffer.cose);
  rig.inbox('paid', paid(payment));
  t.equal(rig.released.length, 0, 'not before the journal has it');
  rig.sync();
  t.match(rig.released, [{ item: 'bay 4', quantity: 10, amountMicro: 38_500_000n, payer: PAYER }]);
  rig.inbox('paid', paid(payment)).sync();
  t.equal(rig.released.length, 1, 'a repeated message opens nothing');
  rig.crash().connect().inbox('paid', paid(payment)).sync();
  t.equal(rig.released.length, 1, 'nor after a restart');
  t.equal(rig.state.salesKept, 1);
  t.end();
});

t.test('each sale is released when its own record is durable', (t) => {
  const rig = new PayeeRig().connect().ask('bay 1').ask('bay 2');
  const offers = rig.all('offer').map(({ payload }) => payload);
  for (const offer of offers) rig.inbox('paid', paid(payFor(offer)));
  rig.give({ kind: 'persisted', through: 0 });
  t.same(
    rig.released.map(({ item }) => item),
    ['bay 1'],
  );
  rig.give({ kind: 'persisted', through: 1 });
  t.equal(rig.released.length, 2);
  t.end();
});

t.test('a Receipt that is not the approver’s, or not for us, opens nothing', (t) => {
  const rig = new PayeeRig().connect().ask();
  const { cose } = rig.lastOffer;
  const payment = payFor(cose);
  rig.inbox('paid', paid(payment, receiptOf(kit, payment, newSigner())));
  rig.inbox('paid', paid(payment, receiptOf(kit, payFor(cose))));
  const elsewhere = payFor(cose, { payee: newSigner().key.id });
  rig.inbox('paid', paid(elsewhere));
  const unknown = payFor(cose, { approver: newSigner().key.id });
  rig.inbox('paid', paid(unknown));
  rig.inbox('paid', paid(payment, refusalOf(kit, payment, 'UPPER_LIMIT')));
  t.equal(rig.unsynced.length, 0, 'and is not kept');
  rig.inbox('paid', paid(payment)).sync();
  t.equal(rig.released.length, 1, 'the real one still opens');
  t.end();
});

t.test('a Receipt above the closing of its approver is kept and opens nothing', (t) => {
  const closing = (throughSequence: number, issuedS: number): Uint8Array =>
    issueApproverClosing(signers.issuer, {
      approver: signers.gateway.key.id,
      issuedS,
      throughSequence,
      reason: 'board dead',
    });
  // The harness signs sequence 1.
  for (const [closings, released] of [
    [[closing(0, NOW_S)], 0],
    [[closing(1, NOW_S)], 1],
    [[closing(1, NOW_S), closing(0, NOW_S - 1)], 1],
    [[closing(0, NOW_S), closing(1, NOW_S - 1)], 0],
  ] as const) {
    const rig = new PayeeRig([...payeeDocumentsOf(kit), ...closings]).connect().ask();
    rig.inbox('paid', paid(payFor(rig.lastOffer.cose))).sync();
    t.equal(rig.released.length, released);
    t.equal(rig.state.salesKept, 1, 'the evidence is kept');
    t.same(rig.notices, released === 1 ? [] : ['OFFER_MISMATCH']);
  }
  t.end();
});

t.test('accepted money that does not fit an open Offer is kept and opens nothing', (t) => {
  const rig = new PayeeRig().connect().ask();
  const { cose } = rig.lastOffer;
  rig.inbox('paid', paid(payFor(cose, { amountMicro: amountMicro(1n) })));
  const first = payFor(cose);
  rig
    .inbox('paid', paid(first))
    .inbox('paid', paid(payFor(cose)))
    .sync();
  rig.inbox('paid', paid(payFor(cose))).sync();
  t.equal(rig.released.length, 1, 'one Offer, one release');
  t.equal(rig.state.salesKept, 4, 'the evidence of all four is kept');
  t.same(rig.notices, ['OFFER_MISMATCH', 'OFFER_MISMATCH', 'OFFER_MISMATCH']);
  rig.crash().connect();
  t.equal(rig.state.salesKept, 4);
  t.end();
});

t.test('a failed journal ends selling', (t) => {
  const rig = new PayeeRig().connect().ask();
  const payment = payFor(rig.lastOffer.cose);
  rig.give({ kind: 'diskFailed', reason: 'no space left' }).inbox('paid', paid(payment)).ask();
  t.equal(rig.unsynced.length, 0);
  t.equal(rig.all('offer').length, 1);
  t.ok(rig.notices.includes('DISK_FULL'));
  t.end();
});

t.test('an approver that does not know us is shown everything once more', (t) => {
  const rig = new PayeeRig().connect();
  const something = signSign1(signers.payee, PAYMENT.encode({ ...someTerms(), counter: 1 }));
  rig.inbox('refusal', refusalOf(kit, something, 'OFFER_UNKNOWN', {}, newSigner()));
  t.equal(rig.all('present').length, 1, 'a forged refusal is ignored');
  rig.inbox('refusal', refusalOf(kit, something, 'OFFER_UNKNOWN'));
  t.equal(rig.all('present').length, 2);
  rig.ask();
  t.equal(rig.all('offer').length, 0, 'with fresh challenges only');
  // Presented {code 11 REVOKED, reason ""}
  rig
    .inbox('presented', Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x0b, 0x02, 0x60))
    .grant()
    .ask();
  t.equal(rig.all('offer').length, 0, 'an approver that says no gets no Offers');
  rig.pass(5_000);
  t.equal(rig.all('present').length, 3, 'and is asked again later');
  t.end();
});

function someTerms(): Payment {
  const sign1 = decodeSign1(payFor(new PayeeRig().connect().ask().lastOffer.cose));
  const payment = sign1.ok ? PAYMENT.decode(sign1.value.payload) : sign1;
  if (!payment.ok) throw new Error(payment.reason);
  return payment.value;
}

t.test('bounds: one payer cannot take all Offers, asks wait in a bounded row', (t) => {
  const rig = new PayeeRig().connect();
  for (let i = 0; i < 70; i += 1) {
    rig.ask();
    if (i % 30 === 0) rig.grant();
  }
  t.equal(rig.all('offer').length, 64);
  rig.ask('bay 4', 10, new Uint8Array(16).fill(1));
  t.equal(rig.all('offer').length, 65, 'others are served');
  rig.pass(700_000);
  rig.grant(64, { nowMs: 800_000, expiresMs: 1_400_000 }).ask();
  t.equal(rig.all('offer').length, 66, 'old Offers are forgotten');

  const full = new PayeeRig().give({ kind: 'linkUp', approver: signers.gateway.key.id });
  for (let i = 0; i < 300; i += 1) full.ask();
  t.equal(full.state.asks.length, 256);
  full.give({ kind: 'linkDown' });
  t.equal(full.state.asks.length, 0);
  t.end();
});

t.test('hostile bytes in the inbox change nothing and never throw', (t) => {
  const rig = new PayeeRig().connect().ask();
  const payment = payFor(rig.lastOffer.cose);
  const samples = [paid(payment), refusalOf(kit, payment, 'UNKNOWN_LINE'), PRESENTED_OK];
  const verbs = ['ask', 'paid', 'challenges', 'refusal', 'offer', 'receipt', ''];
  const offers = rig.all('offer').length;
  // The device's signature is the approver's to check: a payee does not know the device's key.
  const signatureAt = Buffer.from(samples[0] ?? []).indexOf(payment.subarray(-64));
  for (const sample of samples) {
    for (let at = 0; at < sample.length; at += 2) {
      if (sample === samples[0] && at >= signatureAt && at < signatureAt + 64) continue;
      const bad = sample.slice();
      bad[at]! ^= 0x41;
      for (const verb of verbs) rig.inbox(verb, bad).inbox(verb, sample.subarray(0, at));
    }
  }
  for (const verb of [...verbs, 'presented']) {
    rig.inbox(verb, new Uint8Array(0)).inbox(verb, new Uint8Array(20_000).fill(0x9f));
  }
  t.equal(rig.sync().released.length, 0);
  t.equal(rig.state.salesKept, 0);
  t.equal(rig.all('offer').length, offers);
  t.end();
});
