import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { createCredentials, mandateTerms } from '../../approval/credential-port.ts';
import type { ApproverEffect, ApproverInput, JournalName } from '../../approval/messages.ts';
import type { ApproverState } from '../../approval/state.ts';
import { createApprover, type Approver } from '../../approval/step.ts';
import { verifyMandate } from '../../identity/core/chain.ts';
import { issueAcknowledgement, issueStatusList } from '../../identity/core/issue.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { CoseAlg } from '../../protocol/public-key.ts';
import { accepted } from '../../protocol/refusal.ts';
import { ApproverBook } from './approver-book.ts';
import { JPY, STATUS_URI, type ApproverPapers, type City } from './city.ts';
import type { GatewayJournals } from './ledger/log-feed.ts';
import type { Seed } from './seed.ts';
import { count, WORLD_START_MS } from './machine.ts';
import { SimNode, type Mail, type World } from './sim-node.ts';
import { readPayment } from './violation.ts';
import { ACCEPTED_RECORD, VOID_RECORD } from '../../approval/records.ts';
import type { VirtualJournal } from './virtual-disk.ts';

/** Bugs planted on purpose, to show that the checkers see them. */
export interface GatewayHooks {
  /** Tells the approver that an append is durable at once: it then acknowledges before the sync. */
  readonly ackBeforeSync?: boolean;
  /** What a start is given instead of what the money journal holds. */
  readonly recovered?: (records: readonly Uint8Array[]) => readonly Uint8Array[];
  /** Tampers with the approver's memory before each input. */
  readonly beforeStep?: (state: ApproverState) => void;
}

const JOURNALS: readonly JournalName[] = ['money', 'signed', 'offers', 'documents'];

function perJournal<T>(make: (name: JournalName) => T): Readonly<Record<JournalName, T>> {
  return Object.fromEntries(JOURNALS.map((name) => [name, make(name)])) as Record<JournalName, T>;
}

const RELAYED: ReadonlySet<string> = new Set(['ask', 'offer']);
const TICK_MS = 1_000;
const SIGNED_DELAY_MS = 20;

/** A fog gateway in the virtual world: a broker of three lines, three journals and the real approver. */
export class GatewayNode extends SimNode {
  readonly book: ApproverBook;
  readonly #papers: ApproverPapers;
  readonly #city: City;
  readonly #hooks: GatewayHooks;
  readonly #approver: Approver;
  readonly #disks: Readonly<Record<JournalName, VirtualJournal>>;
  #state: ApproverState | undefined;
  /** Money records that wait for their Offer's sync, and what stands behind them. */
  #held: { readonly record: Uint8Array; readonly afterOffer: number }[] = [];
  #isFull = false;

  constructor(
    world: World,
    seed: Seed,
    name: string,
    city: City,
    papers: ApproverPapers,
    hooks: GatewayHooks = {},
  ) {
    super(world, seed, name, papers.signer.key.hex);
    this.#papers = papers;
    this.#city = city;
    this.#hooks = hooks;
    const trust = { issuerKey: city.issuer.key, verifier: city.verifier };
    const mandate = verifyMandate(trust, papers.mandate, undefined);
    invariant(mandate.ok, 'the city signs mandates that verify');
    const terms = mandateTerms(mandate.value.mandate);
    this.book = new ApproverBook(name, terms);
    world.checker.addApprover(name, this.book);
    this.#approver = createApprover(
      { mode: 'fog', mandate: terms },
      {
        signer: papers.signer,
        verifier: city.verifier,
        sha256,
        hmacSha256: (key, bytes) => hmac(sha256, key, bytes),
        credentials: createCredentials(trust, papers.signer.key.id, (token) =>
          accepted({ ...token, bits: 1, bytes: token.packed.compressed }),
        ),
      },
    );
    this.#disks = perJournal(() => world.disk.journal());
  }

  /** The centre's signed word: an acknowledgement of what it has from here, and the status list. */
  hearCentre(acknowledges: boolean): void {
    if (!this.isUp) return;
    const issuedS = Math.floor((WORLD_START_MS + this.world.clock.nowMs) / 1_000);
    const list = issueStatusList(this.#city.issuer, {
      issuedS,
      uri: STATUS_URI,
      expiresS: issuedS + 20 * 86_400,
      ttlS: 86_400,
      version: issuedS,
      packed: { bits: 1, compressed: new Uint8Array(8) },
    });
    this.#step({ kind: 'status-list', bytes: list });
    if (!acknowledges) return;
    const acknowledgement = issueAcknowledgement(this.#city.issuer, {
      issuedS,
      approver: this.#papers.signer.key.id,
      currency: JPY,
      throughSequence: this.book.sequence,
      count: this.book.acceptedCount,
      sumMicro: amountMicro(this.book.totalMicro),
    });
    this.book.acknowledge();
    this.#step({ kind: 'acknowledgement', bytes: acknowledgement });
  }

  /** Everything that it wrote is durable, its signatures included. */
  get isQuiet(): boolean {
    const state = this.#state;
    return (
      state?.phase === 'open' &&
      JOURNALS.every((name) => this.#disks[name].durableRecords.length === state.nextIndex[name])
    );
  }

  /** Would the ledger, reading the journals, hear of every answer? */
  checkRecorded(): void {
    this.world.checker.recorded(this.name, this.alg, this.durableJournals);
  }

  /** Of its key. */
  get alg(): CoseAlg {
    return this.#papers.signer.key.alg;
  }

  /** What a reader of its disk finds. */
  get durableJournals(): GatewayJournals {
    const { offers, money, signed } = this.#disks;
    return {
      offers: offers.durableRecords,
      money: money.durableRecords,
      signed: signed.durableRecords,
    };
  }

  override receive(from: string, mail: Mail): void {
    if (!this.isUp) return;
    const sender = mail.senderHex;
    const bytes = mail.payload;
    if (RELAYED.has(mail.verb)) {
      const peer = this.world.nameOf(mail.peerHex ?? '', this.name);
      if (peer !== undefined) this.world.net.send(this.name, peer, mail);
      return;
    }
    this.log(`from ${from} ${mail.verb}`);
    switch (mail.verb) {
      case 'pay':
      case 'query':
        this.#step({ kind: 'payment', from: sender, bytes, nonce: this.seed.bytes(16) });
        return;
      case 'offers':
      case 'present':
      case 'challenges':
      case 'hand-in':
        this.#step({ kind: mail.verb, from: sender, bytes });
        return;
      default:
        count(this.world, 'unknown verb');
    }
  }

  protected override boot(): void {
    const money = this.#disks.money.recover();
    this.world.checker.durable(this.name, money);
    const given = this.#hooks.recovered?.(money) ?? money;
    const state = this.#approver.initial();
    const signed = this.#disks.signed.recover();
    for (const record of signed) this.#approver.recoverSigned(state, record);
    for (const record of given) this.#approver.recover(state, record);
    this.#state = state;
    this.#step({
      kind: 'boot',
      epoch: this.seed.bytes(8),
      epochSecret: this.seed.bytes(32),
      nextIndex: perJournal((name) =>
        name === 'money' ? money.length : this.#disks[name].recover().length,
      ),
    });
    this.later(this.seed.between(50, 3_000), () => this.hearCentre(this.seed.chance(0.5)));
    this.#tick();
  }

  #tick(): void {
    this.later(TICK_MS, () => {
      this.#step({ kind: 'tick' });
      this.#tick();
    });
  }

  protected override storages(): readonly VirtualJournal[] {
    return JOURNALS.map((name) => this.#disks[name]);
  }

  protected override fallen(): void {
    this.#state = undefined;
    this.#held = [];
    this.#isFull = false;
    this.world.gatewayFell(this.name);
  }

  #step(input: ApproverInput): void {
    if (this.#state === undefined) return;
    this.#hooks.beforeStep?.(this.#state);
    const { state, effects } = this.#approver.step(this.#state, input, this.now());
    this.#state = state;
    this.perform(effects, (effect) => this.#act(effect));
  }

  #act(effect: ApproverEffect): void {
    switch (effect.kind) {
      case 'append':
        this.#append(effect);
        return;
      case 'reply':
        this.#reply(effect);
        return;
      case 'lookup':
        this.#lookup(effect.key, effect.paymentHash);
        return;
      case 'centre':
        count(this.world, effect.taken ? 'centre taken' : 'centre refused');
        return;
    }
  }

  #append({ journal, record, afterOffer = -1 }: Extract<ApproverEffect, { kind: 'append' }>): void {
    if (this.#isFull) return;
    // As in the real shell: an acceptance is durable only after its Offer, signatures come at leisure.
    if (journal === 'money') {
      this.#held.push({ record, afterOffer });
      this.#appendHeld();
      return;
    }
    this.#disks[journal].append(record);
    if (journal === 'signed') this.later(SIGNED_DELAY_MS, () => this.#commit('signed'));
    else this.#commit(journal);
  }

  #appendHeld(): void {
    const money = this.#disks.money;
    const offers = this.#disks.offers.durableRecords.length;
    let index = -1;
    for (let next = this.#held[0]; next && next.afterOffer < offers; next = this.#held[0]) {
      this.#held.shift();
      index = money.append(next.record);
    }
    if (index < 0) return;
    this.#commit('money');
    if (this.#hooks.ackBeforeSync) {
      this.later(0, () => this.#step({ kind: 'persisted', journal: 'money', through: index }));
    }
  }

  #commit(name: JournalName): void {
    if (this.#isFull) return;
    const journal = this.#disks[name];
    journal.commit({
      durable: (through) => {
        if (name === 'money') this.world.checker.durable(this.name, journal.durableRecords);
        if (name === 'offers') this.#appendHeld();
        this.#step({ kind: 'persisted', journal: name, through });
      },
      failed: () => this.#diskFull(),
    });
  }

  /** It decides nothing more, gives the answers it has, and is repaired and started again. */
  #diskFull(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    count(this.world, 'disk failed');
    this.log('disk full');
    this.#step({ kind: 'disk-full' });
    this.later(this.seed.between(100, 5_000), () => this.crash('for repair'));
  }

  #reply({ to, verb, bytes }: Extract<ApproverEffect, { kind: 'reply' }>): void {
    this.world.checker.durable(this.name, this.#disks.money.durableRecords);
    this.world.checker.replied(this.name, verb, bytes);
    const name = this.world.nameOf(to, this.name);
    this.log(`${verb} to ${name ?? to} ${bytes.length}`);
    count(this.world, `reply ${verb}`);
    if (name === undefined) return;
    this.world.net.send(this.name, name, { senderHex: this.idHex, verb, payload: bytes });
  }

  /** The shell's search in the durable money journal. */
  #lookup(key: string, paymentHash: Uint8Array): void {
    count(this.world, 'lookup');
    const wanted = toHex(paymentHash);
    const found: Uint8Array[] = [];
    for (const record of this.#disks.money.durableRecords) {
      const acceptedRecord = ACCEPTED_RECORD.decode(record);
      const voidRecord = acceptedRecord.ok ? undefined : VOID_RECORD.decode(record);
      const payment = acceptedRecord.ok
        ? acceptedRecord.value.payment
        : voidRecord?.ok && voidRecord.value.payment;
      if (payment && readPayment(payment)?.hashHex === wanted) found.push(record);
    }
    this.later(this.seed.between(0.1, 5), () => this.#step({ kind: 'found', key, records: found }));
  }
}
