import {
  bootPayee,
  payeeStep,
  type PayeeEffect,
  type PayeeInput,
  type PayeeState,
} from '../../agent/core/payee.ts';
import { learnDocuments, newTrustBook, type TrustBook } from '../../agent/core/trust.ts';
import { toHex } from '../../protocol/bytes.ts';
import type { City, PayeePapers } from './city.ts';
import { minuteOfDay } from './civil-time.ts';
import { copyBook, LinkedNode } from './linked-node.ts';
import type { Seed } from './seed.ts';
import { count } from './machine.ts';
import type { Mail, World } from './sim-node.ts';
import type { VirtualJournal } from './virtual-disk.ts';

const OFFER_LIFETIME_MS = 30_000;
const ACCEPT_WINDOW_MS = 60_000;

/** A gate or charger in the virtual world: the real payee core. */
export class PayeeNode extends LinkedNode {
  readonly #papers: PayeePapers;
  readonly #city: City;
  readonly #journal: VirtualJournal;
  #firstIndex = 0;
  #state: PayeeState | undefined;
  #book: TrustBook | undefined;

  constructor(world: World, seed: Seed, name: string, city: City, papers: PayeePapers) {
    super(world, seed, name, papers.signer.key.hex);
    this.#papers = papers;
    this.#city = city;
    this.#journal = world.disk.journal();
  }

  get id(): Uint8Array {
    return this.#papers.signer.key.id;
  }

  protected override boot(): void {
    const records = this.#journal.recover();
    this.#firstIndex = records.length;
    this.#book ??= this.#learn();
    const { signer } = this.#papers;
    const setup = {
      signer,
      localMinuteOfDay: minuteOfDay,
      offerLifetimeMs: OFFER_LIFETIME_MS,
      acceptWindowMs: ACCEPT_WINDOW_MS,
    };
    this.#state = bootPayee(setup, copyBook(this.#book), records);
  }

  #learn(): TrustBook {
    const { signer, present, tariff } = this.#papers;
    const trust = { issuerKey: this.#city.issuer.key, verifier: this.#city.verifier };
    const book = newTrustBook(trust, signer.key.hex);
    learnDocuments(book, [...present, tariff, ...this.#city.approvers.map((a) => a.mandate)]);
    return book;
  }

  protected override storages(): readonly VirtualJournal[] {
    return [this.#journal];
  }

  protected override forget(): void {
    this.#state = undefined;
  }

  protected override linked(approver: Uint8Array): void {
    this.#step({ kind: 'linkUp', approver });
  }

  protected override unlinked(): void {
    this.#step({ kind: 'linkDown' });
  }

  protected override inbox({ verb, payload }: Mail): void {
    this.#step({ kind: 'inbox', verb, payload });
  }

  #step(input: PayeeInput): void {
    if (this.#state === undefined) return;
    const { state, effects } = payeeStep(this.#state, input, this.now());
    this.#state = state;
    this.perform(effects, (effect) => this.#act(effect));
  }

  #act(effect: PayeeEffect): void {
    switch (effect.kind) {
      case 'append':
        this.#journal.append(effect.record);
        this.#journal.commit({
          durable: (through) =>
            this.#step({ kind: 'persisted', through: through - this.#firstIndex }),
          failed: (reason) => {
            count(this.world, 'disk failed');
            this.#step({ kind: 'diskFailed', reason });
            this.later(this.seed.between(500, 5_000), () => this.crash('for repair'));
          },
        });
        return;
      case 'publish': {
        const { verb, payload, peer } = effect;
        const relay = peer ? { peerHex: toHex(peer) } : {};
        this.sendUp({ senderHex: this.idHex, verb, payload, ...relay });
        return;
      }
      case 'wakeAt':
        this.wakeAt(effect.monotonicMs, () => this.#step({ kind: 'tick' }));
        return;
      case 'release': {
        const hashHex = toHex(effect.sale.paymentHash);
        count(this.world, 'gate opened');
        this.log(`opens for ${hashHex}`);
        this.world.checker.sold(this.name, hashHex);
        return;
      }
      case 'notice':
        count(this.world, `payee notice ${effect.code}`);
        return;
    }
  }
}
