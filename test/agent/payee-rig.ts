import { offerHash } from '../../protocol/ids.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { ASK, CHALLENGE_GRANT, PAID } from '../../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import type { Now } from '../../platform/ports.ts';
import {
  bootPayee,
  payeeStep,
  type PayeeEffect,
  type PayeeInput,
  type PayeeState,
  type Sale,
} from '../../agent/core/payee.ts';
import { JPY, NOW_S, yen } from '../identity/fixture.ts';
import { newKit, payeeDocumentsOf, receiptOf, trustOf, type Kit, type Publish } from './harness.ts';

export const kit: Kit = newKit();
const { signers } = kit.world;
export const PAYER: Uint8Array = signers.device.key.id;
export const PRESENTED_OK: Uint8Array = Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60);

let granted = 0;

/** A payee core over a disk and a link moved by hand. */
export class PayeeRig {
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
export function payFor(offerCose: Uint8Array, changes: Partial<Payment> = {}): Uint8Array {
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

export function paid(
  payment: Uint8Array,
  receipt: Uint8Array = receiptOf(kit, payment),
): Uint8Array {
  return PAID.encode({ payment, receipt });
}
