import { loadSigner } from '../../identity/edge/key-file.ts';
import { openMqttLink, type MqttLink } from '../../platform/mqtt-link.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { systemRandom } from '../../platform/system-random.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { offerHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ASK, PRESENT } from '../../protocol/messages/envelopes.ts';
import { makeConnectToken } from '../../protocol/messages/connect.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, TIME_OWN_CLOCK, type Payment } from '../../protocol/messages/payment.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { inboxFilter, parseDownTopic, upTopic, type UpVerb } from '../../protocol/topics.ts';
import type { EnrolledPayer, World } from './identities.ts';

const ANSWER_TIMEOUT_MS = 10_000;
/** Messages kept until somebody asks for them. */
const MAX_INBOX = 256;

export interface HeldOffer {
  readonly bytes: Uint8Array;
  readonly offer: Offer;
  readonly hash: Uint8Array;
}

/** An answer of the gateway: the verb it came under, its bytes, and the code of a refusal. */
export interface RawAnswer {
  readonly verb: string;
  readonly bytes: Uint8Array;
  readonly code: string;
  readonly final: boolean;
}

/**
 * A device that obeys nobody: it has an enrolled key and speaks the wire language, and signs and
 * sends whatever it is told to. The attacks of the story are made with it.
 */
export class RawDevice {
  readonly enrolled: EnrolledPayer;
  readonly signer: Signer;
  readonly #world: World;
  readonly #link: MqttLink;
  readonly #inbox: { verb: string; payload: Uint8Array }[] = [];
  #wake: () => void = () => {};
  #lost = 0;

  constructor(world: World, enrolled: EnrolledPayer, mqttPort: number) {
    this.enrolled = enrolled;
    this.signer = loadSigner(enrolled.keyFile);
    this.#world = world;
    const approver = world.gatewayKey;
    const clock = systemClock();
    const random = systemRandom();
    const { hex } = this.signer.key;
    this.#link = openMqttLink({
      host: '127.0.0.1',
      port: mqttPort,
      clientId: hex,
      clock,
      random,
      credentials: () => ({
        username: hex,
        password: makeConnectToken(this.signer, {
          approver: approver.id,
          timeS: Math.floor(clock.now().unixMs / 1000),
          nonce: random.bytes(16),
        }),
      }),
      onMessage: (topic, payload) => {
        const verb = parseDownTopic(topic, approver.hex, hex);
        if (verb === undefined || this.#inbox.length >= MAX_INBOX) return;
        this.#inbox.push({ verb, payload: new Uint8Array(payload) });
        this.#wake();
      },
      onState: (state) => {
        if (state.kind !== 'up') this.#lost += 1;
      },
    });
    this.#link.subscribe(inboxFilter(approver.hex, hex));
  }

  /** How often the gateway has shut the door on this device. */
  get timesLost(): number {
    return this.#lost;
  }

  async present(): Promise<void> {
    await this.publish(
      'present',
      PRESENT.encode({ documents: this.enrolled.documents.slice(0, 4) }),
    );
    await this.#next(({ verb }) => verb === 'presented');
  }

  publish(verb: UpVerb, payload: Uint8Array, peer?: Uint8Array): Promise<void> {
    return this.#link.publish(
      upTopic(this.#world.gatewayKey.id, this.signer.key.id, verb, peer),
      payload,
    );
  }

  /** Any topic at all, also one that is not this device's. */
  publishTo(topic: string, payload: Uint8Array): Promise<void> {
    return this.#link.publish(topic, payload);
  }

  async ask(payee: Uint8Array, item: string, quantity: number): Promise<HeldOffer> {
    await this.publish('ask', ASK.encode({ payer: this.signer.key.id, item, quantity }), payee);
    const { payload: bytes } = await this.#next(({ verb }) => verb === 'offer');
    const sign1 = decodeSign1(bytes);
    const offer = sign1.ok ? OFFER.decode(sign1.value.payload) : sign1;
    if (!sign1.ok || !offer.ok) throw new KiriError('DEMO_FAILED', 'the payee sent no Offer');
    return { bytes, offer: offer.value, hash: offerHash(sign1.value.payload) };
  }

  /** Signs a Payment on `offer`; `change` alters any field before signing. */
  pay(
    offer: HeldOffer,
    numbers: { counter: number; totalMicro: bigint },
    change: Partial<Payment> = {},
  ): Uint8Array {
    const payment: Payment = {
      line: this.enrolled.line,
      approver: offer.offer.approver,
      payee: offer.offer.payee,
      counter: numbers.counter,
      amountMicro: offer.offer.amountMicro,
      totalMicro: amountMicro(numbers.totalMicro),
      currency: offer.offer.currency,
      offerHash: offer.hash,
      timeS: Math.floor(Date.now() / 1000),
      timeQuality: TIME_OWN_CLOCK,
      ...change,
    };
    return signSign1(this.signer, PAYMENT.encode(payment));
  }

  /** Sends Payment bytes and waits for the gateway's word. */
  async send(payment: Uint8Array): Promise<RawAnswer> {
    await this.publish('pay', payment);
    const { verb, payload: bytes } = await this.#next(
      (message) => message.verb === 'receipt' || message.verb === 'refusal',
    );
    if (verb === 'receipt') return { verb, bytes, code: 'RECEIPT', final: true };
    const sign1 = decodeSign1(bytes);
    const refusal = sign1.ok ? REFUSAL.decode(sign1.value.payload) : sign1;
    if (!refusal.ok) throw new KiriError('DEMO_FAILED', `unreadable refusal: ${refusal.reason}`);
    return { verb, bytes, code: refusal.value.code, final: refusal.value.final };
  }

  async #next(
    wanted: (message: { verb: string }) => boolean,
  ): Promise<{ verb: string; payload: Uint8Array }> {
    const untilMs = performance.now() + ANSWER_TIMEOUT_MS;
    for (;;) {
      const at = this.#inbox.findIndex(wanted);
      const [message] = at < 0 ? [] : this.#inbox.splice(at, 1);
      if (message) return message;
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) throw new KiriError('DEMO_FAILED', `${this.enrolled.ref} got no answer`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): Promise<void> {
    return this.#link.close();
  }
}
