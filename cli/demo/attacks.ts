import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { ID_BYTES } from '../../protocol/ids.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import type { RefusalCode } from '../../protocol/refusal.ts';
import type { World } from './identities.ts';
import { RawDevice, type HeldOffer, type RawAnswer } from './raw-device.ts';

/** What one attack was answered with. */
export interface AttackResult {
  readonly name: string;
  readonly expected: string;
  readonly answer: string;
  readonly holds: boolean;
}

/** A Payment that an attacker made honestly and was accepted: it counts like any other. */
export interface HonestPayment {
  readonly amountMicro: AmountMicro;
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
  readonly receipt: Uint8Array;
}

/** Enrolled like any other device; the demonstration itself holds their keys. */
const ROLES = ['victim', 'rogue', 'clone', 'tampered'] as const;
type Role = (typeof ROLES)[number];
export const ATTACKERS: ReadonlySet<string> = new Set(ROLES);
/** Its ceiling is what one payment may cost at most: little enough to be used up. */
export const TAMPERED: Role = 'tampered';

const DISCONNECT_TIMEOUT_MS = 5_000;

/** A device with its books: counter, gross total and what Voids gave back. */
class Actor {
  readonly raw: RawDevice;
  counter = 0;
  totalMicro = 0n;
  releasedMicro = 0n;

  constructor(raw: RawDevice) {
    this.raw = raw;
  }

  /** The next Payment as an honest device would sign it. */
  sign(offer: HeldOffer, change: Partial<Payment> = {}): Uint8Array {
    this.counter += 1;
    this.totalMicro += offer.offer.amountMicro;
    return this.again(offer, change);
  }

  /** Another Payment on the numbers of the last one. */
  again(offer: HeldOffer, change: Partial<Payment> = {}): Uint8Array {
    const released =
      this.releasedMicro > 0n ? { releasedMicro: amountMicro(this.releasedMicro) } : {};
    const { counter, totalMicro } = this;
    return this.raw.pay(offer, { counter, totalMicro }, { ...released, ...change });
  }
}

/** Plays the attacks of the story over real MQTT, one after the other. */
export class Attacks {
  readonly #world: World;
  readonly #limitMicro: AmountMicro;
  readonly #actors: ReadonlyMap<Role, Actor>;
  readonly results: AttackResult[] = [];
  readonly honest: HonestPayment[] = [];
  #items = 0;

  /** @param limitMicro the largest single payment that the allowances permit */
  constructor(world: World, mqttPort: number, limitMicro: AmountMicro) {
    this.#world = world;
    this.#limitMicro = limitMicro;
    this.#actors = new Map(
      ROLES.map((role) => {
        const enrolled = world.payers.find(({ ref }) => ref === role)!;
        return [role, new Actor(new RawDevice(world, enrolled, mqttPort))];
      }),
    );
  }

  #actor(role: Role): Actor {
    return this.#actors.get(role)!;
  }

  #offer(actor: Actor, quantity = 1n): Promise<HeldOffer> {
    this.#items += 1;
    return actor.raw.ask(this.#world.payees[0]!.key.id, `attack ${this.#items}`, Number(quantity));
  }

  #note(name: string, expected: string, answer: string): void {
    this.results.push({ name, expected, answer, holds: answer === expected });
  }

  async #send(actor: Actor, offer: HeldOffer, payment: Uint8Array): Promise<RawAnswer> {
    const answer = await actor.raw.send(payment);
    const { amountMicro: amount } = offer.offer;
    if (answer.verb === 'receipt') {
      this.honest.push({ amountMicro: amount, payment, offer: offer.bytes, receipt: answer.bytes });
    } else if (answer.final) {
      actor.releasedMicro += amount;
    }
    return answer;
  }

  async #refused(
    name: string,
    expected: RefusalCode,
    actor: Actor,
    offer: HeldOffer,
    payment: Uint8Array,
  ): Promise<void> {
    const { code } = await this.#send(actor, offer, payment);
    this.#note(name, expected, code);
  }

  async run(onResult: (result: AttackResult) => void): Promise<void> {
    for (const actor of this.#actors.values()) await actor.raw.present();
    const attacks = [
      () => this.#replay(),
      () => this.#overLimit(),
      () => this.#forgedSender(),
      () => this.#tamperedBalance(),
      () => this.#otherGateway(),
      () => this.#offerTwice(),
      () => this.#junkOnVictimsCounter(),
      () => this.#twoContents(),
      () => this.#brokenTotal(),
      () => this.#foreignTopic(),
    ];
    for (const attack of attacks) {
      await attack();
      onResult(this.results.at(-1)!);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#actors.values()].map((actor) => actor.raw.close()));
  }

  /** The rogue sends the victim's very bytes again: one Receipt, the same for whoever asks. */
  async #replay(): Promise<void> {
    const victim = this.#actor('victim');
    const offer = await this.#offer(victim);
    const payment = victim.sign(offer);
    const first = await this.#send(victim, offer, payment);
    const again = await this.#actor('rogue').raw.send(payment);
    const isSame = first.verb === 'receipt' && bytesEqual(first.bytes, again.bytes);
    this.#note(
      'replayed payment',
      'first Receipt again',
      isSame ? 'first Receipt again' : again.code,
    );
  }

  async #overLimit(): Promise<void> {
    const rogue = this.#actor('rogue');
    const { amountMicro: price } = (await this.#offer(rogue)).offer;
    const dear = await this.#offer(rogue, this.#limitMicro / price + 1n);
    await this.#refused('over the limit', 'PAYMENT_LIMIT', rogue, dear, rogue.sign(dear));
  }

  async #forgedSender(): Promise<void> {
    const rogue = this.#actor('rogue');
    const victim = this.#actor('victim');
    const offer = await this.#offer(rogue);
    const numbers = {
      counter: victim.counter + 1,
      totalMicro: victim.totalMicro + offer.offer.amountMicro,
    };
    const payment = rogue.raw.pay(offer, numbers, { line: victim.raw.enrolled.line });
    await this.#refused('forged sender', 'BAD_SIGNATURE', rogue, offer, payment);
  }

  /** Part of its ceiling is spent; its store is edited to show the whole again, and it pays that. */
  async #tamperedBalance(): Promise<void> {
    const device = this.#actor('tampered');
    const first = await this.#offer(device);
    await this.#send(device, first, device.sign(first));
    const whole = await this.#offer(device, this.#limitMicro / first.offer.amountMicro);
    await this.#refused(
      'balance 50 shown as 100',
      'CEILING_EXCEEDED',
      device,
      whole,
      device.sign(whole),
    );
  }

  async #otherGateway(): Promise<void> {
    const rogue = this.#actor('rogue');
    const offer = await this.#offer(rogue);
    const approver = new Uint8Array(ID_BYTES).fill(7);
    const payment = rogue.raw.pay(
      offer,
      { counter: rogue.counter + 1, totalMicro: rogue.totalMicro + offer.offer.amountMicro },
      { approver },
    );
    await this.#refused('payment for another gateway', 'WRONG_GATEWAY', rogue, offer, payment);
  }

  /** The clone's first, honest payment uses the Offer up; the victim tries it once more. */
  async #offerTwice(): Promise<void> {
    const clone = this.#actor('clone');
    const victim = this.#actor('victim');
    const offer = await this.#offer(clone);
    await this.#send(clone, offer, clone.sign(offer));
    await this.#refused('one Offer used twice', 'OFFER_USED', victim, offer, victim.sign(offer));
  }

  /** Junk under the victim's next counter must not keep the victim from using it. */
  async #junkOnVictimsCounter(): Promise<void> {
    const rogue = this.#actor('rogue');
    const victim = this.#actor('victim');
    const junkOffer = await this.#offer(rogue);
    const numbers = {
      counter: victim.counter + 1,
      totalMicro: victim.totalMicro + junkOffer.offer.amountMicro,
    };
    const junk = rogue.raw.pay(junkOffer, numbers, { line: victim.raw.enrolled.line });
    junk.fill(0, junk.length - 64);
    const { code } = await rogue.raw.send(junk);
    const offer = await this.#offer(victim);
    const answer = await this.#send(victim, offer, victim.sign(offer));
    const paid = answer.verb === 'receipt' ? 'victim pays' : answer.code;
    this.#note("junk on a victim's counter", 'BAD_SIGNATURE, victim pays', `${code}, ${paid}`);
  }

  async #twoContents(): Promise<void> {
    const rogue = this.#actor('rogue');
    const first = await this.#offer(rogue);
    await this.#send(rogue, first, rogue.sign(first));
    const second = await this.#offer(rogue);
    // Another time, another Offer: another content on the counter just used.
    const payment = rogue.again(second);
    await this.#refused('one counter, two contents', 'EQUIVOCATION', rogue, second, payment);
  }

  /** A copy of the device from before its payment: it avoids the counter and breaks the total. */
  async #brokenTotal(): Promise<void> {
    const clone = this.#actor('clone');
    const offer = await this.#offer(clone);
    const numbers = { counter: clone.counter + 1, totalMicro: offer.offer.amountMicro };
    const payment = clone.raw.pay(offer, numbers);
    await this.#refused('clone with a broken total', 'EQUIVOCATION', clone, offer, payment);
  }

  /** Writing under another device's id closes the door. */
  async #foreignTopic(): Promise<void> {
    const { raw } = this.#actor('rogue');
    const before = raw.timesLost;
    const victim = this.#actor('victim').raw.signer.key.hex;
    const topic = `kiri/1/${this.#world.gatewayKey.hex}/up/${victim}/pay`;
    raw.publishTo(topic, new Uint8Array(8)).catch(() => {
      // The link is shut before a PUBACK: that is the answer.
    });
    const untilMs = performance.now() + DISCONNECT_TIMEOUT_MS;
    while (raw.timesLost === before && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const answer = raw.timesLost > before ? 'disconnected' : 'tolerated';
    this.#note("another device's topic", 'disconnected', answer);
  }
}
