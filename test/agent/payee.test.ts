import t from 'tap';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../protocol/cose.ts';
import { offerHash } from '../../protocol/ids.ts';
import {
  ASK,
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  OFFER_STOCK,
  PAID,
} from '../../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { issueTariff } from '../../identity/core/issue.ts';
import type { Now } from '../../platform/ports.ts';
import {
  bootPayee,
  payeeStep,
  type PayeeEffect,
  type PayeeInput,
  type PayeeState,
  type Sale,
} from '../../agent/core/payee.ts';
import { JPY, newSigner, NOW_S, yen } from '../identity/fixture.ts';
import {
  newKit,
  payeeDocumentsOf,
  receiptOf,
  refusalOf,
  TARIFF_FACTS,
  trustOf,
  type Publish,
} from './harness.ts';

const kit = newKit();
const { signers, trust } = kit.world;
const PAYER = signers.device.key.id;
const PRESENTED_OK = Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60);

let granted = 0;

/** A payee core over a disk and a link moved by hand. */
class Rig {
  readonly durable: Uint8Array[] = [];
  unsynced: { number: number; record: Uint8Array }[] = [];
  readonly published: Publish[] = [];
  readonly released: Sale[] = [];
  readonly notices: string[] = [];
  monotonicMs = 5_000;
  timeQuality: Now['timeQuality'] = 1;
  wakeAtMs: number | undefined;
  state: PayeeState;

  constructor(documents: readonly Uint8Array[] = payeeDocumentsOf(kit)) {
    this.state = this.#boot(documents);
  }

  #boot(documents: readonly Uint8Array[]): PayeeState {
    const setup = {
      signer: signers.payee,
      localMinuteOfDay: () => 100,
      offerLifetimeMs: 10_000,
      acceptWindowMs: 30_000,
    };
    return bootPayee(setup, trustOf(kit, signers.payee.key.hex, documents), this.durable);
  }

  #carryOut(effects: readonly PayeeEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'append') this.unsynced.push(effect);
      else if (effect.kind === 'publish') this.published.push(effect);
      else if (effect.kind === 'release') this.released.push(effect.sale);
      else if (effect.kind === 'notice') this.notices.push(effect.code);
      else if (effect.kind === 'wakeAt') this.wakeAtMs = effect.monotonicMs;
    }
  }

  give(input: PayeeInput): this {
    const { monotonicMs, timeQuality } = this;
    const now = { unixMs: NOW_S * 1_000 + monotonicMs, monotonicMs, timeQuality };
    this.#carryOut(payeeStep(this.state, input, now).effects);
    return this;
  }

  inbox(verb: string, payload: Uint8Array): this {
    return this.give({ kind: 'inbox', verb, payload });
  }

  sync(): this {
    const last = this.unsynced.at(-1);
    for (const { record } of this.unsynced.splice(0)) this.durable.push(record);
    return last ? this.give({ kind: 'persisted', through: last.number }) : this;
  }

  crash(): this {
    this.unsynced = [];
    this.state = this.#boot(payeeDocumentsOf(kit));
    return this;
  }

  grant(count = 64, changes: { epoch?: number; nowMs?: number; expiresMs?: number } = {}): this {
    const { epoch = 1, nowMs = 100_000, expiresMs = 700_000 } = changes;
    const challenges = Array.from({ length: count }, () => {
      const challenge = new Uint8Array(24).fill(epoch);
      granted += 1;
      new DataView(challenge.buffer).setUint32(12, granted);
      return challenge;
    });
    const payload = { epoch: new Uint8Array(8).fill(epoch), nowMs, expiresMs, challenges };
    return this.inbox('challenges', CHALLENGE_GRANT.encode(payload));
  }

  /** Connected, taken, and with 64 challenges; the approver's clock reads 100,000. */
  connect(): this {
    this.give({ kind: 'linkUp', approver: signers.gateway.key.id });
    return this.inbox('presented', PRESENTED_OK).grant();
  }

  ask(item = 'bay 4', quantity = 10, payer: Uint8Array = PAYER): this {
    return this.inbox('ask', ASK.encode({ payer, item, quantity }));
  }

  pass(ms: number): this {
    this.monotonicMs += ms;
    return this.give({ kind: 'tick' });
  }

  all(verb: string): Publish[] {
    return this.published.filter((entry) => entry.verb === verb);
  }

  get lastOffer(): { cose: Uint8Array; offer: Offer } {
    const cose = this.all('offer').at(-1)?.payload ?? new Uint8Array(0);
    const sign1 = decodeSign1(cose);
    const offer = sign1.ok ? OFFER.decode(sign1.value.payload) : sign1;
    if (!offer.ok) throw new Error(offer.reason);
    return { cose, offer: offer.value };
  }
}

let counter = 0;

/** A Payment on an Offer, by the kit's device. */
function payFor(offerCose: Uint8Array, changes: Partial<Payment> = {}): Uint8Array {
  const sign1 = decodeSign1(offerCose);
  const offer = sign1.ok ? OFFER.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !offer.ok) throw new Error('not an Offer');
  counter += 1;
  const { amountMicro: amount } = offer.value;
  return signSign1(
    signers.device,
    PAYMENT.encode({
      line: kit.world.line,
      approver: signers.gateway.key.id,
      payee: signers.payee.key.id,
      counter,
      amountMicro: amount,
      totalMicro: yen(1_000_000),
      currency: JPY,
      offerHash: offerHash(sign1.value.payload),
      timeS: NOW_S,
      timeQuality: 1,
      ...changes,
    }),
  );
}

function paid(payment: Uint8Array, receipt: Uint8Array = receiptOf(kit, payment)): Uint8Array {
  return PAID.encode({ payment, receipt });
}

t.test('it shows its credential, then asks for challenges, then answers asks', (t) => {
  const rig = new Rig().give({ kind: 'linkUp', approver: signers.gateway.key.id });
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
  const rig = new Rig().connect();
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
  const rig = new Rig().connect();
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

  const bare = new Rig(payeeDocumentsOf(kit).filter((cose) => cose !== kit.tariff)).connect().ask();
  t.equal(bare.all('offer').length, 0);
  t.same(bare.notices, ['TARIFF_UNTRUSTED'], 'without a tariff there is no price');
  t.end();
});

t.test('a sale is released once, and only when it is durable', (t) => {
  const rig = new Rig().connect().ask();
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

t.test('a Receipt that is not the approver’s, or not for us, opens nothing', (t) => {
  const rig = new Rig().connect().ask();
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

t.test('accepted money that does not fit an open Offer is kept and opens nothing', (t) => {
  const rig = new Rig().connect().ask();
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
  const rig = new Rig().connect().ask();
  const payment = payFor(rig.lastOffer.cose);
  rig.give({ kind: 'diskFailed', reason: 'no space left' }).inbox('paid', paid(payment)).ask();
  t.equal(rig.unsynced.length, 0);
  t.equal(rig.all('offer').length, 1);
  t.ok(rig.notices.includes('DISK_FULL'));
  t.end();
});

t.test('an approver that does not know us is shown everything once more', (t) => {
  const rig = new Rig().connect();
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
  const sign1 = decodeSign1(payFor(new Rig().connect().ask().lastOffer.cose));
  const payment = sign1.ok ? PAYMENT.decode(sign1.value.payload) : sign1;
  if (!payment.ok) throw new Error(payment.reason);
  return payment.value;
}

t.test('bounds: one payer cannot take all Offers, asks wait in a bounded row', (t) => {
  const rig = new Rig().connect();
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

  const full = new Rig().give({ kind: 'linkUp', approver: signers.gateway.key.id });
  for (let i = 0; i < 300; i += 1) full.ask();
  t.equal(full.state.asks.length, 256);
  full.give({ kind: 'linkDown' });
  t.equal(full.state.asks.length, 0);
  t.end();
});

t.test('hostile bytes in the inbox change nothing and never throw', (t) => {
  const rig = new Rig().connect().ask();
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
