import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { amountMicro } from '../protocol/amount.ts';
import { decodeSign1, signSign1, verifySign1 } from '../protocol/cose.ts';
import { offerHash } from '../protocol/ids.ts';
import {
  ASK,
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  OFFER_STOCK,
} from '../protocol/messages/envelopes.ts';
import { OFFER } from '../protocol/messages/offer.ts';
import { PAYMENT, TIME_SYNCHRONISED } from '../protocol/messages/payment.ts';
import { payloadOf } from './samples.ts';
import { CURRENCY, PRICE_MICRO, type BenchPayer, type BenchWorld } from './world.ts';
import { WireDevice } from './wire.ts';

/** Offers of one hand-in: as many as one 16 KiB packet takes. */
const STOCK = 60;
const ROUND_TIMEOUT_MS = 60_000;

/** A Payment on an Offer of the payee, both signed ahead and framed for the wire. */
interface Purchase {
  readonly payer: PayerDevice;
  readonly pay: Buffer;
  /** For purchases whose Offer is asked for: what payer and payee say before the Payment. */
  readonly ask: Buffer;
  readonly offerFrames: readonly Buffer[];
}

interface PayerDevice {
  readonly device: WireDevice;
  readonly payer: BenchPayer;
  counter: number;
  totalMicro: bigint;
}

export interface Paid {
  readonly wallMs: number;
  readonly latenciesMs: readonly number[];
  readonly wireBytes: number;
}

/** The load: one payee and many payers on connections of their own, all on loopback. */
export class Devices {
  readonly world: BenchWorld;
  readonly #payee: WireDevice;
  readonly #payers: readonly PayerDevice[];
  readonly #verifier = nodeVerifier();
  #grantedAtMs = 0;

  private constructor(world: BenchWorld, port: number) {
    this.world = world;
    const approver = world.gateway.signer;
    this.#payee = new WireDevice(world.payee, approver, port);
    this.#payers = world.payers.map((payer) => ({
      device: new WireDevice(payer.signer, approver, port),
      payer,
      counter: 0,
      totalMicro: 0n,
    }));
  }

  static async connect(world: BenchWorld, port: number): Promise<Devices> {
    const devices = new Devices(world, port);
    await devices.#payee.open();
    await devices.#payee.ask('present', world.payeePresent, 'presented');
    for (const { device, payer } of devices.#payers) {
      await device.open();
      await device.ask('present', payer.present, 'presented');
    }
    return devices;
  }

  close(): void {
    this.#payee.close();
    for (const { device } of this.#payers) device.close();
  }

  /** Signs this many Offers; `handIn` gives them to the gateway in stock batches. */
  async offers(count: number, handIn: boolean): Promise<readonly Uint8Array[]> {
    const offers: Uint8Array[] = [];
    while (offers.length < count) {
      const request = CHALLENGE_REQUEST.encode({ count: Math.min(STOCK, count - offers.length) });
      const grant = CHALLENGE_GRANT.decode(
        await this.#payee.ask('challenges', request, 'challenges'),
      );
      if (!grant.ok) throw new Error(grant.reason);
      this.#grantedAtMs = grant.value.nowMs;
      const signed = grant.value.challenges.map((challenge) => this.#offer(challenge));
      if (handIn)
        this.#payee.send(this.#payee.frame('offers', OFFER_STOCK.encode({ offers: signed })));
      offers.push(...signed);
    }
    return offers;
  }

  #offer(challenge: Uint8Array): Uint8Array {
    const { payee, gateway } = this.world;
    return signSign1(
      payee,
      OFFER.encode({
        payee: payee.key.id,
        approver: gateway.signer.key.id,
        challenge,
        acceptByMs: this.#grantedAtMs + 300_000,
        lifetimeMs: 300_000,
        currency: CURRENCY,
        amountMicro: PRICE_MICRO,
        tariffHash: new Uint8Array(32).fill(9),
        tariffVersion: 1,
      }),
    );
  }

  /** One Payment per Offer, payers in turn. */
  purchases(offers: readonly Uint8Array[]): readonly Purchase[] {
    return offers.map((offer, i) => {
      const payer = this.#payers[i % this.#payers.length]!;
      return { ...this.#question(offer, payer), ...this.#purchase(offer, payer) };
    });
  }

  #purchase(offer: Uint8Array, payer: PayerDevice): Pick<Purchase, 'payer' | 'pay'> {
    const { payee, gateway } = this.world;
    payer.counter += 1;
    payer.totalMicro += PRICE_MICRO;
    const payment = signSign1(
      payer.payer.signer,
      PAYMENT.encode({
        line: payer.payer.line,
        approver: gateway.signer.key.id,
        payee: payee.key.id,
        counter: payer.counter,
        amountMicro: PRICE_MICRO,
        totalMicro: amountMicro(payer.totalMicro),
        currency: CURRENCY,
        offerHash: offerHash(payloadOf(offer)),
        timeS: Math.floor(Date.now() / 1_000),
        timeQuality: TIME_SYNCHRONISED,
      }),
    );
    return { payer, pay: payer.device.frame('pay', payment) };
  }

  /** What is said before the Payment where its Offer is asked for. */
  #question(offer: Uint8Array, payer: PayerDevice): Pick<Purchase, 'ask' | 'offerFrames'> {
    const { payee } = this.world;
    const payerId = payer.payer.signer.key.id;
    const ask = ASK.encode({ payer: payerId, item: 'lane 1', quantity: 1 });
    return {
      ask: payer.device.frame('ask', ask, payee.key.id),
      offerFrames: [
        this.#payee.frame('offers', OFFER_STOCK.encode({ offers: [offer] })),
        this.#payee.frame('offer', offer, payerId),
      ],
    };
  }

  /**
   * Pays them all, `inFlight` at a time over all payers, each payer its own in order. `relayed`:
   * every Offer is asked for and relayed by the gateway before its Payment.
   */
  async pay(purchases: readonly Purchase[], inFlight: number, relayed = false): Promise<Paid> {
    const queues = new Map<PayerDevice, Purchase[]>(this.#payers.map((payer) => [payer, []]));
    for (const purchase of purchases) queues.get(purchase.payer)!.push(purchase);
    const each = Math.max(1, Math.floor(inFlight / this.#payers.length));
    const active = this.#payers.slice(0, Math.min(this.#payers.length, inFlight));
    const before = this.#traffic();
    const startMs = performance.now();
    const latenciesMs: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error('not all Payments were answered')),
        ROUND_TIMEOUT_MS,
      );
      let left = purchases.length;
      let lastPaid = purchases.length;
      const over = (): void => {
        if (left > 0 || lastPaid > 0) return;
        clearTimeout(timer);
        resolve();
      };
      this.#payee.onMessage = (verb, payload) => {
        if (verb === 'paid') lastPaid -= 1;
        if (verb === 'ask') this.#answerAsk(queues, payload);
        over();
      };
      for (const payer of active) {
        const queue = queues.get(payer)!;
        const sentMs: number[] = [];
        let at = 0;
        const next = (): void => {
          const purchase = queue[at];
          if (!purchase) return;
          at += 1;
          sentMs.push(performance.now());
          payer.device.send(relayed ? purchase.ask : purchase.pay);
        };
        let offered = 0;
        payer.device.onMessage = (verb) => {
          if (verb === 'offer') {
            payer.device.send(queue[offered++]!.pay);
            return;
          }
          if (verb === 'refusal') reject(new Error('a Payment was refused'));
          if (verb !== 'receipt') return;
          latenciesMs.push(performance.now() - sentMs.shift()!);
          left -= 1;
          next();
          over();
        };
        for (let i = 0; i < each; i += 1) next();
      }
    });
    return {
      wallMs: performance.now() - startMs,
      latenciesMs,
      wireBytes: this.#traffic() - before,
    };
  }

  /** Microseconds of one payment by one payer, from its signing to its checked Receipt. */
  async payOne(offer: Uint8Array): Promise<number> {
    const payer = this.#payers[0]!;
    const start = performance.now();
    const { pay } = this.#purchase(offer, payer);
    const receipt = await new Promise<Buffer>((resolve, reject) => {
      payer.device.onMessage = (verb, payload) => {
        if (verb === 'receipt') resolve(payload);
        else reject(new Error('a Payment was refused'));
      };
      payer.device.send(pay);
    });
    const sign1 = decodeSign1(receipt);
    if (!sign1.ok || !verifySign1(this.#verifier, this.world.gateway.signer.key, sign1.value)) {
      throw new Error('a Receipt is not signed by its gateway');
    }
    return (performance.now() - start) * 1_000;
  }

  /** Offers go to a payer in the order of its asks. */
  #answerAsk(queues: Map<PayerDevice, Purchase[]>, payload: Buffer): void {
    const ask = ASK.decode(payload);
    if (!ask.ok) return;
    for (const [payer, queue] of queues) {
      if (Buffer.compare(payer.payer.signer.key.id, ask.value.payer) !== 0) continue;
      const purchase = queue.find((row) => !this.#asked.has(row));
      if (!purchase) return;
      this.#asked.add(purchase);
      for (const frame of purchase.offerFrames) this.#payee.send(frame);
    }
  }

  readonly #asked = new WeakSet<Purchase>();

  #traffic(): number {
    let bytes = 0;
    for (const { socket } of [this.#payee, ...this.#payers.map(({ device }) => device)]) {
      bytes += socket.bytesRead + socket.bytesWritten;
    }
    return bytes;
  }
}
