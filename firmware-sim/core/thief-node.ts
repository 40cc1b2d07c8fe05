import { toHex } from '../../protocol/bytes.ts';
import { ASK } from '../../protocol/messages/envelopes.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { flippedByte, forgedSender, raisedAmount, unsignedJunk, type Account } from './attacks.ts';
import { LinkedNode } from './linked-node.ts';
import type { Seed } from './seed.ts';
import { count, WORLD_START_MS } from './machine.ts';
import type { Mail, World } from './sim-node.ts';
import { readPayment } from './violation.ts';
import type { VirtualJournal } from './virtual-disk.ts';

/** Payments overheard and Offers held at most. */
const MAX_LOOT = 32;

interface Overheard {
  readonly bytes: Uint8Array;
  readonly payment: Payment;
}

/**
 * Listens to everybody, has no papers, and sends whatever might pass. Nothing of it may ever be accepted, nor change what
 * becomes of its victims.
 */
export class ThiefNode extends LinkedNode {
  readonly #signer: Signer;
  readonly #keys: ReadonlyMap<string, Signer['key']>;
  readonly #payees: readonly Uint8Array[];
  readonly #loot: Overheard[] = [];
  readonly #offers: Uint8Array[] = [];

  /** @param keys public keys by line, which anybody can know */
  constructor(
    world: World,
    seed: Seed,
    signer: Signer,
    keys: ReadonlyMap<string, Signer['key']>,
    payees: readonly Uint8Array[],
  ) {
    super(world, seed, 'thief', signer.key.hex);
    this.#signer = signer;
    this.#keys = keys;
    this.#payees = payees;
  }

  overhear({ verb, payload }: Mail): void {
    if (verb !== 'pay') return;
    const read = readPayment(payload);
    if (!read) return;
    const loot = { bytes: payload, payment: read.payment };
    if (this.#loot.length < MAX_LOOT) this.#loot.push(loot);
    else this.#loot[this.seed.below(MAX_LOOT)] = loot;
  }

  act(): void {
    if (!this.isUp || this.linkedTo === undefined) return;
    if (this.#offers.length < 4) this.#ask();
    const { seed } = this;
    const loot = this.#loot.length > 0 ? seed.pick(this.#loot) : undefined;
    const offer = this.#offers.length > 0 ? seed.pick(this.#offers) : undefined;
    const bytes = this.#attack(loot, offer);
    if (bytes) this.sendUp({ senderHex: this.idHex, verb: 'pay', payload: bytes });
  }

  #attack(loot: Overheard | undefined, offer: Uint8Array | undefined): Uint8Array | undefined {
    const { seed } = this;
    const kind = seed.below(6);
    if (kind === 5) return this.#did('garbage', seed.bytes(seed.below(300)));
    if (!loot) return undefined;
    if (kind === 0) return this.#did('replay', loot.bytes);
    if (kind === 1) return this.#did('flipped byte', flippedByte(loot.bytes, seed.u32()));
    if (kind === 2) return this.#did('raised amount', raisedAmount(loot.bytes, 1_000_000n));
    if (!offer) return undefined;
    const { line, counter, totalMicro } = loot.payment;
    const victim: Account = {
      line,
      counter: counter + seed.below(3),
      totalBeforeMicro: totalMicro,
      timeS: Math.floor(WORLD_START_MS / 1_000),
    };
    if (kind === 3) return this.#did('forged sender', forgedSender(this.#signer, victim, offer));
    const key = this.#keys.get(toHex(line));
    return key && this.#did('unsigned junk', unsignedJunk(key, victim, offer));
  }

  #did(what: string, bytes: Uint8Array): Uint8Array {
    count(this.world, `attack ${what}`);
    this.log(what);
    return bytes;
  }

  #ask(): void {
    const payload = ASK.encode({ payer: this.#signer.key.id, item: 'item', quantity: 1 });
    const peerHex = toHex(this.seed.pick(this.#payees));
    this.sendUp({ senderHex: this.idHex, verb: 'ask', payload, peerHex });
  }

  protected override inbox({ verb, payload }: Mail): void {
    if (verb === 'offer' && this.#offers.length < MAX_LOOT) this.#offers.push(payload);
    if (verb === 'receipt') count(this.world, 'receipt copied to the thief');
  }

  protected override boot(): void {
    this.#offers.length = 0;
  }

  protected override storages(): readonly VirtualJournal[] {
    return [];
  }

  protected override forget(): void {
    this.#offers.length = 0;
  }

  protected override linked(): void {
    this.#ask();
  }

  protected override unlinked(): void {
    this.#offers.length = 0;
  }
}
