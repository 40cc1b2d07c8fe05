import { amountMicro } from '../../protocol/amount.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { ASK } from '../../protocol/messages/envelopes.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { clonedPayment } from './attacks.ts';
import { LinkedNode } from './linked-node.ts';
import type { Seed } from './seed.ts';
import { count, WORLD_START_MS } from './machine.ts';
import type { Mail, World } from './sim-node.ts';
import { readPayment } from './violation.ts';
import type { VirtualJournal } from './virtual-disk.ts';

/** Offers held at most. */
const MAX_OFFERS = 16;

/**
 * A device with true papers and a liar's software: it signs two Payments on one counter, or avoids used counters and leaves
 * out of its total what it has paid.
 */
export class LiarNode extends LinkedNode {
  readonly #signer: Signer;
  readonly #line: Uint8Array;
  readonly #present: Uint8Array;
  readonly #payees: readonly Uint8Array[];
  readonly #offers: Uint8Array[] = [];
  #counter = 0;
  #total = 0n;

  /** @param present its papers as a Present message */
  constructor(
    world: World,
    seed: Seed,
    papers: { readonly signer: Signer; readonly line: Uint8Array; readonly present: Uint8Array },
    payees: readonly Uint8Array[],
  ) {
    super(world, seed, 'liar', papers.signer.key.hex);
    this.#signer = papers.signer;
    this.#line = papers.line;
    this.#present = papers.present;
    this.#payees = payees;
  }

  /** Pays truly, or lies in one of the two ways; each costs an Offer. */
  act(): void {
    if (!this.isUp || this.linkedTo === undefined) return;
    const offer = this.#offers.shift();
    if (!offer) {
      this.#ask();
      return;
    }
    const way = this.#counter === 0 ? 0 : this.seed.below(3);
    const counter = way === 1 ? this.#counter : this.#counter + 1;
    const totalBeforeMicro = amountMicro(way === 0 ? this.#total : 0n);
    const account = {
      line: this.#line,
      counter,
      totalBeforeMicro,
      timeS: Math.floor(WORLD_START_MS / 1_000),
    };
    const bytes = clonedPayment(this.#signer, account, offer);
    count(this.world, ['liar pays', 'lie one counter twice', 'lie broken total'][way]!);
    const { payment } = readPayment(bytes)!;
    if (way === 0) {
      this.#counter = counter;
      this.#total = payment.totalMicro;
    }
    for (let i = 0; i < 3; i += 1) {
      this.sendUp({ senderHex: this.idHex, verb: 'pay', payload: bytes });
    }
  }

  #ask(): void {
    this.sendUp({ senderHex: this.idHex, verb: 'present', payload: this.#present });
    const payload = ASK.encode({ payer: fromHex(this.idHex), item: 'item', quantity: 1 });
    const peerHex = toHex(this.seed.pick(this.#payees));
    this.sendUp({ senderHex: this.idHex, verb: 'ask', payload, peerHex });
  }

  protected override inbox({ verb, payload }: Mail): void {
    if (verb === 'offer' && this.#offers.length < MAX_OFFERS) this.#offers.push(payload);
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
