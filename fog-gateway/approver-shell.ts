import { join } from 'node:path';
import type { ApproverEffect, ApproverInput, JournalName } from '../approval/messages.ts';
import type { Approver } from '../approval/step.ts';
import type { ApproverState } from '../approval/state.ts';
import { openJournal } from '../platform/journal.ts';
import type { JournalFs } from '../platform/journal-fs.ts';
import type { Clock, Journal, Random } from '../platform/ports.ts';
import { invariant, KiriError } from '../protocol/kiri-error.ts';
import type { DownVerb } from '../protocol/topics.ts';
import { JournalSearch } from './journal-search.ts';

const NAMES: readonly JournalName[] = ['money', 'offers', 'signed', 'documents'];
/** Signatures can be made again after a crash: their sync comes later, out of the way of the money's. */
const SIGNED_DELAY_MS = 20;
/** Unsynced bytes of the offers journal above which hand-ins wait. */
const MAX_HAND_IN_BACKLOG_BYTES = 1_048_576;

/** What became of a document of the centre. */
export interface CentreAnswer {
  readonly taken: boolean;
  readonly reason: string;
  /** Not taken, and may be later just as it is: whoever brought it should come again. */
  readonly isForNow?: true;
}

export interface ShellOptions {
  readonly folder: string;
  readonly approver: Approver;
  readonly clock: Clock;
  readonly random: Random;
  readonly files?: JournalFs;
  readonly send: (to: string, verb: DownVerb, bytes: Uint8Array) => void;
  /** After the effects of one input: what was sent may go out. */
  readonly flush: () => void;
  readonly onCentre: (answer: CentreAnswer) => void;
  /** A journal or an assertion has stopped it; nothing more is appended. */
  readonly onFailure: (error: KiriError) => void;
}

type AppendEffect = Extract<ApproverEffect, { kind: 'append' }>;

/** The approver with its journals: carries out effects, tells it what is durable. */
export class ApproverShell {
  #state: ApproverState;
  readonly #options: ShellOptions;
  readonly #journals: Readonly<Record<JournalName, Journal>>;
  readonly #commits: Record<JournalName, Promise<number> | undefined>;
  readonly #search: JournalSearch;
  #signedTimer: NodeJS.Timeout | undefined;
  /**
   * Money records that wait for their Offer's sync, and what stands behind them. They are kept out of
   * the journal itself: a batch there may be committed already for the sake of an earlier record.
   */
  readonly #held: Pick<AppendEffect, 'record' | 'afterOffer'>[] = [];
  #offersDurable: number;
  #stopped = false;
  #failed = false;

  private constructor(
    options: ShellOptions,
    state: ApproverState,
    journals: Readonly<Record<JournalName, Journal>>,
  ) {
    this.#options = options;
    this.#state = state;
    this.#journals = journals;
    this.#commits = {
      money: undefined,
      offers: undefined,
      signed: undefined,
      documents: undefined,
    };
    this.#offersDurable = journals.offers.nextIndex - 1;
    this.#search = new JournalSearch(journals.money);
  }

  /**
   * Opens the journals, rebuilds the approver's state and starts a new epoch; resolves when that
   * is durable. @throws KiriError FOLDER_LOCKED, JOURNAL_CORRUPT, DISK_*
   */
  static async open(options: ShellOptions): Promise<ApproverShell> {
    const opened: Partial<Record<JournalName, Journal>> = {};
    try {
      const files = options.files ? { files: options.files } : {};
      for (const name of NAMES) {
        opened[name] = (await openJournal(join(options.folder, name), files)).journal;
      }
      const journals = opened as Record<JournalName, Journal>;
      const state = options.approver.initial();
      for (const { record } of journals.signed.records()) {
        options.approver.recoverSigned(state, record);
      }
      for (const { record } of journals.money.records()) options.approver.recover(state, record);
      const shell = new ApproverShell(options, state, journals);
      shell.feed({
        kind: 'boot',
        epoch: options.random.bytes(8),
        epochSecret: options.random.bytes(32),
        nextIndex: {
          money: journals.money.nextIndex,
          offers: journals.offers.nextIndex,
          signed: journals.signed.nextIndex,
          documents: journals.documents.nextIndex,
        },
      });
      await journals.money.commit();
      return shell;
    } catch (error) {
      for (const journal of Object.values(opened)) await journal.close().catch(() => {});
      throw error;
    }
  }

  get state(): ApproverState {
    return this.#state;
  }

  /** Money records durable or about to be, for status. */
  get moneyRecords(): number {
    return this.#journals.money.nextIndex;
  }

  feed(input: ApproverInput): void {
    if (this.#stopped && input.kind !== 'payment') return;
    const { approver, clock } = this.#options;
    try {
      const { state, effects } = approver.step(this.#state, input, clock.now());
      this.#state = state;
      for (const effect of effects) this.#carryOut(effect);
      this.#assertNumbering();
    } catch (error) {
      this.#fail(error);
    }
    this.#options.flush();
  }

  /** Evidence from a device; dropped while the disk is far behind, it comes again. */
  handIn(from: string, bytes: Uint8Array): void {
    if (this.#journals.offers.pendingBytes > MAX_HAND_IN_BACKLOG_BYTES) return;
    this.feed({ kind: 'hand-in', from, bytes });
  }

  /** A Payment or Query; the nonce is drawn here. */
  payment(from: string, bytes: Uint8Array): void {
    this.feed({ kind: 'payment', from, bytes, nonce: this.#options.random.bytes(16) });
  }

  /** Records of the money journal that hold this Payment's answer; durable ones only. */
  search(paymentHash: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#search.find(paymentHash);
  }

  /** Stops deciding; durable answers are still given. */
  enterDiskFull(): void {
    this.feed({ kind: 'disk-full' });
    this.#stopped = true;
  }

  async close(): Promise<void> {
    const isOrderly = !this.#stopped && !this.#failed;
    this.#stopped = true;
    clearTimeout(this.#signedTimer);
    this.#search.stop();
    let failure: unknown;
    const attempt = async (act: () => Promise<unknown>): Promise<void> => {
      await act().catch((error: unknown) => {
        failure ??= error;
      });
    };
    // After a failure what is held stays unwritten: nobody was answered.
    if (isOrderly)
      await attempt(async () => this.#appendHeld(await this.#journals.offers.commit()));
    for (const name of NAMES) await attempt(() => this.#journals[name].close());
    if (failure !== undefined) throw failure;
  }

  #carryOut(effect: ApproverEffect): void {
    switch (effect.kind) {
      case 'reply':
        this.#options.send(effect.to, effect.verb, effect.bytes);
        return;
      case 'append':
        this.#append(effect);
        return;
      case 'lookup':
        void this.#lookUp(effect.key, effect.paymentHash);
        return;
      case 'centre':
        this.#options.onCentre(effect);
    }
  }

  #append({ journal, record, afterOffer = -1 }: AppendEffect): void {
    if (this.#stopped) return;
    if (journal === 'money' && (this.#held.length > 0 || afterOffer > this.#offersDurable)) {
      this.#held.push({ record, afterOffer });
      return;
    }
    this.#journals[journal].append(record);
    if (journal === 'signed') {
      this.#signedTimer ??= setTimeout(() => {
        this.#signedTimer = undefined;
        this.#commit('signed');
      }, SIGNED_DELAY_MS).unref();
      return;
    }
    this.#commit(journal);
  }

  /** Money records whose Offer is durable; in order, so one that waits holds up those behind it. */
  #appendHeld(offersDurable: number): void {
    const waiting = this.#held.findIndex(({ afterOffer = -1 }) => afterOffer > offersDurable);
    const ready = this.#held.splice(0, waiting < 0 ? this.#held.length : waiting);
    for (const { record } of ready) this.#journals.money.append(record);
    if (ready.length > 0) this.#commit('money');
  }

  /** One continuation per group commit, however many records share it. */
  #commit(name: JournalName): void {
    const promise = this.#journals[name].commit();
    if (promise === this.#commits[name]) return;
    this.#commits[name] = promise;
    promise.then(
      (through) => this.#committed(name, through),
      (error: unknown) => this.#fail(error),
    );
  }

  #committed(name: JournalName, through: number): void {
    if (name === 'offers') {
      this.#offersDurable = through;
      try {
        if (!this.#stopped) this.#appendHeld(through);
      } catch (error) {
        this.#fail(error);
      }
    }
    const isAwaited = name === 'offers' && this.#state.pendingHandIns.length > 0;
    if (name === 'money' || name === 'documents' || isAwaited) {
      this.feed({ kind: 'persisted', journal: name, through });
    }
  }

  /** The approver counts its records itself: `persisted` means what it believes. */
  #assertNumbering(): void {
    if (this.#stopped) return;
    for (const name of NAMES) {
      const held = name === 'money' ? this.#held.length : 0;
      invariant(
        this.#journals[name].nextIndex + held === this.#state.nextIndex[name],
        `the ${name} journal has one writer`,
      );
    }
  }

  async #lookUp(key: string, paymentHash: Uint8Array): Promise<void> {
    try {
      const records = await this.#search.find(paymentHash);
      this.feed({ kind: 'found', key, records });
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#stopped || this.#failed) return;
    this.#failed = true;
    const failure =
      error instanceof KiriError
        ? error
        : new KiriError('APPROVER_FAILED', String(error), { cause: error });
    this.#options.onFailure(failure);
  }
}
