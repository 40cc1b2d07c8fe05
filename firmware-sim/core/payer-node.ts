import { learnDocuments, newTrustBook, type TrustBook } from '../../agent/core/trust.ts';
import {
  bootPayer,
  payerStep,
  type Outcome,
  type PayerEffect,
  type PayerInput,
  type PayerState,
  type Want,
} from '../../agent/core/payer.ts';
import { SPENT, recordType } from '../../agent/core/records.ts';
import { minuteOfDay } from './civil-time.ts';
import type { City, PayerPapers } from './city.ts';
import { copyBook, LinkedNode } from './linked-node.ts';
import type { Seed } from './seed.ts';
import { count } from './machine.ts';
import type { Mail, World } from './sim-node.ts';
import { toHex } from '../../protocol/bytes.ts';
import { readPayment } from './violation.ts';
import type { VirtualJournal } from './virtual-disk.ts';

/** Bugs planted on purpose, to show that the checkers see them. */
export interface PayerHooks {
  /** What a start is given instead of what the journal holds. */
  readonly recovered?: (records: readonly Uint8Array[]) => readonly Uint8Array[];
  /** Tells the device that an append is durable at once: it then sends before the sync. */
  readonly sendBeforeSync?: boolean;
}

/** A payer device in the virtual world: the real core, with a journal and a link of the simulation. */
export class PayerNode extends LinkedNode {
  readonly #papers: PayerPapers;
  readonly #city: City;
  readonly #hooks: PayerHooks;
  readonly #journal: VirtualJournal;
  /** Hashes of the Payments that are durable here. */
  readonly #durable = new Set<string>();
  #scanned = 0;
  #firstIndex = 0;
  #state: PayerState | undefined;
  /** What it learnt at its first start; checking all signatures again at each start would only cost time. */
  #book: TrustBook | undefined;

  constructor(
    world: World,
    seed: Seed,
    name: string,
    city: City,
    papers: PayerPapers,
    hooks: PayerHooks = {},
  ) {
    super(world, seed, name, papers.signer.key.hex);
    this.#papers = papers;
    this.#city = city;
    this.#hooks = hooks;
    this.#journal = world.disk.journal();
  }

  get lineHex(): string {
    return toHex(this.#papers.line);
  }

  /** Payments without an end; 0 while the device is off. */
  get openPayments(): number {
    return this.#state?.open.size ?? 0;
  }

  want(want: Want): void {
    if (!this.isUp) return;
    count(this.world, 'wants');
    this.#step({ kind: 'want', want });
  }

  /** Takes over a copy of this device's card; both have the same key from now on. */
  cloneCardTo(other: PayerNode): void {
    other.#journal.copyOf(this.#journal);
  }

  /** Orderly end, as an operator would do it; the device is started again later. */
  close(): void {
    if (this.isUp) this.#step({ kind: 'close' });
  }

  protected override boot(): void {
    const records = this.#journal.recover();
    this.#scan();
    this.#firstIndex = records.length;
    this.#book ??= this.#learn();
    const { signer } = this.#papers;
    const setup = {
      signer,
      localMinuteOfDay: minuteOfDay,
    };
    const given = this.#hooks.recovered?.(records) ?? records;
    const { state, effects } = bootPayer(setup, copyBook(this.#book), given, this.now());
    this.#state = state;
    this.perform(effects, (effect) => this.#act(effect));
  }

  #learn(): TrustBook {
    const { signer, present, policy } = this.#papers;
    const { issuer, verifier, payees, approvers } = this.#city;
    const book = newTrustBook({ issuerKey: issuer.key, verifier }, signer.key.hex);
    learnDocuments(book, [
      ...present,
      policy,
      ...approvers.map(({ mandate }) => mandate),
      ...payees.flatMap((payee) => [...payee.present, payee.tariff]),
    ]);
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

  #step(input: PayerInput): void {
    if (this.#state === undefined) return;
    const { state, effects } = payerStep(this.#state, input, this.now());
    this.#state = state;
    this.perform(effects, (effect) => this.#act(effect));
  }

  #act(effect: PayerEffect): void {
    switch (effect.kind) {
      case 'append': {
        const index = this.#journal.append(effect.record);
        if (this.#hooks.sendBeforeSync) this.later(0, () => this.#persisted(index));
        this.#journal.commit({
          durable: (through) => this.#persisted(through),
          failed: (reason) => this.#diskFailed(reason),
        });
        return;
      }
      case 'publish':
        this.#publish(effect);
        return;
      case 'wakeAt':
        this.wakeAt(effect.monotonicMs, () => this.#step({ kind: 'tick' }));
        return;
      case 'outcome':
        this.#outcome(effect.outcome);
        return;
      case 'closed':
        count(this.world, `close ${effect.outcome.kind}`);
        return;
      case 'progress':
        return;
      case 'notice':
        count(this.world, `notice ${effect.code}`);
        return;
    }
  }

  #publish(effect: Extract<PayerEffect, { kind: 'publish' }>): void {
    const { verb, payload } = effect;
    if (verb === 'pay' || verb === 'query') {
      this.#scan();
      this.world.checker.paymentLeaves(this.name, payload, this.#durable);
    }
    this.log(`${verb} ${payload.length}`);
    this.sendUp({
      senderHex: this.idHex,
      verb,
      payload,
      ...(effect.peer ? { peerHex: toHex(effect.peer) } : {}),
    });
  }

  #persisted(throughIndex: number): void {
    this.#step({ kind: 'persisted', through: throughIndex - this.#firstIndex });
  }

  /** A device with a full disk is repaired and started again. */
  #diskFailed(reason: string): void {
    count(this.world, 'disk failed');
    this.#step({ kind: 'diskFailed', reason });
    this.later(this.seed.between(500, 5_000), () => this.crash('for repair'));
  }

  #outcome(outcome: Outcome): void {
    const { kind, ref } = outcome;
    const hashHex = outcome.paymentHash && toHex(outcome.paymentHash);
    const code = kind === 'accepted' ? undefined : outcome.code;
    count(this.world, code === undefined ? `outcome ${kind}` : `outcome ${kind} ${code}`);
    this.log(`outcome ${ref} ${kind} ${code ?? ''} ${hashHex ?? ''}`);
    this.world.checker.outcome(this.name, { kind, ref, hashHex, code });
  }

  #scan(): void {
    const records = this.#journal.durableRecords;
    for (; this.#scanned < records.length; this.#scanned += 1) {
      const record = records[this.#scanned]!;
      if (recordType(record) !== SPENT.type) continue;
      const spent = SPENT.decode(record);
      const read = spent.ok ? readPayment(spent.value.payment) : undefined;
      if (read) this.#durable.add(read.hashHex);
    }
  }
}
